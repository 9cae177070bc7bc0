"""Events: the closed set survives JSON exactly, and nothing else gets in."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from dp_accounting import SampledWithReplacementDpEvent, UnsupportedDpEvent
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato.errors import InputError
from sfumato.privacy import events as ev
from sfumato.privacy.neighbours import Neighbours

positive = st.floats(1e-3, 1e3)
fraction = st.floats(0, 1)
relation = st.sampled_from([relation.value for relation in Neighbours])

leaves = st.one_of(
    st.just(ev.NoOpDpEvent()),
    st.just(ev.NonPrivateDpEvent()),
    positive.map(ev.GaussianDpEvent),
    positive.map(ev.LaplaceDpEvent),
    st.builds(ev.DiscreteLaplaceDpEvent, positive, st.integers(1, 99)),
    st.builds(ev.RandomizedResponseDpEvent, fraction, st.integers(1, 99)),
    st.builds(ev.ZCDpEvent, positive, fraction),
    st.builds(
        ev.TruncatedSubsampledGaussianDpEvent,
        st.integers(1, 999),
        fraction,
        st.integers(0, 9),
        positive,
    ),
    st.builds(ev.DiscreteGaussianDpEvent, positive, positive),
    st.builds(
        ev.DiscreteGaussianDpEvent, positive, st.integers(1, 9), st.sampled_from(["cell", "scalar"])
    ),
    st.builds(ev.PureDpEvent, positive, relation),
    st.builds(ev.VonMisesFisherDpEvent, positive, st.integers(3, 10**6)),
    st.builds(ev.ObjectiveDpEvent, positive, fraction, st.integers(1, 100)),
    st.builds(ev.ApproximateDpEvent, positive, fraction, relation),
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(ev.SelfComposedDpEvent, inner, st.integers(0, 9)),
        st.builds(ev.PoissonSampledDpEvent, fraction, inner),
        st.builds(ev.GroupDpEvent, inner, st.integers(1, 9)),
        st.lists(inner, max_size=4).map(ev.ComposedDpEvent),
        st.builds(ev.SelectedDpEvent, st.lists(inner, min_size=1, max_size=3), st.floats(1, 50)),
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(trees)
def test_every_event_survives_json(event: ev.DpEvent) -> None:
    assert ev.from_dict(json.loads(json.dumps(ev.to_dict(event), allow_nan=False))) == event


def test_numbers_of_numpy_become_plain_json() -> None:
    event = ev.DiscreteLaplaceDpEvent(np.float64(0.5), np.int64(3))
    values = ev.to_dict(event)
    assert json.loads(json.dumps(values)) == {
        "type": "DiscreteLaplaceDpEvent",
        "noise_parameter": 0.5,
        "sensitivity": 3,
    }


@pytest.mark.parametrize(
    "event",
    [UnsupportedDpEvent(), SampledWithReplacementDpEvent(10, 2, ev.GaussianDpEvent(1.0)), object()],
)
def test_an_event_outside_the_set_cannot_be_written(event: Any) -> None:
    with pytest.raises(InputError, match=type(event).__name__):
        ev.to_dict(event)


def test_a_namesake_of_a_known_event_cannot_be_written() -> None:
    class GaussianDpEvent:
        noise_multiplier = 1.0

    with pytest.raises(InputError, match="GaussianDpEvent"):
        ev.to_dict(GaussianDpEvent())


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ("GaussianDpEvent", "an event is 'GaussianDpEvent'"),
        ({}, "type None"),
        ({"type": "os.system"}, "os.system"),
        ({"type": ["GaussianDpEvent"]}, "GaussianDpEvent"),
        ({"type": "UnsupportedDpEvent"}, "UnsupportedDpEvent"),
        ({"type": "GaussianDpEvent"}, "lacks noise_multiplier"),
        ({"type": "GaussianDpEvent", "noise_multiplier": 1.0, "sigma": 1.0}, "has sigma"),
        ({"type": "GaussianDpEvent", "noise_multiplier": -1.0}, "noise_multiplier"),
        ({"type": "GaussianDpEvent", "noise_multiplier": "1"}, "noise_multiplier"),
        ({"type": "GaussianDpEvent", "noise_multiplier": True}, "noise_multiplier"),
        ({"type": "GaussianDpEvent", "noise_multiplier": float("nan")}, "noise_multiplier"),
        ({"type": "DiscreteLaplaceDpEvent", "noise_parameter": 1, "sensitivity": 1.5}, "1.5"),
        ({"type": "RandomizedResponseDpEvent", "noise_parameter": 1.1, "num_buckets": 2}, "1.1"),
        ({"type": "SelfComposedDpEvent", "event": {"type": "NoOpDpEvent"}, "count": -1}, "-1"),
        ({"type": "SelfComposedDpEvent", "event": 3, "count": 1}, "an event is 3"),
        ({"type": "ComposedDpEvent", "events": {"type": "NoOpDpEvent"}}, "events"),
        ({"type": "PureDpEvent", "epsilon": 1.0, "neighbours": "friends"}, "friends"),
        ({"type": "VonMisesFisherDpEvent", "kappa": -2.0, "dimension": 9}, "-2.0"),
        ({"type": "VonMisesFisherDpEvent", "kappa": 2.0, "dimension": 2}, "dimension"),
        (
            {
                "type": "ObjectiveDpEvent",
                "noise_multiplier": 2.0,
                "determinants": 0.1,
                "dimensions": 0,
            },
            "dimensions",
        ),
        ({"type": "PureDpEvent", "epsilon": -1.0, "neighbours": "add-remove"}, "-1.0"),
        (
            {"type": "ApproximateDpEvent", "epsilon": 1, "delta": 1.5, "neighbours": "add-remove"},
            "1.5",
        ),
        ({"type": "DiscreteGaussianDpEvent", "stddev": 1.0, "shape": "sphere"}, "sphere"),
        ({"type": "DiscreteGaussianDpEvent", "stddev": 1.0, "contribution": 0}, "contribution"),
    ],
)
def test_a_malformed_event_is_refused_with_its_fault(values: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        ev.from_dict(values)


def test_an_endlessly_nested_event_is_refused() -> None:
    values: dict[str, Any] = {"type": "NoOpDpEvent"}
    for _ in range(100):
        values = {"type": "SelfComposedDpEvent", "event": values, "count": 1}
    with pytest.raises(InputError, match="nested"):
        ev.from_dict(values)


def test_a_count_in_a_cell_must_be_whole_and_a_centred_scalar_may_be_half() -> None:
    ev.DiscreteGaussianDpEvent(2.0, 4.5, "scalar")
    ev.DiscreteGaussianDpEvent(2.0, 4.5, "vector")
    with pytest.raises(InputError, match=r"4\.5"):
        ev.DiscreteGaussianDpEvent(2.0, 4.5, "cell")
    with pytest.raises(InputError, match=r"4\.25"):
        ev.DiscreteGaussianDpEvent(2.0, 4.25, "scalar")


def test_the_noise_multiplier_is_noise_over_contribution() -> None:
    assert ev.DiscreteGaussianDpEvent(6.0, 2.0).noise_multiplier == 3.0


def test_compose_flattens_and_merges_neighbours() -> None:
    a, b = ev.GaussianDpEvent(1.0), ev.LaplaceDpEvent(2.0)
    nested = ev.ComposedDpEvent([a, ev.ComposedDpEvent([a, ev.NoOpDpEvent()]), b])
    expected = ev.ComposedDpEvent([ev.SelfComposedDpEvent(a, 3), b])
    assert ev.compose(a, nested) == expected
    assert ev.compose(expected) == expected


def test_compose_of_nothing_and_of_one() -> None:
    a = ev.GaussianDpEvent(1.0)
    assert ev.compose() == ev.NoOpDpEvent()
    assert ev.compose(ev.NoOpDpEvent(), ev.SelfComposedDpEvent(a, 0)) == ev.NoOpDpEvent()
    assert ev.compose(a) == a
    assert ev.compose(ev.SelfComposedDpEvent(a, 1)) == a


def test_compose_multiplies_nested_counts() -> None:
    a, b = ev.GaussianDpEvent(1.0), ev.LaplaceDpEvent(2.0)
    assert ev.repeat(ev.SelfComposedDpEvent(a, 3), 4) == ev.SelfComposedDpEvent(a, 12)
    both = ev.ComposedDpEvent([a, b])
    assert ev.repeat(both, 2) == ev.SelfComposedDpEvent(both, 2)


def test_repeat_checks_its_count() -> None:
    a = ev.GaussianDpEvent(1.0)
    assert ev.repeat(a, 0) == ev.NoOpDpEvent()
    for wrong in (-1, 1.0, True):
        with pytest.raises(InputError, match="count"):
            ev.repeat(a, wrong)  # type: ignore[arg-type]


@settings(max_examples=100, deadline=None)
@given(st.lists(trees, max_size=3))
def test_compose_keeps_every_leaf_with_its_count(parts: list[ev.DpEvent]) -> None:
    def census(event: ev.DpEvent, count: int, into: dict[str, int]) -> dict[str, int]:
        if isinstance(event, ev.SelfComposedDpEvent):
            return census(event.event, count * event.count, into)
        if isinstance(event, ev.ComposedDpEvent):
            for part in event.events:
                census(part, count, into)
        elif count and not isinstance(event, ev.NoOpDpEvent):
            key = json.dumps(ev.to_dict(event))
            into[key] = into.get(key, 0) + count
        return into

    assert census(ev.compose(*parts), 1, {}) == census(ev.ComposedDpEvent(parts), 1, {})
