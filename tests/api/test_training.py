"""``train``: a model of rows or pictures, evaluated, saved, and attacked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sfumato
from sfumato.api import publishing
from sfumato.data import ImageSet
from sfumato.errors import InputError
from sfumato.measure import cnn
from sfumato.privacy.ledger import Ledger

QUICK = {"epochs": 1, "expected_batch_size": 40}


def test_a_model_is_saved_attacked_and_judged(people: Any, tmp_path: Path) -> None:
    ledger = Ledger.in_memory()
    release = sfumato.train(
        people, epsilon=1.0, settings=QUICK, out=tmp_path / "out", ledger=ledger
    )
    assert release.card.method["name"] == "learn.dpsgd"
    assert release.card.proven.epsilon() <= 1.0
    (entry,) = ledger.entries()
    assert entry.hash == release.card.ledger["entry"]
    assert {f.attack for f in release.evaluation.findings} == {
        "membership.entropy",
        "membership.gap",
        "membership.label_only",
        "membership.loss",
        "membership.quantile",
    }
    assert release.evaluation.utility.of == "model"
    assert not (tmp_path / "out" / "evaluation.json").exists()
    assert (tmp_path / "out.evaluation" / "evaluation.json").is_file()
    again = sfumato.Release.load(tmp_path / "out")
    np.testing.assert_array_equal(again.predict(people), release.predict(people))


def test_pictures_take_the_recipe_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cnn, "_LEAST_STEPS", 5)
    rng = np.random.default_rng(0)
    images = rng.random((80, 1, 8, 8)).astype(np.float32)
    data = ImageSet.from_arrays(images, np.arange(80) % 2, ("a", "b"))
    release = sfumato.train(
        data, epsilon=1.0, settings={"steps": 2}, holdout=0, ledger=Ledger.in_memory()
    )
    assert release.card.method["name"] == "learn.recipe"
    assert release.predict(data).shape == (80,)


def test_a_method_of_data_is_refused_and_a_model_is_not_published(people: Any) -> None:
    ledger = Ledger.in_memory()
    with pytest.raises(InputError, match=r"publishes table\. Use `sfumato train` for models"):
        sfumato.train(people, epsilon=1.0, method="tables.independent", ledger=ledger)
    with pytest.raises(InputError, match="publishes model"):
        sfumato.publish(people, epsilon=1.0, method="learn.dpsgd", ledger=ledger)
    assert ledger.entries() == []


def test_the_number_of_records_is_declared_by_the_method_alone(people: Any) -> None:
    options: dict[str, Any] = {"epsilon": 1.0, "holdout": 0, "ledger": Ledger.in_memory()}
    trained = sfumato.train(people, settings=QUICK, **options)
    facts = {fact.name: fact.value for fact in trained.card.facts}
    assert facts["records"] == 400
    published = sfumato.publish(people, method="tables.independent", **options)
    assert "records" not in {fact.name for fact in published.card.facts}


@pytest.mark.parametrize("where", ["old/kept", "out/kept", "out", "", "link/kept"])
def test_a_checkpoint_lies_in_no_release_and_no_release_in_it(
    where: str, people: Any, tmp_path: Path
) -> None:
    """It holds seeds and keys; beside the release it is deleted, with all that is in it."""
    ledger, old = Ledger.in_memory(), tmp_path / "old"
    old.mkdir()
    (old / "card.json").write_text("{}")
    (tmp_path / "link").symlink_to(old)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=r"lies in a release|lie in one another"):
        sfumato.train(
            people,
            epsilon=1.0,
            settings=QUICK,
            holdout=0,
            ledger=ledger,
            out=tmp_path / "out",
            checkpoint=tmp_path / where,
        )
    assert not ledger.entries()
    assert sorted(tmp_path.rglob("*")) == before


def test_a_checkpoint_in_memory_is_kept_and_gives_the_same_release(
    people: Any, tmp_path: Path
) -> None:
    ledger = Ledger.in_memory()
    one, again = (
        sfumato.train(
            people,
            epsilon=1.0,
            settings=QUICK,
            holdout=0,
            ledger=ledger,
            checkpoint=tmp_path / "kept",
        )
        for _ in range(2)
    )
    assert len(ledger.entries()) == 1
    assert one.card.release_id == again.card.release_id
    for name, tensor in one.model.tensors.items():
        np.testing.assert_array_equal(again.model.tensors[name], tensor)


@pytest.mark.parametrize(
    ("begun", "now"),
    [({"holdout": 0.5}, {"holdout": 0.2}), ({"holdout": 0.2}, {"holdout": 0.2002})],
)
def test_a_run_goes_on_with_the_rows_that_it_was_begun_with(
    begun: dict[str, Any], now: dict[str, Any], people: Any, tmp_path: Path
) -> None:
    """Rows that it was made from would be held out, and show no leak."""
    ledger = Ledger.in_memory()

    def train(**parting: Any) -> sfumato.Release:
        kept = tmp_path / "kept"
        return sfumato.train(
            people, epsilon=1.0, settings=QUICK, ledger=ledger, checkpoint=kept, **parting
        )

    first = train(**begun)
    with pytest.raises(InputError, match=r"was begun with holdout .*, and .* is given"):
        train(**now)
    assert len(ledger.entries()) == 1
    again = train(**begun, seed=1)  # of attacks alone
    assert again.card.release_id == first.card.release_id


def test_a_second_run_in_the_same_folder_is_refused_while_the_first_is_at_work(
    people: Any, tmp_path: Path
) -> None:
    ledger, said = Ledger.in_memory(), []

    def train(**more: Any) -> sfumato.Release:
        kept = tmp_path / "kept"
        return sfumato.train(
            people, epsilon=1.0, settings=QUICK, ledger=ledger, checkpoint=kept, **more
        )

    def meanwhile(*_: Any) -> None:
        if not said:
            said.append("")
            with pytest.raises(InputError, match="another process is at work") as refused:
                train()
            said[0] = str(refused.value)

    first = train(progress=meanwhile)
    assert str(tmp_path / "kept") in said[0]
    assert (tmp_path / "kept" / "lock").stat().st_mode & 0o777 == 0o600
    assert len(ledger.entries()) == 1
    assert train().card.release_id == first.card.release_id


def test_a_run_that_died_before_its_checkpoint_was_deleted_says_that_it_is_written(
    people: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, out, kept = Ledger.in_memory(), tmp_path / "out", tmp_path / "kept"

    def train(where: Path = out) -> sfumato.Release:
        return sfumato.train(
            people,
            epsilon=1.0,
            settings=QUICK,
            holdout=0,
            ledger=ledger,
            out=where,
            checkpoint=kept,
        )

    def killed(workspace: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(publishing, "finished", killed)
        with pytest.raises(KeyboardInterrupt):
            train()
    with pytest.raises(InputError) as refused:
        train()
    assert f"{out} is the release of the run in {kept}, written" in str(refused.value)
    assert f"Delete {kept}" in str(refused.value)
    assert len(ledger.entries()) == 1
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match="already exists"):
        train(tmp_path / "other")
