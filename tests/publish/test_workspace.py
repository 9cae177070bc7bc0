"""A workspace pays once and draws once, wherever a run dies."""

from __future__ import annotations

import errno
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sfumato.data import ImageSchema, ImageSet
from sfumato.data.facts import Fact
from sfumato.errors import InputError, LedgerError
from sfumato.learn import noise
from sfumato.learn.pate.voting import GnMax
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.publish import workspace as room
from sfumato.publish.method import Calibrated
from sfumato.publish.models.dpsgd import DpSgdMethod
from sfumato.publish.models.pate import PateMethod
from sfumato.publish.models.recipe import Recipe
from sfumato.publish.workspace import is_paid, once
from sfumato.release.release import Release

RECORDS, STEPS = 40, 4
FACTS = ImageSchema(1, 3, 3, ("a", "b")).with_records(RECORDS)
SCATTERED = ImageSchema(1, 8, 8, ("a", "b")).with_records(RECORDS)
METHOD = DpSgdMethod(
    network="dense",
    components=3,
    epochs=1.0,
    expected_batch_size=RECORDS // STEPS,
    device="cpu",
)
BUDGET = Budget(2.0, 1e-5)
pytestmark = pytest.mark.filterwarnings("ignore:.*steps were begun after the checkpoint")


def pictures(seed: int = 0, side: int = 3) -> ImageSet:
    rng = np.random.default_rng(seed)
    images = rng.random((RECORDS, 1, side, side)).astype(np.float32)
    return ImageSet.from_arrays(images, rng.integers(0, 2, RECORDS), FACTS.classes)


@dataclass(frozen=True)
class Case:
    """A run, and what it draws.

    Args:
        calibrated: The run.
        data: What it takes.
        steps: How many it has.
        drawn: What else it draws, once.
    """

    calibrated: Calibrated
    data: ImageSet
    steps: int
    drawn: str


NAMES = ("learn.dpsgd", "learn.recipe", "learn.pate")


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    pool = pictures(5, 8)
    file = tmp_path_factory.mktemp("public") / "public.npz"
    np.savez(file, images=pool.images, labels=pool.labels, classes=np.array(FACTS.classes))
    recipe = Recipe(steps=STEPS, sample_rate=0.25)
    pate = PateMethod(public_data=str(file), teachers=4, queries=6, components=3)
    return {
        "learn.dpsgd": Case(METHOD.calibrate(BUDGET, FACTS), pictures(), STEPS, "directions"),
        "learn.recipe": Case(recipe.calibrate(BUDGET, SCATTERED), pictures(0, 8), STEPS, "centre"),
        "learn.pate": Case(pate.calibrate(BUDGET, SCATTERED), pictures(0, 8), 0, "answers"),
    }


@pytest.fixture(params=NAMES)
def case(request: pytest.FixtureRequest, cases: dict[str, Case]) -> Case:
    return cases[request.param]


@pytest.fixture(autouse=True)
def _no_power_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs die here, the machine does not: what was written is there without waiting for it."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture(scope="module")
def ready(cases: dict[str, Case]) -> Calibrated:
    return cases["learn.dpsgd"].calibrated


def test_a_workspace_lies_in_no_release(ready: Calibrated, tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text("{}")
    ledger, inside = Ledger.in_memory(), tmp_path / "kept"
    with pytest.raises(InputError, match="lies in a release"):
        ready(pictures(), ledger=ledger, workspace=inside)
    with pytest.raises(InputError, match="lies in a release"):
        room.selection(inside)
    assert not ledger.entries()
    assert not inside.exists()


class Killed(BaseException):
    """The process is gone."""


class Life:
    """Counts what a run writes, pays and draws; dies at one of these moments.

    Args:
        dies: At the so manieth moment; 0 never.
    """

    def __init__(self, dies: int = 0) -> None:
        self.moments = 0
        self.steps = 0
        self.others = 0
        self._dies = dies

    def moment(self) -> None:
        self.moments += 1
        if self.moments == self._dies:
            raise Killed

    @contextmanager
    def lived(self) -> Iterator[None]:
        patch = pytest.MonkeyPatch()

        def before_and_after(call: Any, counts: str = "") -> Any:
            def wrapped(*args: Any, **more: Any) -> Any:
                if counts:
                    setattr(self, counts, getattr(self, counts) + 1)
                self.moment()
                made = call(*args, **more)
                self.moment()
                return made

            return wrapped

        patch.setattr(os, "replace", before_and_after(os.replace))
        patch.setattr(Ledger, "debit", before_and_after(Ledger.debit))
        for owner, name, counts in (
            (noise, "add_gaussian", "steps"),
            (noise, "add_gaussian_double", "others"),
            (GnMax, "answer", "others"),
        ):
            patch.setattr(owner, name, before_and_after(getattr(owner, name), counts))
        try:
            yield
        finally:
            patch.undo()


def run(ready: Calibrated | Case, folder: Path, ledger: Ledger, life: Life) -> Release:
    case = ready if isinstance(ready, Case) else Case(ready, pictures(), STEPS, "directions")
    with life.lived():
        return case.calibrated(case.data, ledger=ledger, workspace=folder)


def debits(ledger: Ledger) -> int:
    return sum(entry.kind == "debit" for entry in ledger.entries())


def problems(case: Case, folder: Path, dies: int) -> set[str]:
    """What goes wrong if a run dies at a moment, and others go on until it is done."""
    ledger = Ledger.in_memory()
    lives = [Life(dies)]
    found = set()
    with pytest.raises(Killed):
        run(case, folder, ledger, lives[0])
    lives.append(Life())
    try:
        release = run(case, folder, ledger, lives[1])
        if release.card.ledger["entry"] != ledger.entries()[-1].hash:
            found.add("another entry on the card")
    except InputError as error:
        # A draw that was lost is the one thing that cannot be continued from.
        if not (f"died while it drew {case.drawn}" in str(error) and lives[0].others):
            found.add("cannot go on")
    if debits(ledger) != 1:
        found.add("paid twice")
    if sum(life.others for life in lives) > 1:
        found.add("drawn twice")
    if sum(life.steps for life in lives) > case.steps:
        found.add("steps taken twice")
    return found


def moments(case: Case, folder: Path) -> int:
    life = Life()
    run(case, folder, Ledger.in_memory(), life)
    assert (life.steps, life.others) == (case.steps, 1)
    return life.moments


def test_a_run_that_dies_at_any_moment_pays_once_and_draws_once(case: Case, tmp_path: Path) -> None:
    for dies in range(1, moments(case, tmp_path / "whole") + 1):
        assert problems(case, tmp_path / str(dies), dies) == set(), f"at moment {dies}"


DEFECTS = {
    "the release is named after the debit": "paid twice",
    "draws are not marked": "drawn twice",
    "steps are not counted before they are taken": "steps taken twice",
}


@pytest.mark.parametrize(
    ("name", "defect"),
    # learn.pate takes no steps.
    [(n, d) for n in NAMES for d in DEFECTS if n != "learn.pate" or not d.startswith("steps")],
)
def test_planted_defects_are_caught(
    name: str,
    defect: str,
    cases: dict[str, Case],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case, expected = cases[name], DEFECTS[defect]
    if defect.startswith("the release"):
        kept = room._kept
        monkeypatch.setattr(
            room, "_kept", lambda folder: (k := kept(folder)) and (k if k["entry"] else None)
        )
        monkeypatch.setattr(room, "_PAID", "paid.json")
        monkeypatch.setattr(Path, "iterdir", lambda self: iter(()))
    elif defect.startswith("draws"):
        monkeypatch.setattr(
            room, "once", lambda folder, name, make, drawn=False: once(folder, name, make)
        )
    else:
        from sfumato.learn.checkpoint import StepCounter

        monkeypatch.setattr(StepCounter, "begun", lambda self, step: setattr(self, "count", step))
        monkeypatch.setattr(StepCounter, "_take", lambda self, resumed: 0)
    count = moments(case, tmp_path / "whole")
    assert any(expected in problems(case, tmp_path / str(d), d) for d in range(1, count + 1))


def test_a_finished_workspace_gives_the_same_release_without_a_draw(
    case: Case, tmp_path: Path
) -> None:
    ledger = Ledger.in_memory()
    first = run(case, tmp_path / "w", ledger, Life())
    life = Life()
    again = run(case, tmp_path / "w", ledger, life)
    assert (life.steps, life.others, debits(ledger)) == (0, 0, 1)
    assert again.card.release_id == first.card.release_id
    assert again.card.ledger == first.card.ledger
    assert again.card.seeds == first.card.seeds
    for name, tensor in first.model.tensors.items():
        np.testing.assert_array_equal(again.model.tensors[name], tensor)


def test_a_run_that_goes_on_keeps_its_directions_and_its_seed(
    ready: Calibrated, cases: dict[str, Case], tmp_path: Path
) -> None:
    ledger = Ledger.in_memory()
    with pytest.raises(Killed):
        run(
            ready,
            tmp_path / "w",
            ledger,
            Life(moments(cases["learn.dpsgd"], tmp_path / "whole") - 1),
        )
    kept = json.loads((tmp_path / "w" / "directions.json").read_text("utf-8"))
    seeds = json.loads((tmp_path / "w" / "seeds.json").read_text("utf-8"))
    release = run(ready, tmp_path / "w", ledger, Life())
    np.testing.assert_allclose(release.model.tensors["1.directions"], kept, rtol=1e-6)
    assert dict(release.card.seeds) == seeds


def test_a_workspace_is_for_its_owner_alone(ready: Calibrated, tmp_path: Path) -> None:
    run(ready, tmp_path / "w", Ledger.in_memory(), Life())
    for path in [tmp_path / "w", *(tmp_path / "w").rglob("*")]:
        assert not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO), path


def others() -> dict[str, Calibrated]:
    return {
        "budget": METHOD.calibrate(Budget(1.0, 1e-5), FACTS),
        "setting": replace(METHOD, learning_rate=0.25).calibrate(BUDGET, FACTS),
        "relation": replace(METHOD, neighbours="replace-one").calibrate(BUDGET, FACTS),
        "data set": METHOD.calibrate(BUDGET, FACTS.with_records(RECORDS + 1)),
    }


@pytest.mark.parametrize("what", ["budget", "setting", "relation", "data set"])
def test_another_run_in_the_same_folder_is_refused(
    what: str, ready: Calibrated, tmp_path: Path
) -> None:
    ledger = Ledger.in_memory()
    run(ready, tmp_path / "w", ledger, Life())
    other, data = others()[what], pictures()
    if what == "data set":
        data = ImageSet.from_arrays(
            np.concatenate([data.images, data.images[:1]]),
            np.append(data.labels, 0),
            FACTS.classes,
        )
    with pytest.raises(InputError, match="holds a run of another method, budget or data set"):
        other(data, ledger=ledger, workspace=tmp_path / "w")
    assert debits(ledger) == 1


@pytest.mark.parametrize("what", ["classes", "network", "public records"])
def test_a_run_never_goes_on_with_other_public_facts(
    what: str, ready: Calibrated, tmp_path: Path
) -> None:
    """Neither settings nor plan tell of them: they are part of a run all the same."""
    ledger, data = Ledger.in_memory(), pictures()
    stated = Fact("public records", {"name": "pool.npz", "records": 9, "sha256": "00"})
    ready = replace(ready, public=(*ready.public, stated))
    run(ready, tmp_path / "w", ledger, Life())
    if what == "classes":
        other = replace(ready, facts=replace(FACTS, classes=("b", "a")))
        data = ImageSet.from_arrays(data.images, data.labels, ("b", "a"))
    else:
        public = [replace(f, value="other") if f.name == what else f for f in ready.public]
        other = replace(ready, public=tuple(public))
    with pytest.raises(InputError, match=rf"what differs: {what}\)"):
        other(data, ledger=ledger, workspace=tmp_path / "w")
    assert debits(ledger) == 1


def test_a_run_of_an_earlier_version_is_told_as_such(ready: Calibrated, tmp_path: Path) -> None:
    """It kept no facts, so that every one of them would seem to differ."""
    ledger = Ledger.in_memory()
    run(ready, tmp_path / "w", ledger, Life())
    file = tmp_path / "w" / "paid.json"
    kept = json.loads(file.read_text(encoding="utf-8"))
    del kept["run"]["facts"]
    file.write_text(json.dumps(kept), encoding="utf-8")
    with pytest.raises(InputError, match="an earlier version of sfumato began"):
        run(ready, tmp_path / "w", ledger, Life())
    assert debits(ledger) == 1


@pytest.mark.parametrize("name", ["paid.json", "seeds.json", "directions.json"])
@pytest.mark.parametrize("content", ["", '{"run": ', "\xff"])
def test_a_damaged_file_is_named_and_costs_nothing(
    ready: Calibrated, tmp_path: Path, name: str, content: str
) -> None:
    """A disk that was full or lost power leaves such; what was drawn is not drawn again."""
    ledger = Ledger.in_memory()
    run(ready, tmp_path / "w", ledger, Life())
    (tmp_path / "w" / name).write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=rf"{name} cannot be read: the checkpoint is damaged"):
        run(ready, tmp_path / "w", ledger, Life())
    assert debits(ledger) == 1


@pytest.mark.parametrize("content", ["[]", "{}", "3"])
def test_a_note_of_the_debit_that_is_none_is_damaged(
    ready: Calibrated, tmp_path: Path, content: str
) -> None:
    ledger = Ledger.in_memory()
    run(ready, tmp_path / "w", ledger, Life())
    (tmp_path / "w" / "paid.json").write_text(content)
    with pytest.raises(InputError, match=r"paid.json cannot be read"):
        is_paid(tmp_path / "w", ledger)
    with pytest.raises(InputError, match=r"paid.json cannot be read"):
        run(ready, tmp_path / "w", ledger, Life())


@pytest.mark.parametrize("content", ["", "3", '"xyz"'])
def test_a_damaged_key_of_whose_rows_are_used_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "selection.json").write_text(content)
    with pytest.raises(InputError, match=r"selection.json cannot be read"):
        room.selected(tmp_path)


def test_a_training_that_lost_its_checkpoint_does_not_take_its_steps_again(
    ready: Calibrated, tmp_path: Path
) -> None:
    ledger, first = Ledger.in_memory(), Life()
    run(ready, tmp_path / "w", ledger, first)
    assert first.steps == STEPS
    (tmp_path / "w" / "training" / "checkpoint.json").unlink()
    second = Life()
    with pytest.raises(InputError, match=r"checkpoint.json is missing, and steps were taken"):
        run(ready, tmp_path / "w", ledger, second)
    assert second.steps == 0


def test_another_ledger_is_refused(ready: Calibrated, tmp_path: Path) -> None:
    run(ready, tmp_path / "w", Ledger.in_memory(), Life())
    other = Ledger.in_memory()
    with pytest.raises(LedgerError, match="has no entry"):
        run(ready, tmp_path / "w", other, Life())
    assert debits(other) == 0
    assert not is_paid(tmp_path / "w", other)


def test_a_folder_with_something_else_in_it_is_refused(ready: Calibrated, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear")
    ledger = Ledger.in_memory()
    with pytest.raises(InputError, match="is not empty and holds no run"):
        run(ready, tmp_path, ledger, Life())
    assert debits(ledger) == 0


def test_a_checkpoint_that_is_no_folder_or_cannot_be_written_costs_nothing(
    ready: Calibrated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger.in_memory()
    (tmp_path / "letter.txt").write_text("Dear")
    for place in (tmp_path / "letter.txt", tmp_path / "letter.txt" / "w"):
        with pytest.raises(InputError, match="is no folder that can be written to"):
            run(ready, place, ledger, Life())

    def read_only(*_: Any, **__: Any) -> str:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "mkdtemp", read_only)
    with pytest.raises(InputError, match=r"can be written to \(Read-only file system\)"):
        run(ready, tmp_path / "w", ledger, Life())
    assert debits(ledger) == 0


def test_a_method_that_keeps_nothing_refuses_a_workspace(ready: Calibrated, tmp_path: Path) -> None:
    ledger = Ledger.in_memory()
    forgetful = replace(ready, run=lambda data, source, progress: None)
    with pytest.raises(InputError, match="keeps nothing to continue from"):
        forgetful(pictures(), ledger=ledger, workspace=tmp_path / "w")
    assert debits(ledger) == 0
    assert not (tmp_path / "w").exists()


def test_a_workspace_is_paid_from_its_debit_on(ready: Calibrated, tmp_path: Path) -> None:
    ledger = Ledger.in_memory()
    assert not is_paid(tmp_path / "w", ledger)
    run(ready, tmp_path / "w", ledger, Life())
    assert is_paid(tmp_path / "w", ledger)


def test_a_deletion_that_is_cut_short_leaves_nothing_to_begin_anew_from(
    ready: Calibrated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, life = Ledger.in_memory(), Life()
    run(ready, tmp_path / "w", ledger, Life())

    def cut_short(folder: Path) -> None:
        for file in (folder / "training").iterdir():
            file.unlink()
        (folder / "training").rmdir()
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(room.shutil, "rmtree", cut_short)
        with pytest.raises(Killed):
            room.finished(tmp_path / "w")
    with pytest.raises(InputError, match="is not empty and holds no run"):
        run(ready, tmp_path / "w", ledger, life)
    assert life.steps == 0
    room.finished(tmp_path / "w")
    assert not (tmp_path / "w").exists()


def test_a_value_is_made_once(tmp_path: Path) -> None:
    made = []

    def make() -> list[int]:
        made.append(1)
        return [len(made)]

    assert [once(tmp_path, "value", make) for _ in range(3)] == [[1]] * 3
    assert [once(None, "value", make) for _ in range(2)] == [[2], [3]]


def test_of_two_processes_one_draws(tmp_path: Path) -> None:
    def meanwhile() -> int:
        with pytest.raises(InputError, match="died while it drew value"):
            once(tmp_path, "value", lambda: 2, drawn=True)
        return 1

    assert once(tmp_path, "value", meanwhile, drawn=True) == 1
    assert once(tmp_path, "value", lambda: 3, drawn=True) == 1
