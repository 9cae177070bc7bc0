"""Names and settings are found or refused with the nearest one; nothing is silently ignored."""

from dataclasses import is_dataclass

import pytest

from sfumato import registry
from sfumato.errors import InputError


def test_every_registered_class_is_a_frozen_dataclass_with_its_source() -> None:
    for kind in ("method", "attack"):
        found = registry.load(kind)
        assert found
        for name, cls in found.items():
            assert is_dataclass(cls)
            assert cls.__dataclass_params__.frozen, name
            assert cls.name == name
            assert cls.source
            assert cls.__doc__


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"'tables.adaptve'.*'tables.adaptive'"):
        registry.build("method", "tables.adaptve")


def test_an_unknown_setting_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"'alocation'.*'allocation'"):
        registry.build("method", "tables.adaptive", {"alocation": "uniform"})


def test_a_name_cannot_be_registered_twice() -> None:
    with pytest.raises(ValueError, match="registered twice"):

        @registry.method("tables.adaptive")
        class Other:
            pass


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("x[a=2020-13-45]", "cannot be read"),
        ("x[a=0x_]", "cannot be read"),
        ("x[a=1,a=2]", "'a' twice"),
        ("x[a=[]", "cannot be read"),
    ],
)
def test_settings_that_mean_nothing_are_refused(text: str, named: str) -> None:
    with pytest.raises(InputError, match=named):
        registry.parse(text, "attack")


def test_numbers_are_read_as_people_write_them() -> None:
    _, settings = registry.parse("x[a=1e-3,b='1e-3',c=[2E5,1e+2],d=1e,e=-1.e-2,f=e5]", "attack")
    numbers = {"a": 1e-3, "b": "1e-3", "c": [2e5, 1e2], "d": "1e", "e": -0.01, "f": "e5"}
    assert settings == numbers
