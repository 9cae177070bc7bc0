"""A release is written whole or not at all, and read back only if nothing was altered."""

from __future__ import annotations

import datetime
import errno
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sfumato.errors import InputError
from sfumato.release.release import Artefact, Release, check_new

Make = Callable[..., Release]


def listing(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))


def edit_card(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    card = json.loads((folder / "card.json").read_text("utf-8"))
    change(card)
    (folder / "card.json").write_text(json.dumps(card), "utf-8")


@pytest.mark.parametrize("kind", ["table", "images"])
def test_a_release_is_the_same_after_a_round_trip(kind: str, make: Make, tmp_path: Path) -> None:
    release = make(kind, tensors=True)
    saved = release.save(tmp_path / "out", report=lambda r: f"report of {r.card.release_id}")
    back = Release.load(tmp_path / "out")
    assert saved.path == tmp_path / "out"
    assert back.card.to_json() == saved.card.to_json()
    assert (tmp_path / "out" / "report.html").read_text() == f"report of {'0123456789abcdef' * 2}"
    assert back.artefact.kind == kind
    if kind == "table":
        codes, before = back.data.codes(), release.data.codes()
        assert all(np.array_equal(codes[name], before[name]) for name in before)
    else:
        assert np.array_equal(back.data.images, release.data.images)
        assert np.array_equal(back.data.labels, release.data.labels)
    assert np.array_equal(
        back.artefact.tensors["layer.weight"], release.artefact.tensors["layer.weight"]
    )
    assert back.artefact.architecture == {"layers": [2, 3]}
    assert back.artefact.seeds == {"sampling": 2**63}


def test_the_report_sees_the_digests_of_the_files(make: Make, tmp_path: Path) -> None:
    seen: list[Any] = []
    saved = make().save(tmp_path / "out", report=lambda r: str(seen.append(r)))
    assert seen[0].card == saved.card
    names = [entry["name"] for entry in saved.card.artefact["files"]]
    assert names == ["data.parquet", "schema.yaml"]


def test_nothing_else_lies_in_the_folder(make: Make, tmp_path: Path) -> None:
    make().save(tmp_path / "out")
    assert listing(tmp_path) == ["out", "out/card.json", "out/data.parquet", "out/schema.yaml"]


def test_whoever_gets_the_folder_can_read_all_of_it(make: Make, tmp_path: Path) -> None:
    make(tensors=True).save(tmp_path / "out", report=lambda r: "report")
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o755
    modes = {p.name: oct(p.stat().st_mode & 0o777) for p in (tmp_path / "out").iterdir()}
    assert set(modes.values()) == {"0o644"}
    assert len(modes) == 5


def test_no_file_tells_when_it_was_written(make: Make, tmp_path: Path) -> None:
    """Copies and archives keep these times; less the card's, they say how long the work took."""
    saved = make(tensors=True).save(tmp_path / "out", report=lambda r: "report")
    paid = datetime.datetime.fromisoformat(saved.card.created).timestamp()

    def times() -> set[float]:
        files = [tmp_path / "out", *(tmp_path / "out").rglob("*")]
        return {file.stat().st_mtime for file in files}

    assert times() == {paid}
    saved.disclose("{}", "another report")
    assert times() == {paid}


def test_a_card_whose_time_is_none_is_not_written(make: Make, tmp_path: Path) -> None:
    made = make()
    bad = replace(made, card=replace(made.card, created="yesterday"))
    with pytest.raises(InputError, match=r"created of card.json is 'yesterday'"):
        bad.save(tmp_path / "out")
    assert listing(tmp_path) == []


class Failing:
    """A release's data that fails while it is written."""

    kind = "table"

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def save(self, folder: Path) -> None:
        (folder / "data.parquet").write_bytes(b"half")
        raise self.error


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyboardInterrupt(), OSError(28, "No space")])
def test_a_save_that_fails_leaves_nothing(error: BaseException, make: Make, tmp_path: Path) -> None:
    broken = replace(make(), artefact=Artefact(Failing(error)))
    expected = InputError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected):
        broken.save(tmp_path / "out")
    assert listing(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_one_line(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system may refuse what the rights of its folder promise; all is paid for by then."""

    def refused(*_: Any, **__: Any) -> str:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(tempfile, "mkdtemp", refused)
    with pytest.raises(InputError, match=r"cannot write .*out \(Operation not permitted\)"):
        make().save(tmp_path / "out")


def test_a_report_that_fails_leaves_nothing(make: Make, tmp_path: Path) -> None:
    def fails(release: Release) -> str:
        raise ValueError("no report")

    with pytest.raises(ValueError, match="no report"):
        make().save(tmp_path / "out", report=fails)
    assert listing(tmp_path) == []


def test_a_reader_never_sees_half_a_release(make: Make, tmp_path: Path) -> None:
    seen: list[bool] = []

    def report(release: Release) -> str:
        # All other files are written by now, and still nothing is at the release's path.
        seen.append((tmp_path / "out").exists())
        return "report"

    make().save(tmp_path / "out", report=report)
    assert seen == [False]
    assert (tmp_path / "out" / "card.json").is_file()


def test_a_kill_at_any_file_leaves_no_folder_that_loads(make: Make, tmp_path: Path) -> None:
    """Whatever prefix of the writes reached the disk, a folder without all of them is refused."""
    make(tensors=True).save(tmp_path / "out")
    files = [p for p in (tmp_path / "out").iterdir() if p.name != "report.html"]
    for file in files:
        content = file.read_bytes()
        file.unlink()
        with pytest.raises(InputError):
            Release.load(tmp_path / "out")
        file.write_bytes(content[: len(content) // 2])
        with pytest.raises(InputError):
            Release.load(tmp_path / "out")
        file.write_bytes(content)
    assert Release.load(tmp_path / "out").card.release_id == make().card.release_id


def test_an_existing_folder_is_refused_and_untouched(make: Make, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("keep")
    with pytest.raises(InputError, match="already exists"):
        make().save(tmp_path / "out")
    assert listing(tmp_path) == ["out", "out/mine"]


@pytest.mark.parametrize("what", ["empty folder", "file", "dangling link"])
def test_whatever_is_in_the_way_is_refused(what: str, make: Make, tmp_path: Path) -> None:
    target = tmp_path / "out"
    if what == "empty folder":
        target.mkdir()
    elif what == "file":
        target.write_text("x")
    else:
        target.symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="already exists"):
        make().save(target)


def test_of_two_that_save_at_once_one_wins_whole(make: Make, tmp_path: Path) -> None:
    """The second finds the place taken at the very end: one line, nothing left over."""
    barrier = threading.Barrier(2)
    outcomes: list[str] = []

    def report(release: Release) -> str:
        barrier.wait(timeout=30)
        return "report"

    def save(release: Release) -> None:
        try:
            release.save(tmp_path / "out", report=report)
            outcomes.append("saved")
        except InputError:
            outcomes.append("refused")

    threads = [threading.Thread(target=save, args=(make(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused", "saved"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    Release.load(tmp_path / "out")


def test_parents_are_made_and_impossible_places_are_one_line(make: Make, tmp_path: Path) -> None:
    make().save(tmp_path / "a" / "b" / "out")
    assert (tmp_path / "a" / "b" / "out" / "card.json").is_file()
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "file" / "out", tmp_path / ("n" * 300)):
        with pytest.raises(InputError) as caught:
            make().save(place)
        assert "\n" not in str(caught.value)


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(InputError, match="not writable"):
        check_new(tmp_path / "out")


@pytest.mark.parametrize("name", ["n" * 300, "a\0b"])
def test_a_name_that_no_folder_can_have_is_refused_before_anything_is_spent(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(InputError, match="cannot make"):
        check_new(tmp_path / name)


@pytest.mark.parametrize("name", ["data.parquet", "schema.yaml", "weights.safetensors"])
def test_an_altered_file_is_found(name: str, make: Make, tmp_path: Path) -> None:
    make(tensors=True).save(tmp_path / "out")
    file = tmp_path / "out" / name
    content = bytearray(file.read_bytes())
    for at in (0, len(content) // 2, len(content) - 1):
        content[at] ^= 1
        file.write_bytes(content)
        with pytest.raises(InputError, match="differs from its digest"):
            Release.load(tmp_path / "out")
        content[at] ^= 1
    file.write_bytes(content)
    Release.load(tmp_path / "out")


def test_a_missing_file_is_found(make: Make, tmp_path: Path) -> None:
    make().save(tmp_path / "out")
    (tmp_path / "out" / "data.parquet").unlink()
    with pytest.raises(InputError, match="is missing"):
        Release.load(tmp_path / "out")


def test_weights_that_the_card_does_not_list_are_no_part_of_it(make: Make, tmp_path: Path) -> None:
    make(tensors=True).save(tmp_path / "other")
    make().save(tmp_path / "out")
    planted = (tmp_path / "other" / "weights.safetensors").read_bytes()
    (tmp_path / "out" / "weights.safetensors").write_bytes(planted)
    assert Release.load(tmp_path / "out").artefact.tensors == {}


@pytest.mark.parametrize("name", ["data.parquet", "schema.yaml"])
def test_data_that_the_card_does_not_list_is_refused(name: str, make: Make, tmp_path: Path) -> None:
    make().save(tmp_path / "out")

    def unlist(card: dict[str, Any]) -> None:
        files = card["artefact"]["files"]
        card["artefact"]["files"] = [entry for entry in files if entry["name"] != name]

    edit_card(tmp_path / "out", unlist)
    with pytest.raises(InputError, match=f"does not list {name}"):
        Release.load(tmp_path / "out")


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", 7, None])
def test_a_card_cannot_point_outside_its_folder(name: Any, make: Make, tmp_path: Path) -> None:
    make().save(tmp_path / "out")
    (tmp_path / "secret").write_text("x")
    entry = {"name": name, "sha256": "a" * 64, "bytes": 1}
    edit_card(tmp_path / "out", lambda card: card["artefact"]["files"].append(entry))
    with pytest.raises(InputError, match="lists a file"):
        Release.load(tmp_path / "out")


def test_what_is_no_release_is_refused(make: Make, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no card\.json"):
        Release.load(tmp_path)
    make().save(tmp_path / "out")
    (tmp_path / "out" / "card.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="is not UTF-8"):
        Release.load(tmp_path / "out")


def test_a_kind_of_another_version_is_refused(make: Make, tmp_path: Path) -> None:
    make().save(tmp_path / "out")
    edit_card(tmp_path / "out", lambda card: card["artefact"].update(kind="sounds"))
    with pytest.raises(InputError, match="sounds"):
        Release.load(tmp_path / "out")


def test_a_release_loads_where_its_method_is_unknown(make: Make, tmp_path: Path) -> None:
    """Whoever receives a release needs neither the methods nor an accountant to read it."""
    make().save(tmp_path / "out")
    script = f"""
import sys

class Gone:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(("sfumato.publish", "sfumato.learn", "dp_accounting", "torch")):
            raise ImportError(name + " is not here")

sys.meta_path.insert(0, Gone())
from sfumato.release.release import Release
release = Release.load({str(tmp_path / "out")!r})
print(release.data.num_rows, release.card.figures["epsilon"] > 0)
"""
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == ["30", "True"]


def test_a_release_of_data_predicts_nothing(make: Make) -> None:
    with pytest.raises(InputError, match="holds table, not a model"):
        make().predict(np.zeros(3))


def test_an_evaluation_is_never_written_with_a_release(make: Make, tmp_path: Path) -> None:
    class Loud:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"{name} of the evaluation was read")

    replace(make(), evaluation=Loud()).save(tmp_path / "out")
    assert "evaluation.json" not in listing(tmp_path / "out")


def test_disclosing_writes_the_evaluation_and_its_report(make: Make, tmp_path: Path) -> None:
    saved = make().save(tmp_path / "out", report=lambda r: "public")
    saved.disclose('{"figures": 1}', "full")
    assert (tmp_path / "out" / "evaluation.json").read_text() == '{"figures": 1}'
    assert (tmp_path / "out" / "report.html").read_text() == "full"
    assert not [name for name in listing(tmp_path / "out") if name.startswith(".")]
    Release.load(tmp_path / "out")
    with pytest.raises(InputError, match="no folder"):
        make().disclose("{}", "")
