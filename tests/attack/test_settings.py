from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sfumato import registry
from sfumato.attack import reveal, suite
from sfumato.errors import InputError

NAMES = ("attribute.inference", "linkage.nearest", "membership.distance", "privacy_loss")


def test_all_attacks_are_registered() -> None:
    known = registry.load("attack")
    assert set(NAMES) <= set(known)
    for name in NAMES:
        assert known[name].kinds == ("table", "images")  # type: ignore[attr-defined]
        assert known[name].source  # type: ignore[attr-defined]
        assert known[name].__doc__


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "settings",
    [
        {"max_targets": 19},
        {"max_targets": 30.0},
        {"max_targets": True},
        {"max_released": 0},
        {"confidence": 1.0},
        {"confidence": 0.4},
        {"confidence": "high"},
        {"strength": 11},
    ],
)
def test_settings_out_of_range_are_refused(name: str, settings: dict[str, object]) -> None:
    with pytest.raises(InputError):
        registry.build("attack", name, settings)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("linkage.nearest", {"max_candidates": 5}),
        ("attribute.inference", {"bins": 1}),
        ("attribute.inference", {"max_secrets": 0}),
        ("attribute.inference", {"secrets": "town"}),
        ("privacy_loss", {"max_training": 2}),
    ],
)
def test_an_attacks_own_settings_are_checked(name: str, settings: dict[str, object]) -> None:
    with pytest.raises(InputError):
        registry.build("attack", name, settings)


@pytest.mark.parametrize(
    "name", ["gradient.inversion", "inversion.ascent", "inversion.learned", "inversion.prior"]
)
@pytest.mark.parametrize("word", ["none", "n", "no", 1, None])
def test_only_true_reveals_pictures(name: str, word: Any) -> None:
    with pytest.raises(InputError, match="reveal"):
        registry.build("attack", name, {"reveal": word})
    assert reveal.pictures(word, np.zeros((1, 1, 2, 2))) == {}


@pytest.mark.parametrize(
    "text",
    [
        "label.update[learning_rate=fast]",
        "label.update[learning_rate=0]",
        "label.update[learning_rate=.nan]",
        "inversion.ascent[tv=high]",
        "inversion.ascent[rate=fast]",
        "inversion.ascent[rate=-1]",
        "inversion.ascent[blur=.inf]",
        "inversion.prior[weight=true]",
        "membership.label_only[noise=0.1]",
        "membership.label_only[noise=[]]",
        "membership.label_only[noise=[loud]]",
        "membership.label_only[columns=3]",
        "membership.shadow[preset=[1]]",
        "membership.lira[cache=5]",
        "attribute.inference[secrets=3]",
        "attribute.inference[secrets=[no,age]]",
        "attribute.model[secrets=3]",
        "anonymeter.inference[secrets=3]",
        "gradient.inversion[success=high]",
        "gradient.inversion[success=0]",
        "gradient.inversion[tv=x]",
    ],
)
def test_a_setting_of_the_wrong_kind_is_an_input_error(text: str) -> None:
    with pytest.raises(InputError):
        registry.build("attack", *suite.read(text))


def test_a_small_number_is_read_as_one() -> None:
    built = registry.build("attack", *suite.read("label.update[learning_rate=1e-3]"))
    assert built.learning_rate == 0.001
