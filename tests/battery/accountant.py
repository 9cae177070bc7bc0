"""Epsilon once more, from dp_accounting's own privacy loss distributions and nothing of ours.

:class:`Parts` composes what somebody says was drawn; :func:`of_card` reads the event and the
relation that a card prints, as another accountant would.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from dp_accounting import NeighboringRelation
from scipy import stats
from scipy.special import logsumexp

RELATIONS = {
    "add-remove": NeighboringRelation.ADD_OR_REMOVE_ONE,
    "replace-one": NeighboringRelation.REPLACE_ONE,
}
INTERVAL = 1e-4
COARSE = 1e-3
"""Ten times as quick; still never too little."""


@dataclass(frozen=True)
class Parts:
    """Losses between one pair of neighbours, composed.

    Args:
        pure: The sum of the pure epsilons; infinite once something has none.
        square: The sum of the squares of the Gaussian mus.
        others: What has a loss distribution of its own: (kind, parameters), with its count.
    """

    pure: float = 0.0
    square: float = 0.0
    others: tuple[tuple[tuple[Any, ...], int], ...] = ()

    def bounded(self, epsilon: float, count: int = 1) -> Parts:
        """``count`` mechanisms of which only epsilon-DP is known."""
        return self._with(epsilon, ("bounded", epsilon), count)

    def gaussian(self, distance: float, stddev: float, count: int = 1) -> Parts:
        """Continuous Gaussian noise on values ``distance`` apart in L2."""
        if distance == 0:
            return self
        square = self.square + count * (distance / stddev) ** 2
        return replace(self, pure=math.inf, square=square)

    def sampled(
        self, rate: float, distance: float, stddev: float, count: int = 1, relation: str = ""
    ) -> Parts:
        """Gaussian noise on a sum over a Poisson sample, one record moving it by ``distance``."""
        if distance == 0 or rate == 1:
            return self.gaussian(distance, stddev, count)
        key = ("sampled", rate, stddev / distance, relation or "add-remove")
        return self._with(math.inf, key, count)

    def direction(
        self, kappa: float, dimension: int, distance: float, rate: float = 1.0, count: int = 1
    ) -> Parts:
        """Von Mises-Fisher noise on one direction, ``distance`` from another.

        With probability ``rate`` it is drawn at all, and that shows.
        """
        far = round(min(distance, 2.0), 6)  # a multiple of what float32 resolves
        return self._with(kappa * far, ("direction", kappa, dimension, far, rate), count)

    def tilted(self, ratio: float, determinants: float, dimensions: int, count: int = 1) -> Parts:
        """A minimiser of an objective with a random linear term.

        The loss is ``determinants + ratio chi + ratio^2 / 2`` at most, with as many degrees of
        freedom as ``dimensions``.
        """
        if ratio == 0:
            return self
        return self._with(math.inf, ("tilted", ratio, determinants, dimensions), count)

    def laplace(self, distance: float, scale: float, count: int = 1) -> Parts:
        """Continuous Laplace noise on one number moved by ``distance``."""
        return self._with(distance / scale, ("laplace", scale, distance), count)

    def discrete_laplace(self, shift: float, scale: float, count: int = 1) -> Parts:
        """Discrete Laplace noise on one integer moved by ``shift``."""
        return self._with(shift / scale, ("discrete_laplace", 1 / scale, round(shift)), count)

    def discrete_gaussian(self, shift: float, stddev: float, count: int = 1) -> Parts:
        """Discrete Gaussian noise on one integer moved by ``shift``."""
        return self._with(math.inf, ("discrete_gaussian", stddev, round(shift)), count)

    def response(self, noise: float, levels: int, count: int = 1) -> Parts:
        """Randomised response between two levels, uniform with probability ``noise``."""
        pure = math.log1p((1 - noise) / (noise / levels))
        return self._with(pure, ("response", noise, levels), count)

    def epsilon(self, delta: float, interval: float = INTERVAL) -> float:
        """The epsilon of everything at ``delta``: never too little, and less by a finer grid.

        Args:
            delta: Delta.
            interval: The grid's step, of losses.
        """
        if delta == 0:
            return self.pure
        counted = list(self.others)
        if self.square:
            counted.append((("gaussian", math.sqrt(self.square)), 1))
        whole = None
        for key, count in counted:
            part = _loss(key, interval)
            part = part.self_compose(count) if count > 1 else part
            whole = part if whole is None else whole.compose(part)
        if whole is None:
            return 0.0
        return min(self.pure, float(whole.get_epsilon_for_delta(delta)))

    def covers(self, less: Parts) -> bool:
        """Whether ``less`` costs no more whatever the delta: the same draws, none further apart.

        False where that cannot be seen without composing them.
        """
        if less.pure > self.pure or less.square > self.square:
            return False
        mine, others = self._distances(), less._distances()
        return all(
            len(far) <= len(mine.get(kind, []))
            and all(a <= b for a, b in zip(far, mine[kind], strict=False))
            for kind, far in others.items()
        )

    def _distances(self) -> dict[tuple[Any, ...], list[float]]:
        """By kind of noise how far apart its draws are, the furthest first."""
        found: dict[tuple[Any, ...], list[float]] = {}
        for key, count in self.others:
            kind, distance = _told_apart(key)
            found.setdefault(kind, []).extend([distance] * count)
        return {kind: sorted(far, reverse=True) for kind, far in found.items()}

    def _with(self, pure: float, key: tuple[Any, ...], count: int) -> Parts:
        if pure == 0 or count == 0:
            return self
        return replace(self, pure=self.pure + count * pure, others=(*self.others, (key, count)))


def _told_apart(key: tuple[Any, ...]) -> tuple[tuple[Any, ...], float]:
    """A draw's noise, and the distance in which what it costs never falls."""
    match key:
        case ("sampled", rate, multiplier, relation):
            return ("sampled", rate, relation), 1 / multiplier
        case ("direction", kappa, dimension, far, rate):
            return ("direction", kappa, dimension, rate), far
        case ("tilted", ratio, *rest):
            return ("tilted", *rest), ratio
        case ("bounded", epsilon):
            return ("bounded",), epsilon
        case ("response", *_):
            return key, 0.0
        case (kind, noise, shift):
            return (kind, noise), shift
    raise AssertionError(f"how {key[0]} grows with distance is not known; teach it")


@lru_cache(maxsize=256)
def _loss(key: tuple[Any, ...], interval: float) -> Any:
    from dp_accounting.pld import common
    from dp_accounting.pld import privacy_loss_distribution as pld

    kind, *numbers = key
    grid = {"value_discretization_interval": interval}
    if kind == "gaussian":
        return pld.from_gaussian_mechanism(1 / numbers[0], **grid)
    if kind == "sampled":
        rate, multiplier, relation = numbers
        return pld.from_gaussian_mechanism(
            multiplier,
            sampling_prob=rate,
            neighboring_relation=RELATIONS[relation],
            **grid,
        )
    if kind == "direction":
        return pld.from_two_probability_mass_functions(*_directions(*numbers), **grid)
    if kind == "tilted":
        return pld.from_two_probability_mass_functions(*_tilted(*numbers), **grid)
    if kind == "bounded":
        return pld.from_privacy_parameters(common.DifferentialPrivacyParameters(numbers[0]), **grid)
    if kind == "response":
        relation = NeighboringRelation.REPLACE_ONE
        return pld.from_randomized_response(*numbers, neighboring_relation=relation, **grid)
    return getattr(pld, f"from_{kind}_mechanism")(numbers[0], sensitivity=numbers[1], **grid)


def _directions(
    kappa: float, dimension: int, distance: float, rate: float
) -> tuple[dict[int, float], dict[int, float]]:
    """Log-masses of two directions' draws over cells of what tells them apart; -1 is no draw.

    That is the cosine ``s`` with their difference, for any ``distance``; the rest of the plane
    that they span (``r``) is summed over.
    """
    half = math.asin(distance / 2)
    angles = (np.arange(4000) + 0.5) / 4000 * math.pi
    s, width = np.cos(angles), np.sin(angles)
    inner = (np.arange(150) + 0.5) / 150 * math.pi
    across = kappa * math.cos(half) * np.cos(inner)
    rest = logsumexp(np.outer(width, across) + (dimension - 3) * np.log(np.sin(inner)), axis=1)
    both = []
    for sign in (1, -1):
        log = sign * kappa * math.sin(half) * s + (dimension - 2) * np.log(width) + rest
        log += math.log(rate) - logsumexp(log)
        masses = dict(enumerate(log.tolist()))
        if rate < 1:
            masses[-1] = math.log1p(-rate)
        both.append(masses)
    return both[0], both[1]


def _tilted(
    ratio: float, determinants: float, dimensions: int
) -> tuple[dict[int, float], dict[int, float]]:
    """Log-masses of such a loss; -1 is an outcome of the other side alone."""
    edges = np.linspace(0.0, 30.0, 4001)
    log = stats.chi(dimensions).logpdf((edges[1:] + edges[:-1]) / 2)
    log -= logsumexp(log)
    losses = determinants + ratio * (edges[1:] + edges[:-1]) / 2 + ratio**2 / 2
    other = log - losses
    rest = -np.expm1(min(float(logsumexp(other)), -1e-300))
    return (
        {i: float(v) for i, v in enumerate(other) if v > -700} | {-1: math.log(max(rest, 1e-300))},
        {i: float(v) for i, v in enumerate(log) if v > -700},
    )


def of_card(guarantee: Mapping[str, Any], delta: float | None = None) -> float:
    """The epsilon that follows from a card's ``guarantee`` entry.

    A part of which only a zCDP bound is claimed counts as the Gaussian it is modelled on, which
    is a little less: there the card's figure may be larger, and must not be smaller.
    """
    guarantee = guarantee.get("worst_case", guarantee)  # of a metric
    if guarantee["event"]["type"] == "ParallelDpEvent":  # a record is in one part
        return max(
            of_card({**guarantee, "event": part}, delta) for part in guarantee["event"]["events"]
        )
    far = 2 if guarantee["neighbours"] == "replace-one" else 1
    parts = _of_event(Parts(), guarantee["event"], far, guarantee["neighbours"], 1)
    return parts.epsilon(guarantee["delta"] if delta is None else delta)


def _of_event(parts: Parts, event: Mapping[str, Any], far: int, relation: str, n: int) -> Parts:
    match event["type"]:
        case "ComposedDpEvent":
            for part in event["events"]:
                parts = _of_event(parts, part, far, relation, n)
            return parts
        case "SelfComposedDpEvent":
            return _of_event(parts, event["event"], far, relation, n * event["count"])
        case "NoOpDpEvent":
            return parts
        case "GaussianDpEvent":
            return parts.gaussian(far, event["noise_multiplier"], n)
        case "VonMisesFisherDpEvent":
            return parts.direction(event["kappa"], event["dimension"], 2.0, 1.0, n)
        case "PoissonSampledDpEvent" if event["event"]["type"] == "VonMisesFisherDpEvent":
            inner, rate = event["event"], event["sampling_probability"]
            return parts.direction(inner["kappa"], inner["dimension"], 2.0, rate, n)
        case "PoissonSampledDpEvent":
            inner = event["event"]
            assert inner["type"] == "GaussianDpEvent"
            rate, noise = event["sampling_probability"], inner["noise_multiplier"]
            return parts.sampled(rate, 1, noise, n, relation)
        case "LaplaceDpEvent":
            return parts.laplace(far, event["noise_multiplier"], n)
        case "DiscreteLaplaceDpEvent":
            return parts.discrete_laplace(
                far * event["sensitivity"], 1 / event["noise_parameter"], n
            )
        case "RandomizedResponseDpEvent":
            assert relation == "replace-one"
            return parts.response(event["noise_parameter"], event["num_buckets"], n)
        case "ObjectiveDpEvent":
            assert relation == "replace-one"
            ratio = far / event["noise_multiplier"]
            return parts.tilted(ratio, event["determinants"], event["dimensions"], n)
        case "PureDpEvent":
            steps = 1 if event["neighbours"] == relation else far
            return parts.bounded(event["epsilon"] * steps, n)
        case "DiscreteGaussianDpEvent":
            stddev, contribution = event["stddev"], event["contribution"]
            if event["shape"] == "cell":  # out of one cell and into another
                return parts.discrete_gaussian(contribution, stddev, n * far)
            if event["shape"] == "scalar":
                return parts.discrete_gaussian(far * contribution, stddev, n)
            return parts.gaussian(far * contribution, stddev, n)
    raise AssertionError(f"the battery's accountant does not know {event['type']}; teach it")


def by_dp_accounting(guarantee: Mapping[str, Any]) -> float | None:
    """The same by dp_accounting's ``PLDAccountant``; None where it knows no such event.

    Repeated events are handed over one by one: version 0.6.0 counts a repeated randomised
    response once.
    """
    from dp_accounting import RandomizedResponseDpEvent, UnsupportedEventError
    from dp_accounting.pld import PLDAccountant

    guarantee = guarantee.get("worst_case", guarantee)
    accountant = PLDAccountant(RELATIONS[guarantee["neighbours"]], INTERVAL)
    try:
        for event, count in _leaves(guarantee["event"], 1):
            if not isinstance(event, RandomizedResponseDpEvent):
                accountant.compose(event, count)
                continue
            for _ in range(count):
                accountant.compose(event)
    except (UnsupportedEventError, LookupError):
        return None
    return float(accountant.get_epsilon(guarantee["delta"]))


def _leaves(event: Mapping[str, Any], count: int) -> list[tuple[Any, int]]:
    import dp_accounting

    if event["type"] == "SelfComposedDpEvent":
        return _leaves(event["event"], count * event["count"])
    if event["type"] == "ComposedDpEvent":
        return [leaf for part in event["events"] for leaf in _leaves(part, count)]
    if event["type"] == "PoissonSampledDpEvent":
        ((inner, once),) = _leaves(event["event"], 1)
        assert once == 1
        rate = event["sampling_probability"]
        return [(dp_accounting.PoissonSampledDpEvent(rate, inner), count)]
    cls = getattr(dp_accounting, event["type"], None)
    if cls is None:
        raise LookupError(event["type"])
    return [(cls(**{k: v for k, v in event.items() if k != "type"}), count)]
