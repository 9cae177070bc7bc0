"""The robust attack: more probable here than elsewhere, by more than others' records are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.attack.evidence import MINIMUM
from sfumato.attack.membership.game import finding, play
from sfumato.attack.membership.lira import targets_of
from sfumato.attack.membership.shadowed import Shadowed, encoded
from sfumato.attack.settings import one_of, whole
from sfumato.errors import InputError
from sfumato.measure import intervals
from sfumato.measure.progress import Progress, silent
from sfumato.registry import attack

if TYPE_CHECKING:
    from sfumato.attack.evidence import Evidence
    from sfumato.attack.finding import Finding
    from sfumato.attack.membership.game import Game
    from sfumato.attack.shadows import Bank
    from sfumato.release.release import Release

_GRID = tuple(i / 10 for i in range(11))


@attack("membership.rmia")
@dataclass(frozen=True)
class Rmia(Shadowed):
    """Compares a record's ratio ``p(x | model) / p(x)`` with that of population records.

    ``p`` is the probability of the true class, ``p(x)`` its mean over shadow models. The score is
    the share of population records whose ratio is ``gamma`` times smaller; where that is equal the
    ratio itself decides. ``online``: targets are in half of the shadow models. ``offline``: shadow
    models are trained on auxiliary records only, and their mean without the record is brought to
    ``((1 + a) mean + 1 - a) / 2``. In both the attacker also holds population records that train
    no model. Strong with few shadow models, where a normal distribution cannot be fitted.

    Args:
        mode: ``"online"`` or ``"offline"``.
        gamma: How much larger the ratio must be.
        a: Of the offline mean; below 0 it is tuned by attacking one shadow model with the others.
        population: Auxiliary records that ratios are compared with.

    Source: Zarifzadeh, Liu, Shokri, ICML 2024, algorithm 1 and appendix B.2.
    """

    kinds: ClassVar[tuple[str, ...]] = ("model",)
    source: ClassVar[str] = "Zarifzadeh, Liu, Shokri. ICML 2024. arXiv:2312.03262"

    mode: str = "offline"
    gamma: float = 1.0
    a: float = -1.0
    population: int = 2000

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(self.mode, "mode", ("online", "offline"))
        whole(self.population, "population", MINIMUM)
        for name, most in (("gamma", np.inf), ("a", 1.0)):
            value = getattr(self, name)
            if not isinstance(value, int | float) or isinstance(value, bool) or not value <= most:
                wanted = "a number above 0" if name == "gamma" else f"a number up to {most:g}"
                raise InputError(f"{name} is {value!r}", f"Give {wanted}.")
        if not self.gamma > 0:
            raise InputError(f"gamma is {self.gamma!r}", "Give a number above 0.")

    def __call__(
        self,
        release: Release,
        evidence: Evidence,
        *,
        seed: int = 0,
        progress: Progress = silent,
    ) -> Finding:
        """The area under the ROC curve of the compared ratio."""
        online = self.mode == "online"
        extra = 0 if online else self.max_records
        game = play(
            self,
            release,
            evidence,
            seed,
            auxiliary=self.population + extra,
            pool=self.max_records if online else 0,
        )
        baseline = game.baseline()
        helpers = len(game.auxiliary)
        apart = helpers if online else min(self.population, helpers // 2)
        order = np.random.default_rng([seed, 1]).permutation(helpers)
        population = game.auxiliary.select(np.sort(order[:apart]))
        pool = game.pool if online else game.auxiliary.select(np.sort(order[apart:]))
        bank = self.train(game, pool, progress)
        known = probabilities_of(bank.log_odds(encoded(game, pool.inputs), pool.labels))
        a = self.a if self.a >= 0 else tuned(known, bank.inside)
        elsewhere = probabilities_of(
            bank.log_odds(encoded(game, population.inputs), population.labels)
        )
        compared = np.log(probabilities_of(population.log_odds)) - np.log(
            without(elsewhere.mean(axis=0), a)
        )
        inside, outside = game.both(
            shares(self._ratios(game, bank, known, a), compared, self.gamma)
        )
        return finding(
            self,
            game,
            inside,
            outside,
            attack="membership.rmia",
            how="likelihood ratio against shadow models and other people's records",
            baseline=baseline,
            details={
                **self.told(bank, game),
                "mode": self.mode,
                "a": a,
                "gamma": self.gamma,
                "population": len(population),
            },
        )

    def _ratios(
        self, game: Game, bank: Bank, known: NDArray[np.float64], a: float
    ) -> NDArray[np.float64]:
        """(2m,) logarithms of the targets' ratios."""
        own = np.concatenate([game.members.log_odds, game.others.log_odds])
        n = len(own)
        if self.mode == "online":  # the targets come first in the pool
            mean_in, mean_out = (
                mean_over(known[:, :n], part) for part in (bank.inside[:, :n], ~bank.inside[:, :n])
            )
            marginal = (mean_in + mean_out) / 2
        else:
            inputs, labels = targets_of(game.members, game.others)
            seen = probabilities_of(bank.log_odds(encoded(game, inputs), labels))
            marginal = without(seen.mean(axis=0), a)
        return np.log(probabilities_of(own)) - np.log(marginal)


def shares(
    ratios: NDArray[np.float64], compared: NDArray[np.float64], gamma: float
) -> NDArray[np.float64]:
    """The share of the population that each record's ratio exceeds ``gamma`` times.

    Args:
        ratios: (n,) logarithms of the records' ratios.
        compared: (z,) of the population's.
        gamma: How much larger a ratio must be.

    Returns:
        (n,) the share, to which less than one population record is added so that records with the
        same share stay in the order of their ratios.

    >>> shares(np.array([0.0, 1.0, 3.0]), np.array([0.5, 2.0]), 1.0).round(2).tolist()
    [0.25, 0.87, 1.48]
    """
    from scipy.special import expit

    below = np.searchsorted(np.sort(compared), ratios - np.log(gamma), "right")
    found: NDArray[np.float64] = (below + expit(ratios)) / len(compared)
    return found


def without(mean: NDArray[np.float64], a: float) -> NDArray[np.float64]:
    """What ``p(x)`` is likely to be, given its mean over models that were not trained on x."""
    return ((1 + a) * mean + (1 - a)) / 2


def tuned(known: NDArray[np.float64], inside: NDArray[np.bool_]) -> float:
    """The ``a`` with which the other shadow models best attack the first one.

    Args:
        known: (models, n) probabilities of the pool's true classes.
        inside: (models, n) whether a model was trained on the record.
    """
    others = ~inside[1:]
    usable = others.any(axis=0)
    mean = mean_over(known[1:, usable], others[:, usable])
    target, member = known[0, usable], inside[0, usable]

    def area(a: float) -> float:
        ratio = target / without(mean, a)
        return intervals.auc(ratio[member], ratio[~member])[0]

    return max(_GRID, key=area)


def mean_over(values: NDArray[np.float64], part: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(n,) mean over the models that count."""
    total = np.where(part, values, 0.0).sum(axis=0)
    found: NDArray[np.float64] = total / np.maximum(part.sum(axis=0), 1)
    return found


def probabilities_of(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """The probabilities whose log-odds these are, above 0."""
    from scipy.special import expit

    found: NDArray[np.float64] = np.maximum(expit(log_odds), 1e-30)
    return found
