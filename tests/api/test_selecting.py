from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sfumato
from sfumato.attack.feedback import Generator
from sfumato.data import ImageSet
from sfumato.errors import InputError
from sfumato.privacy.ledger import Ledger
from sfumato.publish.selection import NothingSelectedError

SMALL = "features=40,steps=20,samples=24,latent=2,hidden=4,width=2"
TWO = [f"generators.merf[{SMALL},bandwidth=0.2]", f"generators.merf[{SMALL}]"]
FEEDBACK = Generator(steps=2, generated=10)


def pictures(count: int = 400) -> ImageSet:
    rng = np.random.default_rng(0)
    images = rng.random((count, 1, 8, 8)).astype(np.float32)
    return ImageSet.from_arrays(images, np.arange(count) % 3, ("a", "b", "c"))


def selected(**changed: Any) -> Any:
    given: dict[str, Any] = {
        "epsilon": 20.0,
        "delta": 1e-3,
        "limit": 0.5,
        "held_out": 0.3,
        "feedback": FEEDBACK,
        "ledger": Ledger.in_memory(),
        "device": "cpu",
        **changed,
    }
    data, candidates = given.pop("data", pictures()), given.pop("candidates", TWO)
    return sfumato.select(data, candidates, **given)


def test_a_picked_release_is_like_any_other(tmp_path: Path) -> None:
    ledger = Ledger.in_memory()
    release = selected(ledger=ledger, out=tmp_path / "picked", trials=6.0)
    found = sfumato.Release.load(tmp_path / "picked")
    assert found.card.method["name"] == "generators.merf"
    assert found.card.proven.epsilon() <= 20
    assert not found.card.verify()
    said = found.card.plan["selected"]
    assert [one["settings"]["bandwidth"] for one in said["among"]] == [0.2, None]
    assert said["judge"] == "feedback.generator, 2 steps, 10 pictures"
    assert "trials" not in found.card.seeds
    assert len(list(ledger.entries())) == 1
    files = [tmp_path / "picked", *(tmp_path / "picked").iterdir()]
    assert {file.stat().st_mtime for file in files} == {found.card.seconds}  # how long is secret
    assert len(sfumato.sample(tmp_path / "picked", 5).data) == 5
    page = (tmp_path / "picked" / "report.html").read_text()
    assert "best of a secret number of trials" in page
    assert "It is one of 2 candidates." in page
    assert len(release.data) == 24


def test_what_leaks_more_than_the_limit_is_not_released(tmp_path: Path) -> None:
    class Sure(Generator):
        def similarities(self, *given: Any) -> Any:
            return [np.ones(len(given[1][0])), np.zeros(len(given[1][1]))]

    with pytest.raises(NothingSelectedError):
        selected(feedback=Sure(), out=tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"candidates": []}, "there are no candidates"),
        ({"candidates": ["tables.gan"]}, "tables.gan publishes no pictures"),
        ({"candidates": ["learn.dpsgd"]}, "learn.dpsgd publishes no pictures"),
        ({"candidates": ["images.gaussian"]}, "gives a local guarantee"),
        ({"epsilon": 0.1}, "the comparison has noise of"),
        ({"data": "dataset:census-sample"}, "the data is a table"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_spent(
    changed: dict[str, Any], said: str
) -> None:
    ledger = Ledger.in_memory()
    with pytest.raises(InputError, match=said):
        selected(ledger=ledger, **changed)
    assert not list(ledger.entries())


def test_small_budgets_are_for_trained_candidates_too() -> None:
    """A candidate's own calibration gives up where a budget is far smaller than it needs."""
    from sfumato.api.selecting import Feedback
    from sfumato.data import ImageSchema
    from sfumato.privacy.budget import Budget
    from sfumato.publish.generators.dpgan import DpGan
    from sfumato.publish.selection import Selection

    facts = ImageSchema(1, 28, 28, ("a", "b")).with_records(60_000)
    made = Selection((DpGan(device="cpu"),), Feedback(), 1.0).calibrate(Budget(0.3, 1e-5), facts)
    assert 0.29 < made.guarantee.epsilon() <= 0.3


def test_pictures_that_no_dcgan_takes_are_refused_before_the_debit() -> None:
    flat = ImageSet.from_arrays(
        np.zeros((400, 1, 1, 8), np.float32), np.arange(400) % 2, ("a", "b")
    )
    ledger = Ledger.in_memory()
    with pytest.raises(InputError, match="none that a DCGAN can be trained on"):
        selected(data=flat, ledger=ledger)
    assert not list(ledger.entries())


def test_each_of_several_processes_does_not_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "here")
    with pytest.raises(InputError, match="torchrun started 2 processes"):
        selected()


def test_the_judge_looks_at_each_record_alone() -> None:
    made, records = pictures(60), pictures(50)
    whole, rest = FEEDBACK.similarities(made, [records, records.head(10)], 3)
    assert np.array_equal(whole[:10], rest)
    assert ((whole >= 0) & (whole <= 1)).all()
