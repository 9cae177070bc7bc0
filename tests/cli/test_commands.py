"""Every command once, as a person and as a program would use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import sfumato as package
from sfumato.release.card import json_schema

Command = Callable[..., "object"]


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """A CSV with its schema beside it."""
    rng = np.random.default_rng(0)
    n = 300
    age = rng.integers(0, 80, n)
    frame = pd.DataFrame(
        {"age": age, "colour": rng.choice(["red", "green"], n), "outcome": age > 40}
    )
    file = tmp_path / "people.csv"
    frame.to_csv(file, index=False)
    (tmp_path / "people.schema.yaml").write_text(
        "sfumato_schema: 1\ntarget: outcome\ncolumns:\n"
        "  age: {type: integer, lower: 0, upper: 79, granularity: 1, provenance: public}\n"
        "  colour: {type: categorical, levels: [red, green], provenance: public}\n"
        "  outcome: {type: categorical, dtype: bool, levels: ['false', 'true'],"
        " provenance: public}\n",
        encoding="utf-8",
    )
    return file


def test_the_way_from_a_file_to_an_attacked_release(
    sfumato: Command, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, ledger = tmp_path / "release", tmp_path / "people.db"
    ran = sfumato("publish", people, "--epsilon", 1, "--out", out, "--ledger", ledger)
    assert ran.code == 0, ran.err
    assert f"Hand over: {out}" in ran.out
    assert ran.out.strip().splitlines()[-1].endswith("release.evaluation/report.html")

    attacked = sfumato("attack", out, "--members", people, "--non-members", people, "--json")
    assert attacked.code == 0, attacked.err
    findings = json.loads(attacked.out)
    assert {f["attack"] for f in findings} >= {"membership.distance", "attribute.inference"}

    drawn = sfumato("sample", out, "-n", 40, "--out", tmp_path / "more", "--seed", 1)
    assert drawn.code == 0, drawn.err
    assert "nothing was spent" in drawn.out
    assert len(package.Release.load(tmp_path / "more").data) == 40

    exported = sfumato("export", out, tmp_path / "rows.csv")
    assert exported.code == 0, exported.err
    assert list(pd.read_csv(tmp_path / "rows.csv").columns) == ["age", "colour", "outcome"]

    measured = sfumato("measure", out, "--train", people, "--test", people)
    assert measured.code == 0, measured.err
    assert "one-way mean" in measured.out

    monkeypatch.setenv("COLUMNS", "80")
    shown = sfumato("ledger", "show", ledger)
    assert shown.code == 0
    (entry,) = json.loads(sfumato("ledger", "show", ledger, "--json").out)["entries"]
    assert "tables.marginals" in shown.out
    assert entry["time"][:16].replace("T", " ") in shown.out
    assert entry["release_id"][:12] not in shown.out
    monkeypatch.setenv("COLUMNS", "200")
    assert entry["release_id"][:12] in sfumato("ledger", "show", ledger).out
    assert sfumato("ledger", "verify", ledger, "--release", out).code == 0
    another = ("--out", tmp_path / "other", "--ledger", tmp_path / "other.db", "--no-evaluate")
    assert sfumato("publish", people, "--epsilon", 1, *another).code == 0
    missed = sfumato("ledger", "verify", ledger, "--release", out, "--release", tmp_path / "other")
    assert missed.code == 4
    assert "is not in this ledger" in missed.err
    unpaid = package.publish(people, epsilon=1, ledger=package.Ledger.in_memory(), evaluate=False)
    replace(unpaid, card=replace(unpaid.card, ledger={})).save(tmp_path / "unpaid")
    unnamed = sfumato("ledger", "verify", ledger, "--release", tmp_path / "unpaid")
    assert unnamed.code == 2
    assert "names no ledger entry" in unnamed.err
    exported = json.loads(sfumato("ledger", "export", ledger).out)
    assert len(exported["entries"]) == 1
    for inside in (("export", ledger, "--out", out / "x"), ("ceiling", out / "x", "--epsilon", 1)):
        refused = sfumato("ledger", *inside)
        assert refused.code == 2
        assert "lies in a release" in refused.err
    assert not (out / "x").exists()


def test_json_output_holds_the_card_and_nothing_else(
    sfumato: Command, people: Path, tmp_path: Path
) -> None:
    import jsonschema

    out = tmp_path / "release"
    ran = sfumato("publish", people, "--epsilon", 2, "--out", out, "--no-evaluate", "--json")
    assert ran.err == ""
    values = json.loads(ran.out)
    jsonschema.validate(values["card"], json_schema())
    assert values["card"] == package.Release.load(out).card.to_dict()


def test_an_error_is_json_too_where_json_was_asked_for(sfumato: Command, tmp_path: Path) -> None:
    ran = sfumato("publish", "dataset:nothing", "--epsilon", 1, "--out", tmp_path / "x", "--json")
    assert ran.code == 2
    assert json.loads(ran.out)["exit_code"] == 2


def test_a_ceiling_is_set_shown_and_enforced_with_exit_code_3(
    sfumato: Command, people: Path, tmp_path: Path
) -> None:
    ledger = tmp_path / "people.db"
    assert sfumato("ledger", "ceiling", ledger, "--epsilon", 0.5).code == 0
    out = tmp_path / "release"
    ran = sfumato("publish", people, "--epsilon", 1, "--out", out, "--ledger", ledger)
    assert ran.code == 3
    assert "0.5" in ran.err
    assert not out.exists()
    assert "ceiling" in sfumato("ledger", "show", ledger).out


def test_a_flipped_byte_is_found_with_exit_code_4(
    sfumato: Command, people: Path, tmp_path: Path
) -> None:
    ledger, out = tmp_path / "people.db", tmp_path / "release"
    sfumato("publish", people, "--epsilon", 1, "--out", out, "--ledger", ledger, "--no-evaluate")
    content = bytearray(ledger.read_bytes())
    content[content.index(b"tables.marginals") + 3] ^= 1
    ledger.write_bytes(content)
    ran = sfumato("ledger", "verify", ledger)
    assert ran.code == 4
    assert len(ran.err.strip().splitlines()) == 1


def test_a_schema_is_drafted_filled_in_and_checked(
    sfumato: Command, people: Path, tmp_path: Path
) -> None:
    drafted = tmp_path / "draft.yaml"
    ran = sfumato("schema", "draft", people, "--target", "outcome", "--out", drafted)
    assert ran.code == 0, ran.err
    text = drafted.read_text("utf-8")
    assert "?" in text
    assert "red" not in text  # a value of the data
    assert sfumato("schema", "check", people, "--schema", drafted).code == 2
    beside = tmp_path / "people.schema.yaml"
    ran = sfumato("schema", "check", people, "--schema", beside)
    assert ran.code == 0
    assert "300" in ran.out


def test_a_paid_draft_debits_its_ledger(sfumato: Command, people: Path, tmp_path: Path) -> None:
    ledger = tmp_path / "people.db"
    ran = sfumato(
        *("schema", "draft", people, "--epsilon", 5, "--delta", 1e-4, "--ledger", ledger),
        *("--type", "age=integer", "--type", "colour=categorical", "--type", "outcome=bool"),
    )
    assert ran.code == 0, ran.err
    assert "ledger:" in ran.out
    assert "schema.draft" in sfumato("ledger", "show", ledger, "--json").out


def test_methods_are_listed_and_shown_with_their_settings(sfumato: Command) -> None:
    listed = json.loads(sfumato("methods", "--json").out)
    names = {m["name"] for m in listed["methods"]}
    assert {"tables.adaptive", "tables.independent", "generators.merf"} <= names
    for name in sorted(names | {a["name"] for a in listed["attacks"]}):
        ran = sfumato("methods", name)
        assert ran.code == 0
        assert name in ran.out
    assert "tables.independent" in sfumato("methods").out
    assert sfumato("methods", "tables.nothing").code == 2


def test_data_sets_are_listed(sfumato: Command) -> None:
    listed = json.loads(sfumato("data", "list", "--json").out)
    here = {d["name"]: d["here"] for d in listed}
    assert here["digits"]
    assert here["census-sample"]
    assert "dataset:digits" in sfumato("data", "list").out


def test_doctor_says_what_is_installed(sfumato: Command) -> None:
    values = json.loads(sfumato("doctor", "--json").out)
    assert {p["name"] for p in values["packages"]} >= {"sfumato", "torch", "duckdb"}
    assert values["megabytes_beside_torch"] > 0
    assert "cpu" in values["devices"]
    out = sfumato("doctor").out
    assert "torch" in out
    assert "kernels: compiled, in " in out or "kernels: not compiled, so that noise" in out


def test_threads_that_wait_sleep_unless_the_user_says_otherwise() -> None:
    """The variable must stand before the library that reads it is loaded."""
    script = (
        "import os, sys; from sfumato.cli import app, main; "
        "app.run = lambda: print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules); main()"
    )
    for given, expected in ((None, "PASSIVE"), ("ACTIVE", "ACTIVE")):
        environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
        environment |= {} if given is None else {"OMP_WAIT_POLICY": given}
        ran = subprocess.run(
            [sys.executable, "-c", script],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert ran.stdout.split() == [expected, "False"]


def test_a_method_that_no_clock_bounds_says_so(
    sfumato: Command, people: Path, tmp_path: Path
) -> None:
    asked = ("publish", people, "--epsilon", 1, "--out", tmp_path / "release")
    ran = sfumato(*asked, "--method", "tables.independent", "--max-minutes", 3)
    assert ran.code == 2
    assert "cannot be bounded by the clock. Leave out max_minutes (--max-minutes)" in ran.err
    assert not (tmp_path / "release").exists()


def test_compare_writes_a_table_and_a_page(sfumato: Command, people: Path, tmp_path: Path) -> None:
    out = tmp_path / "comparison"
    ran = sfumato(
        *("compare", people, "--epsilon", "1,4", "--method", "tables.independent"),
        *("--attack", "membership.distance", "--out", out),
    )
    assert ran.code == 0, ran.err
    assert len(json.loads((out / "comparison.json").read_text("utf-8"))["rows"]) == 2
    repeated = sfumato(
        *("compare", people, "--epsilon", "1", "--epsilon", "4", "--method", "tables.independent"),
        *(
            "--seeds",
            "0",
            "--seeds",
            "1",
            "--attack",
            "membership.distance",
            "--out",
            tmp_path / "again",
        ),
    )
    assert "Compared 4 runs" in repeated.out
    assert sfumato("compare", people, "--epsilon", "x", "--method", "a", "--out", out).code == 2


def test_compare_points_writes_a_table_and_a_page(
    sfumato: Command, people: Path, tmp_path: Path
) -> None:
    out = tmp_path / "points"
    asked = ("compare-points", people, "--mu", "1,4", "--seeds", "0", "--out", out)
    chosen = ("--points", "output,prediction", "--set", "output:regularisation=0.5")
    ran = sfumato(*asked, *chosen)
    assert ran.code == 0, ran.err
    assert "Not compared: prediction" in ran.out
    rows = json.loads((out / "points.json").read_text("utf-8"))["rows"]
    assert [(row["point"], row["mu"]) for row in rows] == [
        ("none", None),
        ("output", 1.0),
        ("output", 4.0),
    ]
    assert "regularisation=0.5" in rows[1]["method"]
    assert sfumato(*asked, "--set", "output").code == 2


def test_a_selection_is_published_or_says_that_nothing_was(
    sfumato: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sfumato.attack import dcgan

    fit = dcgan.fit
    few = lambda images, *given, **named: fit(images, *given, **{**named, "steps": 3})  # noqa: E731
    monkeypatch.setattr(dcgan, "fit", few)
    rng = np.random.default_rng(0)
    images = rng.random((400, 1, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "p.npz", images=images, labels=np.arange(400) % 2, classes=["a", "b"])
    small = "generators.merf[features=40,steps=20,samples=9,latent=2,hidden=4,width=2{}]"
    given = [
        *("select", tmp_path / "p.npz", "--epsilon", 20, "--delta", 1e-3, "--trials", 1),
        *("--candidate", small.format(",bandwidth=0.2"), "--candidate", small.format("")),
        *("--held-out", 0.4, "--device", "cpu", "--ledger", tmp_path / "ledger.db"),
    ]
    ran = sfumato(*given, "--limit", 1, "--out", tmp_path / "picked")
    assert ran.code == 0, ran.err
    card = json.loads((tmp_path / "picked" / "card.json").read_text("utf-8"))
    assert card["method"]["name"] == "generators.merf"
    plan, told = card["plan"]["selected"], " ".join(ran.out.split())
    assert len(plan["among"]) == 2
    assert f"All trials together cost {plan['times_a_trial']:.2f} times one; 1 in a plain" in told
    assert "list would cost 1.00 times one." in told
    refused = sfumato(*given, "--limit", 1e-6, "--out", tmp_path / "none")
    assert refused.code == 2
    assert "the comparison has noise of" in refused.err
    assert len(sfumato("ledger", "show", tmp_path / "ledger.db").out.strip()) > 0


def test_help_names_every_command_and_the_exit_codes(sfumato: Command) -> None:
    shown = sfumato("--help").out
    for command in (
        *("publish", "attack", "measure", "compare", "compare-points", "schema", "ledger"),
        *("methods", "data", "doctor", "select", "sample"),
    ):
        assert command in shown
    assert "Exit codes" in shown
    assert sfumato("--version").out.startswith("sfumato ")


def test_settings_are_read_as_yaml_scalars() -> None:
    from sfumato.cli.output import parse_settings

    assert parse_settings(["a=1", "b=0.5", "c=cube-root", "d={x: 2}", "e=null"]) == {
        "a": 1,
        "b": 0.5,
        "c": "cube-root",
        "d": {"x": 2},
        "e": None,
    }


def test_the_bar_appears_only_once_work_takes_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    from sfumato.cli import output

    with output.progress_bar(quiet=False) as progress:
        progress(1, 10, "working")
        assert progress.bars is None  # type: ignore[attr-defined]
        monkeypatch.setattr(output, "SHOW_AFTER", -1.0)
        progress(2, 10, "working")
        progress(3, 10, "another step")
        assert progress.bars is not None  # type: ignore[attr-defined]


def test_a_table_of_a_database_is_checked_and_published(
    sfumato: Callable[..., Any], tmp_path: Path
) -> None:
    import duckdb

    schema = tmp_path / "people.yaml"
    schema.write_text(
        "sfumato_schema: 1\ntarget: ill\ncolumns:\n"
        "  age: {type: integer, lower: 0, upper: 99, granularity: 1, provenance: public}\n"
        '  ill: {type: categorical, levels: ["no", "yes"], provenance: public}\n'
    )
    with duckdb.connect(tmp_path / "a.duckdb") as connection:
        connection.execute(
            "CREATE TABLE people AS SELECT i % 90 AS age, if(i % 3 = 0, 'yes', 'no') AS ill "
            "FROM range(300) AS r(i)"
        )
    address = f"duckdb://{tmp_path}/a.duckdb?table=people"
    checked = sfumato("schema", "check", address, "--schema", schema)
    assert "fits its schema: 300 records" in checked.out
    out = tmp_path / "out"
    ran = sfumato("publish", address, "--schema", schema, "--epsilon", 1, "--out", out)
    assert ran.code == 0, ran.err
    assert (out / "card.json").is_file()
    refused = sfumato("publish", address, "--epsilon", 1, "--out", tmp_path / "o")
    assert (refused.code, "has no schema" in refused.err) == (2, True)
    wrong = sfumato("schema", "check", tmp_path, "--schema", schema, "--engine", "sprak")
    assert (wrong.code, "there is no engine 'sprak'" in wrong.err) == (2, True)
