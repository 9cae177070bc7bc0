from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sfumato.data
from sfumato.data import (
    Categorical,
    ImageSchema,
    ImageSet,
    Numeric,
    Schema,
    Table,
    addresses,
    load_data,
    load_released,
)
from sfumato.errors import InputError
from sfumato.publish.method import handed_over

SCHEMA = Schema((Numeric("age", 0, 90, 1), Categorical("ill", ("no", "yes"))))


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("age,ill\n1,no\n2,yes\n")
    return path


def test_a_table_opens_under_a_schema_given_named_or_beside_it(csv, tmp_path):
    SCHEMA.save(tmp_path / "facts.yaml")
    for schema in (SCHEMA, tmp_path / "facts.yaml", str(tmp_path / "facts.yaml")):
        table = load_data(csv, target="ill", schema=schema)
        assert table.schema == SCHEMA.with_target("ill")
    with pytest.raises(InputError, match=r"has no schema.*sfumato schema draft"):
        load_data(csv)
    SCHEMA.save(tmp_path / "people.schema.yaml")
    assert load_data(csv).schema == SCHEMA
    assert load_data(str(csv), target="age").schema.target == "age"


def test_a_missing_target_is_refused(csv):
    with pytest.raises(InputError, match="target 'sick' is not a column"):
        load_data(csv, target="sick", schema=SCHEMA)


def test_paths_that_lead_nowhere_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"there is no .*none\.csv\. Check the path"):
        load_data(tmp_path / "none.csv")
    with pytest.raises(InputError, match=r"there is no german-credit.*dataset:german-credit"):
        load_data("german-credit")
    with pytest.raises(InputError, match="there is no"):
        load_data(tmp_path / "none.csv", schema=SCHEMA)
    with pytest.raises(InputError, match="there is no file"):
        load_data(tmp_path / "none.npz")
    with pytest.raises(InputError, match="cannot read"):
        load_data(tmp_path / "none.csv", schema=tmp_path / "none.yaml")
    with pytest.raises(InputError, match=r"unknown data set 'mnits'\. Did you mean 'mnist'"):
        load_data("dataset:mnits")


def test_images_and_tables_are_not_mixed_up(csv, tmp_path):
    facts = ImageSchema(1, 2, 2, ("a", "b"))
    with pytest.raises(InputError, match="its schema describes images"):
        load_data(csv, schema=facts)
    images = ImageSet.from_arrays(np.zeros((3, 2, 2)), np.zeros(3, int), ("a", "b"))
    images.save(tmp_path / "i")
    with pytest.raises(InputError, match="their schema describes a table"):
        load_data(tmp_path / "i" / "data.npz", schema=SCHEMA)
    with pytest.raises(InputError, match="no column 'age' to predict"):
        load_data(tmp_path / "i", target="age")
    with pytest.raises(InputError, match="holds images, the schema a table"):
        load_data("dataset:digits", schema=SCHEMA)
    with pytest.raises(InputError, match="is a table, the schema describes images"):
        load_data("dataset:census-sample", schema=facts)


def test_npz_and_idx_open_with_facts_beside_them(tmp_path):
    facts = ImageSchema(1, 2, 2, ("a", "b"), records=3)
    np.savez(tmp_path / "x.npz", images=np.zeros((3, 2, 2), np.uint8), labels=np.zeros(3, int))
    with pytest.raises(InputError, match="names no classes"):
        load_data(tmp_path / "x.npz")
    facts.save(tmp_path / "x.schema.yaml")
    assert load_data(tmp_path / "x.npz", target="label").schema == facts
    pictures = tmp_path / "train-images-idx3-ubyte"
    pictures.write_bytes(bytes([0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 2]) + bytes(12))
    with pytest.raises(InputError, match="needs declared classes"):
        load_data(pictures)
    with pytest.raises(InputError, match="has no labels beside it"):
        load_data(pictures, schema=facts)
    labels = tmp_path / "train-labels-idx1-ubyte"
    labels.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3]) + bytes(3))
    assert len(load_data(pictures, schema=facts)) == 3


def test_a_folder_of_files_is_one_table(csv, tmp_path):
    assert load_data(tmp_path, schema=SCHEMA).num_rows == 2
    assert load_data(tmp_path / "*.csv", schema=SCHEMA).num_rows == 2


def test_what_was_saved_opens_by_its_folder_alone(csv, tmp_path):
    Table.open(csv, SCHEMA.with_target("ill")).save(tmp_path / "t")
    assert load_data(tmp_path / "t").schema.target == "ill"
    (tmp_path / "t" / "schema.yaml").unlink()
    with pytest.raises(InputError, match=r"has no schema\.yaml"):
        load_released(tmp_path / "t", "table")
    with pytest.raises(InputError, match=r"has no data\.npz"):
        load_released(tmp_path / "t", "images")
    with pytest.raises(InputError, match="kind 'model'"):
        load_released(tmp_path / "t", "model")


def test_named_data_sets_open_by_split():
    assert load_data("dataset:digits").schema.records == 1437
    assert load_data("dataset:digits/test").schema.records == 360
    table = load_data("dataset:census-sample/test", target="sex")
    assert (table.schema.target, table.num_rows) == ("sex", 5000)
    with pytest.raises(InputError, match="has no split 'dev'"):
        load_data("dataset:digits/dev")


def test_importing_the_room_imports_nothing_heavy():
    code = (
        "import sys, sfumato.data\n"
        "heavy = {'pandas', 'pyarrow', 'ibis', 'duckdb', 'torch', 'PIL', 'numpy', 'yaml'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "from sfumato.data import Table, ImageSet, datasets, load_data\n"
        "datasets.available()\n"
        "heavy -= {'numpy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_path_that_leads_nowhere_is_told_as_that_whatever_the_schema(tmp_path: Path) -> None:
    facts = ImageSchema(1, 8, 8, ("a", "b"))
    with pytest.raises(InputError, match=r"there is no .*nothing"):
        load_data(tmp_path / "nothing", schema=facts)


def test_every_public_name_is_there():
    for name in sfumato.data.__all__:
        assert getattr(sfumato.data, name) is not None
    with pytest.raises(AttributeError):
        sfumato.data.nothing  # noqa: B018


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ("dataset:mnist/test", "dataset:mnist/test"),
        ("/home/ada/ward 7/pictures/", "pictures"),
        ("postgres://ada:secret@claims.example/db?table=public.people", "public.people"),
        ("duckdb:///srv/ada/claims.db?table=people", "people"),
    ],
)
def test_a_card_names_data_without_folders_hosts_and_passwords(data: str, shown: str) -> None:
    assert addresses.named(data) == shown
    assert handed_over({"public_data": data, "k": 1}) == {"public_data": shown, "k": 1}
    assert handed_over({"public_data": None}) == {"public_data": None}
    assert handed_over({"public": data}) == {"public": shown}
    assert handed_over({"public": "drawings"}) == {"public": "drawings"}


def pictures(folder, names):
    """Two classes of grey pictures."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 5), np.uint8)).save(folder / name)


def test_a_list_beside_class_folders_makes_no_table_of_them(tmp_path):
    pictures(tmp_path, ["cat/1.png", "dog/1.png"])
    (tmp_path / "patients.csv").write_text("id,age\n1,2\n")
    assert load_data(tmp_path).schema.classes == ("cat", "dog")
    pictures(tmp_path / "flat", ["1.png"])
    (tmp_path / "flat" / "list.csv").write_text("id,age\n1,2\n")
    with pytest.raises(InputError, match=r"list them in labels\.csv"):
        load_data(tmp_path / "flat")


def test_images_that_a_list_leaves_out_are_told_of(tmp_path, caplog):
    pictures(tmp_path, ["1.png", "2.png", "3.png"])
    (tmp_path / "labels.csv").write_text("file,label\n1.png,cat\n3.png,cat\n")
    facts = ImageSchema(1, 4, 5, ("cat",))
    assert len(load_data(tmp_path, schema=facts)) == 2
    assert "lists 2 images; 1 beside them are left out" in caplog.text
    (tmp_path / "2.png").unlink()
    caplog.clear()
    load_data(tmp_path, schema=facts)
    assert not caplog.records


def test_facts_beside_a_folder_of_images_are_its_own(tmp_path):
    pictures(tmp_path / "scans", ["1.png", "2.png"])
    (tmp_path / "scans" / "labels.csv").write_text("file,label\n1.png,cat\n2.png,cat\n")
    with pytest.raises(InputError, match="needs declared classes"):
        load_data(tmp_path / "scans")
    ImageSchema(1, 4, 5, ("cat", "dog")).save(tmp_path / "scans.schema.yaml")
    assert load_data(tmp_path / "scans").schema.classes == ("cat", "dog")


@pytest.mark.parametrize("name", [".", "../scans", "../scans/cat/.."])
def test_the_working_folder_is_read_as_by_its_name(tmp_path, monkeypatch, name):
    pictures(tmp_path / "scans", ["cat/1.png", "dog/1.png"])
    ImageSchema(1, 4, 5, ("dog", "cat")).save(tmp_path / "scans.schema.yaml")
    monkeypatch.chdir(tmp_path / "scans")
    assert load_data(name).schema.classes == ("dog", "cat")
