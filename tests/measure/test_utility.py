from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from sfumato.data import Categorical, ImageSet, Numeric, Schema, Table
from sfumato.errors import InputError
from sfumato.measure import cnn
from sfumato.measure.score import SETTINGS, Score, Utility
from sfumato.measure.utility import Limits, utility

SMALL = Limits(train_rows=600, test_rows=400, train_images=200, epochs=1)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cnn, "_LEAST_STEPS", 60)


def changed(table: Table, **columns: Any) -> Table:
    return Table.from_codes({**table.codes(), **columns}, table.schema)


def test_matrix_of_a_table(make_people: Any) -> None:
    train, test, release = (make_people(800, seed) for seed in (1, 2, 3))
    told: list[tuple[int, int]] = []
    matrix = utility(
        release,
        train,
        test,
        limits=SMALL,
        progress=lambda done, total, _: told.append((done, total)),
    )
    assert matrix.task == "classification"
    assert matrix.models == ("logistic regression", "random forest", "gradient boosting")
    assert matrix.metrics == ("accuracy", "balanced accuracy", "AUROC")
    assert len(matrix.scores) == 3 * 4 * 3
    for score in matrix.scores:
        assert score.value is not None
        assert score.interval is not None
        assert score.interval[0] <= score.value <= score.interval[1]
    majority = matrix.majority["accuracy"]
    assert majority == pytest.approx(
        max(np.mean(test.codes()["owner"] == c) for c in (0, 1)), abs=0.05
    )
    assert matrix.majority["balanced accuracy"] == 0.5
    assert matrix.majority["AUROC"] == 0.5
    for setting in SETTINGS:
        assert matrix.best(setting).value > majority  # type: ignore[operator]
    assert matrix.records == {"train": 600, "released": 600, "test": 400, "released_test": 160}
    assert max(abs(lost or 0) for lost in matrix.loss.values()) < 0.1
    assert "'owner'" in matrix.summary
    assert matrix.notes == ()
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1]


def test_the_four_cells_are_what_they_say(make_people: Any) -> None:
    """A release with the target turned round: p1 and p4 are good, p2 and p3 worse than guessing."""
    train, test, other = (make_people(800, seed) for seed in (1, 2, 3))
    release = changed(other, owner=1 - other.codes()["owner"])
    matrix = utility(release, train, test, limits=SMALL)
    for model in matrix.models:
        cells = {s: matrix.score(model, s, "AUROC").value or 0.0 for s in SETTINGS}
        assert min(cells["p1"], cells["p4"]) > 0.75
        assert max(cells["p2"], cells["p3"]) < 0.25
    # Planted defect: p2 and p4 exchanged would put the reversed models' figure under p4.
    assert matrix.loss["random forest"] > 0.3  # type: ignore[operator]


def test_numbers_are_regressed(make_people: Any) -> None:
    train, test, release = (make_people(400, seed).with_target("age") for seed in (1, 2, 3))
    matrix = utility(release, train, test, limits=SMALL)
    assert matrix.task == "regression"
    assert matrix.models[0] == "ridge regression"
    assert matrix.metrics == ("R2", "MAE")
    assert matrix.majority["R2"] <= 0  # type: ignore[operator]
    best = matrix.best("p2", "MAE")
    assert best.value == min(matrix.score(m, "p2", "MAE").value or 99 for m in matrix.models)
    assert best.value < matrix.majority["MAE"]  # type: ignore[operator]
    assert "R2 0." in matrix.summary


def test_missing_numbers_of_the_target_are_left_out(make_people: Any) -> None:
    data = [make_people(300, seed).with_target("income") for seed in (1, 2, 3)]
    matrix = utility(*data, limits=SMALL)
    known = data[1].codes()["income"] < data[1].schema["income"].cardinality
    assert matrix.records["train"] == known.sum()


def test_missing_is_a_class_of_a_levelled_target(make_people: Any) -> None:
    data = [make_people(300, seed).with_target("job") for seed in (1, 2, 3)]
    release = changed(data[0], job=np.minimum(data[0].codes()["job"], 5))
    matrix = utility(release, data[1], data[2], limits=SMALL)
    assert matrix.notes == ("The release holds no record with job = job-6, job-7, missing.",)


def test_a_release_of_one_class_is_no_error(make_people: Any) -> None:
    data = [make_people(200, seed) for seed in (1, 2, 3)]
    release = changed(data[0], owner=np.zeros(200, np.int64))
    matrix = utility(release, data[1], data[2], limits=SMALL)
    for model in matrix.models:
        assert matrix.score(model, "p2", "balanced accuracy").value == 0.5
        assert matrix.score(model, "p2", "AUROC").value == 0.5
        assert matrix.score(model, "p4", "AUROC").value is None
        assert matrix.score(model, "p4", "accuracy").value == 1.0
    assert matrix.notes[1].startswith("The release holds one class only")
    assert json.dumps(matrix.to_dict(), allow_nan=False)


def test_many_lost_classes_are_summed_up() -> None:
    schema = Schema((Categorical("x", tuple("abcdefghi")), Numeric("y", 0, 1, 1)), "x")
    rng = np.random.default_rng(0)
    real = Table.from_codes({"x": rng.integers(0, 9, 200), "y": rng.integers(0, 2, 200)}, schema)
    release = Table.from_codes({"x": np.arange(60) % 2, "y": np.arange(60) % 2}, schema)
    matrix = utility(release, real, real, limits=SMALL)
    assert matrix.notes == ("The release holds no record with x = c, d, e, f, g and 2 more.",)
    two_valued = utility(*(t.with_target("y") for t in (release, real, real)), limits=SMALL)
    assert two_valued.task == "classification"


def test_matrix_of_images(make_pictures: Any) -> None:
    train, test, release = (make_pictures(240, seed) for seed in (1, 2, 3))
    told: list[str] = []
    matrix = utility(
        release, train, test, limits=SMALL, progress=lambda done, total, label: told.append(label)
    )
    assert matrix.models == ("small CNN", "MLP", "logistic regression")
    assert matrix.target == "label"
    assert matrix.best("p2").value > 0.9  # type: ignore[operator]
    assert matrix.majority["accuracy"] < 0.5  # type: ignore[operator]
    assert matrix.records["train"] == 200
    assert any("training the small CNN" in label for label in told)
    lacking = ImageSet.from_arrays(
        release.images[release.labels != 1],
        release.labels[release.labels != 1],
        release.schema.classes,
    )
    assert utility(lacking, train, test, limits=SMALL).notes == (
        "The release holds no record with label = middle.",
    )


def test_the_same_seed_gives_the_same_matrix(make_people: Any) -> None:
    data = [make_people(300, seed) for seed in (1, 2, 3)]
    limits = Limits(train_rows=100, test_rows=100)
    one, again, other = (utility(*data, seed=seed, limits=limits) for seed in (4, 4, 5))
    assert one == again
    assert one != other


def test_matrix_survives_json(make_people: Any) -> None:
    matrix = utility(*(make_people(100, seed) for seed in (1, 2, 3)), limits=SMALL)
    assert Utility.from_dict(json.loads(json.dumps(matrix.to_dict()))) == matrix
    for damage in ({"scores": [{}]}, {"majority": None}, {"records": {"train": "x"}}):
        with pytest.raises(InputError, match="cannot be read"):
            Utility.from_dict({**matrix.to_dict(), **damage})
    with pytest.raises(KeyError):
        matrix.score("oracle", "p1", "accuracy")


def test_undefined_figures_are_said_to_be(make_people: Any) -> None:
    blank = Utility("classification", "x", (Score("m", "p1", "AUROC", None, None),) * 1, {})
    full = Utility(
        "classification",
        "x",
        tuple(Score("m", s, "AUROC", None, None) for s in SETTINGS),
        {"AUROC": None},
    )
    assert blank.metrics == ("AUROC",)
    assert "cannot be measured" in full.summary
    assert full.loss == {"m": None}
    partial = Utility(
        "classification",
        "x",
        tuple(Score("m", s, "accuracy", 0.5, (0.4, 0.6)) for s in SETTINGS),
        {},
    )
    assert "undefined" in partial.summary


def test_what_cannot_be_measured_is_refused(make_people: Any, make_pictures: Any) -> None:
    table = make_people(100, 1)
    with pytest.raises(InputError, match="no target"):
        utility(table.with_target(None), table, table)
    with pytest.raises(InputError, match="9 usable records to measure with \\(real test records"):
        utility(table, table, make_people(9, 2))
    with pytest.raises(InputError, match="released records"):
        utility(make_people(5, 2), table, table)
    with pytest.raises(InputError, match="the training records are images"):
        utility(table, make_pictures(30, 0), table)
    schema = Schema((Categorical("x", ("a", "b")),), "x")
    single = Table.from_codes({"x": np.arange(30) % 2}, schema)
    with pytest.raises(InputError, match="only column"):
        utility(single, single, single)


@pytest.mark.parametrize(
    "settings", [{"train_rows": 5}, {"test_rows": 0}, {"epochs": 0}, {"train_images": 10.5}]
)
def test_limits_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(settings))):
        Limits(**settings)
