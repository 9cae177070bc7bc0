"""``learn.pate`` as a method: public records, a card that says so, a model that predicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sfumato import registry
from sfumato.data import Categorical, ImageSchema, ImageSet, Numeric, Schema, Table
from sfumato.errors import InputError
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.noise import SeededSource
from sfumato.publish.models.pate import PateMethod
from sfumato.release.release import Release

BUDGET = Budget(8.0, 1e-4)
CLASSES = ("flat", "upright")
PEOPLE = Schema(
    (
        Numeric("age", 0, 50, 1),
        Categorical("town", ("a", "b", "c")),
        Categorical("ill", ("no", "yes")),
    ),
    target="ill",
)


def bars(n: int, seed: int) -> ImageSet:
    """Noisy pictures of a flat or an upright bar."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=n)
    images = rng.random((n, 1, 8, 8)).astype(np.float32) / 4
    for image, label, place in zip(images, labels, rng.integers(1, 7, n), strict=True):
        image[0][(place, slice(None)) if label == 0 else (slice(None), place)] = 1.0
    return ImageSet.from_arrays(images, labels, CLASSES)


def people(n: int, seed: int) -> Table:
    """The old are ill, but for a few."""
    rng = np.random.default_rng(seed)
    age = rng.integers(51, size=n)
    ill = (age > 25) ^ (rng.random(n) < 0.05)
    codes = {"age": age, "town": rng.integers(3, size=n), "ill": ill.astype(np.int64)}
    return Table.from_codes(codes, PEOPLE)


@pytest.fixture(scope="module")
def pictures_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    pool = bars(150, 9)
    file = tmp_path_factory.mktemp("pool") / "pool.npz"
    # Their labels are not looked at: these are wrong.
    np.savez(file, images=pool.images, labels=1 - pool.labels, classes=np.array(CLASSES))
    return str(file)


@pytest.fixture(scope="module")
def rows_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Public rows without the target."""
    file = tmp_path_factory.mktemp("pool") / "pool.csv"
    codes = people(150, 9).codes()
    lines = [f"{age},{'abc'[town]}" for age, town in zip(codes["age"], codes["town"], strict=True)]
    file.write_text("\n".join(["age,town", *lines]) + "\n")
    return str(file)


def published(facts: Any, data: Any, **settings: Any) -> Release:
    method = PateMethod(**{"teachers": 30, "queries": 20, "seed": 1, **settings})
    calibrated = method.calibrate(BUDGET, facts)
    return calibrated(data, ledger=Ledger.in_memory(), source=SeededSource(1))


@pytest.mark.parametrize(("voting", "least"), [("gnmax", 0.9), ("confident", 0.8), ("lnmax", 0.9)])
def test_a_model_of_pictures_it_has_not_seen(pictures_file: str, voting: str, least: float) -> None:
    facts = ImageSchema(1, 8, 8, CLASSES, records=600)
    release = published(facts, bars(600, 1), public_data=pictures_file, voting=voting)
    model = release.artefact.content
    new = bars(200, 2)
    assert (model.predict(new) == new.labels).mean() > least
    assert release.card.figures["epsilon"] <= BUDGET.epsilon


def test_a_model_of_rows(rows_file: str) -> None:
    release = published(PEOPLE.with_records(600), people(600, 1), public_data=rows_file)
    model = release.artefact.content
    new = people(300, 2)
    truth = np.array(["no", "yes"])[new.codes()["ill"]]
    assert (model.predict(new) == truth).mean() > 0.85


def test_a_saved_release_predicts_the_same(pictures_file: str, tmp_path: Path) -> None:
    facts = ImageSchema(1, 8, 8, CLASSES, records=600)
    release = published(facts, bars(600, 1), public_data=pictures_file)
    release.save(tmp_path / "out")
    again = Release.load(tmp_path / "out").artefact.content
    new = bars(50, 2)
    assert np.array_equal(again.predict(new), release.artefact.content.predict(new))


def test_the_card_says_who_was_asked_about(pictures_file: str) -> None:
    facts = ImageSchema(1, 8, 8, CLASSES, records=600)
    card = published(facts, bars(600, 1), public_data=pictures_file).card
    (fact,) = [fact for fact in card.facts if fact.name == "public records"]
    assert fact.value["name"] == Path(pictures_file).name == card.method["settings"]["public_data"]
    assert str(Path(pictures_file).parent) not in card.to_json()
    assert fact.value["records"] == 150
    assert len(fact.value["sha256"]) == 64
    assert fact.provenance.startswith("public: ")
    assert card.plan["asked"] == card.plan["answered"] <= 20
    assert any("not protected" in line for line in card.caveats)


def test_without_public_records_nothing_is_spent() -> None:
    facts = ImageSchema(1, 8, 8, CLASSES, records=600)
    with pytest.raises(InputError, match="no public records"):
        PateMethod().calibrate(BUDGET, facts)


def test_pictures_of_another_size_are_refused(pictures_file: str) -> None:
    facts = ImageSchema(1, 9, 9, CLASSES, records=600)
    with pytest.raises(InputError, match="8, 8"):
        PateMethod(public_data=pictures_file).calibrate(BUDGET, facts)


def test_too_few_public_records_are_refused(pictures_file: str) -> None:
    facts = ImageSchema(1, 8, 8, CLASSES, records=600)
    with pytest.raises(InputError, match="150 public records"):
        PateMethod(public_data=pictures_file, queries=150).calibrate(BUDGET, facts)


def test_teachers_and_queries_follow_from_public_numbers(pictures_file: str) -> None:
    facts = ImageSchema(1, 8, 8, CLASSES, records=6000)
    plan = PateMethod(public_data=pictures_file).calibrate(Budget(1.0, 1e-5), facts).plan
    assert plan["teachers"] == 60
    assert plan["queries"] == 14
    assert plan["votes_noise"] == pytest.approx(20, rel=0.05)


def test_the_preset_is_the_setting_of_2018(pictures_file: str) -> None:
    settings = PateMethod.presets["paper"]
    method = PateMethod(**settings)
    assert (method.teachers, method.answers, method.threshold) == (250, 286, 0.8)
    assert method.test_ratio == 150 / 40


def test_it_is_registered_with_its_source() -> None:
    found = registry.find("method", "learn.pate")
    assert found is PateMethod
    assert "Papernot" in PateMethod.source


@pytest.mark.parametrize(
    "settings",
    [
        {"voting": "loudest"},
        {"public_data": 3},
        {"queries": 0},
        {"answers": 5},
        {"voting": "confident", "queries": 4, "answers": 5},
        {"teachers": 1},
        {"threshold": 0.0},
        {"neighbours": "zero-out"},
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        PateMethod(**settings)
