from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sfumato.data import Categorical, ImageSchema, Schema
from sfumato.errors import InputError
from sfumato.release.foreign.interface import Interface
from sfumato.release.foreign.model import ForeignModel

CODES = np.array([[30, 0, 1], [90, 2, 2]], np.int32)


def by_age(frame: Any) -> Any:
    return (frame["age"] / 100).to_numpy()


def test_a_function_of_rows_is_a_model(table_schema: Schema) -> None:
    model = ForeignModel.of(by_age, table_schema, name="a function")
    np.testing.assert_allclose(model.probabilities_from(CODES), [[0.7, 0.3], [0.1, 0.9]])
    assert (model.kind, model.takes, model.classes) == ("model", "table", ("no", "yes"))
    assert model.probabilities_from(CODES[:0]).shape == (0, 2)


def test_a_function_of_pictures_is_a_model(picture_schema: ImageSchema) -> None:
    def brightest(images: Any) -> Any:
        assert images.shape[1:] == (4, 5, 1)
        return images.sum(axis=(1, 3))[:, :3]

    model = ForeignModel.of(
        brightest, picture_schema, name="f", interface=Interface(layout="channels-last")
    )
    shares = model.probabilities(np.eye(4, 5, dtype=np.float32)[None])
    assert shares.shape == (1, 3)
    assert shares[0].sum() == pytest.approx(1)


def test_answers_are_put_in_the_order_of_the_schema(table_schema: Schema) -> None:
    def turned(frame: Any) -> Any:
        return np.stack([by_age(frame), 1 - by_age(frame)], axis=1)

    model = ForeignModel.of(turned, table_schema, name="f", named=("yes", "no"))
    np.testing.assert_allclose(model.probabilities_from(CODES), [[0.7, 0.3], [0.1, 0.9]])


def test_a_class_that_the_model_never_saw_has_no_chance(picture_schema: ImageSchema) -> None:
    def two(images: Any) -> Any:
        return np.tile([0.25, 0.75], (len(images), 1))

    model = ForeignModel.of(two, picture_schema, name="f", named=("right", "left"))
    shares = model.probabilities_from(np.zeros((1, 1, 4, 5), np.float32))
    np.testing.assert_allclose(shares, [[0.75, 0, 0.25]])


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        (lambda frame: np.zeros((len(frame), 3)), r"for 8 records .* shape \(8, 3\)"),
        (lambda frame: np.zeros((2, 2)), r"shape \(2, 2\)"),
        (lambda frame: ["?"] * len(frame), "answers a list, not numbers"),
        (lambda frame: np.full((len(frame), 2), np.nan), "not finite"),
        (lambda frame: frame["income"], "cannot take made-up records .KeyError: 'income'"),
    ],
)
def test_what_is_no_model_of_the_schema_is_refused_before_it_sees_anybody(
    answer: Any, named: str, table_schema: Schema
) -> None:
    with pytest.raises(InputError, match=named):
        ForeignModel.of(answer, table_schema, name="f")


def test_one_score_cannot_stand_for_three_classes(picture_schema: ImageSchema) -> None:
    with pytest.raises(InputError, match="one score a record, and there are 3 classes"):
        ForeignModel.of(lambda x: x.mean(axis=(1, 2, 3)), picture_schema, name="f")


def test_columns_that_the_schema_lacks_are_named(table_schema: Schema) -> None:
    with pytest.raises(InputError, match="takes a column 'income'"):
        ForeignModel.of(by_age, table_schema, name="f", takes_columns=("age", "income"))


def test_what_a_model_says_of_real_records_is_not_repeated(table_schema: Schema) -> None:
    """Its message may hold a value of somebody."""

    def fails_on_old(frame: Any) -> Any:
        if (frame["age"] == 93).any():
            raise ValueError("cannot take 93 of south")
        return by_age(frame)

    model = ForeignModel.of(fails_on_old, table_schema, name="f")
    with pytest.raises(InputError, match=r"failed on real records .ValueError") as caught:
        model.probabilities_from(np.array([[93, 1, 1]], np.int32))
    assert "93" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_model_that_takes_no_missing_values_is_asked_without(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A schema that is read off a release allows them in every column of levels."""
    schema = Schema(
        (Categorical("town", ("north", "south"), missing=True), Categorical("own", ("no", "yes"))),
        target="own",
    )

    def fails(frame: Any) -> Any:
        if frame["town"].isna().any():
            raise ValueError("cannot take nothing")
        return np.full(len(frame), 0.25)

    def answers(frame: Any) -> Any:
        return np.where(frame["town"].isna(), np.nan, 0.25)

    for answer, named in ((fails, "failed on real records"), (answers, "not finite")):
        caplog.clear()
        model = ForeignModel.of(answer, schema, name="f")
        assert "takes no missing values, which the schema allows in town" in caplog.text
        assert model.probabilities_from(np.array([[1]], np.int32)).tolist() == [[0.75, 0.25]]
        with pytest.raises(InputError, match=f"{named}.* a function that fills them in"):
            model.probabilities_from(np.array([[1], [2]], np.int32))


def test_truth_values_are_classes() -> None:
    schema = Schema((Categorical("a", ("x", "y")), Categorical("b", ("no", "yes"))), target="b")
    model = ForeignModel.of(
        lambda frame: np.full((len(frame), 2), [0.2, 0.8]), schema, name="f", named=(True, False)
    )
    assert model.probabilities_from(np.array([[0]], np.int32)).tolist() == [[0.8, 0.2]]


def test_only_a_network_has_gradients_and_nothing_is_saved(
    table_schema: Schema, tmp_path: Any
) -> None:
    model = ForeignModel.of(by_age, table_schema, name="f")
    assert model.parameters == 0
    with pytest.raises(InputError, match="not its gradients"):
        _ = model.module
    with pytest.raises(InputError, match="made by other software"):
        model.save(tmp_path)
