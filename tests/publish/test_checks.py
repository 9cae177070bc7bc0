"""Checks of settings: each names the setting, its value and what to give."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import pytest
import torch

from sfumato.errors import InputError
from sfumato.publish import checks


@pytest.mark.parametrize("value", [0, -1, 1.0, "3", None, True, math.nan])
def test_whole_numbers(value: Any) -> None:
    checks.whole("steps", 1, 1)
    with pytest.raises(InputError, match=r"steps is .*Give a whole number from 1 up"):
        checks.whole("steps", value, 1)


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, math.inf, "0.5", None, True])
def test_numbers(value: Any) -> None:
    checks.number("share", 0, 0, 1)
    checks.number("share", 1, 0, 1)
    with pytest.raises(InputError, match=r"share is .*Give a number from 0 to 1"):
        checks.number("share", value, 0, 1)


def test_numbers_from_an_open_interval() -> None:
    checks.number("rate", 1e-9, 0, closed=False)
    with pytest.raises(InputError, match=r"rate is 0\. Give a number above 0\."):
        checks.number("rate", 0, 0, closed=False)


@pytest.mark.parametrize("value", [1e300, 1e-300, -1e39, 10**40])
def test_numbers_that_float32_cannot_hold(value: float) -> None:
    checks.number("rate", 0, 0)
    with pytest.raises(InputError, match=r"rate is .*Give a number between 1e-30 and 1e\+30"):
        checks.number("rate", value, -math.inf)


def test_names() -> None:
    checks.one_of("colour", "red", ("red", "blue"))
    with pytest.raises(InputError, match=r"colour is 'green'\. Use one of red, blue"):
        checks.one_of("colour", "green", ("red", "blue"))


def test_what_would_do_nothing_is_refused_unless_a_preset_gave_it() -> None:
    class Method:
        rounds = 3
        bins = 10
        presets: ClassVar[dict[str, Any]] = {"quick": {"bins": 4}}

    made = Method()
    checks.idle(made, ("rounds", "bins"), "nothing is voted on")
    made.bins = 4
    checks.idle(made, ("rounds", "bins"), "nothing is voted on")
    made.bins = 5
    with pytest.raises(InputError, match=r"bins is 5, and nothing is voted on\. Leave bins out"):
        checks.idle(made, ("rounds", "bins"), "nothing is voted on")


@pytest.mark.parametrize("value", ["12", 12, None, {4: 4}])
def test_widths_are_a_list(value: Any) -> None:
    assert checks.widths([3, 4]) == (3, 4)
    assert checks.widths(()) == ()
    with pytest.raises(InputError, match="hidden is"):
        checks.widths(value)


@pytest.mark.parametrize("width", [0, 1.5, True, "4"])
def test_a_width_is_a_whole_number(width: Any) -> None:
    with pytest.raises(InputError, match="a width in hidden is"):
        checks.widths([3, width])


def test_the_batch_is_a_hundredth_of_the_records_and_never_more_than_all() -> None:
    assert checks.batch_size(None, 60_000) == 600
    assert checks.batch_size(None, 1000) == 64
    assert checks.batch_size(None, 50) == 50
    assert checks.batch_size(7, 50) == 7
    with pytest.raises(InputError, match="expected_batch_size is 51 of 50 records"):
        checks.batch_size(51, 50)


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert checks.device("auto") == checks.device("cpu") == "cpu"
    with pytest.raises(InputError, match="'cuda', and there is none here"):
        checks.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert checks.device("auto") == checks.device("cuda") == "cuda"
    assert checks.device("cpu") == "cpu"
