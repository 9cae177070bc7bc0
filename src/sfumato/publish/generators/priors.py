"""The shares of the classes among drawn images: declared public, or paid for.

How often a class occurs is a statistic of all records. A generator that draws its labels in the
private proportions without paying publishes exact counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError
from sfumato.publish import checks

if TYPE_CHECKING:
    from dp_accounting import DpEvent

    from sfumato.privacy.noise import NoiseSource

Shares = NDArray[np.float64]
PRIORS = ("estimated", "uniform")
_LEAST = 0.1  # of an equal share: no class is drawn less often


def check(given: object, name: str = "class_prior") -> str | dict[str, float]:
    """A setting of classes' shares as it is kept.

    Args:
        given: ``"estimated"``, ``"uniform"``, or shares by class name.
        name: Of the setting.

    Raises:
        InputError: If it is none of these.
    """
    if isinstance(given, Mapping):
        for label, share in given.items():
            checks.number(f"the share of class {label!r}", share, 0)
        return dict(given)
    if given not in PRIORS:
        raise InputError(
            f"{name} is {given!r}", "Use estimated, uniform, or a share for every class."
        )
    return str(given)


def declared(
    given: str | Mapping[str, float], classes: Sequence[str], name: str = "class_prior"
) -> Shares | None:
    """(K,) public shares with sum 1, or None if they are to be estimated.

    Args:
        given: As :func:`check` keeps it.
        classes: Their names.
        name: Of the setting.

    Raises:
        InputError: If they name other classes, or sum to 0.
    """
    if given == "estimated":
        return None
    if not isinstance(given, Mapping):
        return np.full(len(classes), 1 / len(classes))
    if set(given) != set(classes):
        raise InputError(
            f"{name} names {sorted(map(str, given))}",
            f"Give a share for each of {', '.join(classes)}.",
        )
    shares = np.array([float(given[label]) for label in classes])
    if not 0 < shares.sum() < math.inf:
        raise InputError(f"the shares of {name} sum to 0", "Give a positive one.")
    return np.asarray(shares / shares.sum())


@dataclass(frozen=True)
class Counted:
    """Class counts under discrete Gaussian noise: what an estimated prior costs.

    Args:
        classes: K.
        stddev: Of the noise in each count; a record is in one of them.
    """

    classes: int
    stddev: float

    @property
    def event(self) -> DpEvent:
        """One noisy histogram."""
        from sfumato.privacy.mechanisms import DiscreteGaussian

        return DiscreteGaussian(self.stddev, 1, "cell").event

    def release(self, labels: NDArray[np.integer], source: NoiseSource) -> Shares:
        """(K,) positive shares with sum 1, from noisy counts alone.

        Args:
            labels: (n,) private class numbers.
            source: Of the noise.
        """
        from sfumato.privacy.mechanisms import DiscreteGaussian

        counts = np.bincount(labels, minlength=self.classes).astype(np.int64)
        noisy = DiscreteGaussian(self.stddev, 1, "cell").release(counts, source)
        total = max(1.0, float(noisy.sum()))
        shares = np.maximum(noisy / total, _LEAST / self.classes)
        return np.asarray(shares / shares.sum())


def drawn(
    declared: Shares | None,
    counted: Counted | None,
    labels: NDArray[np.integer],
    source: NoiseSource,
    workspace: Path | None,
) -> Shares:
    """(K,) shares: those declared, or else noisy ones, drawn once in a workspace.

    Args:
        declared: What :func:`declared` gave.
        counted: What is paid for; None where shares are declared.
        labels: (n,) private class numbers.
        source: Of the noise.
        workspace: Where what was drawn is kept; None keeps nothing.
    """
    from sfumato.publish.workspace import once

    if declared is not None:
        return declared
    assert counted is not None
    noisy = once(
        workspace, "class_prior", lambda: counted.release(labels, source).tolist(), drawn=True
    )
    return np.asarray(noisy)
