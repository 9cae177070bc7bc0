"""What was drawn from private data, as a closed set of ``dp_accounting`` events.

An event says everything that accounting needs and nothing else. All events follow one convention:
noise is stated relative to the bound on one record's *contribution*, and the neighbouring relation,
asked for later, decides how far two neighbours can be apart (twice the contribution when a record
is replaced). Five events are ours, because ``dp_accounting`` has none for what they claim.

Importing this module imports ``dp_accounting``; import it inside functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any, Literal, get_args

import attr
from dp_accounting.dp_event import (
    ComposedDpEvent,
    DiscreteLaplaceDpEvent,
    DpEvent,
    GaussianDpEvent,
    LaplaceDpEvent,
    NonPrivateDpEvent,
    NoOpDpEvent,
    PoissonSampledDpEvent,
    RandomizedResponseDpEvent,
    SelfComposedDpEvent,
    TruncatedSubsampledGaussianDpEvent,
    ZCDpEvent,
)

from sfumato.errors import InputError
from sfumato.privacy.neighbours import Neighbours

__all__ = [
    "ApproximateDpEvent",
    "ComposedDpEvent",
    "DiscreteGaussianDpEvent",
    "DiscreteLaplaceDpEvent",
    "DpEvent",
    "GaussianDpEvent",
    "GroupDpEvent",
    "LaplaceDpEvent",
    "NoOpDpEvent",
    "NonPrivateDpEvent",
    "ParallelDpEvent",
    "PoissonSampledDpEvent",
    "PureDpEvent",
    "RandomizedResponseDpEvent",
    "SelfComposedDpEvent",
    "Shape",
    "TruncatedSubsampledGaussianDpEvent",
    "VonMisesFisherDpEvent",
    "ZCDpEvent",
    "compose",
    "from_dict",
    "repeat",
    "to_dict",
]

Shape = Literal["vector", "cell", "scalar"]
_MAX_DEPTH = 64


def _check(ok: bool, event: str, field: str, value: object, remedy: str) -> None:
    if not ok:
        raise InputError(f"{field} of {event} is {value!r}", remedy)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _at_least(lowest: float, *, strict: bool = False) -> Callable[[Any, Any, Any], None]:
    """An attrs validator: a finite number, at least (or, if strict, above) ``lowest``."""

    def validate(instance: Any, attribute: Any, value: Any) -> None:
        ok = _is_number(value) and (value > lowest if strict else value >= lowest)
        bound = f"above {lowest:g}" if strict else f"at least {lowest:g}"
        _check(ok, type(instance).__name__, attribute.name, value, f"Give a finite number {bound}.")

    return validate


def _names_a_relation(instance: Any, attribute: Any, value: Any) -> None:
    known = [relation.value for relation in Neighbours]
    _check(
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
        _check(value in get_args(Shape), name, "shape", value, "Use vector, cell or scalar.")
        grain = {"cell": 1, "scalar": 2}.get(value)
        if grain is not None:
            whole = float(self.contribution * grain).is_integer()
            remedy = "Give a whole number." if grain == 1 else "Give a multiple of one half."
            _check(whole, f"{name} (shape {value})", "contribution", self.contribution, remedy)

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
        _check(value <= 1, type(self).__name__, "delta", value, "Give a number in [0, 1].")


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
        ok = _is_whole(value) and value >= 3
        remedy = "Give a whole number of at least 3."
        _check(ok, type(self).__name__, "dimension", value, remedy)


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
        _check(ok, type(self).__name__, "events", value, "Give one event for each part.")


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
        ok = _is_whole(value) and value >= 1
        _check(ok, type(self).__name__, "size", value, "Give a whole number of at least 1.")


def compose(*events: DpEvent) -> DpEvent:
    """All ``events`` on the same records, in order, as one flat event.

    Nested compositions are flattened, equal neighbours merged into one ``SelfComposedDpEvent``,
    and events without any privacy impact dropped. Randomised responses are written out one by
    one: ``PLDAccountant`` of dp_accounting 0.6.0 counts a repeated one once, and whoever hands it
    a card's event must arrive at the card's epsilon.

    >>> compose(GaussianDpEvent(2.0), compose(GaussianDpEvent(2.0), NoOpDpEvent()))
    SelfComposedDpEvent(event=GaussianDpEvent(noise_multiplier=2.0), count=2)
    """
    runs: list[tuple[DpEvent, int]] = []
    for event, count in _flatten(compose_all=events):
        if runs and runs[-1][0] == event:
            runs[-1] = (event, runs[-1][1] + count)
        else:
            runs.append((event, count))
    parts: list[DpEvent] = []
    for event, count in runs:
        if count == 1 or isinstance(event, RandomizedResponseDpEvent):
            parts.extend([event] * count)
        else:
            parts.append(SelfComposedDpEvent(event, count))
    if not parts:
        return NoOpDpEvent()
    return parts[0] if len(parts) == 1 else ComposedDpEvent(parts)


def repeat(event: DpEvent, count: int) -> DpEvent:
    """``event`` run ``count`` times on the same records.

    Raises:
        InputError: If ``count`` is not a whole number of at least 0.
    """
    ok = _is_whole(count) and count >= 0
    _check(ok, "a repeated event", "count", count, "Give a whole number of at least 0.")
    return compose(SelfComposedDpEvent(event, count)) if count else NoOpDpEvent()


def _flatten(compose_all: tuple[DpEvent, ...]) -> list[tuple[DpEvent, int]]:
    """The parts in order with their counts; compositions of several parts stay whole if repeated.

    ``SelfComposed(Composed([a, b]), n)`` is kept as it is: n copies of a, then of b, would be the
    same loss but another story.
    """
    flat: list[tuple[DpEvent, int]] = []
    for event in compose_all:
        if isinstance(event, NoOpDpEvent):
            continue
        if isinstance(event, ComposedDpEvent):
            flat.extend(_flatten(tuple(event.events)))
        elif isinstance(event, SelfComposedDpEvent):
            inner = compose(event.event)
            if event.count == 0 or isinstance(inner, NoOpDpEvent):
                continue
            if event.count == 1:
                flat.extend(_flatten((inner,)))
            elif isinstance(inner, SelfComposedDpEvent):
                flat.append((inner.event, inner.count * event.count))
            else:
                flat.append((inner, event.count))
        else:
            flat.append((event, 1))
    return flat


def to_dict(event: DpEvent) -> dict[str, Any]:
    """The event as plain JSON values: ``type`` and its fields.

    Raises:
        InputError: If the event is not one of the closed set.
    """
    name = type(event).__name__
    if _FIELDS.get(name, (None,))[0] is not type(event):
        raise InputError(f"an event is of type {name}", f"Use one of {', '.join(_FIELDS)}.")
    values: dict[str, Any] = {"type": name}
    for field in attr.fields(type(event)):
        value = getattr(event, field.name)
        if isinstance(value, DpEvent):
            value = to_dict(value)
        elif field.name == "events":
            value = [to_dict(part) for part in value]
        elif isinstance(value, Real):  # numbers of numpy are not JSON
            value = int(value) if isinstance(value, Integral) else float(value)
        values[field.name] = value
    return values


def from_dict(values: Mapping[str, Any]) -> DpEvent:
    """Reads an event back; only the closed set is known, and every field is checked.

    Raises:
        InputError: If the type is unknown, or a field is missing, unknown or out of its range.
    """
    return _read(values, 0)


def _read(values: Any, depth: int) -> DpEvent:
    if depth > _MAX_DEPTH:
        raise InputError(f"events are nested more than {_MAX_DEPTH} deep", "The file is damaged.")
    if not isinstance(values, Mapping):
        raise InputError(f"an event is {values!r}", "Give a mapping with a type and its fields.")
    name = values.get("type")
    if not isinstance(name, str) or name not in _FIELDS:
        raise InputError(f"an event is of type {name!r}", f"Use one of {', '.join(_FIELDS)}.")
    kind, checks = _FIELDS[name]
    given = {key: value for key, value in values.items() if key != "type"}
    unknown = sorted(set(given) - set(checks))
    missing = [
        field.name
        for field in attr.fields(kind)
        if field.default is attr.NOTHING and field.name not in given
    ]
    if unknown or missing:
        problem = f"lacks {', '.join(missing)}" if missing else f"has {', '.join(unknown)}"
        raise InputError(
            f"event {name} {problem}", f"Its fields are: {', '.join(checks) or 'none'}."
        )
    for field, value in given.items():
        check, remedy = checks[field]
        _check(check(value), name, field, value, remedy)
    if "event" in given:
        given["event"] = _read(given["event"], depth + 1)
    if "events" in given:
        parts = given["events"]
        _check(isinstance(parts, list | tuple), name, "events", parts, "Give a list of events.")
        given["events"] = [_read(part, depth + 1) for part in parts]
    return kind(**given)


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


_Check = tuple[Callable[[Any], bool], str]
_AT_LEAST_0: _Check = (lambda v: _is_number(v) and v >= 0, "Give a finite number of at least 0.")
_FRACTION: _Check = (lambda v: _is_number(v) and 0 <= v <= 1, "Give a number in [0, 1].")
_COUNT: _Check = (lambda v: _is_whole(v) and v >= 1, "Give a whole number of at least 1.")
_COUNT_OR_0: _Check = (lambda v: _is_whole(v) and v >= 0, "Give a whole number of at least 0.")
_ITSELF: _Check = (lambda v: True, "")  # checked by the event, or an event of its own

_FIELDS: dict[str, tuple[type[DpEvent], dict[str, _Check]]] = {
    kind.__name__: (kind, checks)
    for kind, checks in (
        (NoOpDpEvent, {}),
        (NonPrivateDpEvent, {}),
        (GaussianDpEvent, {"noise_multiplier": _AT_LEAST_0}),
        (LaplaceDpEvent, {"noise_multiplier": _AT_LEAST_0}),
        (DiscreteLaplaceDpEvent, {"noise_parameter": _AT_LEAST_0, "sensitivity": _COUNT}),
        (RandomizedResponseDpEvent, {"noise_parameter": _FRACTION, "num_buckets": _COUNT}),
        (ZCDpEvent, {"rho": _AT_LEAST_0, "xi": _AT_LEAST_0}),
        (
            TruncatedSubsampledGaussianDpEvent,
            {
                "dataset_size": _COUNT,
                "sampling_probability": _FRACTION,
                "truncated_batch_size": _COUNT_OR_0,
                "noise_multiplier": _AT_LEAST_0,
            },
        ),
        (DiscreteGaussianDpEvent, dict.fromkeys(("stddev", "contribution", "shape"), _ITSELF)),
        (PureDpEvent, dict.fromkeys(("epsilon", "neighbours"), _ITSELF)),
        (ApproximateDpEvent, dict.fromkeys(("epsilon", "delta", "neighbours"), _ITSELF)),
        (VonMisesFisherDpEvent, dict.fromkeys(("kappa", "dimension"), _ITSELF)),
        (GroupDpEvent, {"event": _ITSELF, "size": _COUNT}),
        (PoissonSampledDpEvent, {"sampling_probability": _FRACTION, "event": _ITSELF}),
        (SelfComposedDpEvent, {"event": _ITSELF, "count": _COUNT_OR_0}),
        (ComposedDpEvent, {"events": _ITSELF}),
        (ParallelDpEvent, {"events": _ITSELF}),
    )
}
"""The closed set. Events of ``dp_accounting`` check nothing themselves, so it is done here."""
