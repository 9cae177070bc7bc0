"""Schedules are functions of the step alone, with the formulas of their source."""

from __future__ import annotations

import json
import math

import pytest

from sfumato.errors import InputError
from sfumato.learn.schedules import (
    NOISE,
    Constant,
    Cyclic,
    Exponential,
    Linear,
    Schedule,
    Staircase,
)

STEPS = 100
ALL = [*NOISE.values(), Constant(2.0), Cyclic(3.0, 1.0, 4), Linear(1.0, 2.0)]


@pytest.mark.parametrize("step", [0, 1, 37, 50, 99])
def test_the_presets_are_the_formulas_of_the_source(step: int) -> None:
    t = step / STEPS
    formulas = {
        "linear": 15 - 10.15 * t,
        "staircase": 15 - 10.15 * (step // 10) / 10,
        "exponential": math.exp(1.58 + 1.13 * (1 - t)),
        "cyclic": 15 * math.cos(1.24 * t),
    }
    assert {name: s.at(step, STEPS) for name, s in NOISE.items()} == pytest.approx(formulas)


@pytest.mark.parametrize("name", sorted(NOISE))
def test_the_presets_fall_from_15_to_about_5(name: str) -> None:
    values = [NOISE[name].at(step, STEPS) for step in range(STEPS)]
    assert values == sorted(values, reverse=True)
    assert 15.0 <= values[0] < 15.04
    assert 4.85 < values[-1] < 5.9


def test_a_cycle_begins_anew() -> None:
    cyclic = Cyclic(4.0, 2.0, cycles=5)
    values = [cyclic.at(step, STEPS) for step in range(STEPS)]
    assert values[:20] == values[20:40] == values[80:]
    assert values[0] == 4.0
    assert values[19] > 2.0


@pytest.mark.parametrize("schedule", ALL)
def test_values_are_positive_and_json(schedule: Schedule) -> None:
    assert all(schedule.at(step, STEPS) > 0 for step in range(STEPS))
    values = schedule.to_dict()
    assert json.loads(json.dumps(values)) == values
    assert values["kind"] == type(schedule).__name__.lower()


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: Constant(0.0), "value of a schedule is 0.0"),
        (lambda: Linear(math.inf, 1.0), "first of a schedule is inf"),
        (lambda: Exponential(1.0, -1.0), "last of a schedule is -1.0"),
        (lambda: Staircase(2.0, 1.0, 0), "stairs of a schedule is 0"),
        (lambda: Cyclic(2.0, 1.0, 2.5), "cycles of a schedule is 2.5"),  # type: ignore[arg-type]
        (lambda: Cyclic(1.0, 2.0), "goes from 1 to 2"),
        (lambda: Constant(math.nan), "value of a schedule is nan"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: object, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        make()  # type: ignore[operator]
