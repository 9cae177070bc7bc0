"""Targets that sfumato had no part in, from a path, an address or memory to a release."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from torch import nn

from sfumato.attack import ceilings
from sfumato.data import ImageSchema, Schema, Table
from sfumato.errors import InputError
from sfumato.learn.architectures import build, weights
from sfumato.release.foreign.interface import Interface, made_up, order_of
from sfumato.release.foreign.opening import NOTHING, How, how_of, open_target
from sfumato.release.foreign.sklearn_files import of_estimator
from sfumato.release.weights import save_weights


def rows(schema: Schema, n: int = 60, seed: int = 0) -> Table:
    rng = np.random.default_rng(seed)
    return Table.from_codes({c.name: rng.integers(0, c.size, n) for c in schema}, schema)


def fitted(schema: Schema) -> Any:
    frame = rows(schema).to_pandas()
    kinds = OneHotEncoder(handle_unknown="ignore")
    prepared = make_column_transformer((kinds, ["town", "degree"]), remainder="passthrough")
    return make_pipeline(prepared, LogisticRegression(max_iter=500)).fit(
        frame.drop(columns="owner"), frame["owner"]
    )


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images)


def test_a_table_of_anyone_claims_nothing(table_schema: Schema, tmp_path: Path) -> None:
    rows(table_schema).to_pandas().to_csv(tmp_path / "out.csv", index=False)
    opened = open_target(tmp_path / "out.csv", How(table_schema))
    assert (opened.artefact.kind, len(opened.data)) == ("table", 60)
    assert opened.card.figures["statement"] == NOTHING
    assert opened.card.proven.epsilon() == float("inf")
    assert ceilings.of(opened.card) is None
    assert opened.card.verify() == []


def test_facts_are_those_given_then_beside_then_of_the_members(
    table_schema: Schema, tmp_path: Path
) -> None:
    file = tmp_path / "out.csv"
    rows(table_schema).to_pandas().to_csv(file, index=False)
    with pytest.raises(InputError, match="has no schema"):
        open_target(file, How())
    assert open_target(file, How(), lambda: table_schema).facts.target == "owner"
    table_schema.with_target("town").save(tmp_path / "out.schema.yaml")
    assert open_target(file, How(), lambda: table_schema).facts.target == "town"
    assert open_target(file, How(table_schema, "degree")).facts.target == "degree"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda frame: frame.drop(columns="age"), "lacks column 'age'"),
        (lambda frame: frame.assign(income=1), "has column 'income'"),
        (lambda frame: frame.assign(town="east"), "'east'"),
        (lambda frame: frame.assign(age=frame["age"] + 0.5), "age"),
    ],
)
def test_rows_that_are_not_what_the_schema_says_are_refused(
    change: Any, named: str, table_schema: Schema, tmp_path: Path
) -> None:
    change(rows(table_schema).to_pandas()).to_csv(tmp_path / "out.csv", index=False)
    with pytest.raises(InputError, match=named):
        open_target(tmp_path / "out.csv", How(table_schema))


def test_a_folder_of_pictures_with_a_list_of_labels_needs_no_schema(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["file,label"]
    for i, label in enumerate(("10", "9", "9")):
        Image.fromarray(rng.integers(0, 256, (4, 5), np.uint8)).save(tmp_path / f"{i}.png")
        lines.append(f"{i}.png,{label}")
    (tmp_path / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    opened = open_target(tmp_path, How())
    assert opened.facts.shape == (1, 4, 5)
    assert opened.facts.classes == ("9", "10")
    assert opened.data.labels.tolist() == [1, 0, 0]
    other = ImageSchema(1, 4, 5, ("8", "9"))
    with pytest.raises(InputError, match="label '10' was never declared"):
        open_target(tmp_path, How(other))


@pytest.mark.parametrize("given", [None, ImageSchema(1, 4, 5, ("a", "b"))])
@pytest.mark.parametrize("way", ["above", "absolute", "link", "link in a folder of a class"])
def test_a_folder_of_pictures_cannot_name_files_outside_it(
    way: str, given: Any, tmp_path: Path
) -> None:
    private, handed = tmp_path / "private", tmp_path / "handed"
    private.mkdir()
    handed.mkdir()
    pixels = np.zeros((4, 5), np.uint8)
    Image.fromarray(pixels).save(private / "0.png")
    outside: Any = {"above": "../private/0.png", "absolute": private / "0.png"}.get(way, "0.png")
    if way == "link":
        (handed / "0.png").symlink_to(private / "0.png")
    if way == "link in a folder of a class":
        for name in "ab":
            (handed / name).mkdir()
            (handed / name / "0.png").symlink_to(private / "0.png")
    else:
        Image.fromarray(pixels).save(handed / "1.png")
        (handed / "labels.csv").write_text(f"file,label\n1.png,a\n{outside},b\n")
    how = How(given or (ImageSchema(1, 4, 5, ("a", "b")) if "class" in way else None))
    with pytest.raises(InputError, match=r"names the picture .*0\.png, which lies outside it"):
        open_target(handed, how)
    with pytest.raises(InputError, match=r"which lies outside it"):
        open_target(f"{handed}/../handed", how)


def test_an_archive_of_pictures_is_opened(tmp_path: Path) -> None:
    images = np.zeros((4, 6, 6), np.uint8)
    classes = np.array(["a", "b"])
    np.savez(tmp_path / "out.npz", images=images, labels=np.array([0, 1, 1, 0]), classes=classes)
    assert len(open_target(tmp_path / "out.npz", How()).data) == 4


@pytest.mark.parametrize("stored", ["memory", "skops", "joblib", "function"])
def test_a_classifier_of_scikit_learn_answers_as_it_does_itself(
    stored: str, table_schema: Schema, tmp_path: Path
) -> None:
    own = fitted(table_schema)
    target: Any = own
    if stored == "skops":
        io = pytest.importorskip("skops.io")
        io.dump(own, target := tmp_path / "model.skops")
    elif stored == "joblib":
        import joblib

        joblib.dump(own, target := tmp_path / "model.joblib")
        with pytest.raises(InputError, match="is a pickle"):
            open_target(target, How(table_schema))
    elif stored == "function":
        target = own.predict_proba
    opened = open_target(target, How(table_schema, trust=True))
    some = rows(table_schema, 40, 1)
    expected = own.predict_proba(some.to_pandas().drop(columns="owner"))
    np.testing.assert_allclose(opened.model.probabilities(some), expected)
    assert opened.predict(some).tolist() == own.predict(some.to_pandas()).tolist()


def test_a_classifier_of_a_matrix_gets_numbers(table_schema: Schema) -> None:
    some = rows(table_schema)
    codes = some.codes()
    x = np.stack([codes[name] for name in ("age", "town", "degree")], axis=1)
    own = LogisticRegression(max_iter=1000).fit(x, codes["owner"])
    found = open_target(own, How(table_schema)).model.probabilities(some)
    np.testing.assert_allclose(found, own.predict_proba(x), rtol=1e-5)


def test_what_gives_no_probabilities_is_refused(table_schema: Schema) -> None:
    from sklearn.svm import LinearSVC

    x = np.arange(60.0).reshape(20, 3)
    with pytest.raises(InputError, match="LinearSVC has no predict_proba"):
        open_target(LinearSVC().fit(x, np.arange(20) % 2), How(table_schema))


def test_a_torch_script_answers_as_the_network_does(
    picture_schema: ImageSchema, tmp_path: Path
) -> None:
    network = Network().eval()
    images = torch.rand(6, 1, 4, 5)
    expected = torch.softmax(network(images), dim=1).detach().numpy()
    file = tmp_path / "model.pt"
    torch.jit.trace(network, images).save(str(file))
    opened = open_target(file, How(picture_schema, trust=True))
    np.testing.assert_allclose(opened.model.probabilities(images.numpy()), expected, rtol=1e-4)
    in_memory = open_target(network, How(picture_schema)).model
    np.testing.assert_allclose(in_memory.probabilities(images.numpy()), expected, rtol=1e-4)
    assert torch.equal(in_memory.module(images), network(images))
    assert next(in_memory.module.parameters()) is next(network.parameters())
    assert in_memory.parameters == 20 * 8 + 8 + 8 * 3 + 3


def test_a_script_that_can_write_files_runs_only_where_it_is_trusted(
    picture_schema: ImageSchema, tmp_path: Path
) -> None:
    victim, file = tmp_path / "victim", tmp_path / "model.pt"
    victim.write_bytes(b"LEDGER!!")
    script = torch.jit.ScriptModule()
    script.define(
        f"""
        def forward(self, images):
            mapped = torch.from_file("{victim}", True, 8, dtype=0)
            mapped.fill_(65)
            return images.flatten(1)[:, :3] + mapped[:3].float()
        """
    )
    script.save(str(file))
    with pytest.raises(InputError, match=r"is a TorchScript program: .* --trust"):
        open_target(file, How(picture_schema))
    assert victim.read_bytes() == b"LEDGER!!"
    open_target(file, How(picture_schema, trust=True))
    assert victim.read_bytes() == b"A" * 8  # so it is what a refusal keeps away


def test_an_exported_program_is_opened_only_where_it_is_trusted(
    picture_schema: ImageSchema, tmp_path: Path
) -> None:
    network = Network().eval()
    batch = torch.export.Dim("batch", min=2, max=4096)
    images = torch.rand(6, 1, 4, 5)
    program = torch.export.export(network, (images,), dynamic_shapes=({0: batch},))
    torch.export.save(program, str(tmp_path / "model.pt2"))
    with pytest.raises(InputError, match=r"is a torch.export file: opening it can run code"):
        open_target(tmp_path / "model.pt2", How(picture_schema))
    opened = open_target(tmp_path / "model.pt2", How(picture_schema, trust=True))
    expected = torch.softmax(network(images), dim=1).detach().numpy()
    np.testing.assert_allclose(opened.model.probabilities(images.numpy()), expected, rtol=1e-4)


class Harmful:
    """Runs code where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "model.pkl", "model.joblib"])
def test_no_pickle_is_opened_unasked(name: str, picture_schema: Any, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    torch.save(Harmful(mark), tmp_path / name)
    with pytest.raises(InputError, match=r"is a pickle: opening it can run code .* --trust"):
        open_target(tmp_path / name, How(picture_schema))
    assert not mark.exists()


def test_weights_alone_need_their_architecture(picture_schema: ImageSchema, tmp_path: Path) -> None:
    from sfumato.publish.models.network import architecture

    values = architecture(picture_schema, "auto", (5,))
    tensors = weights(build(values, seed=1))
    save_weights(tmp_path / "model.safetensors", tensors, {})
    with pytest.raises(InputError, match="does not say of what network"):
        open_target(tmp_path / "model.safetensors", How(picture_schema))
    (tmp_path / "net.json").write_text(json.dumps(values), encoding="utf-8")
    how = how_of(picture_schema, architecture=str(tmp_path / "net.json"))
    opened = open_target(tmp_path / "model.safetensors", how)
    assert opened.model.probabilities(np.zeros((2, 4, 5), np.float32)).shape == (2, 3)


def test_weights_that_do_not_fit_are_told_by_what_differs(
    picture_schema: ImageSchema, tmp_path: Path
) -> None:
    """Three classes of 1 x 4 x 5 pictures; nobody's record has been read then."""
    file = tmp_path / "model.safetensors"
    fits = {"family": "dense", "shape": [1, 4, 5], "classes": 3, "hidden": [7]}

    def opened(stored: Any, given: Any, **how: Any) -> Any:
        save_weights(file, weights(build(stored, seed=1)), {})
        return open_target(file, how_of(picture_schema, architecture=given, **how))

    assert opened(fits, fits).model.classes == tuple(picture_schema.classes)
    with pytest.raises(InputError, match=r"has \(5, 7\) numbers as '3.weight', model.*\(3, 7\)"):
        opened(fits, {**fits, "classes": 5})
    with pytest.raises(InputError, match=r"the architecture has .* as '5.weight', model.* has no"):
        opened(fits, {**fits, "hidden": [7, 3]})
    with pytest.raises(InputError, match=r"answers an array of shape \(8, 5\). 3 classes"):
        opened({**fits, "classes": 5}, {**fits, "classes": 5})
    with pytest.raises(InputError, match=r"cannot take such records .*shape of the pictures"):
        opened({**fits, "shape": [1, 9, 9]}, {**fits, "shape": [1, 9, 9]})
    with pytest.raises(InputError, match="built of an architecture takes pixels in"):
        opened(fits, fits, interface={"scale": 255})  # it was ignored, and every figure wrong


def test_classes_that_differ_by_case_are_told_apart() -> None:
    assert order_of(["b", "B", "a"], ["a", "b", "B"]) == [1, 2, 0]
    assert order_of(["YES", "no"], ["no", "yes"]) == [1, 0]


def test_what_predicts_numbers_is_refused_by_its_name(table_schema: Schema) -> None:
    from sklearn.linear_model import LinearRegression
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    for last, problem in (
        (LinearRegression(), "the pipeline's LinearRegression predicts a number"),
        (LinearSVC(), "the pipeline's LinearSVC has no predict_proba"),
    ):
        with pytest.raises(InputError, match=problem):
            of_estimator(
                make_pipeline(StandardScaler(), last),
                table_schema,
                interface=Interface(),
                name="scikit-learn model.skops",
            )
        with pytest.raises(InputError, match=problem):
            open_target(make_pipeline(StandardScaler(), last), How(table_schema))


def test_gradients_are_of_logits_alone(picture_schema: ImageSchema) -> None:
    """Of another answer the loss, and what is read off its gradient, would be another."""
    flat = nn.Flatten()
    good = nn.Sequential(flat, nn.Linear(20, 3))
    inside = open_target(good, How(picture_schema)).model.module
    assert next(inside.parameters()) is next(good.parameters())
    two = ImageSchema(1, 4, 5, ("left", "right"))
    for bad, schema in (
        (nn.Sequential(flat, nn.Linear(20, 3), nn.Softmax(-1)), picture_schema),
        (nn.Sequential(flat, nn.Linear(20, 1)), two),
        (nn.Sequential(flat, nn.Linear(20, 3)).double(), picture_schema),
    ):
        model = open_target(bad, How(schema)).model
        assert len(model.probabilities_from(made_up(schema))) == 8
        with pytest.raises(InputError, match="does not answer one logit for each class"):
            _ = model.module


def test_a_service_is_a_model(service: Any, table_schema: Schema) -> None:
    service.classes = ["yes", "no"]
    opened = open_target(service.url, How(table_schema))
    some = rows(table_schema, 30)
    shares = opened.model.probabilities(some)
    np.testing.assert_allclose(shares[:, 1], some.codes()["age"] / 100)
    assert "127.0.0.1" in opened.card.method["settings"]["target"]


def test_data_in_memory_is_a_target(table_schema: Schema) -> None:
    some = rows(table_schema)
    assert open_target(some, How()).data is some
    assert len(open_target(some.to_pandas(), How(table_schema)).data) == 60
    with pytest.raises(InputError, match="the data frame came without a schema"):
        open_target(some.to_pandas(), How())
    with pytest.raises(InputError, match="a int cannot be attacked"):
        open_target(3, How(table_schema))


@pytest.mark.parametrize("name", ["a.pt", "a.skops", "a.safetensors", "a.pkl", "a.csv", "a.npz"])
def test_what_is_not_there_is_said(name: str, table_schema: Schema, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no|no CSV or Parquet|no file"):
        open_target(tmp_path / name, How(table_schema))


def test_persons_are_known_of_private_rows_only(table_schema: Schema, tmp_path: Path) -> None:
    """A released table has no ids; the card says where those of the members are."""
    rows(table_schema).to_pandas().to_csv(tmp_path / "out.csv", index=False)
    opened = open_target(tmp_path / "out.csv", How(table_schema.with_unit("patient", 2)))
    assert opened.facts.unit is None
    (fact,) = opened.card.facts
    assert fact.value == {"column": "patient", "rows": 2}
    assert isinstance(opened.data.to_pandas(), pd.DataFrame)
