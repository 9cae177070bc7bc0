"""A release for programs that do not know releases: CSV, Parquet, PNG."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import sfumato
from sfumato.data import Categorical, Date, ImageSet, Numeric, Schema, Table
from sfumato.errors import InputError
from sfumato.release.release import Artefact


def stand_in(content: Any, example: sfumato.Release) -> sfumato.Release:
    """A release of given records: what is written does not depend on how they came about."""
    return sfumato.Release(card=example.card, artefact=Artefact(content))


@pytest.fixture
def example() -> sfumato.Release:
    rows = Table.from_codes({"a": np.zeros(30, np.int64)}, Schema((Numeric("a", 0, 1, 1),)))
    with pytest.warns(UserWarning, match="no ledger"):
        return sfumato.publish(rows, epsilon=1, method="tables.adaptive", holdout=0)


ROWS = Table.from_pandas(
    pd.DataFrame(
        {
            "size": [0.25, np.nan, 1.0],
            "place": ["a, b", 'say "x"', "é"],
            "day": pd.to_datetime(["2001-01-01", "2001-01-02", "2001-01-03"]),
        }
    ),
    Schema(
        (
            Numeric("size", 0, 1, 0.25, missing=True),
            Categorical("place", ("a, b", 'say "x"', "é")),
            Date("day", "2001-01-01", "2001-01-31"),
        )
    ),
)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_rows_come_back_as_they_were(suffix: str, tmp_path: Path, example: Any) -> None:
    file = sfumato.export(stand_in(ROWS, example), tmp_path / f"rows.{suffix}")
    assert file.stat().st_mtime == example.card.seconds  # when it was written is nobody's business
    read = pd.read_csv(file, parse_dates=["day"]) if suffix == "csv" else pd.read_parquet(file)
    assert read["size"].tolist()[::2] == [0.25, 1.0]
    assert np.isnan(read["size"][1])
    assert read["place"].tolist() == ["a, b", 'say "x"', "é"]
    assert [str(day)[:10] for day in read["day"]] == ["2001-01-01", "2001-01-02", "2001-01-03"]
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("soft", [False, True])
def test_pictures_come_back_as_they_were(
    channels: int, soft: bool, tmp_path: Path, example: Any
) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (12, channels, 5, 4)).astype(np.uint8)
    shares = rng.dirichlet([1, 1], 12) if soft else None
    images = ImageSet.from_arrays(pixels, np.arange(12) % 2, ("cat", "dog"), soft_labels=shares)
    with pytest.raises(InputError, match="Images become a folder"):
        sfumato.export(stand_in(images, example), tmp_path / "pictures.csv")
    folder = sfumato.export(stand_in(images, example), tmp_path / "pictures")
    read = ImageSet.from_csv(folder, folder / "labels.csv", classes=("cat", "dog"))
    assert np.array_equal((read.images * 255).round().astype(np.uint8), pixels)
    assert read.labels.tolist() == images.labels.tolist()
    with (folder / "labels.csv").open(encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    assert rows[0]["file"] == "images/00.png"
    with Image.open(folder / rows[3]["file"]) as picture:
        assert picture.size == (4, 5)
    if shares is not None:
        given = np.array([[float(row["soft_cat"]), float(row["soft_dog"])] for row in rows])
        assert np.abs(given - shares).max() < 1e-6
    else:
        assert set(rows[0]) == {"file", "label"}


def test_what_cannot_be_written_is_refused_and_leaves_nothing(tmp_path: Path, example: Any) -> None:
    with pytest.raises(InputError, match=r"ends in '\.xlsx'"):
        sfumato.export(stand_in(ROWS, example), tmp_path / "rows.xlsx")
    assert not list(tmp_path.iterdir())
    (tmp_path / "rows.csv").write_text("mine")
    with pytest.raises(InputError, match="already exists"):
        sfumato.export(stand_in(ROWS, example), tmp_path / "rows.csv")
