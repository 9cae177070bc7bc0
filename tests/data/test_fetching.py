from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import urllib.error
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from sfumato.data import Table, datasets, fetching
from sfumato.errors import InputError

SHARED = os.environ.get("SFUMATO_DATA")

# In the format that census-income.names describes, with values from its lists.
CENSUS_LINE = (
    "38, Private, 6, 36, 1st 2nd 3rd or 4th grade, 0, Not in universe, "
    "Married-civilian spouse present, Manufacturing-durable goods, "
    "Handlers equip cleaners etc , White, NA, Female, Not in universe, Not in universe, "
    "Full-time schedules, 0, 0, 0, Joint one under 65 & one 65+, Not in universe, ?, "
    "Spouse of householder, Spouse of householder, 1032.38, ?, ?, ?, "
    "Not in universe under 1 year old, ?, 4, Not in universe, Mexico, Mexico, ?, "
    "Foreign born- Not a citizen of U S , 0, Not in universe, 2, 12, 95, {}\n"
)


def zipped(**files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", "."), data)
    return out.getvalue()


def tarred(name, data):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        entry = tarfile.TarInfo(f"folder/{name}")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def test_a_census_line_is_read_by_the_data_dictionary():
    text = CENSUS_LINE.format("- 50000.") + CENSUS_LINE.format("50000+.")
    table = fetching.census_table(text.encode(), 2)
    first, second = table.to_pylist()
    assert len(first) == 42
    assert (first["age"], first["instance_weight"], first["year"]) == (38, 1032.38, 95)
    assert first["major_occupation"] == "Handlers equip cleaners etc "
    assert first["citizenship"] == "Foreign born- Not a citizen of U S "
    assert first["hispanic_origin"] is None
    assert first["migration_msa"] is None
    assert first["previous_state"] is None
    assert first["veteran_benefits"] == 2
    assert (first["income"], second["income"]) == ("<=50K", ">50K")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("38, Private", "38, Freelance", "'Freelance' in row 1"),
        ("38, ", "138, ", "138 in row 1"),
        ("38, ", "old, ", "not as published"),
        (", 95, ", ", 95, 96, ", "not as published"),
        ("- 50000.", "rich", "column 'income': no value in row 1"),
    ],
)
def test_a_census_file_that_is_not_as_published_is_refused(old, new, problem):
    line = CENSUS_LINE.format("- 50000.")
    assert old in line
    with pytest.raises(InputError, match=problem):
        fetching.census_table(line.replace(old, new).encode(), 1)


def test_a_census_file_of_another_length_is_refused():
    with pytest.raises(InputError, match="has 1 rows, 2 were published"):
        fetching.census_table(CENSUS_LINE.format("- 50000.").encode(), 2)


def test_the_bundled_census_rows_survive_the_published_format():
    folder = Path(datasets.find("census-sample"))
    rows = pq.read_table(folder / "census_sample_test.parquet").slice(0, 300)
    lines = []
    for row in rows.to_pylist():
        row["income"] = {"<=50K": "- 50000.", ">50K": "50000+."}[row["income"]]
        lines.append(", ".join("?" if value is None else str(value) for value in row.values()))
    table = fetching.census_table(("\n".join(lines) + "\n").encode(), 300)
    # The sample holds two columns of codes as text; the schema reads both alike.
    schema = datasets.schema_of("census-income")
    ours, theirs = (Table.from_arrow(t, schema).to_arrow() for t in (table, rows))
    assert ours.equals(theirs)
    assert table.column("instance_weight").equals(rows.column("instance_weight"))


@pytest.mark.parametrize("packing", ["zip", "zip of gz", "zip of tar", "tar"])
def test_a_file_is_found_however_its_archive_packs_it(packing):
    data = b"some rows"
    archive = {
        "zip": lambda: zipped(a__data=data, b__data=b"other"),
        "zip of gz": lambda: zipped(a__data__gz=gzip.compress(data)),
        "zip of tar": lambda: zipped(x__txt=b"", x__tar__gz=tarred("a.data", data)),
        "tar": lambda: tarred("a.data", data),
    }[packing]()
    assert fetching.member(archive, "a.data") == data
    with pytest.raises(InputError, match=r"the archive holds no c\.data"):
        fetching.member(archive, "c.data")


def test_what_is_no_archive_is_refused():
    with pytest.raises(InputError, match="is no archive"):
        fetching.member(b"<html>moved</html>", "a.data")
    with pytest.raises(InputError, match="arrived damaged"):
        fetching.unpack(b"<html>", "x.gz")


def test_the_census_is_fetched_into_the_layout_it_is_found_in(tmp_path, monkeypatch):
    monkeypatch.delenv("SFUMATO_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    info = datasets.info("census-income")
    monkeypatch.setitem(info.records, "train", 3)
    monkeypatch.setitem(info.records, "test", 2)
    line = CENSUS_LINE.format("50000+.").encode()
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as archive:
        for name, rows in (("census-income.data", 3), ("census-income.test", 2)):
            entry = tarfile.TarInfo(name)
            entry.size = len(line) * rows
            archive.addfile(entry, io.BytesIO(line * rows))
    asked = []

    def download(url):
        asked.append(url)
        return zipped(census__tar__gz=inner.getvalue())

    monkeypatch.setattr(fetching, "over_http", download)
    assert datasets.fetch("census-income") == tmp_path / "sfumato"
    assert len(asked) == 1
    assert datasets.load("census-income", split="test").num_rows == 2
    datasets.fetch("census-income")
    assert len(asked) == 1


def test_a_download_that_differs_from_its_checksum_is_not_kept(tmp_path):
    wrong = gzip.compress(b"not the digits")
    for name in ("mnist", "fashion-mnist"):
        with pytest.raises(InputError, match=r"has the sha256 .* nothing was kept"):
            fetching.fetch(datasets.info(name), tmp_path, lambda url: wrong)
    with pytest.raises(InputError, match="has the sha256"):
        fetching.german_csv(b"A11 6 A34\n")
    assert not list(tmp_path.rglob("*"))


def test_mnist_is_kept_packed_as_it_came_when_its_content_is_right(tmp_path, monkeypatch):
    content = {"train-images": b"1", "train-labels": b"2", "t10k-images": b"3", "t10k-labels": b"4"}

    def stem(name):
        return "-".join(name.rpartition("/")[2].split("-")[:2])

    for file in list(fetching._SHA256):
        if file.startswith("mnist/"):
            digest = hashlib.sha256(content[stem(file)]).hexdigest()
            monkeypatch.setitem(fetching._SHA256, file, digest)
    fetching.fetch(
        datasets.info("mnist"), tmp_path, lambda url: gzip.compress(content[stem(url)], 1)
    )
    files = sorted(path.name for path in (tmp_path / "mnist").iterdir())
    assert len(files) == 4
    assert gzip.decompress((tmp_path / "mnist" / "t10k-images-idx3-ubyte.gz").read_bytes()) == b"3"


def test_sources_that_cannot_be_reached_are_named(monkeypatch):
    def refuse(*args, **kwargs):
        raise urllib.error.URLError("no route")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(InputError, match=r"cannot fetch https://x\.org/y \(no route\)"):
        fetching.over_http("https://x.org/y")
    monkeypatch.setattr("urllib.request.urlopen", lambda *a, **k: io.BytesIO(b"abc"))
    assert fetching.over_http("https://x.org/y") == b"abc"
    monkeypatch.setattr(fetching, "_LARGEST", 2)
    with pytest.raises(InputError, match="larger than a gigabyte"):
        fetching.over_http("https://x.org/y")


def test_a_file_is_kept_whole_or_not_at_all(tmp_path, monkeypatch):
    def crash(*args):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(OSError, match="disk full"):
        fetching._keep(tmp_path / "a", b"x")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(SHARED is None, reason="SFUMATO_DATA names no folder of data sets")
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_the_checksums_are_those_of_the_shared_files(tmp_path, name):
    def local(url):
        return (Path(SHARED) / name / url.rpartition("/")[2]).read_bytes()

    fetching.fetch(datasets.info(name), tmp_path, local)
    assert len(list((tmp_path / name).iterdir())) == 4


@pytest.mark.skipif(SHARED is None, reason="SFUMATO_DATA names no folder of data sets")
def test_the_checksum_of_german_credit_is_that_of_the_shared_file():
    shared = (Path(SHARED) / "tables" / "german_credit.csv").read_text()
    rows = shared.splitlines()[1:]
    original = "\n".join(row.replace(",", " ") for row in rows) + " \n"
    assert fetching.german_csv(original.encode()).decode().splitlines()[1:] == rows
    assert np.array_equal([row.count(",") for row in rows], [20] * 1000)
    wrong = original.replace("1169", "1170")
    with pytest.raises(InputError, match="has the sha256"):
        fetching.german_csv(wrong.encode())
