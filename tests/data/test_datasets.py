from __future__ import annotations

import hashlib
import os
from importlib import resources
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_digits

from sfumato.data import ImageSet, Numeric, Table, datasets
from sfumato.errors import InputError

BUNDLED = ["census-sample", "digits"]
SHARED = os.environ.get("SFUMATO_DATA")


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A machine that holds no data set but those in the package."""
    monkeypatch.delenv("SFUMATO_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_the_list_says_what_each_data_set_is():
    names = [info.name for info in datasets.available()]
    assert names == [
        "census-income",
        "census-sample",
        "german-credit",
        "mnist",
        "fashion-mnist",
        "digits",
    ]
    for info in datasets.available():
        assert info.licence
        assert info.source.startswith("https://")
        assert info.kind in ("table", "images")
        assert set(info.records) == {"train", "test"}
        assert info.bundled == (info.name in BUNDLED)


@pytest.mark.parametrize("name", BUNDLED)
@pytest.mark.parametrize("split", ["train", "test"])
def test_bundled_data_is_whole_and_fits_its_public_facts(nowhere, name, split):
    info = datasets.info(name)
    data = datasets.load(name, split=split)
    data.validate(data.schema)
    assert data.num_rows == data.schema.records == info.records[split]
    assert data.schema.target == info.target
    if isinstance(data, Table):
        assert f"{len(data.schema)} columns" == info.shape
        assert data.schema[info.target].levels == info.classes
    else:
        assert "x".join(map(str, data.schema.shape)) == info.shape
        assert data.schema.classes == info.classes
    assert datasets.fetch(name) == datasets.find(name)


def test_the_package_stays_under_a_megabyte_of_data():
    folder = Path(str(resources.files("sfumato.data") / "bundled"))
    assert sum(file.stat().st_size for file in folder.iterdir()) < 1_000_000


def test_digits_are_scikit_learns():
    parts = [datasets.load("digits", split=split) for split in ("train", "test")]
    ours = np.concatenate([part.images for part in parts])[:, 0]
    labels = np.concatenate([part.labels for part in parts])
    theirs = load_digits()

    def rows(images, labels):
        flat = np.c_[images.reshape(len(images), -1), labels]
        return flat[np.lexsort(flat.T)]

    assert (rows(ours * 16, labels) == rows(theirs.images, theirs.target)).all()
    for part in parts:
        assert np.bincount(part.labels).min() > 0.7 * len(part) / 10


def test_bundled_census_rows_carry_all_columns_and_no_pandas_metadata():
    folder = Path(str(resources.files("sfumato.data") / "bundled"))
    for split in ("train", "test"):
        file = pq.ParquetFile(folder / f"census_sample_{split}.parquet")
        assert len(file.schema_arrow.names) == 42
        assert not file.schema_arrow.metadata
    schema = datasets.schema_of("census-sample")
    assert schema.drop == ("instance_weight",)
    assert len(schema) == 41


@pytest.mark.parametrize("name", ["census-income", "german-credit"])
def test_declared_facts_of_tables_say_which_public_source_they_are_from(name):
    schema = datasets.schema_of(name)
    for column in schema:
        assert column.provenance.startswith("public: ")
        if isinstance(column, Numeric):
            assert column.granularity == 1
    assert schema.target == datasets.info(name).target


@pytest.mark.parametrize("name", ["census-income", "german-credit", "mnist", "fashion-mnist"])
def test_data_that_is_nowhere_is_not_fetched_by_itself(nowhere, monkeypatch, name):
    def network(*args):
        raise AssertionError("the network was used")

    monkeypatch.setattr("sfumato.data.fetching.over_http", network)
    assert datasets.find(name) is None
    with pytest.raises(InputError, match=f"SFUMATO_DATA.*sfumato data fetch {name}"):
        datasets.load(name)


def test_unknown_names_and_splits_are_refused():
    with pytest.raises(InputError, match="Did you mean 'german-credit'"):
        datasets.info("german_credit")
    with pytest.raises(InputError, match="Known: census-income"):
        datasets.load("xyz")
    with pytest.raises(InputError, match=r"has no split 'val'\. Use train or test"):
        datasets.load("digits", split="val")


def write_german(root):
    """A table in the shape of German credit, at random levels."""
    schema = datasets.schema_of("german-credit")
    rng = np.random.default_rng(0)
    codes = {c.name: rng.integers(0, c.size, 1000) for c in schema}
    frame = Table.from_codes(codes, schema).to_pandas()
    (root / "tables").mkdir(parents=True)
    frame.to_csv(root / "tables" / "german_credit.csv", index=False)


def test_data_is_found_in_the_shared_folder_before_the_cache(nowhere, monkeypatch):
    write_german(nowhere / "cache" / "sfumato")
    assert datasets.find("german-credit") == nowhere / "cache" / "sfumato"
    write_german(nowhere / "shared")
    monkeypatch.setenv("SFUMATO_DATA", str(nowhere / "shared"))
    assert datasets.find("german-credit") == nowhere / "shared"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert datasets.cache() == Path.home() / ".cache" / "sfumato"


def test_german_credit_is_parted_by_a_fixed_rule(nowhere):
    write_german(nowhere / "cache" / "sfumato")
    train, test = (datasets.load("german-credit", split=split) for split in ("train", "test"))
    assert (train.num_rows, test.num_rows) == (700, 300)
    for part in (train, test):
        part.validate(part.schema)
    again = datasets.load("german-credit", split="test")
    assert again.to_pandas().equals(test.to_pandas())
    amounts = set(train.to_pandas()["credit_amount"]) & set(test.to_pandas()["credit_amount"])
    assert len(amounts) < 60


def test_a_schema_of_ones_own_takes_the_place_of_the_dictionary():
    schema = datasets.schema_of("census-sample").select("sex", "age", "income")
    table = datasets.load("census-sample", schema=schema)
    assert table.schema.names == ("sex", "age", "income")
    assert table.num_rows == 20_000


@pytest.mark.skipif(SHARED is None, reason="SFUMATO_DATA names no folder of data sets")
@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("name", ["census-income", "german-credit", "mnist", "fashion-mnist"])
def test_shared_data_is_whole_and_fits_its_public_facts(name, split):
    info = datasets.info(name)
    data = datasets.load(name, split=split)
    data.validate(data.schema)
    assert data.num_rows == info.records[split]
    if isinstance(data, ImageSet):
        assert data.schema.shape == (1, 28, 28)
        assert set(data.labels) == set(range(10))
    else:
        assert f"{len(data.schema)} columns" == info.shape


@pytest.mark.skipif(SHARED is None, reason="SFUMATO_DATA names no folder of data sets")
def test_the_census_sample_is_part_of_the_census():
    def digests(table):
        frame = table.to_pandas().astype(object).fillna("").astype(str)
        return [hashlib.sha256("|".join(row).encode()).digest() for row in frame.to_numpy()]

    whole = set(digests(datasets.load("census-income", split="test")))
    assert set(digests(datasets.load("census-sample", split="test"))) <= whole
