"""What an event costs: epsilon, delta, GDP mu and the ceiling on attacks, under a relation.

Everything is read off one privacy loss distribution (:mod:`.pld`), rounded up on a grid of 1e-4
nats, except where there is an exact form: only Gaussian noise (:mod:`.gaussian`), and delta = 0.
Results are cached, because a guarantee asks for the same figures again and again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import lru_cache

from dp_accounting import DpEvent

from sfumato.errors import InputError
from sfumato.privacy import events
from sfumato.privacy.accounting import gaussian, tradeoff
from sfumato.privacy.accounting.compose import loss_of
from sfumato.privacy.accounting.pld import INTERVAL, Pair
from sfumato.privacy.accounting.renyi import renyi_delta, renyi_epsilon
from sfumato.privacy.accounting.resolve import Terms, resolve
from sfumato.privacy.accounting.terms.group import group_delta, group_epsilon
from sfumato.privacy.neighbours import Neighbours

__all__ = [
    "INTERVAL",
    "delta",
    "epsilon",
    "gdp_mu",
    "gdp_regret",
    "max_tpr",
    "rdp_epsilon",
]

_RESOLVED = 1e4
"""Multiple of the mass at infinity (rounding errors included) below which a delta is so small
that the Renyi bound may be the better one."""


def epsilon(
    event: DpEvent, delta: float, neighbours: Neighbours, *, interval: float | None = None
) -> float:
    """The epsilon of ``event`` at ``delta``: never below the true one.

    Args:
        event: Everything that was drawn from the private data.
        delta: In ``[0, 1)``; at 0 only pure mechanisms have a finite epsilon, and it is exact.
        neighbours: The relation; the event must be known under it.
        interval: Grid of the privacy loss, in nats; coarser is faster and gives more. By default
            1e-4, or finer where many small losses are composed.

    Raises:
        InputError: If ``delta`` is out of range, or a part of the event has no sound bound under
            ``neighbours``.

    >>> round(epsilon(events.GaussianDpEvent(3.73), 1e-5, Neighbours.ADD_REMOVE), 4)
    1.0002
    """
    _check_delta(delta)
    key = _key(event, neighbours)
    # Each part by itself where nothing is composed with them: exact where they are.
    found = [epsilon(e, delta, neighbours, interval=interval) for e in _parts(event, neighbours)]
    return max(found) if found else _epsilon(key, float(delta), neighbours, interval)


def delta(event: DpEvent, epsilon: float, neighbours: Neighbours) -> float:
    """The delta of ``event`` at ``epsilon``: never below the true one.

    Raises:
        InputError: If ``epsilon`` is not a number of at least 0, or as for :func:`epsilon`.
    """
    if not (isinstance(epsilon, int | float) and epsilon >= 0):
        raise InputError(f"epsilon is {epsilon!r}", "Give a number of at least 0.")
    found = [delta(e, epsilon, neighbours) for e in _parts(event, neighbours)]
    if found:
        return max(found)
    key = _key(event, neighbours)
    terms = _terms(key, neighbours)
    if terms.revealed:
        return 1.0
    if epsilon >= terms.pure_epsilon:
        return 0.0
    mu = terms.gaussian_mu
    if mu is not None:
        return gaussian.delta(epsilon, mu)
    if isinstance(event, events.GroupDpEvent) and terms.grouped:
        one = event.event
        return group_delta(epsilon, event.size, lambda at: delta(one, at, neighbours))
    pair = _pair(key, neighbours)
    value = pair.delta(epsilon)
    if _is_resolved(value, pair):
        return value
    return min(value, _or_nothing(1.0, renyi_delta, terms, float(epsilon)))


def rdp_epsilon(event: DpEvent, delta: float, neighbours: Neighbours) -> float:
    """The epsilon of ``event`` at ``delta`` by Renyi accounting: looser than :func:`epsilon`.

    Raises:
        InputError: If ``delta`` is out of range, or a part has no Renyi bound under the relation.
    """
    _check_delta(delta)
    terms = _terms(_key(event, neighbours), neighbours)
    return min(terms.pure_epsilon, renyi_epsilon(terms, float(delta)))


def gdp_mu(event: DpEvent, neighbours: Neighbours) -> float | None:
    """The smallest mu such that ``event`` is mu-GDP, or None where there is none.

    Exact for Gaussian noise and for one pure bound. Otherwise read off the corners of the
    trade-off curve, down to error rates of 1e-8: rarer events, of which every sampled mechanism
    has some that give it away, are outside of what ``mu`` says.
    """
    key = _key(event, neighbours)
    terms = _terms(key, neighbours)
    if terms.revealed:
        return None
    mu = terms.gaussian_mu
    if mu is not None:
        return mu
    read = tradeoff.gdp_mu(_pair(key, neighbours))
    pure = terms.pure_epsilon
    if math.isinf(pure):
        return read
    # Of all epsilon-DP mechanisms one-bit randomised response leaks most: one corner.
    bound = _pure_mu(pure)
    return bound if read is None else min(read, bound)


def gdp_regret(event: DpEvent, neighbours: Neighbours) -> float | None:
    """How far ``gdp_mu`` overstates an attacker, as a shift of both error rates; 0 is exact."""
    key = _key(event, neighbours)
    mu = gdp_mu(event, neighbours)
    if mu is None:
        return None
    if _terms(key, neighbours).gaussian_mu is not None:
        return 0.0
    return tradeoff.regret(_pair(key, neighbours), mu)


def max_tpr(event: DpEvent, fpr: float, neighbours: Neighbours) -> float:
    """The best true positive rate of any membership attack at false positive rate ``fpr``.

    An upper bound: no test of one neighbour against the other does better.

    Raises:
        InputError: If ``fpr`` is not in ``[0, 1]``, or as for :func:`epsilon`.
    """
    if not (isinstance(fpr, int | float) and 0 <= fpr <= 1):
        raise InputError(f"the false positive rate is {fpr!r}", "Give a number in [0, 1].")
    found = [max_tpr(e, fpr, neighbours) for e in _parts(event, neighbours)]
    if found:
        return max(found)
    key = _key(event, neighbours)
    terms = _terms(key, neighbours)
    if terms.revealed:
        return 1.0
    mu = terms.gaussian_mu
    if mu is not None:
        from scipy.special import ndtr, ndtri

        return float(ndtr(ndtri(fpr) + mu))
    ceiling = _lines(key, neighbours).at(float(fpr))
    return max(float(fpr), min(ceiling, tradeoff.pure_tpr(terms.pure_epsilon, float(fpr))))


def _parts(event: DpEvent, neighbours: Neighbours) -> tuple[DpEvent, ...]:
    """The events of a parallel composition that stands alone; none of any other event."""
    if not isinstance(event, events.ParallelDpEvent):
        return ()
    _terms(_key(event, neighbours), neighbours)  # refuses what it is not known under
    return tuple(event.events)


def _check_delta(delta: float) -> None:
    if not (isinstance(delta, int | float) and 0 <= delta < 1):
        raise InputError(f"delta is {delta!r}", "Give a number in [0, 1).")


_GRAIN = 1e-5
"""Differences in epsilon that a loss distribution on its grid does not resolve."""


def _pure_mu(epsilon: float) -> float:
    """``-2 Phi^-1(1 / (1 + e^epsilon))``, for epsilons of any size."""
    from scipy.special import ndtri_exp

    return max(0.0, -2 * float(ndtri_exp(-epsilon - math.log1p(math.exp(-epsilon)))))


def _key(event: DpEvent, neighbours: Neighbours) -> str:
    """The event as canonical JSON: what results are cached by."""
    if not isinstance(neighbours, Neighbours):
        raise InputError(
            f"the relation is {neighbours!r}",
            f"Say which neighbours: {', '.join(relation.value for relation in Neighbours)}.",
        )
    try:
        return json.dumps(events.to_dict(event), sort_keys=True)
    except InputError as error:
        problem = f"{error.problem}, which cannot be accounted under {neighbours.value}"
        raise InputError(problem, error.remedy) from None


@lru_cache(maxsize=512)
def _terms(key: str, neighbours: Neighbours) -> Terms:
    return resolve(events.from_dict(json.loads(key)), neighbours)


@lru_cache(maxsize=4096)
def _epsilon(key: str, delta: float, neighbours: Neighbours, interval: float | None) -> float:
    terms = _terms(key, neighbours)
    if terms.revealed:
        return math.inf
    pure = terms.pure_epsilon
    mu = terms.gaussian_mu
    if delta == 0 or pure == 0:
        return pure
    if mu is not None:
        return gaussian.epsilon(delta, mu)
    event = events.from_dict(json.loads(key))
    if isinstance(event, events.GroupDpEvent) and terms.grouped:
        one = event.event
        return min(
            pure, group_epsilon(delta, event.size, lambda at: _delta_of(one, at, neighbours))
        )
    pair = _pair(key, neighbours, interval)
    value = pair.epsilon(delta)
    if pure < math.inf and value >= pure - min(2 * delta, _GRAIN):
        # Of an epsilon-DP whole, delta buys no more than this, which is less than a grid resolves:
        # left alone, a sum of parts could read above one bound on all of them.
        return pure
    if _is_resolved(delta, pair):
        return value
    return min(value, _or_nothing(math.inf, renyi_epsilon, terms, delta))


_delta_of = delta  # where an argument has its name


def _is_resolved(delta: float, pair: Pair) -> bool:
    return delta > _RESOLVED * max(loss.infinity for loss in pair.directions)


def _or_nothing(
    nothing: float, bound: Callable[[Terms, float], float], terms: Terms, at: float
) -> float:
    """The Renyi bound, or one that says ``nothing`` where a term has none."""
    try:
        return bound(terms, at)
    except InputError:
        return nothing


@lru_cache(maxsize=4)
def _pair(key: str, neighbours: Neighbours, interval: float | None = None) -> Pair:
    return loss_of(_terms(key, neighbours), interval)


@lru_cache(maxsize=4)
def _lines(key: str, neighbours: Neighbours) -> tradeoff.Lines:
    return tradeoff.Lines.of(_pair(key, neighbours))
