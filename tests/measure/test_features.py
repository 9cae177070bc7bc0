from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sfumato.data import Categorical, Numeric
from sfumato.errors import InputError
from sfumato.measure import features
from sfumato.measure.features import Design


def test_chosen_rows_are_distinct_sorted_and_drawn_by_the_generator() -> None:
    rows = features.choose(1000, 50, np.random.default_rng(0))
    assert len(np.unique(rows)) == 50
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(features.choose(5, 50, np.random.default_rng(0)), np.arange(5))
    other = features.choose(1000, 50, np.random.default_rng(1))
    assert not np.array_equal(rows, other)


def test_a_large_table_is_streamed_to_the_same_codes(
    make_people: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = make_people(500, 0)
    rows = np.array([0, 1, 99, 100, 101, 499])
    whole, some = features.codes(table), features.codes(table, rows)
    monkeypatch.setattr(features, "_WHOLE", 0)
    batches = table.codes_batches
    monkeypatch.setattr(table, "codes_batches", lambda: batches(100))
    np.testing.assert_array_equal(features.codes(table), whole)
    np.testing.assert_array_equal(features.codes(table, rows), some)


def test_design_separates_numbers_levels_and_missing_values() -> None:
    columns = (Numeric("n", 0, 10, 1, missing=True), Categorical("c", ("a", "b"), missing=True))
    codes = np.array([[0, 0], [10, 1], [11, 2]], dtype=np.int32)
    plain = Design(columns).matrix(codes).toarray()
    np.testing.assert_allclose(plain, [[0, 0, 1, 0, 0], [1, 0, 0, 1, 0], [0, 1, 0, 0, 1]])
    fitted = Design.fitted(columns, codes).matrix(codes).toarray()
    np.testing.assert_allclose(fitted[:2, 0], [-1, 1])


def test_a_column_without_spread_or_without_values_is_no_error() -> None:
    columns = (Numeric("n", 0, 10, 1, missing=True),)
    for codes in (np.full((4, 1), 3, np.int32), np.full((4, 1), 11, np.int32)):
        assert np.isfinite(Design.fitted(columns, codes).matrix(codes).toarray()).all()


def test_many_levels_are_folded() -> None:
    columns = (Categorical("zip", tuple(str(i) for i in range(5000))),)
    assert Design(columns).matrix(np.array([[4999]], np.int32)).shape == (1, features.LEVELS)


def test_images_become_rows_of_pixels(make_pictures: Any) -> None:
    data = make_pictures(10, 0)
    assert features.size(data) == 10
    rows = features.pixels(data, np.array([2, 5]))
    np.testing.assert_array_equal(rows, data.images[[2, 5]].reshape(2, -1))
    assert features.pixels(data).shape == (10, 64)


def test_unlike_data_is_refused(make_people: Any, make_pictures: Any) -> None:
    table, images = make_people(20, 0), make_pictures(20, 0)
    features.check_alike(table, make_people(30, 1).with_target(None), "rows")
    with pytest.raises(InputError, match="is about table, the members are images"):
        features.check_alike(table, images, "members")
    small = type(images).from_arrays(images.images[:, :, :4], images.labels, images.schema.classes)
    with pytest.raises(InputError, match="the members have other columns"):
        features.check_alike(images, small, "members")
