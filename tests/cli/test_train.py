"""``sfumato train``: a model from a file, and refusals before anything is spent."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import sfumato as package
from sfumato import registry
from sfumato.privacy.ledger import Ledger

Command = Callable[..., Any]
ROWS = 120
QUICK = ("--set", "epochs=1", "--set", "expected_batch_size=30")


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """A CSV with its schema beside it."""
    rng = np.random.default_rng(0)
    age = rng.integers(0, 80, ROWS)
    frame = pd.DataFrame({"age": age, "ill": np.where(age > 40, "yes", "no")})
    frame.to_csv(tmp_path / "people.csv", index=False)
    (tmp_path / "people.schema.yaml").write_text(
        "sfumato_schema: 1\ntarget: ill\ncolumns:\n"
        "  age: {type: integer, lower: 0, upper: 79, granularity: 1, provenance: public}\n"
        "  ill: {type: categorical, levels: ['no', 'yes'], provenance: public}\n",
        encoding="utf-8",
    )
    return tmp_path / "people.csv"


def debits(file: Path) -> int:
    return sum(entry.kind == "debit" for entry in Ledger.open(file).entries())


def test_help_says_what_it_makes(sfumato: Command) -> None:
    shown = sfumato("train", "--help")
    assert shown.code == 0
    for word in ("--checkpoint", "--epsilon", "--method", "model"):
        assert word in shown.out
    assert "train" in sfumato("--help").out


def test_the_clock_is_offered_where_a_method_heeds_it(sfumato: Command) -> None:
    """No method that gives a model does, and then the option would only ever be refused."""
    heeding = {
        method.gives
        for method in registry.load("method").values()
        if any(field.name == "max_minutes" for field in dataclasses.fields(method))
    }
    assert heeding
    assert ("model" in heeding) is ("--max-minutes" in sfumato("train", "--help").out)
    assert "--max-minutes" in sfumato("publish", "--help").out


def test_help_keeps_what_stands_in_brackets(sfumato: Command) -> None:
    for command in ("train", "compare", "select"):
        assert "[key=value" in sfumato(command, "--help").out


@pytest.mark.parametrize("checkpoint", [True, False])
def test_an_interruption_says_what_is_kept_and_how_to_go_on(
    sfumato: Command,
    people: Path,
    tmp_path: Path,
    checkpoint: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sfumato.learn.trainer.PrivateTrainer.step", interrupted)
    kept = ("--checkpoint", tmp_path / "work") if checkpoint else ()
    ran = sfumato(
        *("train", people, "--epsilon", 1, "--out", tmp_path / "m"),
        *("--ledger", tmp_path / "l.db", "--no-evaluate", *QUICK, *kept),
    )
    assert ran.code == 130
    assert "what the ledger recorded stays recorded" in ran.err
    assert ("goes on from its checkpoint" in ran.err) is checkpoint


def test_a_request_to_end_is_an_interruption_that_leaves_nothing_half_written(
    sfumato: Command, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("sfumato.release.release.stamp", ended)
    ran = sfumato(
        *("train", people, "--epsilon", 1, "--out", tmp_path / "m"),
        *("--ledger", tmp_path / "l.db", "--no-evaluate", *QUICK),
    )
    assert ran.code == 130
    assert "what the ledger recorded stays recorded" in ran.err
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(("m", ".m"))]
    assert debits(tmp_path / "l.db") == 1
    assert signal.getsignal(signal.SIGTERM) == before


def test_an_interrupted_evaluation_says_that_the_release_is_whole(
    sfumato: Command, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint is gone by then: to go on from it would be to pay anew."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sfumato.measure.evaluation.evaluate", interrupted)
    ran = sfumato(
        *("train", people, "--epsilon", 1, "--out", tmp_path / "m"),
        *(
            "--ledger",
            tmp_path / "l.db",
            "--holdout",
            0.5,
            *QUICK,
            f"--checkpoint={tmp_path / 'work'}",
        ),
    )
    assert ran.code == 130
    assert "m is whole, and paid for; attack and measure it" in " ".join(ran.err.split())
    assert "goes on from its checkpoint" not in ran.err
    assert (tmp_path / "m" / "card.json").is_file()
    assert not (tmp_path / "work").exists()


def test_steps_lost_to_an_interruption_are_told_in_a_line(
    sfumato: Command, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sfumato.learn.loop import PrivateLoop

    command = (
        *("train", people, "--epsilon", 1, "--out", tmp_path / "m", "--ledger", tmp_path / "l.db"),
        *("--no-evaluate", "--checkpoint", tmp_path / "work", *QUICK),
    )
    step = PrivateLoop.backward

    def dies_in_the_second(loop: PrivateLoop) -> None:
        if loop.run.taken:
            raise KeyboardInterrupt
        step(loop)

    with monkeypatch.context() as patched:
        patched.setattr(PrivateLoop, "backward", dies_in_the_second)
        assert sfumato(*command).code == 130
    ran = sfumato(*command)
    assert ran.code == 0, ran.err
    assert "warning: 1 steps were begun after the checkpoint; they are lost, and counted" in ran.err
    assert "UserWarning" not in ran.err
    assert debits(tmp_path / "l.db") == 1


def test_the_private_rows_are_neither_held_out_nor_public(
    sfumato: Command, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ("train", people, "--epsilon", 1, "--out", "m", "--ledger", tmp_path / "l.db")
    for other in (people, "people.csv", "./people.csv"):
        held = sfumato(*command, "--holdout", other)
        assert held.code == 2
        assert f"the rows to hold out, {other}, are the data themselves" in held.err
        public = sfumato(*command, "--method", "learn.pate", "--set", f"public_data={other}")
        assert public.code == 2
        assert f"public_data is {other}, the private data themselves" in public.err
    named = ("train", "dataset:digits", "--epsilon", 1, "--out", "m", "--ledger", tmp_path / "l.db")
    same = sfumato(*named, "--method", "learn.pate", "--set", "public_data=dataset:digits/train")
    assert "the private data themselves" in same.err
    assert debits(tmp_path / "l.db") == 0


def test_json_holds_the_card_of_a_model_that_can_be_loaded(
    sfumato: Command, people: Path, tmp_path: Path
) -> None:
    out, ledger = tmp_path / "model", tmp_path / "people.db"
    ran = sfumato(
        *("train", people, "--epsilon", 1, "--out", out, "--ledger", ledger),
        *("--no-evaluate", "--json", *QUICK),
    )
    assert ran.code == 0, ran.err
    values = json.loads(ran.out)
    assert values["card"]["method"]["name"] == "learn.dpsgd"
    assert values["card"]["artefact"]["kind"] == "model"
    assert debits(ledger) == 1
    release = package.Release.load(out)
    assert set(release.predict(pd.DataFrame({"age": [3, 70]}))) <= {"no", "yes"}
    exported = sfumato("export", out, tmp_path / "rows.csv")
    assert exported.code == 2
    assert "weights.safetensors" in exported.err
    assert (out / "weights.safetensors").is_file()


@pytest.mark.parametrize(
    ("command", "more", "said"),
    [
        ("train", ("--method", "tables.independent"), "sfumato publish"),
        ("publish", ("--method", "learn.dpsgd"), "sfumato train"),
        ("train", ("--method", "learn.nothing"), "learn.nothing"),
        ("train", ("--method", "learn.recipe"), "takes images"),
        ("train", ("--set", "epochs=0"), "epochs is 0"),
        ("train", ("--set", "preset=best"), "no preset 'best'"),
        ("train", ("--set", "network=small-cnn"), "small-cnn"),
        ("train", ("--set", "expected_batch_size=5000"), "5000"),
        ("train", ("--delta", "0.5"), "delta is 0.5"),
        ("train", ("--attack", "linkage.nearest"), "linkage.nearest"),
    ],
    ids=lambda value: "" if isinstance(value, str) else value[1],
)
def test_what_cannot_be_is_refused_with_nothing_spent_or_written(
    command: str, more: tuple[str, ...], said: str, sfumato: Command, people: Path, tmp_path: Path
) -> None:
    out, ledger = tmp_path / "model", tmp_path / "people.db"
    ran = sfumato(command, people, "--epsilon", 1, "--out", out, "--ledger", ledger, *more)
    assert ran.code == 2
    assert said in ran.err
    assert "Traceback" not in ran.err
    assert not out.exists()
    assert debits(ledger) == 0


def test_a_checkpoint_continues_and_pays_nothing_anew(
    sfumato: Command, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sfumato.learn.trainer import PrivateTrainer

    out, ledger, kept = tmp_path / "model", tmp_path / "people.db", tmp_path / "kept"
    command = (
        *("train", people, "--epsilon", 1, "--out", out, "--ledger", ledger, "--no-evaluate"),
        *("--checkpoint", kept, *QUICK),
    )
    step, taken = PrivateTrainer.step, []

    def interrupted(self: PrivateTrainer) -> None:
        step(self)
        taken.append(1)
        if len(taken) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(PrivateTrainer, "step", interrupted)
    with contextlib.suppress(KeyboardInterrupt):  # whether it is printed or not
        assert sfumato(*command).code != 0
    assert debits(ledger) == 1
    assert not out.exists()
    # Even if the ledger would refuse a second run: this one is paid for.
    used_up(ledger)
    ran = sfumato(*command)
    assert "begun after the checkpoint" in ran.err
    assert ran.code == 0, ran.err
    assert debits(ledger) == 1
    assert package.Release.load(out).artefact.kind == "model"
    assert not kept.exists()


def used_up(ledger: Path) -> None:
    """A ceiling that is used up."""
    from sfumato.privacy.budget import Budget

    Ledger.open(ledger).set_ceiling(Budget(1.01, 1e-5))
