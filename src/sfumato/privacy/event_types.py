"""The events that ``dp_accounting`` has none for: what they claim, and what their fields may be.

Importing this module imports ``dp_accounting``; import it inside functions, through
:mod:`sfumato.privacy.events`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, Literal, get_args

import attr
from dp_accounting import DpEvent

from sfumato.errors import InputError
from sfumato.privacy.neighbours import Neighbours

Shape = Literal["vector", "cell", "scalar"]


def check_field(ok: bool, event: str, field: str, value: object, remedy: str) -> None:
    """Refuses a field's value that is not ``ok``."""
    if not ok:
        raise InputError(f"{field} of {event} is {value!r}", remedy)


def is_number(value: object) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _at_least(lowest: float, *, strict: bool = False) -> Callable[[Any, Any, Any], None]:
    """An attrs validator: a finite number, at least (or, if strict, above) ``lowest``."""

    def validate(instance: Any, attribute: Any, value: Any) -> None:
        ok = is_number(value) and (value > lowest if strict else value >= lowest)
        bound = f"above {lowest:g}" if strict else f"at least {lowest:g}"
        check_field(
            ok, type(instance).__name__, attribute.name, value, f"Give a finite number {bound}."
        )

    return validate


def _names_a_relation(instance: Any, attribute: Any, value: Any) -> None:
    known = [relation.value for relation in Neighbours]
    check_field(
        value in known, type(instance).__name__, attribute.name, value, f"Use {', '.join(known)}."
    )


@attr.s(frozen=True, slots=True, auto_attribs=True)
class DiscreteGaussianDpEvent(DpEvent):  # type: ignore[misc]  # dp_accounting is untyped
    """Integer sums released with discrete Gaussian noise, ``P(x) ~ exp(-x^2 / (2 stddev^2))``.

    Every coordinate of the sum gets its own draw. ``shape`` says what one record may contribute:

    - ``"vector"``: any integer vector of L2 norm at most ``contribution``. Claimed: the joint
      release is ``(D^2 / (2 stddev^2))``-zCDP for neighbours at L2 distance ``D`` (Canonne,
      Kamath, Steinke 2020, Theorem 14), and no more: its privacy loss is not that of the
      continuous Gaussian.
    - ``"cell"``: an integer in ``0..contribution`` added to at most one coordinate, as in a
      histogram (``contribution=1``). Claimed: the exact loss of one coordinate shifted by
      ``contribution``; under replace-one the record leaves one coordinate and enters another, so
      of two coordinates each shifted by ``contribution``. Several histograms are composed.
    - ``"scalar"``: one integer of magnitude at most ``contribution`` (which may be a half, for
      values centred between two integers) added to a single coordinate. Claimed: the exact loss
      of that coordinate shifted by ``contribution``, by twice that under replace-one.

    Smaller shifts of a coordinate leak less, because the noise is log-concave.

    Args:
        stddev: The noise parameter sigma, in units of the integer grid.
        contribution: Bound on one record's contribution, in the same units.
        shape: ``"vector"``, ``"cell"`` or ``"scalar"``.
    """

    stddev: float = attr.ib(validator=_at_least(0))
    contribution: float = attr.ib(default=1.0, validator=_at_least(0, strict=True))
    shape: Shape = attr.ib(default="vector")

    @shape.validator
    def _check_shape(self, attribute: Any, value: Any) -> None:
        name = type(self).__name__
        check_field(value in get_args(Shape), name, "shape", value, "Use vector, cell or scalar.")
        grain = {"cell": 1, "scalar": 2}.get(value)
        if grain is not None:
            whole = float(self.contribution * grain).is_integer()
            remedy = "Give a whole number." if grain == 1 else "Give a multiple of one half."
            check_field(whole, f"{name} (shape {value})", "contribution", self.contribution, remedy)

    @property
    def noise_multiplier(self) -> float:
        """``stddev / contribution``."""
        return self.stddev / self.contribution


@attr.s(frozen=True, slots=True, auto_attribs=True)
class PureDpEvent(DpEvent):  # type: ignore[misc]  # dp_accounting is untyped
    """A mechanism of which only ``epsilon``-DP is claimed, for neighbours under ``neighbours``.

    Accounted as the worst mechanism that satisfies it (binary randomised response). Under another
    relation it is accounted through the chain of neighbours that leads there, or refused.

    Args:
        epsilon: Finite, at least 0.
        neighbours: The relation that the proof uses: a value of :class:`Neighbours`.
    """

    epsilon: float = attr.ib(validator=_at_least(0))
    neighbours: str = attr.ib(validator=_names_a_relation)


@attr.s(frozen=True, slots=True, auto_attribs=True)
class ApproximateDpEvent(DpEvent):  # type: ignore[misc]  # dp_accounting is untyped
    """A mechanism of which only ``(epsilon, delta)``-DP is claimed, under ``neighbours``.

    Accounted as the worst mechanism that satisfies it: with probability ``delta`` everything is
    revealed, otherwise binary randomised response.

    Args:
        epsilon: Finite, at least 0.
        delta: In ``[0, 1]``.
        neighbours: The relation that the proof uses: a value of :class:`Neighbours`.
    """

    epsilon: float = attr.ib(validator=_at_least(0))
    delta: float = attr.ib(validator=_at_least(0))
    neighbours: str = attr.ib(validator=_names_a_relation)

    @delta.validator
    def _check_delta(self, attribute: Any, value: Any) -> None:
        check_field(value <= 1, type(self).__name__, "delta", value, "Give a number in [0, 1].")


@attr.s(frozen=True, slots=True, auto_attribs=True)
class VonMisesFisherDpEvent(DpEvent):  # type: ignore[misc]  # dp_accounting is untyped
    """A record's direction, a unit vector, replaced by a draw of density ``~ exp(kappa mu.x)``.

    Claimed under replace-one alone, for any two directions (or none, if a uniform point is drawn
    for it): the exact loss between opposite ones, which are told apart best. Sampled, it may show
    whether the record was in the sample.

    Args:
        kappa: Concentration; 0 is a uniform point.
        dimension: Coordinates of a direction, at least 3.
    """

    kappa: float = attr.ib(validator=_at_least(0))
    dimension: int = attr.ib()

    @dimension.validator
    def _check_dimension(self, attribute: Any, value: Any) -> None:
        ok = is_whole(value) and value >= 3
        remedy = "Give a whole number of at least 3."
        check_field(ok, type(self).__name__, "dimension", value, remedy)


@attr.s(frozen=True, slots=True, auto_attribs=True)
class ObjectiveDpEvent(DpEvent):  # type: ignore[misc]  # dp_accounting is untyped
    """The minimiser of a convex objective with a Gaussian linear term.

    Claimed under replace-one alone; ``sfumato.learn.objective`` proves the loss.

    Args:
        noise_multiplier: Standard deviation of the term over the bound on a record's gradient.
        determinants: The most that the two determinants of the change of variables can say.
        dimensions: In which two records' gradients differ, at least 1.
    """

    noise_multiplier: float = attr.ib(validator=_at_least(0, strict=True))
    determinants: float = attr.ib(validator=_at_least(0))
    dimensions: int = attr.ib()

    @dimensions.validator
    def _check_dimensions(self, attribute: Any, value: Any) -> None:
        ok = is_whole(value) and value >= 1
        remedy = "Give a whole number of at least 1."
        check_field(ok, type(self).__name__, "dimensions", value, remedy)


@attr.s(frozen=True, slots=True, auto_attribs=True)
class ParallelDpEvent(DpEvent):  # type: ignore[misc]  # dp_accounting is untyped
    """Each of ``events`` on a part of the records of its own, later ones given earlier outputs.

    Which part a record is in is decided by public coins and its place, never by a value. Claimed
    for neighbours whose other records keep their places (replace-one, zero-out): the record in
    which they differ is in one part, so the loss is that of one of the events; it is accounted as
    the worst that no output of any of them exceeds.

    Args:
        events: One for each part.

    Source: McSherry 2009 (parallel composition).
    """

    events: tuple[DpEvent, ...] = attr.ib(converter=tuple)

    @events.validator
    def _check_events(self, attribute: Any, value: Any) -> None:
        ok = len(value) >= 1 and all(isinstance(part, DpEvent) for part in value)
        check_field(ok, type(self).__name__, "events", value, "Give one event for each part.")


@attr.s(frozen=True, slots=True, auto_attribs=True)
class GroupDpEvent(DpEvent):  # type: ignore[misc]  # dp_accounting is untyped
    """What ``event`` shows of up to ``size`` records at once, such as all those of one person.

    Neighbours are then ``size`` steps of the relation apart. Accounted exactly where the worst case
    is known (``size`` times the shift of Gaussian or Laplace noise), else by group privacy on the
    whole privacy profile: ``(epsilon, delta)`` for one record is ``(size epsilon, delta
    (e^(size epsilon) - 1) / (e^epsilon - 1))`` for all of them (Vadhan 2017, Lemma 2.2).

    Args:
        event: Accounted for one record.
        size: The most records that belong together, at least 1.
    """

    event: DpEvent
    size: int = attr.ib()

    @size.validator
    def _check_size(self, attribute: Any, value: Any) -> None:
        ok = is_whole(value) and value >= 1
        check_field(ok, type(self).__name__, "size", value, "Give a whole number of at least 1.")


@attr.s(frozen=True, slots=True, auto_attribs=True)
class SelectedDpEvent(DpEvent):  # type: ignore[misc]  # dp_accounting is untyped
    """The best of a random number of trials, each by one of ``events`` chosen at random.

    The number of trials is geometric, at least 1, and stays secret with all that the other trials
    gave; which of the candidates a trial runs is a public draw, independent of the data. The score
    that trials are compared by is part of what a trial gives, so its event pays for it. Accounted
    order by order in Renyi divergence, for the worst of the candidates.

    Args:
        events: Of a trial, one for each candidate.
        mean: The expected number of trials, at least 1.

    Source: Papernot, Steinke, ICLR 2022 (arXiv 2110.03620), Theorem 2 with eta = 1; with one
    candidate it is ``RepeatAndSelectDpEvent(event, mean, 1)`` of dp_accounting.
    """

    events: tuple[DpEvent, ...] = attr.ib(converter=tuple)
    mean: float = attr.ib(validator=_at_least(1))

    @events.validator
    def _check_events(self, attribute: Any, value: Any) -> None:
        ok = len(value) >= 1 and all(isinstance(part, DpEvent) for part in value)
        check_field(ok, type(self).__name__, "events", value, "Give one event for each candidate.")


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number."""
    return isinstance(value, Integral) and not isinstance(value, bool)
