from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from sfumato.data import Categorical, Numeric, Schema, Table
from sfumato.errors import InputError
from sfumato.measure import marginals
from sfumato.measure.marginals import MarginalError, marginal_error


def test_agrees_with_a_slow_oracle(make_people: Any) -> None:
    released, real = make_people(300, 1), make_people(200, 2)
    errors = marginal_error(released, real, bins=7)
    names = real.schema.names

    def bins(table: Table, name: str) -> list[int]:
        column, codes = table.schema[name], table.codes()[name]
        if not column.ordered or column.cardinality <= 7:
            return list(codes)
        return [7 if c == column.cardinality else c * 7 // column.cardinality for c in codes]

    def tvd(a: list[Any], b: list[Any]) -> float:
        return sum(abs(a.count(v) / len(a) - b.count(v) / len(b)) for v in set(a) | set(b)) / 2

    for name in names:
        assert errors.one_way[name] == pytest.approx(tvd(bins(released, name), bins(real, name)))
    pairs = {}
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            joint = [
                list(zip(bins(t, first), bins(t, second), strict=True)) for t in (released, real)
            ]
            pairs[first, second] = tvd(*joint)
    assert errors.two_way_mean == pytest.approx(np.mean(list(pairs.values())))
    assert errors.two_way_max == pytest.approx(max(pairs.values()))
    assert pairs[errors.worst_pair] == pytest.approx(errors.two_way_max)  # type: ignore[index]
    assert errors.one_way_mean == pytest.approx(np.mean(list(errors.one_way.values())))
    assert errors.one_way_max == max(errors.one_way.values())


def test_two_way_errors_see_what_one_way_errors_cannot(make_people: Any) -> None:
    """Planted defect: a release whose columns are drawn independently of each other."""
    real, reference = make_people(3000, 1), make_people(3000, 2)
    rng = np.random.default_rng(0)
    mixed = Table.from_codes({n: rng.permutation(c) for n, c in real.codes().items()}, real.schema)
    errors = marginal_error(mixed, real, reference)
    assert errors.one_way_max == 0
    assert errors.two_way_floor is not None
    assert errors.two_way_mean is not None
    assert errors.two_way_mean > 1.2 * errors.two_way_floor
    assert "degree" in errors.worst_pair
    same = marginal_error(real, real, reference)
    assert (same.two_way_mean, same.two_way_max) == (0, 0)
    assert set(same.one_way_floor) == set(real.schema.names)
    assert min(same.one_way_floor.values()) > 0


def test_pairs_are_capped_with_the_targets_first(make_people: Any) -> None:
    released, real = make_people(50, 1), make_people(50, 2)
    errors = marginal_error(released, real, pairs=5)
    assert (errors.pairs, errors.pairs_total) == (5, 15)
    assert "owner" in errors.worst_pair
    assert marginal_error(released.with_target(None), real.with_target(None), pairs=7).pairs == 7


def test_long_tables_are_sampled(make_people: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marginals, "ROWS", 50)
    table = make_people(500, 1)
    errors = marginal_error(table, table)
    assert 0 < errors.one_way_mean < 0.5


def test_a_single_column_has_no_pairs() -> None:
    schema = Schema((Categorical("x", ("a", "b")),))
    a = Table.from_codes({"x": np.zeros(4, int)}, schema)
    b = Table.from_codes({"x": np.ones(6, int)}, schema)
    errors = marginal_error(a, b)
    assert errors.one_way == {"x": 1.0}
    assert (errors.two_way_mean, errors.two_way_max, errors.worst_pair) == (None, None, ())
    assert MarginalError.from_dict(json.loads(json.dumps(errors.to_dict()))) == errors


def test_a_grid_of_any_size_is_grouped() -> None:
    column = Numeric("x", 0, 2_000_000_000, 1, missing=True)
    codes = np.array([0, 1_000_000_000, 2_000_000_000, column.cardinality])
    assert list(marginals.grouped(codes, column, 20)) == [0, 9, 19, 20]


def test_other_columns_and_damaged_files_are_refused(make_people: Any) -> None:
    table = make_people(30, 1)
    codes = table.codes()
    less = Table.from_codes({"age": codes["age"]}, table.schema.select("age"))
    with pytest.raises(InputError, match="real records have other columns"):
        marginal_error(table, less)
    with pytest.raises(InputError, match="reference records have other columns"):
        marginal_error(table, table, less)
    with pytest.raises(InputError, match="cannot be read"):
        MarginalError.from_dict({"one_way": 3})
