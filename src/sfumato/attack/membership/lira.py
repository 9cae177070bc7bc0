"""The likelihood-ratio attack: how sure models with a record are of it, and models without."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.attack.membership import queries, scores
from sfumato.attack.membership.game import Game, Side, finding, play
from sfumato.attack.membership.shadowed import Shadowed, encoded
from sfumato.attack.settings import one_of, whole
from sfumato.errors import InputError
from sfumato.measure.progress import Progress, silent
from sfumato.registry import attack

if TYPE_CHECKING:
    from sfumato.attack.evidence import Evidence
    from sfumato.attack.finding import Finding
    from sfumato.attack.shadows import Bank
    from sfumato.release.release import Release

MANY = 64
"""From so many shadow models each record's own variance is trusted."""
_LEAST = 1e-3
_UNLIKE = 0.5
"""Of others may be beyond all shadow models before these are called unlike the model."""


@attack("membership.lira")
@dataclass(frozen=True)
class Lira(Shadowed):
    """Compares the model's log-odds on a record with those of models trained with and without it.

    ``online``: every target is in half of the shadow models, by a fair coin; the score is the
    logarithm of the ratio of two normal densities. The attacker holds the candidates, members and
    not, before training the shadow models: this is the custodian's own attack. ``offline``: the
    shadow models are trained on auxiliary records only, and the score is how unlikely the model's
    log-odds are among those of models without the record. The attacker holds records of the same
    population, and may ask about a person of whom nothing was known before.

    Args:
        mode: ``"online"`` or ``"offline"``.
        variance: ``"each"`` record's own, ``"global"`` (one over all records) or ``"auto"``, which
            is global with fewer than 64 shadow models.
        queries: Of images: the picture, and the same shifted by a pixel, up to 9. Rows are asked
            about as they are.

    Source: Carlini, Chien, Nasr, Song, Terzis, Tramèr, S&P 2022, algorithm 1 and section VI.
    """

    kinds: ClassVar[tuple[str, ...]] = ("model",)
    source: ClassVar[str] = "Carlini et al. S&P 2022. arXiv:2112.03570"

    mode: str = "online"
    variance: str = "auto"
    queries: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(self.mode, "mode", ("online", "offline"))
        one_of(self.variance, "variance", ("auto", "each", "global"))
        whole(self.queries, "queries", 1)
        if self.queries > len(queries.SHIFTS):
            raise InputError(f"queries is {self.queries!r}", f"Give at most {len(queries.SHIFTS)}.")

    def __call__(
        self,
        release: Release,
        evidence: Evidence,
        *,
        seed: int = 0,
        progress: Progress = silent,
    ) -> Finding:
        """The area under the ROC curve of the likelihood ratio."""
        online = self.mode == "online"
        few, many = (0, self.max_records) if online else (self.max_records, 0)
        game = play(self, release, evidence, seed, auxiliary=few, pool=many)
        baseline = game.baseline()
        pool = game.pool if online else game.auxiliary
        bank = self.train(game, pool, progress)
        own, shadows = self._looks(game, bank)
        each = self.variance == "each" or (self.variance == "auto" and len(bank) >= MANY)
        if online:
            ratio = log_ratio(own, shadows, bank.inside[:, : own.shape[1]], each=each)
        else:
            ratio = surprise(own, shadows, each=each)
        inside, outside = game.both(ratio)
        apart = beyond(own, shadows)[:, len(inside) :].mean()  # of others: members may well be so
        found = finding(
            self,
            game,
            inside,
            outside,
            attack="membership.lira",
            how="likelihood ratio against shadow models",
            baseline=baseline,
            details={
                **self.told(bank, game),
                "mode": self.mode,
                "variance": "each" if each else "global",
                "queries": len(own),
                "others_beyond_shadows": float(apart),
            },
        )
        if apart <= max(_UNLIKE, 2 / (len(bank) / 2 + 1) + 0.2):  # by luck, beyond half of them
            return found
        said = (
            f"Of {apart:.0%} of those who are not in the data the model is surer, or less sure, "
            "than every shadow model: these are unlike it, and a low figure says little. Give "
            "their family and epochs, or use mode=offline or membership.rmia."
        )
        return replace(found, summary=f"{found.summary} {said}")

    def _looks(self, game: Game, bank: Bank) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(q, 2m) log-odds of the targets under the model, (q, models, 2m) under the shadows."""
        asked = queries.SHIFTS[: self.queries if game.takes == "images" else 1]
        own, shadows = [], []
        for down, right in asked:
            inputs, labels = targets_of(game.members, game.others)
            if (down, right) != (0, 0):
                inputs = queries.shifted(inputs, down, right)
            own.append(scores.log_odds(game.model.probabilities_from(inputs), labels))
            shadows.append(bank.log_odds(encoded(game, inputs), labels))
        return np.stack(own), np.stack(shadows)


def targets_of(members: Side, others: Side) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Inputs and labels of all targets, members first."""
    return (
        np.concatenate([members.inputs, others.inputs]),
        np.concatenate([members.labels, others.labels]),
    )


def log_ratio(
    own: NDArray[np.float64],
    shadows: NDArray[np.float64],
    inside: NDArray[np.bool_],
    *,
    each: bool,
) -> NDArray[np.float64]:
    """The logarithm of the likelihood ratio of membership.

    Args:
        own: (q, n) log-odds of n records under the attacked model, for each query.
        shadows: (q, models, n) under the shadow models.
        inside: (models, n) whether a model was trained on the record.
        each: Whether each record's own variance is used.

    Returns:
        (n,) summed over the queries, which are taken to be independent.
    """
    total = np.zeros(own.shape[1])
    for phi, seen in zip(own, shadows, strict=True):
        for sign, part in ((1, inside), (-1, ~inside)):
            mean, deviation = moments(seen, part, each=each)
            total += sign * (-np.log(deviation) - 0.5 * ((phi - mean) / deviation) ** 2)
    return total


def surprise(
    own: NDArray[np.float64], shadows: NDArray[np.float64], *, each: bool
) -> NDArray[np.float64]:
    """Minus the logarithm of how often models without the record are as sure of it.

    Args:
        own: (q, n) log-odds under the attacked model.
        shadows: (q, models, n) under models that none of the n was used for.
        each: Whether each record's own variance is used.

    Returns:
        (n,) summed over the queries.
    """
    from scipy.special import log_ndtr

    total = np.zeros(own.shape[1])
    everywhere = np.ones(shadows.shape[1:], dtype=bool)
    for phi, seen in zip(own, shadows, strict=True):
        mean, deviation = moments(seen, everywhere, each=each)
        total -= log_ndtr((mean - phi) / deviation)
    return total


def beyond(own: NDArray[np.float64], shadows: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(q, n) of which records the model is surer, or less sure, than every shadow model.

    Args:
        own: (q, n) log-odds under the attacked model.
        shadows: (q, models, n) under the shadow models.
    """
    return np.asarray((own < shadows.min(axis=1)) | (own > shadows.max(axis=1)))


def moments(
    seen: NDArray[np.float64], part: NDArray[np.bool_], *, each: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each record's log-odds over a part of the models.

    Args:
        seen: (models, n).
        part: (models, n) which count; each record needs one.
        each: The record's own deviation; else one over all records, around their own means.
    """
    count = part.sum(axis=0)
    mean = np.where(part, seen, 0.0).sum(axis=0) / np.maximum(count, 1)
    squares = np.where(part, (seen - mean) ** 2, 0.0).sum(axis=0)
    if each:
        variance = squares / np.maximum(count - 1, 1)
    else:
        freedom = np.maximum(count - 1, 0).sum()
        variance = np.full(seen.shape[1], squares.sum() / max(freedom, 1))
    return mean, np.sqrt(np.maximum(variance, _LEAST**2))
