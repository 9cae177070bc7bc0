"""A released model: saved and loaded without a pickle, and what it predicts on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sfumato.data import Categorical, ImageSchema, ImageSet, Numeric, Schema, Table
from sfumato.errors import InputError
from sfumato.learn.architectures import build, weights
from sfumato.publish.models.network import architecture
from sfumato.release.model import Model
from sfumato.release.release import Artefact, Release
from sfumato.release.weights import load_weights, save_weights

PEOPLE = Schema(
    (
        Numeric("age", 0, 9, 1, missing=True),
        Categorical("colour", ("red", "green")),
        Categorical("ill", ("no", "yes"), missing=True),
    ),
    target="ill",
    records=30,
)
PICTURES = ImageSchema(1, 4, 4, ("a", "b", "c"), records=12)


def model_of(facts: Any) -> Model:
    made = architecture(facts, "auto", (5,))
    return Model(facts, made, weights(build(made, seed=2)))


def rows(n: int = 30, seed: int = 0) -> Table:
    rng = np.random.default_rng(seed)
    return Table.from_codes(
        {c.name: rng.integers(0, c.size, n) for c in PEOPLE}, PEOPLE.with_records(None)
    )


def pictures(n: int = 12) -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 256, (n, 1, 4, 4)) / 255
    return ImageSet.from_arrays(pixels.astype(np.float32), np.arange(n) % 3, PICTURES.classes)


@pytest.fixture
def release(make: Any) -> Any:
    def wrapped(model: Model) -> Release:
        kind = "images" if model.takes == "images" else "table"
        base = make(kind, artefact={"kind": "model"})
        return Release(base.card, Artefact(model, seeds={"initial weights": 2}))

    return wrapped


@pytest.mark.parametrize("facts", [PEOPLE, PICTURES], ids=["table", "images"])
def test_a_release_of_a_model_comes_back_as_it_was(
    facts: Any, release: Any, tmp_path: Path
) -> None:
    model = model_of(facts)
    release(model).save(tmp_path / "out")
    found = Release.load(tmp_path / "out")
    records = rows() if facts is PEOPLE else pictures()
    assert found.artefact.kind == "model"
    assert found.model.architecture == model.architecture
    assert found.model.classes == model.classes
    assert found.model.parameters == model.parameters
    np.testing.assert_array_equal(found.model.probabilities(records), model.probabilities(records))
    np.testing.assert_array_equal(found.predict(records), model.predict(records))
    # How many people there were is said by the card, not by what the model takes.
    assert found.facts.records is None
    assert found.facts == facts.with_records(None)


def test_the_folder_holds_tensors_and_text_and_no_pickle(release: Any, tmp_path: Path) -> None:
    release(model_of(PEOPLE)).save(tmp_path / "out")
    files = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    assert set(files) == {"card.json", "schema.yaml", "weights.safetensors"}
    # A pickle of protocol 2 and up begins so, and a zip of torch's likewise.
    assert not any(content.startswith((b"\x80", b"PK")) for content in files.values())
    listed = {entry["name"] for entry in json.loads(files["card.json"])["artefact"]["files"]}
    assert listed == {"schema.yaml", "weights.safetensors"}


@pytest.mark.parametrize("name", ["weights.safetensors", "schema.yaml"])
@pytest.mark.parametrize("how", ["altered", "missing"])
def test_a_damaged_file_is_found(name: str, how: str, release: Any, tmp_path: Path) -> None:
    release(model_of(PEOPLE)).save(tmp_path / "out")
    file = tmp_path / "out" / name
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.unlink()
    if how == "altered":
        file.write_bytes(content)
    said = "differs from its digest" if how == "altered" else "is missing"
    with pytest.raises(InputError, match=said):
        Release.load(tmp_path / "out")


def test_weights_that_the_card_does_not_list_are_no_part_of_a_release(
    release: Any, tmp_path: Path
) -> None:
    release(model_of(PEOPLE)).save(tmp_path / "out")
    card = tmp_path / "out" / "card.json"
    values = json.loads(card.read_text("utf-8"))
    values["artefact"]["files"] = [
        entry for entry in values["artefact"]["files"] if entry["name"] != "weights.safetensors"
    ]
    card.write_text(json.dumps(values), "utf-8")
    with pytest.raises(InputError, match=r"does not list weights\.safetensors"):
        Release.load(tmp_path / "out")


def test_images_are_predicted_in_every_form_they_come_in() -> None:
    model, data = model_of(PICTURES), pictures()
    wanted = model.probabilities(data)
    array = data.images
    for form in (
        array,
        array[:, 0],
        (array * 255).round().astype(np.uint8),
        array.tolist(),
    ):
        np.testing.assert_allclose(model.probabilities(form), wanted, atol=1e-6)
    colour = Model(
        ImageSchema(3, 4, 4, ("a", "b")),
        made := architecture(ImageSchema(3, 4, 4, ("a", "b")), "dense"),
        weights(build(made, seed=0)),
    )
    rgb = np.random.default_rng(1).random((5, 3, 4, 4)).astype(np.float32)
    np.testing.assert_array_equal(
        colour.probabilities(rgb), colour.probabilities(rgb.transpose(0, 2, 3, 1))
    )
    assert model.predict(data).dtype == np.int64
    np.testing.assert_array_equal(model.predict(data), wanted.argmax(axis=1))
    np.testing.assert_allclose(wanted.sum(axis=1), 1)


def test_rows_are_predicted_with_and_without_the_target() -> None:
    model, table = model_of(PEOPLE), rows()
    wanted = model.probabilities(table)
    frame = table.to_pandas()
    for form in (
        frame,
        frame.drop(columns="ill"),
        frame[["colour", "age"]],
        Table.from_pandas(frame.drop(columns="ill"), PEOPLE.select("age", "colour")),
    ):
        np.testing.assert_array_equal(model.probabilities(form), wanted)
    found = model.predict(frame)
    best = wanted.argmax(axis=1)
    assert [("no", "yes", None)[i] for i in best] == list(found)
    assert model.classes == ("no", "yes", "missing")


def test_many_records_are_predicted_in_parts_with_the_same_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from sfumato.release import model as room

    model, table = model_of(PEOPLE), rows()
    wanted = model.probabilities(table)
    monkeypatch.setattr(room, "_BATCH", 7)
    np.testing.assert_allclose(model.probabilities(table), wanted, atol=1e-7)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (
            np.zeros((2, 1, 5, 4), np.float32),
            r"images are \(1, 5, 4\), the model takes \(1, 4, 4\)",
        ),
        (np.zeros((2, 3, 4, 4), np.float32), "the model takes"),
        (np.zeros((2, 16), np.float32), "the array has shape"),
        (np.float32(1.0), "the array has shape"),
        (np.full((2, 4, 4), 2.0), "the array"),
        (np.full((2, 4, 4), np.nan), "the array"),
        ([["a"], ["b"]], "the array"),
        ([[1.0], [1.0, 2.0]], "the array"),
        (None, "the array"),
    ],
    ids=["size", "channels", "flat", "number", "range", "nan", "text", "ragged", "none"],
)
def test_what_are_no_images_of_its_size_is_refused(records: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        model_of(PICTURES).probabilities(records)


def frame_with(**changes: Any) -> pd.DataFrame:
    frame = rows(5).to_pandas()
    return frame.assign(**changes)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (frame_with().drop(columns="age"), "age"),
        (frame_with(more=1), "more"),
        (frame_with(colour="blue"), "blue"),
        (frame_with(age=99), "99"),
        (frame_with(age="old"), "age"),
        (np.zeros((3, 2)), "was given a ndarray"),
        (pictures(), "was given a ImageSet"),
    ],
    ids=["column", "more", "level", "bound", "text", "array", "images"],
)
def test_what_are_no_rows_of_its_columns_is_refused(records: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        model_of(PEOPLE).probabilities(records)


def test_a_table_of_other_columns_or_levels_is_refused() -> None:
    model = model_of(PEOPLE)
    fewer = Table.from_codes({"age": np.array([1, 2])}, PEOPLE.select("age"))
    with pytest.raises(InputError, match="lack column 'colour'"):
        model.predict(fewer)
    other = Schema((PEOPLE["age"], Categorical("colour", ("green", "red"))))
    turned = Table.from_codes({"age": np.array([1]), "colour": np.array([0])}, other)
    with pytest.raises(InputError, match="other levels or bounds"):
        model.predict(turned)


def test_a_release_holds_data_or_a_model_and_says_which(make: Any, release: Any) -> None:
    with pytest.raises(InputError, match=r"holds a model, not data\. Use predict"):
        _ = release(model_of(PEOPLE)).data
    with pytest.raises(InputError, match="holds table, not a model"):
        make("table").predict(rows())


def test_weights_and_what_rebuilds_them_lie_in_one_file(tmp_path: Path) -> None:
    tensors = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(3, np.int64)}
    save_weights(tmp_path / "w", tensors, {"family": "x", "hidden": [1, 2], "named": None})
    found, made = load_weights(tmp_path / "w")
    assert made == {"family": "x", "hidden": [1, 2], "named": None}
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(found[name], tensor)
        assert found[name].dtype == tensor.dtype


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 no tensors", b"\x08" + bytes(7) + b"not json"]
)
def test_a_file_that_is_no_safetensors_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(InputError, match="cannot be read"):
        load_weights(tmp_path / "w")
    with pytest.raises(InputError, match="cannot be read"):
        load_weights(tmp_path / "nothing")
