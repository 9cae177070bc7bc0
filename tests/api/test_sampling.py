"""Drawing again from a released generator: free, repeatable, and from the release alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import sfumato
from sfumato.data import Categorical, ImageSet, Numeric, Schema, Table
from sfumato.data.impossible import Impossible
from sfumato.errors import InputError
from sfumato.privacy.ledger import Ledger

TABLES = ("tables.independent", "tables.marginals", "tables.mcgen")
SCHEMA = Schema(
    (
        Numeric("age", 0, 99, 1, integer=True),
        Categorical("sex", ("female", "male")),
        Categorical("pregnant", ("no", "yes")),
    ),
    target="pregnant",
    impossible=(Impossible({"sex": ("male",), "pregnant": ("yes",)}),),
)


def people(n: int = 600) -> Table:
    rng = np.random.default_rng(0)
    sex = rng.choice(["female", "male"], n)
    yes = (sex == "female") & (rng.random(n) < 0.4)
    frame = {"age": rng.integers(0, 99, n), "sex": sex, "pregnant": np.where(yes, "yes", "no")}
    return Table.from_pandas(pd.DataFrame(frame), SCHEMA)


def images(n: int = 64) -> ImageSet:
    rng = np.random.default_rng(0)
    pixels = rng.random((n, 1, 8, 8)).astype(np.float32)
    return ImageSet.from_arrays(pixels, np.arange(n) % 2, ("dark", "bright"))


def published(data: Any, method: str, tmp_path: Path, **settings: Any) -> sfumato.Release:
    return sfumato.publish(
        data,
        epsilon=2.0,
        method=method,
        settings=settings,
        holdout=0,
        out=tmp_path / "release",
        ledger=tmp_path / "ledger.db",
        evaluate=False,
    )


def same(one: Table, other: Table) -> bool:
    a, b = one.codes(), other.codes()
    return all(np.array_equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("method", TABLES)
def test_a_table_is_drawn_again_without_spending_anything(method: str, tmp_path: Path) -> None:
    release = published(people(), method, tmp_path)
    spent = [entry.hash for entry in Ledger.open(tmp_path / "ledger.db").entries()]
    again = sfumato.sample(tmp_path / "release", 300, seed=5, out=tmp_path / "again")
    assert [entry.hash for entry in Ledger.open(tmp_path / "ledger.db").entries()] == spent
    loaded = sfumato.Release.load(tmp_path / "again")
    assert len(loaded.data) == 300
    assert loaded.data.schema.names == release.data.schema.names
    assert loaded.card.ledger == release.card.ledger
    assert loaded.card.guarantee == release.card.guarantee
    assert loaded.card.verify() == []
    assert loaded.card.seeds["drawn again"] == 5
    assert same(loaded.data, sfumato.sample(release, 300, seed=5).data)
    assert same(loaded.data, sfumato.sample(again, 300, seed=5).data)
    assert not same(loaded.data, sfumato.sample(release, 300, seed=6).data)
    codes = loaded.data.codes()
    assert not np.any((codes["sex"] == 1) & (codes["pregnant"] == 1)), "impossible rows stay out"


@pytest.mark.parametrize("method", TABLES)
def test_the_seed_on_the_card_gives_the_first_rows(method: str, tmp_path: Path) -> None:
    plain = Table.from_codes(people().codes(), Schema(SCHEMA.columns, target="pregnant"))
    release = published(plain, method, tmp_path, rows=200)
    (seed,) = release.card.seeds.values()
    assert same(release.data, sfumato.sample(tmp_path / "release", 200, seed=seed).data)


def test_images_are_drawn_again(tmp_path: Path) -> None:
    release = published(images(), "generators.merf", tmp_path, features=100, steps=5, samples=20)
    again = sfumato.sample(tmp_path / "release", 30, seed=1, out=tmp_path / "again")
    assert again.data.images.shape == (30, 1, 8, 8)
    assert np.array_equal(again.data.images, sfumato.sample(release, 30, seed=1).data.images)


def test_without_a_seed_one_is_drawn_and_recorded(tmp_path: Path) -> None:
    release = published(people(), "tables.independent", tmp_path)
    one, other = sfumato.sample(release, 50), sfumato.sample(release, 50)
    assert one.card.seeds["drawn again"] != other.card.seeds["drawn again"]


def test_what_holds_no_generator_is_refused(tmp_path: Path) -> None:
    release = published(people(), "tables.adaptive", tmp_path)
    with pytest.raises(InputError, match=r"tables\.adaptive holds a fixed set of records"):
        sfumato.sample(release, 10, out=tmp_path / "again")
    assert not (tmp_path / "again").exists()
    for n, seed, problem in ((0, None, "n is 0"), (5, -1, "seed is -1"), (2.5, None, "n is 2.5")):
        with pytest.raises(InputError, match=problem):
            sfumato.sample(release, n, seed=seed)  # type: ignore[arg-type]
    model = sfumato.train(
        people(),
        epsilon=2.0,
        method="learn.dpsgd",
        settings={"epochs": 1, "expected_batch_size": 100},
        ledger=tmp_path / "ledger.db",
        holdout=0,
    )
    with pytest.raises(InputError, match="holds a model"):
        sfumato.sample(model, 10)
    made = tmp_path / "taken"
    made.mkdir()
    with pytest.raises(InputError, match="already exists"):
        sfumato.sample(release, 10, out=made)
