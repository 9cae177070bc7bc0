"""What was drawn from private data, as a closed set of ``dp_accounting`` events.

An event says everything that accounting needs and nothing else. All events follow one convention:
noise is stated relative to the bound on one record's *contribution*, and the neighbouring relation,
asked for later, decides how far two neighbours can be apart (twice the contribution when a record
is replaced). Eight events are ours, because ``dp_accounting`` has none for what they claim.

Importing this module imports ``dp_accounting``; import it inside functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any

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
from sfumato.privacy.event_types import (
    ApproximateDpEvent,
    DiscreteGaussianDpEvent,
    GroupDpEvent,
    ObjectiveDpEvent,
    ParallelDpEvent,
    PureDpEvent,
    SelectedDpEvent,
    Shape,
    VonMisesFisherDpEvent,
    check_field,
    is_number,
    is_whole,
)

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
    "ObjectiveDpEvent",
    "ParallelDpEvent",
    "PoissonSampledDpEvent",
    "PureDpEvent",
    "RandomizedResponseDpEvent",
    "SelectedDpEvent",
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

_MAX_DEPTH = 64


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
    ok = is_whole(count) and count >= 0
    check_field(ok, "a repeated event", "count", count, "Give a whole number of at least 0.")
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
        check_field(check(value), name, field, value, remedy)
    if "event" in given:
        given["event"] = _read(given["event"], depth + 1)
    if "events" in given:
        parts = given["events"]
        check_field(
            isinstance(parts, list | tuple), name, "events", parts, "Give a list of events."
        )
        given["events"] = [_read(part, depth + 1) for part in parts]
    return kind(**given)


_Check = tuple[Callable[[Any], bool], str]
_AT_LEAST_0: _Check = (lambda v: is_number(v) and v >= 0, "Give a finite number of at least 0.")
_FRACTION: _Check = (lambda v: is_number(v) and 0 <= v <= 1, "Give a number in [0, 1].")
_COUNT: _Check = (lambda v: is_whole(v) and v >= 1, "Give a whole number of at least 1.")
_COUNT_OR_0: _Check = (lambda v: is_whole(v) and v >= 0, "Give a whole number of at least 0.")
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
        (
            ObjectiveDpEvent,
            dict.fromkeys(("noise_multiplier", "determinants", "dimensions"), _ITSELF),
        ),
        (VonMisesFisherDpEvent, dict.fromkeys(("kappa", "dimension"), _ITSELF)),
        (GroupDpEvent, {"event": _ITSELF, "size": _COUNT}),
        (PoissonSampledDpEvent, {"sampling_probability": _FRACTION, "event": _ITSELF}),
        (SelfComposedDpEvent, {"event": _ITSELF, "count": _COUNT_OR_0}),
        (ComposedDpEvent, {"events": _ITSELF}),
        (ParallelDpEvent, {"events": _ITSELF}),
        (SelectedDpEvent, {"events": _ITSELF, "mean": _ITSELF}),
    )
}
"""The closed set. Events of ``dp_accounting`` check nothing themselves, so it is done here."""
