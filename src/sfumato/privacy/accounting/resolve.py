"""From an event tree and a relation to a list of terms: the only place that knows relations."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from dp_accounting import DpEvent

from sfumato.errors import InputError
from sfumato.privacy import events as ev
from sfumato.privacy.accounting import terms
from sfumato.privacy.accounting.terms import Grouped, Term
from sfumato.privacy.neighbours import Neighbours

_DISTANCE = {Neighbours.ADD_REMOVE: 1, Neighbours.ZERO_OUT: 1, Neighbours.REPLACE_ONE: 2}
"""How many contributions two neighbours can be apart."""


@dataclass
class Terms:
    """What a tree of events comes to.

    Args:
        counts: How often each term was run; Gaussians and concentrated bounds are merged.
        revealed: Something was released without any protection.
    """

    counts: Counter[Term] = field(default_factory=Counter)
    revealed: bool = False

    @property
    def gaussian_mu(self) -> float | None:
        """``mu`` if there is nothing but Gaussian noise (or nothing at all), else None."""
        squares = [t.mu**2 * n for t, n in self.counts.items() if isinstance(t, terms.Gaussian)]
        if self.revealed or len(squares) < len(self.counts):
            return None
        return math.sqrt(math.fsum(squares))

    @property
    def grouped(self) -> bool:
        """Whether group privacy, on the profile of one record, is all there is to account."""
        return list(self.counts.values()) == [1] and isinstance(next(iter(self.counts)), Grouped)

    @property
    def pure_epsilon(self) -> float:
        """Epsilon at delta 0: the sum; infinite where a part has none."""
        if self.revealed:
            return math.inf
        return math.fsum(term.pure_epsilon * count for term, count in self.counts.items())


def resolve(event: DpEvent, neighbours: Neighbours) -> Terms:
    """The terms of ``event`` for neighbours under ``neighbours``.

    Raises:
        InputError: If nothing sound is known of a part under this relation.
    """
    result = Terms()
    square = rho = xi = 0.0
    for leaf, repeats in _leaves(event, 1):
        for term, count in _terms(leaf, neighbours):
            count *= repeats
            if isinstance(term, _Revealed):
                result.revealed = True
            elif isinstance(term, terms.Gaussian):  # independent noise: mu^2 adds, exactly
                square += term.mu**2 * count
            elif isinstance(term, terms.Concentrated):
                rho, xi = rho + term.rho * count, xi + term.xi * count
            else:
                result.counts[term] += count
    if square > 0:
        result.counts[terms.Gaussian(math.sqrt(square))] += 1
    if rho > 0 or xi > 0:
        result.counts[terms.Concentrated(rho, xi)] += 1
    return result


class _Revealed(Term):
    """No protection at all."""


_Counted = list[tuple[Term, int]]
_REVEALED: _Counted = [(_Revealed(), 1)]


def _leaves(event: DpEvent, count: int) -> list[tuple[DpEvent, int]]:
    if isinstance(event, ev.SelfComposedDpEvent):
        return _leaves(event.event, count * event.count)
    if isinstance(event, ev.ComposedDpEvent):
        return [leaf for part in event.events for leaf in _leaves(part, count)]
    return [(event, count)] if count else []


def _terms(event: DpEvent, neighbours: Neighbours) -> _Counted:
    """The terms of one event that is no composition; none if it has no privacy impact."""
    far = _DISTANCE[neighbours]
    replace = neighbours is Neighbours.REPLACE_ONE
    match event:
        case ev.NoOpDpEvent():
            return []
        case ev.NonPrivateDpEvent():
            return _REVEALED
        case ev.GaussianDpEvent(noise_multiplier=sigma):
            return [(terms.Gaussian(far / sigma), 1)] if sigma else _REVEALED
        case ev.LaplaceDpEvent(noise_multiplier=scale):
            return [(terms.Laplace(far / scale), 1)] if scale else _REVEALED
        case ev.DiscreteLaplaceDpEvent(noise_parameter=parameter, sensitivity=sensitivity):
            # A parameter of 0 is no distribution; dp_accounting calls it unprotected, too.
            laplace = terms.DiscreteLaplace(parameter, far * sensitivity)
            return [(laplace, 1)] if parameter else _REVEALED
        case ev.DiscreteGaussianDpEvent():
            return _discrete_gaussian(event, far)
        case ev.RandomizedResponseDpEvent(noise_parameter=noise, num_buckets=levels):
            if neighbours is Neighbours.ADD_REMOVE:
                raise _unsupported(event, neighbours, "whether a report is there is not hidden")
            if levels == 1 or noise == 1:
                return []
            return [(terms.Response(noise, levels, not replace), 1)] if noise else _REVEALED
        case ev.PureDpEvent(epsilon=epsilon, neighbours=stated):
            return [(terms.Bounded(epsilon * _steps(event, stated, neighbours)), 1)]
        case ev.ApproximateDpEvent(epsilon=epsilon, delta=delta, neighbours=stated):
            if _steps(event, stated, neighbours) == 2:  # group privacy
                epsilon, delta = 2 * epsilon, min(1.0, delta * (1 + math.exp(min(epsilon, 700))))
            return [(terms.Bounded(epsilon, delta), 1)] if delta < 1 else _REVEALED
        case ev.ZCDpEvent(rho=rho, xi=xi):
            # The event names no relation; it is read as add-remove. Group privacy for two steps:
            # Bun, Steinke 2016, Proposition 27.
            squared, linear = (4, 3) if replace else (1, 1)
            return [(terms.Concentrated(squared * rho, linear * xi), 1)]
        case ev.VonMisesFisherDpEvent(kappa=kappa, dimension=dimension):
            if not replace:
                raise _unsupported(event, neighbours, "a sum shows how many directions are in it")
            return [(terms.Direction(kappa, dimension), 1)] if kappa else []
        case ev.ObjectiveDpEvent():
            if not replace:
                raise _unsupported(event, neighbours, "it is proven for a replaced record")
            ratio = far / event.noise_multiplier
            return [(terms.Tilted(ratio, event.determinants, event.dimensions), 1)]
        case ev.ParallelDpEvent():
            return _parallel(event, neighbours)
        case ev.SelectedDpEvent():
            return _selected(event, neighbours)
        case ev.GroupDpEvent(event=one, size=size):
            return _grouped(one, size, neighbours)
        case ev.PoissonSampledDpEvent():
            return _sampled(event, neighbours)
        case ev.TruncatedSubsampledGaussianDpEvent():
            return _truncated(event, neighbours)
    raise _unsupported(event, neighbours, "this event is not known")


def _discrete_gaussian(event: ev.DiscreteGaussianDpEvent, far: int) -> _Counted:
    sigma, contribution = event.stddev, event.contribution
    if sigma == 0:
        return _REVEALED
    if event.shape == "scalar":
        shift = math.floor(far * contribution)  # differences of integers are integers
        return [(terms.discrete_gaussian(sigma, shift), 1)] if shift else []
    if event.shape == "cell":  # a replaced record leaves one cell and enters another
        return [(terms.discrete_gaussian(sigma, int(contribution)), far)]
    return [(terms.Concentrated((far * contribution) ** 2 / (2 * sigma**2)), 1)]


def _sampled(event: ev.PoissonSampledDpEvent, neighbours: Neighbours) -> _Counted:
    """A sampled mechanism; a blanked record counts as one that is absent from the sample."""
    rate = event.sampling_probability
    if rate == 0:
        return []
    if rate == 1:
        inner = resolve(event.event, neighbours)
        return _REVEALED if inner.revealed else list(inner.counts.items())
    if isinstance(event.event, ev.VonMisesFisherDpEvent):
        # Whether the direction is in the sum may show; between two values that is no loss.
        return [(terms.Shown(rate, term), n) for term, n in _terms(event.event, neighbours)]
    inner = resolve(event.event, Neighbours.ADD_REMOVE)
    if inner.revealed:
        return _REVEALED
    mu = inner.gaussian_mu
    if mu is not None:
        replace = neighbours is Neighbours.REPLACE_ONE
        return [(terms.SampledGaussian(rate, 1 / mu, replace), 1)] if mu else []
    if neighbours is Neighbours.REPLACE_ONE:
        raise _unsupported(event, neighbours, "only sampled Gaussian noise is")
    if list(inner.counts.values()) != [1]:
        raise _unsupported(event, neighbours, "several mechanisms share one sample")
    return [(terms.Sampled(rate, next(iter(inner.counts))), 1)]


def _parallel(event: ev.ParallelDpEvent, neighbours: Neighbours) -> _Counted:
    if neighbours is Neighbours.ADD_REMOVE:
        raise _unsupported(event, neighbours, "a record gone moves others to another part")
    parts = [resolve(part, neighbours) for part in event.events]
    if any(part.revealed for part in parts):
        return _REVEALED
    # Also one kind of part stays a claim: the records of a group may be in several.
    held = tuple(dict.fromkeys(tuple(part.counts.items()) for part in parts if part.counts))
    return [(terms.Worst(held), 1)] if held else []


def _selected(event: ev.SelectedDpEvent, neighbours: Neighbours) -> _Counted:
    trials = [resolve(trial, neighbours) for trial in event.events]
    if any(trial.revealed for trial in trials):
        return _REVEALED
    held = tuple(dict.fromkeys(tuple(trial.counts.items()) for trial in trials if trial.counts))
    if not held:
        return []
    term = terms.Selected(held, float(event.mean))
    if term.slack:
        raise _unsupported(event, neighbours, "a trial's bound fails with some probability")
    return [(term, 1)]


def _grouped(event: DpEvent, size: int, neighbours: Neighbours) -> _Counted:
    """What holds of ``size`` records; exact where all noise is added to sums."""
    for leaf, _ in _leaves(event, 1):
        if size > 1 and isinstance(leaf, ev.TruncatedSubsampledGaussianDpEvent):
            raise _unsupported(leaf, neighbours, "it is stated for one number of records")
    one = resolve(event, neighbours)
    if one.revealed:
        return _REVEALED
    counted = list(one.counts.items())
    if size == 1 or not counted:
        return counted
    shifted = _shifted(counted, size)
    return [(terms.Grouped(tuple(counted), size), 1)] if shifted is None else shifted


def _shifted(counted: Iterable[tuple[Term, int]], size: int) -> _Counted | None:
    """The terms at ``size`` times the distance; None where one of them knows no distance.

    The theorem on a selection is for any two data sets of whose trials the divergences are known,
    so it holds for ``size`` records at once with their trials' divergences.
    """
    shifted: _Counted = []
    for term, count in counted:
        match term:
            case terms.Gaussian(mu=mu):
                shifted.append((terms.Gaussian(size * mu), count))
            case terms.Laplace(epsilon=epsilon):
                shifted.append((terms.Laplace(size * epsilon), count))
            case terms.DiscreteLaplace(parameter=parameter, shift=shift):
                shifted.append((terms.DiscreteLaplace(parameter, size * shift), count))
            case terms.Selected(candidates=candidates, mean=mean):
                held: list[tuple[tuple[Term, int], ...]] = []
                for candidate in candidates:
                    trial = _shifted(candidate, size)
                    if trial is None:
                        return None
                    held.append(tuple(trial))
                shifted.append((terms.Selected(tuple(held), mean), count))
            case _:
                return None
    return shifted


def _truncated(event: ev.TruncatedSubsampledGaussianDpEvent, neighbours: Neighbours) -> _Counted:
    rate, batch, stddev = (
        event.sampling_probability,
        event.truncated_batch_size,
        event.noise_multiplier,
    )
    if rate == 0 or batch == 0:
        return []
    if stddev == 0:
        return _REVEALED
    replace = neighbours is Neighbours.REPLACE_ONE
    return [(terms.TruncatedGaussian(event.dataset_size, rate, batch, stddev, replace), 1)]


def _steps(event: DpEvent, stated: str, asked: Neighbours) -> int:
    """How many steps of the ``stated`` relation lead to every neighbour under ``asked``."""
    known = Neighbours(stated)
    if known is asked:
        return 1
    if asked is Neighbours.REPLACE_ONE:  # out and in again, or blanked and filled again
        return 2
    if known is Neighbours.ADD_REMOVE:  # a blanked record contributes what an absent one does
        return 1
    raise _unsupported(event, asked, f"it is stated under {known.value}")


def _unsupported(event: DpEvent, neighbours: Neighbours, reason: str) -> InputError:
    return InputError(
        f"{type(event).__name__} cannot be accounted under {neighbours.value}: {reason}",
        "Ask under the relation of its proof, or under replace-one.",
    )
