"""Who is held out: by coins that nobody knows, so that one record moves no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

import sfumato
from sfumato.api.inputs import coins_of, resolve
from sfumato.api.publishing import plan
from sfumato.data import Categorical, ImageSet, Schema, Table
from sfumato.data.subsets import row_hashes
from sfumato.privacy.ledger import Ledger

ROWS, KEY = 400, b"nobody knows"
SCHEMA = Schema(
    (Categorical("who", tuple(map(str, range(1000)))), Categorical("t", ("x", "y"))), "t"
)


def table(rows: int) -> Table:
    """Rows of which each is somebody else."""
    who = [str(i) for i in range(rows)]
    return Table.from_pandas(pd.DataFrame({"who": who, "t": ["x", "y"] * (rows // 2)}), SCHEMA)


def members() -> set[int]:
    """Who the release would be made from."""
    ready = plan(table(ROWS), epsilon=1.0, method="tables.independent", ledger=Ledger.in_memory())
    return set(ready.inputs.members.codes()["who"].tolist())


def test_nobody_can_tell_by_a_seed_who_is_held_out() -> None:
    once, again = members(), members()
    # Of 400 coins with heads for a fifth, alike with probability 0.68^400.
    assert once != again
    assert binom.cdf(len(once), ROWS, 0.8) > 1e-9
    assert binom.sf(len(once), ROWS, 0.8) > 1e-9


def test_how_many_are_held_out_is_as_random_as_coins_are() -> None:
    """Planted: an exact share, by which one row more sends another to the other side."""
    sizes = [len(members()) for _ in range(12)]
    assert len(set(sizes)) > 1
    exact = [table(ROWS).split(0.2, seed)[1].num_rows for seed in range(12)]
    assert set(exact) == {80}


@pytest.mark.parametrize("kind", ["rows", "images"])
def test_a_record_more_at_the_end_changes_no_other_records_side(kind: str) -> None:
    def held(rows: int, seed: int | bytes) -> set[int]:
        if kind == "rows":
            return set(table(rows).split(0.2, seed)[1].codes()["who"].tolist())
        shades = np.arange(rows, dtype=np.float32).reshape(-1, 1, 1, 1) / 1000
        images = ImageSet.from_arrays(shades, np.zeros(rows, np.int64), ("a", "b"))
        out = images.split(0.2, seed)[1].images.ravel()
        return set(np.rint(out * 1000).astype(int).tolist())

    moved = {5: 0, KEY: 0}
    for seed in moved:
        for rows in range(100, 140, 2):
            before, after = held(rows, seed), held(rows + 2, seed)
            moved[seed] += len((before ^ after) - {rows, rows + 1})
    assert moved[KEY] == 0
    assert moved[5] > 0  # an exact share


def test_a_run_that_goes_on_holds_out_the_same(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    rng = np.random.default_rng(0)
    images = ImageSet.from_arrays(
        rng.random((60, 1, 4, 4), dtype=np.float32), np.arange(60) % 2, ("a", "b")
    )
    ledger = Ledger.in_memory()
    options: dict[str, Any] = {
        "epsilon": 1.0,
        "method": "learn.dpsgd",
        "settings": {"epochs": 1.0, "expected_batch_size": 10},
        "ledger": ledger,
        "checkpoint": kept,
    }
    sfumato.train(images, **options)
    parts = [
        plan(images, gives="model", **options).inputs.members.images.tobytes() for _ in range(2)
    ]
    assert parts[0] == parts[1]
    assert len(ledger.entries()) == 1


def test_every_run_and_every_row_has_a_coin_of_its_own() -> None:
    assert len({coins_of(bytes([i]) * 32) for i in range(50)}) == 50
    coins = row_hashes(KEY, 0, 200_000)
    assert len(set(coins.tolist())) == 200_000
    bits = (coins[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    assert np.abs(bits.mean(axis=0) - 0.5).max() * 2 * np.sqrt(len(coins)) < 6.5


@pytest.mark.parametrize(("start", "count"), [(0, 1), (65_535, 2), (65_536, 1), (70_000, 70_000)])
def test_coins_are_the_same_in_whatever_pieces_they_are_read(start: int, count: int) -> None:
    whole = row_hashes(KEY, 0, 150_000)
    np.testing.assert_array_equal(row_hashes(KEY, start, count), whole[start : start + count])
    assert len(row_hashes(KEY, start, 0)) == 0


def parted(**given: Any) -> Any:
    return plan(
        table(ROWS), epsilon=1.0, method="tables.independent", ledger=Ledger.in_memory(), **given
    ).inputs


@pytest.fixture
def others(tmp_path: Path) -> Path:
    """A file of people whom somebody else chose, as not in the data."""
    file = tmp_path / "others.csv"
    names = [str(i) for i in range(400, 500)]
    pd.DataFrame({"who": names, "t": ["x", "y"] * 50}).to_csv(file, index=False)
    return file


def test_only_coins_of_our_own_are_taken_for_coins(others: Path) -> None:
    assert parted().by_coins
    assert parted(holdout=0.5).by_coins
    assert not parted(holdout=others).by_coins  # who chose these, and how, nobody knows
    assert not parted(holdout=0).by_coins
    shared: dict[str, Any] = {"target": None, "schema": None, "holdout": 0.2}
    assert not resolve(table(ROWS), seed=0, **shared).by_coins  # an exact share, as in compare


def test_rows_that_are_parted_by_their_values_have_no_coin_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Equal rows of a database are on one side: counted one by one they would seem to be told."""
    monkeypatch.setattr(Table, "ordered", property(lambda table: False))
    assert not parted().by_coins


@pytest.mark.parametrize("coins", [True, False])
def test_an_evaluation_asks_for_no_margin_where_coins_parted(
    coins: bool, others: Path, tmp_path: Path
) -> None:
    release = sfumato.publish(
        table(ROWS),
        epsilon=1.0,
        method="tables.independent",
        holdout=0.3 if coins else others,
        ledger=Ledger.in_memory(),
        out=tmp_path / "out",
        attacks=["membership.distance"],
    )
    (finding,) = release.evaluation.findings
    assert (finding.margin is None) == coins
