from __future__ import annotations

import numpy as np
import pytest

from sfumato.data import Categorical, Numeric, Schema
from sfumato.errors import InputError
from sfumato.release.foreign import interface
from sfumato.release.foreign.interface import Interface

IMAGES = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4) / 24


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"layout": "nchw"}, "layout is 'nchw'"),
        ({"outputs": "scores"}, "outputs is 'scores'"),
        ({"scale": 0}, "scale or std is 0"),
        ({"std": [0.5, 0.0]}, "scale or std is 0"),
        ({"mean": "grey"}, "mean is 'grey'"),
        ({"scale": float("nan")}, "scale is nan"),
        ({"size": 3}, "the interface has no 'size'"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, object], named: str) -> None:
    with pytest.raises(InputError, match=named):
        Interface.of(settings)


def test_images_are_scaled_centred_and_laid_out() -> None:
    given = Interface.of({"layout": "channels-last", "scale": 255, "mean": [10, 20], "std": 2})
    taken = given.images(IMAGES)
    assert taken.shape == (1, 3, 4, 2)
    assert taken[0, 1, 2, 1] == pytest.approx((255 * IMAGES[0, 1, 1, 2] - 20) / 2)
    assert Interface(layout="flat").images(IMAGES).shape == (1, 24)
    with pytest.raises(InputError, match="mean has 3 entries, the images 2 channels"):
        Interface(mean=(1, 2, 3)).images(IMAGES)


def test_answers_that_are_no_probabilities_are_logits() -> None:
    logits = np.array([[1.0, 3.0, -2.0], [0.5, 0.2, 0.2]])
    read = Interface().understood(logits)
    assert read.outputs == "logits"
    shares = read.probabilities(logits)
    np.testing.assert_allclose(shares, np.exp(logits) / np.exp(logits).sum(1, keepdims=True))
    logs = np.log(shares)
    np.testing.assert_allclose(Interface().understood(logs).probabilities(logs), shares)
    assert Interface().understood(shares).outputs == "probabilities"


def test_percentages_are_refused_and_not_taken_for_logits() -> None:
    with pytest.raises(InputError, match="sum to 100: they are percentages"):
        Interface().understood(np.array([[30.0, 70.0], [99.0, 1.0]]))
    assert Interface().understood(np.array([[30.0, 70.0], [2.0, 1.0]])).outputs == "logits"


@pytest.mark.parametrize(
    "answers",
    [
        [[0.9, 0.8], [0.1, 0.3]],  # of each class alone
        [[0.33, 0.33, 0.33], [0.5, 0.25, 0.25]],  # rounded
        [[0.0, 0.0], [0.5, 0.5]],
    ],
)
def test_answers_that_may_be_shares_or_logits_are_asked_about(answers: list[list[float]]) -> None:
    with pytest.raises(InputError, match=r"do not sum to 1.*outputs=shares.*or outputs=logits"):
        Interface().understood(np.array(answers))
    assert Interface(outputs="logits").understood(np.array(answers)).outputs == "logits"


def test_shares_are_divided_by_their_sum() -> None:
    read = Interface(outputs="shares")
    answers = np.array([[0.9, 0.3], [0.1, 0.0], [0.0, 0.0]])
    np.testing.assert_allclose(read.probabilities(answers), [[0.75, 0.25], [1, 0], [0.5, 0.5]])
    np.testing.assert_allclose(read.probabilities(np.array([[0.3]])), [[0.7, 0.3]])
    for wrong in ([[1.2, 0.1]], [[-0.1, 0.5]], [[1.2]]):
        with pytest.raises(InputError, match="no shares: some are below 0 or above 1"):
            read.probabilities(np.array(wrong))


def test_one_score_is_that_of_the_second_class() -> None:
    shares = np.array([[0.2], [1.0]])
    read = Interface().understood(shares)
    np.testing.assert_allclose(read.probabilities(shares), [[0.8, 0.2], [0.0, 1.0]])
    odds = np.array([[0.0], [20.0]])
    np.testing.assert_allclose(
        Interface().understood(odds).probabilities(odds), [[0.5, 0.5], [0.0, 1.0]], atol=1e-8
    )


def test_probabilities_that_are_none_are_refused() -> None:
    with pytest.raises(InputError, match="do not sum to 1"):
        Interface(outputs="probabilities").probabilities(np.array([[0.5, 0.9]]))


def test_rows_are_given_as_values_or_as_numbers() -> None:
    schema = Schema(
        (
            Numeric("age", 10, 20, 0.5, missing=True),
            Categorical("town", ("north", "south"), missing=True),
            Categorical("owner", ("no", "yes")),
        ),
        target="owner",
    )
    codes = np.array([[3, 1], [21, 2]], np.int32)
    frame = interface.frame_of(schema, codes)
    assert frame["age"][0] == 11.5
    assert frame["town"][0] == "south"
    assert frame.isna().iloc[1].all()
    numbers = interface.numbers_of(schema, codes)
    np.testing.assert_array_equal(numbers, [[11.5, 1], [np.nan, np.nan]])


@pytest.mark.parametrize(
    ("found", "places"),
    [
        (["yes", "no"], [1, 0]),
        ([np.str_("no"), np.str_("yes")], [0, 1]),
        ([0, 1], [0, 1]),
        (["YES"], [1]),
        ([1.0, 0.0], [1, 0]),
    ],
)
def test_classes_are_found_by_name_or_number(found: list[object], places: list[int]) -> None:
    assert interface.order_of(found, ("no", "yes")) == places


def test_names_go_before_numbers() -> None:
    assert interface.order_of([1, 2], ("2", "1")) == [1, 0]
    assert interface.order_of([True, False], ("false", "true")) == [1, 0]


def test_unknown_classes_are_refused() -> None:
    with pytest.raises(InputError, match="a class 'maybe' that the schema does not"):
        interface.order_of(["no", "maybe"], ("no", "yes"))
    with pytest.raises(InputError, match="a class twice"):
        interface.order_of(["no", "No"], ("no", "yes"))


def test_made_up_records_are_within_the_facts_and_always_the_same(
    table_schema: Schema, picture_schema: object
) -> None:
    rows = interface.made_up(table_schema, 50)
    assert rows.shape == (50, 3)
    assert (rows.max(axis=0) < [100, 3, 3]).all()
    np.testing.assert_array_equal(rows, interface.made_up(table_schema, 50))
    assert interface.made_up(picture_schema).shape == (8, 1, 4, 5)  # type: ignore[arg-type]
