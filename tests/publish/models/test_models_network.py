"""Which network is trained: by name, by size, and refused before anything is spent."""

from __future__ import annotations

from typing import Any

import pytest

from sfumato.data import Categorical, ImageSchema, Numeric, Schema
from sfumato.errors import InputError
from sfumato.learn.architectures import build
from sfumato.publish.models.network import IMAGES, architecture

PEOPLE = Schema((Numeric("age", 0, 9, 1), Categorical("ill", ("no", "yes"))), target="ill")


def images(side: int, other: int | None = None) -> ImageSchema:
    return ImageSchema(1, side, other or side, ("a", "b"))


@pytest.mark.parametrize(
    ("facts", "family"),
    [
        (PEOPLE, "table-dense"),
        (images(4), "dense"),
        (images(13), "dense"),
        (images(40, 13), "dense"),
        (images(14), "small-cnn"),
        (images(28), "small-cnn"),
        (images(32), "small-cnn"),
        (images(33), "deep-cnn"),
    ],
)
def test_auto_takes_a_network_that_can_be_built(facts: Any, family: str) -> None:
    made = architecture(facts)
    assert made["family"] == family
    assert build(made, seed=0) is not None
    assert made["classes"] == 2


@pytest.mark.parametrize(
    ("facts", "network", "hidden", "message"),
    [
        (PEOPLE, "small-cnn", (), "For rows use auto, table-dense"),
        (images(28), "table-dense", (), "For images use auto, small-cnn"),
        (images(28), "transformer", (), "network is 'transformer'"),
        (images(28), "small-cnn", (5,), "hidden is .5., but small-cnn has fixed layers"),
        (images(28), "auto", (5,), "fixed layers"),
        (images(13), "small-cnn", (), "13 x 13 pixels"),
        (images(7), "deep-cnn", (), "7 x 7 pixels"),
        (images(9, 7), "deep-cnn", (), "9 x 7 pixels"),
        (Schema(PEOPLE.columns), "auto", (), "no target is declared"),
        (ImageSchema(1, 28, 28, ("a",)), "auto", (), "there is one class"),
    ],
)
def test_a_network_that_does_not_take_the_records_is_refused(
    facts: Any, network: str, hidden: tuple[int, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        architecture(facts, network, hidden)


@pytest.mark.parametrize("network", IMAGES)
def test_every_network_for_images_takes_28_pixels(network: str) -> None:
    assert architecture(images(28), network)["family"] == network


def test_hidden_widths_reach_a_dense_network() -> None:
    assert architecture(PEOPLE, hidden=(8, 4))["hidden"] == [8, 4]
    assert architecture(images(4), "dense", [3])["hidden"] == [3]
