"""Pictures through the API: where a release may be written, and what a checkpoint goes on with."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sfumato
from sfumato.api.declared import check_public
from sfumato.api.publishing import plan
from sfumato.attack import Evidence, suite
from sfumato.data import ImageSchema, ImageSet
from sfumato.errors import InputError
from sfumato.learn.checkpoint import StepCounter
from sfumato.measure import evaluation
from sfumato.measure.evaluation import Evaluation
from sfumato.privacy.ledger import Ledger

CVAE: dict[str, Any] = {
    "method": "generators.cvae",
    "settings": {"epochs": 1, "expected_batch_size": 10, "latent": 2, "hidden": 4, "width": 2},
    "epsilon": 5.0,
    "delta": 1e-3,
    "evaluate": False,
}
FEW: dict[str, Any] = {"public_images": 20}


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Sixty small pictures in two classes."""
    rng = np.random.default_rng(0)
    for number in range(120):
        folder = tmp_path / "scans" / ("ill", "well")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (8, 8)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "scans"


@pytest.mark.parametrize("where", ["release", "ill/release", "../scans/deep/release"])
def test_nothing_is_written_among_the_private_pictures(scans: Path, where: str) -> None:
    ledger = Ledger.in_memory()
    before = sorted(scans.rglob("*"))
    with pytest.raises(InputError, match=r"lies in .*scans, the folder of the private images"):
        sfumato.publish(scans, out=scans / where, ledger=ledger, **CVAE)
    with pytest.raises(InputError, match=r"lies in .*scans, the folder of the private images"):
        sfumato.publish(scans, checkpoint=scans / where, ledger=ledger, **CVAE)
    with pytest.raises(InputError, match=r"lies in .*scans, the folder of the private images"):
        sfumato.select(
            scans, "generators.merf", epsilon=5.0, limit=0.5, out=scans / where, ledger=ledger
        )
    assert not ledger.entries()
    assert sorted(scans.rglob("*")) == before


@pytest.mark.parametrize("named", ["scans", "./scans/", "scans/ill", "."])
@pytest.mark.parametrize(
    ("method", "setting"), [("generators.dpmi", "public"), ("generators.augm", "public_data")]
)
def test_private_pictures_are_never_taken_for_public_ones(
    method: str, setting: str, named: str, scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: a setting of another name, and folders that hold, or are held by, the private."""
    monkeypatch.chdir(scans.parent)
    ledger = Ledger.in_memory()
    options: dict[str, Any] = {"method": method, "settings": {setting: named}, "epsilon": 5.0}
    with pytest.raises(InputError, match="the private data"):
        sfumato.publish(scans, delta=1e-3, ledger=ledger, **options)
    assert not ledger.entries()


def test_what_is_held_out_is_not_public_either(scans: Path, tmp_path: Path) -> None:
    others = tmp_path / "others"
    shutil.copytree(scans, others)
    ledger = Ledger.in_memory()
    options: dict[str, Any] = {"method": "generators.dpmi", "settings": {"public": str(others)}}
    with pytest.raises(InputError, match="held out of the release"):
        sfumato.publish(scans, epsilon=5.0, delta=1e-3, holdout=others, ledger=ledger, **options)
    assert not ledger.entries()


def test_a_folder_may_be_called_as_a_procedure_is(
    scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(scans.parent)
    scans.rename("drawings")
    made = plan("drawings", method="generators.dpmi", epsilon=5.0, delta=1e-3, settings=FEW)
    assert made.calibrated.method.public == "drawings"


@pytest.mark.parametrize(
    ("public", "shared"),
    [
        ("rows/march.csv", True),
        ("rows", True),
        ("rows/march.parquet", False),
        ("rows-of-others/march.csv", False),
        ("dataset:digits", False),
    ],
)
def test_a_file_of_a_private_glob_is_not_public(public: str, shared: bool) -> None:
    method = SimpleNamespace(public_data=public)
    if not shared:
        check_public(method, "rows/*.csv")
        return
    with pytest.raises(InputError, match="one lies in the other"):
        check_public(method, "rows/*.csv")


@pytest.mark.parametrize(
    ("private", "holdout", "public"),
    [
        ("rows/march.csv", None, "rows/[m]arch.csv"),
        ("rows/march.csv", None, "*/march.csv"),
        ("rows/march.csv", None, "rows/march?csv"),
        ("dataset:digits", None, "dataset:digits/"),
        ("dataset:digits/", None, "dataset:digits/train"),
        ("rows/march.csv", "rows/held.csv", "rows/h*.csv"),
        ("march.csv", "rows/held.csv", "rows"),
        ("march.csv", "rows", "rows/held.csv"),
        ("rows [2026]", None, "rows [2026]/march.csv"),
    ],
)
def test_private_data_by_another_spelling_are_not_public(
    private: str, holdout: str | None, public: str
) -> None:
    with pytest.raises(InputError, match="public_data is"):
        check_public(SimpleNamespace(public_data=public), private, holdout)


@pytest.mark.parametrize("method", ["images.pixelate", "images.gaussian"])
def test_the_order_of_pictures_does_not_tell_the_labels_that_are_paid_for(
    method: str, scans: Path
) -> None:
    """One folder a class is read class by class: there a picture's place is its label.

    False alarm: that some 70 shuffled pictures stand as they were, or their labels do, has a chance
    below 1 in 10^17.
    """
    settings = {"label_share": 0.1, "pixels": 1}
    release = sfumato.publish(
        scans,
        epsilon=100.0,  # so much that nothing but the order hides a thing
        method=method,
        settings={**settings, "block": 1} if method == "images.pixelate" else settings,
        delta=1e-3 if method == "images.gaussian" else None,
        holdout=0.4,
        ledger=Ledger.in_memory(),
        evaluate=True,
        attacks=["linkage.nearest"],
    )
    labels = release.data.labels
    assert set(labels) == {0, 1}
    assert not (np.diff(labels) >= 0).all()
    # The evaluation knows which picture is whose, and later ones do not.
    (finding,) = release.evaluation.findings
    assert finding.metric == "rank-1 linkage rate"
    assert finding.value == 1.0
    members, others = ImageSet.from_folder(scans).split(0.4, 0)
    of: dict[str, Any] = {"members": members, "non_members": others}
    (later,) = sfumato.attack(release, attacks=["linkage.nearest"], **of)
    assert "rank-1" not in later.metric
    with pytest.raises(InputError, match="only the evaluation of `publish` knows their order"):
        sfumato.attack(release, attacks=["reidentification.siamese"], **of)


def test_where_labels_are_public_pictures_keep_their_order(scans: Path) -> None:
    release = sfumato.publish(
        scans, epsilon=1.0, method="images.pixelate", holdout=0, ledger=Ledger.in_memory()
    )
    assert np.array_equal(release.data.labels, np.repeat([0, 1], 60))


def interrupted(monkeypatch: pytest.MonkeyPatch, *given: Any, **options: Any) -> None:
    """Publishes until the training begins."""

    def stop(*given: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(StepCounter, "begun", stop)
        with pytest.raises(KeyboardInterrupt):
            sfumato.publish(*given, **options)


def test_an_interrupted_run_goes_on_with_the_pictures_that_it_was_begun_with(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else pictures that it was trained on are held out, and judged as if it had not seen them."""
    ledger = Ledger.in_memory()
    options: dict[str, Any] = {**CVAE, "ledger": ledger, "checkpoint": tmp_path / "kept"}
    interrupted(monkeypatch, scans, **options)
    assert len(ledger.entries()) == 1
    with pytest.raises(InputError, match=r"was begun with holdout '0\.2', and '0\.25' is given"):
        sfumato.publish(scans, **options, holdout=0.25)
    assert len(ledger.entries()) == 1
    release = sfumato.publish(scans, out=tmp_path / "out", holdout="0.20", seed=3, **options)
    assert len(ledger.entries()) == 1
    assert release.card.ledger["entry"] == ledger.entries()[0].hash
    assert not (tmp_path / "kept").exists()


def test_a_run_that_was_never_paid_for_leaves_the_choice_open(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: Any, **named: Any) -> None:
        raise KeyboardInterrupt

    ledger = Ledger.in_memory()
    options: dict[str, Any] = {**CVAE, "ledger": ledger, "checkpoint": tmp_path / "kept"}
    with monkeypatch.context() as patched:
        patched.setattr("sfumato.publish.workspace.paid", refuse)
        with pytest.raises(KeyboardInterrupt):
            sfumato.publish(scans, **options)
    sfumato.publish(scans, out=tmp_path / "out", seed=3, **options)
    assert len(ledger.entries()) == 1


def test_a_person_in_several_pictures_is_told_of(
    scans: Path, caplog: pytest.LogCaptureFixture
) -> None:
    known = ImageSet.from_folder(scans)
    settings: dict[str, Any] = {"epsilon": 1.0, "method": "images.pixelate", "holdout": 0}
    for whose, told in ((np.arange(120), False), (np.arange(120) // 3, True)):
        private = ImageSet.from_arrays(known.images, known.labels, ("a", "b"), identity=whose)
        caplog.clear()
        sfumato.publish(private, ledger=Ledger.in_memory(), **settings)
        assert ("up to 3 images show the same person" in caplog.text) == told


def test_an_interrupted_evaluation_says_that_the_release_is_whole(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Else whoever stops it publishes, and pays, anew."""

    def stop(*given: Any, **named: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sfumato.measure.evaluation.evaluate", stop)
    ledger = Ledger.in_memory()
    settings: dict[str, Any] = {"epsilon": 1.0, "method": "images.pixelate", "holdout": 0.4}
    with pytest.raises(KeyboardInterrupt):
        sfumato.publish(scans, out=tmp_path / "out", ledger=ledger, **settings)
    assert f"the release in {tmp_path / 'out'} is whole, and paid for" in caplog.text
    assert sfumato.Release.load(tmp_path / "out").card.ledger["entry"] == ledger.head


def test_a_folder_that_comes_to_exist_meanwhile_costs_no_release(
    scans: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two runs into one folder, say: what the second has paid for is written beside the first."""
    out, ledger = tmp_path / "out", Ledger.in_memory()

    def another(*given: Any) -> None:
        (out / "theirs").mkdir(parents=True, exist_ok=True)

    release = sfumato.publish(
        scans,
        epsilon=1.0,
        method="images.pixelate",
        holdout=0.4,
        attacks=["linkage.nearest"],
        out=out,
        ledger=ledger,
        progress=another,
    )
    assert [file.name for file in out.iterdir()] == ["theirs"]
    assert release.path == tmp_path / f"out-{release.card.release_id[:12]}"
    assert f"the release is written to {release.path}" in caplog.text
    assert sfumato.Release.load(release.path).card.ledger["entry"] == ledger.head
    assert (tmp_path / f"{release.path.name}.evaluation" / "report.html").is_file()


def test_why_a_method_was_chosen_and_what_folders_say_is_told(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def stop(*given: Any, **named: Any) -> None:
        raise KeyboardInterrupt

    def told(**given: Any) -> str:
        caplog.clear()
        with caplog.at_level("INFO", logger="sfumato"), pytest.raises(KeyboardInterrupt):
            sfumato.publish(scans, ledger=tmp_path / "l.db", epsilon=1.0, delta=1e-3, **given)
        return caplog.text

    monkeypatch.setattr("sfumato.publish.generators.run.train", stop)
    folders = "public facts: the folders' names as classes (ill, well), images of 1 x 8 x 8"
    assert "--method auto takes generators.merf: with so few images" in told()
    assert folders in told(method="generators.merf")
    assert "--method auto" not in caplog.text
    facts = ImageSchema(1, 8, 8, ("ill", "well"))
    assert folders not in told(method="generators.merf", schema=facts)


def test_a_disclosed_evaluation_keeps_who_is_exposed_most_inside(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def attacked(release: Any, members: Any, others: Any, **_: Any) -> Evaluation:
        (found,) = suite.run(release, Evidence(members, others), attacks=["memorisation.nearest"])
        return Evaluation(findings=(found,), release_id=release.card.release_id)

    monkeypatch.setattr(evaluation, "evaluate", attacked)  # what else is measured takes longer
    out = tmp_path / "release"
    made = sfumato.publish(
        scans,
        out=out,
        method="images.pixelate",
        epsilon=5.0,
        settings={"pixels": 1},
        holdout=0.4,
        disclose_evaluation=True,
        ledger=Ledger.in_memory(),
    )
    assert made.evaluation is not None
    assert made.evaluation.findings[0].details["closest"]  # the custodian is told
    handed_over = [(out / name).read_text("utf-8") for name in ("evaluation.json", "report.html")]
    assert "memorisation.nearest" in handed_over[0]
    assert "closest" not in handed_over[0]
    assert "Nearest to a training picture" not in handed_over[1]
    own = (out.with_name("release.evaluation") / "report.html").read_text("utf-8")
    assert "Nearest to a training picture" in own


@pytest.mark.parametrize("names", [("set", "set/data.npz"), ("set/data.npz", "set")])
def test_private_pictures_are_not_public_under_another_name(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    rng = np.random.default_rng(0)
    private = ImageSet.from_arrays(
        rng.integers(0, 256, (30, 8, 8)).astype(np.uint8), rng.integers(0, 2, 30), ("no", "yes")
    )
    private.save(tmp_path / "set")
    data, public = (str(tmp_path / name) for name in names)
    for method in ("generators.augm", "generators.dp2vae"):
        with pytest.raises(InputError, match="the private data themselves"):
            sfumato.publish(
                data, epsilon=1.0, method=method, settings={"public_data": public}, holdout=0
            )
