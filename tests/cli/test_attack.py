"""`sfumato attack` on what others made, and the schema that is read off it."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

Command = Callable[..., Any]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A released table that holds its members, and the two files of the evidence."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": rng.integers(0, 100, 160),
            "weight": rng.normal(70, 9, 160).round(1),
            "colour": rng.choice(["red", "green"], 160),
            "outcome": rng.choice(["no", "yes"], 160),
        }
    )
    paths = {}
    for name, part in (("members", frame[:80]), ("others", frame[80:]), ("out", frame[:80])):
        paths[name] = tmp_path / f"{name}.csv"
        part.to_csv(paths[name], index=False)
    return paths


def evidence(files: dict[str, Path]) -> list[object]:
    return ["--members", files["members"], "--non-members", files["others"]]


def test_from_a_released_file_to_a_report(
    sfumato: Command, files: dict[str, Path], tmp_path: Path
) -> None:
    schema = tmp_path / "facts.yaml"
    drafted = sfumato(
        "schema", "draft", files["out"], "--released", "--target", "outcome", "--out", schema
    )
    assert drafted.code == 0, drafted.err
    ran = sfumato(
        "attack",
        files["out"],
        *evidence(files),
        *("--schema", schema, "--attack", "membership.distance"),
        *("--out", tmp_path / "found", "--risk", tmp_path / "people.private.csv"),
    )
    assert ran.code == 0, ran.err
    assert "Nothing is claimed" in ran.out
    assert "Shown two records" in ran.out
    assert "for you alone" in ran.err
    assert (tmp_path / "found" / "report.html").is_file()
    assert stat.S_IMODE((tmp_path / "people.private.csv").stat().st_mode) == 0o600


def test_machines_get_json(sfumato: Command, files: dict[str, Path], tmp_path: Path) -> None:
    schema = tmp_path / "facts.yaml"
    sfumato("schema", "draft", files["out"], "--released", "--target", "outcome", "--out", schema)
    ran = sfumato(
        "attack",
        files["out"],
        *evidence(files),
        *("--schema", schema, "--attack", "anonymeter.linkability", "--json"),
    )
    (finding,) = json.loads(ran.out)
    assert finding["attack"] == "anonymeter.linkability"
    assert finding["ceiling"] is None


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ([], "has no schema"),
        (["--reveal"], "in a report only"),
        (["--interface", "layout"], "--interface 'layout' has no '='"),
        (["--interface", "shape=3"], "the interface has no 'shape'"),
        (["--out", "."], "already exists"),
        (["--schema", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_bad_input_is_one_line_before_anything_runs(
    more: list[str], named: str, sfumato: Command, files: dict[str, Path]
) -> None:
    ran = sfumato("attack", files["out"], *evidence(files), *more)
    assert ran.code == 2
    assert named in ran.err
    assert "Traceback" not in ran.err


def test_what_cannot_be_revealed_is_said_before_anything_runs(
    sfumato: Command, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfumato.attack.suite.run", None)
    schema = tmp_path / "facts.yaml"
    sfumato("schema", "draft", files["out"], "--released", "--target", "outcome", "--out", schema)
    more = ["--schema", schema, "--out", tmp_path / "found"]
    ran = sfumato("attack", files["out"], *evidence(files), *more, "--reveal")
    assert ran.code == 2
    assert "no training pictures to reveal" in ran.err
    (tmp_path / "card.json").write_text("{}")
    ran = sfumato("attack", files["out"], *evidence(files), *more)
    assert ran.code == 2
    assert "lies in a release" in ran.err


def test_a_risk_file_that_looks_harmless_is_refused(
    sfumato: Command, files: dict[str, Path], tmp_path: Path
) -> None:
    schema = tmp_path / "facts.yaml"
    sfumato("schema", "draft", files["out"], "--released", "--target", "outcome", "--out", schema)
    ran = sfumato(
        *("attack", files["out"], *evidence(files), "--schema", schema),
        *("--risk", tmp_path / "people.csv"),
    )
    assert ran.code == 2
    assert "people.private.csv" in ran.err


def test_findings_are_told_before_a_list_of_risks_is_refused(
    sfumato: Command, files: dict[str, Path], tmp_path: Path
) -> None:
    """No attack here scores single records; what took hours to find out was lost."""
    schema = tmp_path / "facts.yaml"
    sfumato("schema", "draft", files["out"], "--released", "--target", "outcome", "--out", schema)
    asked = (
        *("attack", files["out"], *evidence(files), "--schema", schema),
        *("--attack", "linkage.nearest", "--risk", tmp_path / "people.private.csv"),
    )
    ran = sfumato(*asked)
    assert ran.code == 2
    assert "none of the attacks scores single records" in ran.err
    assert "people's records that released records point at" in ran.out
    assert json.loads(sfumato(*asked, "--json").out)["exit_code"] == 2


def test_weights_and_folders_of_pictures_need_no_schema(sfumato: Command, tmp_path: Path) -> None:
    """What pictures are is there to see, in a folder with a list of labels as in any other."""
    import numpy as np
    from PIL import Image

    from sfumato.learn.architectures import build, weights
    from sfumato.release.weights import save_weights

    for name in ("in", "out"):
        (tmp_path / name).mkdir()
        lines = ["file,label"]
        for i in range(24):
            pixels = np.full((4, 5), 10 * i, np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
            lines.append(f"{i}.png,{'xyz'[i % 3]}")
        (tmp_path / name / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    network = {"family": "dense", "shape": [1, 4, 5], "classes": 3}
    save_weights(tmp_path / "net.safetensors", weights(build(network, seed=0)), {})
    (tmp_path / "net.json").write_text(json.dumps(network), encoding="utf-8")
    ran = sfumato(
        *("attack", tmp_path / "net.safetensors", "--architecture", tmp_path / "net.json"),
        *("--members", tmp_path / "in", "--non-members", tmp_path / "out"),
        *("--attack", "membership.gap", "--json"),
    )
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)[0]["details"]["targets"] == 24


@pytest.mark.parametrize(("ceiling", "code"), [(0.55, 5), (0.7, 0), (None, 0)])
def test_a_claim_that_an_attack_refutes_ends_the_command_with_its_own_code(
    ceiling: float | None,
    code: int,
    sfumato: Command,
    files: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from sfumato.api.attacking import Prepared
    from sfumato.attack.finding import Finding

    found = Finding("membership.loss", "AUC", 0.6, (0.58, 0.62), 0.95, 0.5, ceiling=ceiling)
    monkeypatch.setattr(Prepared, "attack", lambda *a, **k: [found])
    schema = tmp_path / "facts.yaml"
    sfumato("schema", "draft", files["out"], "--released", "--target", "outcome", "--out", schema)
    asked = ("attack", files["out"], *evidence(files), "--schema", schema)
    ran = sfumato(*asked, "--out", tmp_path / "found")
    assert ran.code == code, ran.err
    assert ("further than the guarantee allows" in ran.err) is (code == 5)
    assert (tmp_path / "found" / "evaluation.json").is_file()
    told = sfumato(*asked, "--json")
    assert told.code == code
    assert json.loads(told.out)[0]["attack"] == "membership.loss"


def test_a_publication_that_an_attack_refutes_is_shown_and_no_success(
    sfumato: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    from sfumato.attack.finding import Finding

    found = Finding("membership.loss", "AUC", 0.6, (0.58, 0.62), 0.95, 0.5, ceiling=0.55)
    made = SimpleNamespace(evaluation=SimpleNamespace(findings=(found,)))
    shown: list[object] = []
    monkeypatch.setattr("sfumato.api.publish", lambda *a, **k: made)
    monkeypatch.setattr("sfumato.cli.publish.show", lambda release, **k: shown.append(release))
    ran = sfumato("publish", "people.csv", "--epsilon", 1, "--out", "made")
    assert ran.code == 5
    assert shown == [made]
    assert "Do not hand the release over" in ran.err


def test_released_files_are_not_paid_for(sfumato: Command, files: dict[str, Path]) -> None:
    ran = sfumato("schema", "draft", files["out"], "--released", "--epsilon", 1)
    assert ran.code == 2
    assert "are for private rows" in ran.err


def test_pictures_of_a_finding_are_not_printed_unasked(
    sfumato: Command, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sfumato.api.attacking import Prepared
    from sfumato.attack.finding import Finding

    details = {"revealed": [[[[7]]]]}
    finding = Finding("gradient.inversion", "share", 0.5, (0.4, 0.6), 0.95, 0.0, details=details)
    monkeypatch.setattr(Prepared, "attack", lambda *a, **k: [finding])
    schema = tmp_path / "facts.yaml"
    sfumato("schema", "draft", files["out"], "--released", "--target", "outcome", "--out", schema)
    asked = ("attack", files["out"], *evidence(files), "--schema", schema)
    assert "revealed" not in sfumato(*asked, "--json").out
    ran = sfumato(*asked, "--out", tmp_path / "hidden")
    assert "left out" in ran.err
    nothing = sfumato(*asked, "--out", tmp_path / "shown", "--reveal")
    assert "no training pictures to reveal" in nothing.err  # no attack was told to
    told = ("gradient.inversion[reveal=true]",)
    monkeypatch.setattr("sfumato.attack.suite.planned", lambda *a: told)
    shown = sfumato(*asked, "--json", "--out", tmp_path / "shown", "--reveal")
    assert "revealed" in shown.out


def test_settings_are_read_once_and_as_numbers() -> None:
    from sfumato.cli.output import parse_settings
    from sfumato.errors import InputError

    assert parse_settings(["rate=1e-3"]) == {"rate": 0.001}
    for pairs in (["a=2020-13-45"], ["a=1", "a=2"]):
        with pytest.raises(InputError):
            parse_settings(pairs)
