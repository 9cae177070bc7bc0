"""``generators.taught`` interrupted, killed, copied, and bounded by the clock."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.forked import in_a_child
from tests.publish.generators.small import BUDGET, FACTS, images

from sfumato.data import ImageSet
from sfumato.errors import InputError
from sfumato.learn.mechanism import Run as Steps
from sfumato.learn.moments import ClassMoments
from sfumato.learn.recipe import CalibratedScatterLinear
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.noise import SeededSource
from sfumato.publish.generators import labelling, teaching_time
from sfumato.publish.generators.taught import Taught
from sfumato.publish.generators.teaching_time import Pictures, Times
from sfumato.publish.method import Calibrated
from sfumato.release.release import Release

QUICK = Taught(samples=30, steps=4, sample_rate=0.3, coefficients=27, seed=7)
Drawn = list[str]


class Killed(BaseException):
    """What stands for the end of the process."""


@lru_cache  # calibration is a function of public choices
def calibrated(**changes: Any) -> Calibrated:
    return replace(QUICK, **changes).calibrate(BUDGET, FACTS)


def debits(ledger: Ledger) -> int:
    return [entry.kind for entry in ledger.entries()].count("debit")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """Every draw from private images, by name."""
    told: Drawn = []

    def noted(owner: type, name: str, said: Callable[[Any], str]) -> None:
        draw = getattr(owner, name)

        def counted(self: Any, *given: Any, **named: Any) -> Any:
            found = draw(self, *given, **named)
            told.append(said(self))
            return found

        monkeypatch.setattr(owner, name, counted)

    noted(ClassMoments, "release", lambda _: "description")
    noted(CalibratedScatterLinear, "centre", lambda _: "centre")
    noted(Steps, "step", lambda run: f"step {run.taken}")
    return told


ALL = ["description", "centre", *(f"step {i}" for i in range(1, 5))]


def at(what: str, step: int, end: Callable[[], None]) -> Callable[[int, int, str], None]:
    """Ends the run as soon as it tells of this, once."""
    left = [end]

    def progress(done: int, total: int, label: str) -> None:
        if (label, done) == (what, step) and left:
            left.pop()()

    return progress


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


PLACES = {
    "before the description": ("describing the classes", 0, 0),
    "after the description": ("computing features", 0, 1),
    "within the teacher": ("linear layer", 2, 4),
    "after the teacher": ("drawing pictures", 0, 6),
    "while labelling": ("labelling pictures", 20, 6),
}


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels are made for 20 pictures at a time, and kept each time."""
    monkeypatch.setattr(labelling, "_CHUNK", 20)
    monkeypatch.setattr(labelling, "_SAVED_EVERY", 1)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.filterwarnings("ignore:.*steps were begun after the checkpoint")
@pytest.mark.usefixtures("small_parts", "whole")
@pytest.mark.parametrize("place", PLACES)
def test_a_killed_run_goes_on_and_draws_nothing_twice(
    place: str, tmp_path: Path, drawn: Drawn
) -> None:
    what, step, before = PLACES[place]

    def go(progress: Callable[[int, int, str], None]) -> int:
        def run() -> None:
            made, ledger = calibrated(), Ledger.open(tmp_path / "ledger.db")
            release = made(images(), ledger=ledger, workspace=tmp_path / "work", progress=progress)
            release.save(tmp_path / "release")
            print(json.dumps(drawn))

        return in_a_child(run, tmp_path / "told")

    assert go(at(what, step, kill)) == -signal.SIGKILL
    assert not (tmp_path / "release").exists()
    assert go(lambda *_: None) == 0
    # Steps that were begun before the end are in no list of the second life.
    assert json.loads((tmp_path / "told").read_text("utf-8")) == ALL[before:]
    assert debits(Ledger.open(tmp_path / "ledger.db")) == 1
    data: Any = Release.load(tmp_path / "release").data
    assert data.images.shape == (30, *FACTS.shape)


@pytest.fixture(scope="module")
def whole() -> ImageSet:
    """What a run releases that ends; what it imports and calibrates is there for the others."""
    found: ImageSet = published(None)
    return found


def published(folder: Path | None, ends: Callable[[int, int, str], None] | None = None) -> Any:
    """The released images under fixed noise; None of a run that ended early."""
    made, ledger = calibrated(), Ledger.in_memory()
    if folder is not None:
        ledger = Ledger.open(folder / "ledger.db")
    workspace = folder and folder / "work"
    source, told = SeededSource(5), ends or (lambda *_: None)
    try:
        return made(images(), ledger=ledger, source=source, workspace=workspace, progress=told).data
    except Killed:
        return None


def dies() -> None:
    raise Killed


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("place", ["after the teacher", "while labelling"])
def test_it_releases_what_it_would_have(place: str, tmp_path: Path, whole: ImageSet) -> None:
    what, step, _ = PLACES[place]
    assert published(tmp_path, at(what, step, dies)) is None
    again: Any = published(tmp_path)
    for name in ("images", "labels", "soft_labels"):
        assert np.array_equal(getattr(again, name), getattr(whole, name)), name


def test_a_kept_description_is_the_one_that_was_drawn(tmp_path: Path) -> None:
    """Bit for bit, whether it goes through the folder or not."""
    run: Any = calibrated().run
    said = [
        run._described(images(), SeededSource(2), lambda *_: None, folder)
        for folder in (None, tmp_path, tmp_path)
    ]
    for name in ("shares", "means", "factors"):
        first, *others = (getattr(one, name) for one in said)
        assert all(first.equal(other) for other in others), name


@pytest.mark.usefixtures("small_parts")
def test_labels_are_taken_up_where_they_were_left_for_the_same_pictures_only(
    tmp_path: Path,
) -> None:
    class Teacher:
        seen = 0

        def scores(self, pictures: Any) -> Any:
            self.seen += len(pictures)
            return pictures.mean(dim=(2, 3))

    pictures = np.random.default_rng(0).integers(0, 256, (50, 3, 4, 4), dtype=np.uint8)
    teacher: Any = Teacher()
    with pytest.raises(Killed):
        labelling.labels(
            teacher, pictures, 1.0, at("labelling pictures", 40, dies), tmp_path / "labels"
        )
    assert teacher.seen == 40
    found = labelling.labels(teacher, pictures, 1.0, lambda *_: None, tmp_path / "labels")
    assert teacher.seen == 50
    assert np.array_equal(found, labelling.labels(teacher, pictures, 1.0, lambda *_: None))
    teacher.seen = 0
    other = pictures.copy()
    other[3, 0, 0, 0] ^= 1
    labelling.labels(teacher, other, 1.0, lambda *_: None, tmp_path / "labels")
    assert teacher.seen == 50


@pytest.mark.parametrize("name", ["release", "centre"])
def test_a_draw_that_was_begun_and_not_kept_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The noise may have been seen: another draw beside it would be paid for by nothing."""
    owner: Any = ClassMoments if name == "release" else CalibratedScatterLinear
    draw = getattr(owner, name)

    def interrupted(*given: Any) -> Any:
        draw(*given)
        raise KeyboardInterrupt

    ledger, work = Ledger.in_memory(), tmp_path / "work"
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            calibrated()(images(), ledger=ledger, workspace=work)
    what = "description" if name == "release" else "centre"
    with pytest.raises(InputError, match=f"died while it drew {what}.*paid for and lost"):
        calibrated()(images(), ledger=ledger, workspace=work)
    assert debits(ledger) == 1


@pytest.mark.filterwarnings("ignore:.*steps were begun after the checkpoint")
@pytest.mark.parametrize(
    ("copied", "refused"),
    [
        ("describing the classes", r"drew description .* or drew it in a copy"),
        ("computing features", r"drew centre .* or drew it in a copy"),
        ("linear layer", ""),
        ("drawing pictures", ""),
    ],
)
def test_a_copy_draws_nothing_again(
    copied: str, refused: str, tmp_path: Path, drawn: Drawn
) -> None:
    ledger, work, copy = Ledger.open(tmp_path / "ledger.db"), tmp_path / "work", tmp_path / "copy"

    def progress(done: int, total: int, label: str) -> None:
        if label == copied and not copy.exists():
            shutil.copytree(work, copy)

    calibrated()(images(), ledger=ledger, workspace=work, progress=progress)
    assert drawn == ALL
    if refused:
        with pytest.raises(InputError, match=refused):
            calibrated()(images(), ledger=ledger, workspace=copy)
    else:
        calibrated()(images(), ledger=ledger, workspace=copy)
    assert drawn == ALL
    assert debits(ledger) == 1


def test_no_private_image_nor_feature_is_kept(tmp_path: Path) -> None:
    """All that is kept is as large whatever the number of records, and holds none of them."""
    sizes = []
    for records in (60, 240):
        facts, work = FACTS.with_records(records), tmp_path / str(records)
        made, data = QUICK.calibrate(BUDGET, facts), images(n=records)
        made(data, ledger=Ledger.in_memory(), source=SeededSource(3), workspace=work)
        files = sorted(file for file in work.rglob("*") if file.is_file())
        assert all(data.images[0].tobytes() not in file.read_bytes() for file in files)
        assert {file.relative_to(work).parts[0].partition(".")[0] for file in files} == {
            *("paid", "pictures", "description", "centre", "training", "teacher"),
            *("seeds",),
        }
        sizes.append(
            {
                file.relative_to(work).parts[0]: file.stat().st_size
                for file in files
                if file.suffix == ".safetensors"
            }
        )
    assert sizes[0] == sizes[1]


# -- the clock -------------------------------------------------------------------------------


@pytest.fixture
def ten_seconds_and_one_a_picture(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A machine that is timed at that; how often it is timed."""
    timed: list[int] = []

    def measured(run: Any) -> Times:
        timed.append(1)
        return Times(10.0, 1.0)

    monkeypatch.setattr(teaching_time, "measured", measured)
    monkeypatch.setattr(teaching_time, "LEAST", 5)
    return timed


@pytest.mark.parametrize(
    ("minutes", "drawn", "released"),
    [(60.0, 60, 30), (1.0, 44, 30), (0.5, 17, 17), (0.28, 5, 5)],
)
@pytest.mark.usefixtures("ten_seconds_and_one_a_picture")
def test_fewer_are_drawn_then_fewer_released_and_all_is_spent(
    minutes: float, drawn: int, released: int, caplog: pytest.LogCaptureFixture
) -> None:
    made = calibrated(max_minutes=minutes)
    with caplog.at_level(logging.WARNING, "sfumato"):
        release: Any = made(images(), ledger=Ledger.in_memory())
    assert len(release.data) == released
    assert release.card.plan["samples"] == released
    assert sum(release.card.plan["candidates"].values()) == drawn
    assert release.card.plan["steps"] == 4
    assert release.card.figures["epsilon"] == pytest.approx(calibrated().guarantee.epsilon())
    assert (f"for {drawn} of 60 pictures, of which {released}" in caplog.text) == (drawn < 60)


@pytest.mark.usefixtures("ten_seconds_and_one_a_picture")
def test_too_little_time_is_refused_before_anything_is_spent(tmp_path: Path) -> None:
    ledger = Ledger.in_memory()
    for workspace in (None, tmp_path / "work"):
        with pytest.raises(InputError, match=r"is 0.2, and .* 5 pictures .* about 0.28 minutes"):
            calibrated(max_minutes=0.2)(images(), ledger=ledger, workspace=workspace)
    assert not ledger.entries()
    assert not (tmp_path / "work").exists()
    calibrated(max_minutes=0.28)(images(), ledger=ledger)


@pytest.mark.filterwarnings("ignore:.*steps were begun after the checkpoint")
def test_a_run_that_goes_on_keeps_what_was_chosen(
    tmp_path: Path,
    ten_seconds_and_one_a_picture: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, ledger, work = calibrated(max_minutes=0.5), Ledger.in_memory(), tmp_path / "work"
    with pytest.raises(Killed):
        made(images(), ledger=ledger, workspace=work, progress=at("linear layer", 2, dies))
    monkeypatch.setattr(teaching_time, "measured", lambda run: Times(1e9, 1.0))
    release = made(images(), ledger=ledger, workspace=work)
    assert release.card.plan["samples"] == 17
    assert len(ten_seconds_and_one_a_picture) == 1


def test_a_run_that_is_paid_for_and_chose_nothing_yet_is_not_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sfumato.publish.workspace import paid

    monkeypatch.setattr(teaching_time, "LEAST", 5)
    made, ledger = calibrated(max_minutes=1e-9), Ledger.open(tmp_path / "ledger.db")
    paid(tmp_path / "work", made, ledger, "0" * 32, "")
    release: Any = made(images(), ledger=ledger, workspace=tmp_path / "work")
    assert len(release.data) == 5
    assert debits(ledger) == 1


def test_time_is_measured_before_a_private_image_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The planted one is a measurement that is made on what is published."""
    private, seen = images(), []
    features = type(calibrated().run.teacher.method).features

    def watched(self: Any, shown: Any) -> Any:
        told = {image.tobytes() for image in shown.numpy()}
        seen.append(any(image.tobytes() in told for image in private.images))
        return features(self, shown)

    monkeypatch.setattr(type(calibrated().run.teacher.method), "features", watched)
    calibrated(max_minutes=60)(private, ledger=Ledger.in_memory())
    first = seen.index(True)
    assert first >= 2  # records and pictures are timed
    assert seen[first:].count(True) == 1
    seen.clear()
    run: Any = calibrated(max_minutes=60).run
    times = teaching_time.measured(run)
    assert seen
    assert not any(seen)
    assert times.before > 0
    assert times.picture > 0


def test_a_method_without_a_clock_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(run: Any) -> Times:
        raise AssertionError("timed")

    monkeypatch.setattr(teaching_time, "measured", never)
    release: Any = calibrated()(images(), ledger=Ledger.in_memory())
    assert isinstance(release.data, ImageSet)
    assert calibrated().run.wanted == Pictures(60, 30)
    for minutes in (0, -1.0, float("nan")):
        with pytest.raises(InputError, match="max_minutes"):
            replace(QUICK, max_minutes=minutes)
