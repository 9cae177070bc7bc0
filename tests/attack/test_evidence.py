from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sfumato.attack import Evidence
from sfumato.errors import InputError

Make = Callable[[int, int], Any]


def test_holds_two_parts_of_one_kind(make_people: Make, make_pictures: Make) -> None:
    assert Evidence(make_people(20, 0), make_people(20, 1)).kind == "table"
    assert Evidence(make_pictures(20, 0), make_pictures(20, 1)).kind == "images"


def test_refuses_too_few_records(make_people: Make) -> None:
    enough, few = make_people(20, 0), make_people(19, 1)
    with pytest.raises(InputError, match="19 members are too few"):
        Evidence(few, enough)
    with pytest.raises(InputError, match="19 non-members are too few"):
        Evidence(enough, few)
    with pytest.raises(InputError, match="19 auxiliary records are too few"):
        Evidence(enough, enough, few)


def test_refuses_mixed_kinds(make_people: Make, make_pictures: Make) -> None:
    with pytest.raises(InputError, match="members are table, non-members are images"):
        Evidence(make_people(20, 0), make_pictures(20, 0))
