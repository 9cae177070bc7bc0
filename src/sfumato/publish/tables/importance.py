"""How much each attribute matters to the task: declared in public, or paid for.

Importance that is computed on private rows is a statistic of all of them: which column got little
noise tells what predicts the label. It is therefore either public (weights somebody declares:
expert knowledge, the literature, a model of public data), or paid: a private model, each record's
attribution under it, and the noisy mean of the attributions.

Source: perturbation.md A.2 (P0 and P2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError
from sfumato.learn.features import Features
from sfumato.publish.tables.allocation import floored

if TYPE_CHECKING:
    from sfumato.privacy.mechanisms import DiscreteLaplace
    from sfumato.privacy.noise import NoiseSource

UNITS = 1 << 20
"""One record's attributions are whole multiples of ``1 / UNITS``: their sum is exact."""


def declared(
    weights: Mapping[str, float] | None, names: tuple[str, ...], target: str | None
) -> NDArray[np.float64]:
    """Public weights in the order of the attributes, floored and summing to 1.

    Args:
        weights: By attribute; one that is not named gets 0 before the floor. None: all equal.
        names: The attributes.
        target: The label's name, for a clearer message; its budget is ``label_share``.

    Raises:
        InputError: If a weight names no attribute, is negative or not finite, or all are 0.
    """
    if weights is None:
        return floored(np.ones(len(names)))
    for name, weight in weights.items():
        if name == target:
            raise InputError(
                f"a weight names the target {name!r}", "Set label_share for the label's budget."
            )
        if name not in names:
            raise InputError(
                f"a weight names {name!r}, which is no attribute", f"Known: {', '.join(names)}."
            )
        number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not (number and np.isfinite(weight) and weight >= 0):
            raise InputError(
                f"the weight of {name!r} is {weight!r}", "Give a finite number of at least 0."
            )
    return floored(np.array([float(weights.get(name, 0.0)) for name in names]))


class Attributions(Protocol):
    """What records are attributed under a model that was paid for."""

    @property
    def features(self) -> Features:
        """The public shape of a row."""
        ...

    def units(self, codes: NDArray[np.integer]) -> NDArray[np.int64]:
        """Whole attributions, (n, d) for (n, d) codes: each record's from its own codes alone.

        Guaranteed: at least 0, and at most ``UNITS`` in sum for each record.
        """
        ...


def whole_units(attributions: NDArray[np.float64]) -> NDArray[np.int64]:
    """Attributions as whole parts of ``UNITS``, by record.

    Args:
        attributions: (n, d) at least 0. A record with none, or with one that is no finite number,
            counts for all attributes alike.

    Returns:
        (n, d) int64 at least 0, at most ``UNITS`` in sum for each record.
    """
    usable = np.isfinite(attributions).all(axis=1, keepdims=True)
    given = np.where(usable, attributions, 0.0)
    # By its own largest first: attributions of any size neither overflow nor vanish.
    top = given.max(axis=1, keepdims=True)
    scaled = np.where(top > 0, given / np.where(top > 0, top, 1.0), 1.0)
    normalised = scaled / scaled.sum(axis=1, keepdims=True)
    # A hair below 1, so that rounding can lift no sum of whole parts above UNITS.
    return np.asarray(np.floor(normalised * (1 - 1e-9) * UNITS), dtype=np.int64)


@dataclass(frozen=True)
class Attribution:
    """A record's attributions under a model of its label: squared logit shares, by attribute.

    Attribute ``j`` moves the logits by ``value * weight``, measured from a public centre (the
    middle of a number's range, the mean over a column's levels). The squared length of that move,
    over the sum of all attributes' moves, is the record's attribution: squared, because noise of
    variance ``Var_j`` costs a smooth loss in proportion to the squared gradient.

    Args:
        features: Public shape of a row.
        weights: (width, classes), a private model's released weights.
    """

    features: Features
    weights: NDArray[np.float64]

    def units(self, codes: NDArray[np.integer]) -> NDArray[np.int64]:
        """Whole attributions whose sum is at most ``UNITS`` in each record.

        Args:
            codes: (n, d).

        Returns:
            (n, d) int64 at least 0; a record that the model says nothing about counts for all
            attributes alike.
        """
        moves = np.stack([self._move(j, codes[:, j]) for j in range(codes.shape[1])], axis=1)
        top = moves.max(axis=1, keepdims=True)
        # Scaled before they are squared, so that squares neither overflow nor vanish.
        return whole_units(np.where(top > 0, moves / np.where(top > 0, top, 1.0), 0.0) ** 2)

    def _move(self, j: int, codes: NDArray[np.integer]) -> NDArray[np.float64]:
        """Length of the move of the logits, (n,) at least 0."""
        start, stop = self.features.offsets[j], self.features.offsets[j + 1]
        block = self.weights[start:stop]
        block = block - block.mean(axis=1, keepdims=True)  # softmax ignores a common shift
        column = self.features.columns[j]
        if column.grid is None:
            lengths = np.linalg.norm(block - block.mean(axis=0), axis=1)
            return np.asarray(lengths[codes], dtype=np.float64)
        lengths = np.linalg.norm(block, axis=1)
        missing = codes >= column.grid
        number = np.abs(self.features.scaled(j, codes)) * lengths[0]
        return np.asarray(np.where(missing, lengths[-1], number), dtype=np.float64)


def mechanism(epsilon: float) -> DiscreteLaplace:
    """The noise of the summed attributions: epsilon-DP under replace-one.

    One record contributes whole numbers of at least 0 that sum to at most ``UNITS``, so replacing
    it moves the sum by at most ``2 UNITS`` in L1. As a mean over ``n`` records that is the
    ``2 / n`` of perturbation.md A.2.

    Args:
        epsilon: What the mean attribution may cost.
    """
    from sfumato.privacy.mechanisms import DiscreteLaplace

    return DiscreteLaplace(scale=2 * UNITS / epsilon, contribution=UNITS)


def paid(
    attribution: Attributions,
    batches: Callable[[], Iterable[NDArray[np.integer]]],
    noise: DiscreteLaplace,
    source: NoiseSource,
    squared: bool = False,
) -> NDArray[np.float64]:
    """Importance weights from the noisy sum of attributions, floored and summing to 1.

    Args:
        attribution: Under a private model.
        batches: Starts a pass over the records, ``codes (b, d)`` at a time.
        noise: From :func:`mechanism`.
        source: The noise.
        squared: Whether the noisy sums are squared.

    Guaranteed: a function of ``noise.release`` of a sum to which one record adds at most
    ``UNITS`` in L1; rescaling and flooring are post-processing.
    """
    total = np.zeros(len(attribution.features.columns), dtype=np.int64)
    for codes in batches():
        total += attribution.units(codes).sum(axis=0)
    noisy = np.maximum(noise.release(total, source), 0).astype(np.float64)
    if not noisy.any():
        return floored(np.ones(len(noisy)))
    return floored((noisy / noisy.max()) ** 2 if squared else noisy)
