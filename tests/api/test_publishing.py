"""The main job through the API: what is written, what is spent, and what stays inside."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import sfumato
from sfumato.api.evaluations import evaluation_path
from sfumato.api.publishing import plan
from sfumato.data import Categorical, ImageSet, Numeric, Schema, Table
from sfumato.errors import BudgetError, InputError, UnwrittenError
from sfumato.measure.evaluation import Evaluation
from sfumato.privacy.guarantee import Empirical
from sfumato.privacy.ledger import Ledger
from sfumato.publish.tables.marginal_trees import Marginals
from sfumato.release.card import Card


def test_publish_writes_a_release_that_loads_and_an_evaluation_beside_it(
    people_file: Path, tmp_path: Path
) -> None:
    out, ledger = tmp_path / ("r" * 244), tmp_path / "people.db"  # "….evaluation" just has room
    made = sfumato.publish(people_file, epsilon=1.0, out=out, ledger=ledger)
    release = sfumato.Release.load(out)
    assert release.card == made.card
    assert release.data.schema.target == "outcome"
    assert release.card.proven.epsilon() <= 1.0
    assert release.card.verify() == []
    (entry,) = Ledger.open(ledger).entries()
    assert entry.hash == release.card.ledger["entry"]
    assert entry.release_id == release.card.release_id

    beside = evaluation_path(out)
    assert stat.S_IMODE(beside.stat().st_mode) == 0o700
    evaluation = Evaluation.from_json((beside / "evaluation.json").read_text("utf-8"))
    assert {f.attack for f in evaluation.findings} >= {"linkage.nearest", "membership.distance"}
    assert evaluation.utility is not None
    assert (beside / "report.html").is_file()


def figures(evaluation: Any) -> set[str]:
    """The measured figures, as they would stand in a text; round ones may be there by chance, such
    as a fifth, which is an epsilon of the plan, too.
    """
    found = [score.value for score in evaluation.utility.scores]
    found += [finding.value for finding in evaluation.findings]
    return {repr(value) for value in found if abs(value - round(value, 3)) > 1e-9}


def test_nothing_that_was_measured_on_private_rows_is_in_the_release(
    people_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "release"
    made = sfumato.publish(people_file, epsilon=1.0, out=out)
    texts = [(out / name).read_text("utf-8") for name in ("card.json", "report.html")]
    measured = figures(made.evaluation)
    assert measured
    assert not [figure for figure in measured for text in texts if figure in text]
    inside = (evaluation_path(out) / "evaluation.json").read_text("utf-8")
    assert all(figure in inside for figure in measured)  # the search itself works
    assert not list(out.glob("evaluation*"))


def test_disclosing_the_evaluation_is_a_choice_that_puts_it_in_the_release(
    people_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "release"
    made = sfumato.publish(people_file, epsilon=1.0, out=out, disclose_evaluation=True)
    disclosed = Evaluation.from_json((out / "evaluation.json").read_text("utf-8"))
    assert disclosed.findings == made.evaluation.findings
    shown = (out / "report.html").read_text("utf-8")
    assert "Evaluation disclosed." in shown
    assert "Custodian’s edition" not in shown
    sfumato.Release.load(out)


def test_a_ledger_lies_in_no_release(people_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "release"
    sfumato.publish(people_file, epsilon=1.0, out=out, evaluate=False)
    with pytest.raises(InputError, match="lies in a release"):
        sfumato.publish(people_file, epsilon=1.0, out=tmp_path / "next", ledger=out / "ledger.db")
    assert not (out / "ledger.db").exists()
    assert not (tmp_path / "next").exists()


def test_an_attack_that_refuses_takes_nothing_of_a_paid_evaluation_along(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).integers(0, 2, 300)
    table = Table.from_codes({"a": rows}, Schema((Numeric("a", 0, 1, 1),)))
    ledger, out = Ledger.in_memory(), tmp_path / "release"
    asked = ["linkage.nearest", "attribute.inference"]
    made = sfumato.publish(
        table, epsilon=1.0, method="tables.independent", out=out, ledger=ledger, attacks=asked
    )
    kept = evaluation_path(out)
    assert [finding.attack for finding in made.evaluation.findings] == asked[:1]
    assert Evaluation.from_json((kept / "evaluation.json").read_text("utf-8")) == made.evaluation
    said = "attribute.inference was left out: the release has one column."
    assert said in (kept / "report.html").read_text("utf-8")
    assert len(list(ledger.entries())) == 1


def test_an_attack_that_lacks_people_is_refused_before_anything_is_spent(tmp_path: Path) -> None:
    """100 rows would do; the 25 persons that they are of do not."""
    people = np.repeat(np.arange(125), 4)
    schema = Schema(
        (Numeric("age", 0, 99, 1, integer=True), Categorical("ill", ("no", "yes"))),
        target="ill",
        unit="patient",
        rows_per_unit=4,
    )
    frame = pd.DataFrame(
        {"age": people % 100, "ill": np.where(people % 2, "no", "yes"), "patient": people}
    )
    parts = (people < 100, people >= 100)
    table = Table.from_pandas(frame[parts[0]], schema)
    ledger, held = Ledger.in_memory(), tmp_path / "held.csv"
    frame[parts[1]].to_csv(held, index=False)
    with pytest.raises(InputError, match="100 non-members of 25 persons are too few"):
        sfumato.train(
            table,
            epsilon=1.0,
            delta=1e-4,
            holdout=held,
            attacks=["membership.quantile"],
            ledger=ledger,
            out=tmp_path / "model",
        )
    assert not list(ledger.entries())
    assert not (tmp_path / "model").exists()


def test_an_overdraft_is_refused_with_what_is_left_and_nothing_is_written(
    people_file: Path, tmp_path: Path
) -> None:
    ledger = Ledger.open(tmp_path / "people.db")
    ledger.set_ceiling(sfumato.Budget(1.5, 1e-5))
    sfumato.publish(people_file, epsilon=1.0, out=tmp_path / "one", ledger=ledger, evaluate=False)
    before = len(ledger.entries())
    with pytest.raises(BudgetError, match="left"):
        sfumato.publish(people_file, epsilon=1.0, out=tmp_path / "two", ledger=ledger)
    assert len(ledger.entries()) == before
    assert not (tmp_path / "two").exists()
    assert not evaluation_path(tmp_path / "two").exists()


def test_a_run_that_dies_after_its_debit_leaves_the_debit_and_no_release(
    people_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger.open(tmp_path / "people.db")

    def power_cut(self: Any, *args: Any) -> None:
        raise KeyboardInterrupt

    calibrate = Marginals.calibrate

    def doomed(self: Marginals, budget: Any, facts: Any) -> Any:
        from dataclasses import replace

        return replace(calibrate(self, budget, facts), run=power_cut)

    monkeypatch.setattr(Marginals, "calibrate", doomed)
    with pytest.raises(KeyboardInterrupt):
        sfumato.publish(people_file, epsilon=1.0, out=tmp_path / "release", ledger=ledger)
    assert len(ledger.entries()) == 1
    assert ledger.verify() == []
    assert not [p for p in tmp_path.iterdir() if "release" in p.name]


@pytest.mark.parametrize("checkpoint", [False, True])
def test_a_release_that_finds_no_room_is_said_to_be_paid_for(
    people_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: bool
) -> None:
    """Every other error about input says that nothing was spent."""
    ledger = Ledger.open(tmp_path / "people.db")
    small = {"method": "tables.gan", "settings": {"epochs": 0.2, "hidden": 2}} if checkpoint else {}
    work = tmp_path / "work" if checkpoint else None

    def publish() -> Any:
        return sfumato.publish(
            people_file,
            epsilon=1.0,
            out=tmp_path / "release",
            ledger=ledger,
            evaluate=False,
            checkpoint=work,
            **small,
        )

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Table, "save", full)
        again = "goes on from its checkpoint" if checkpoint else "debited anew"
        with pytest.raises(UnwrittenError, match=f"No space.*paid for.*entry 1.*{again}"):
            publish()
    assert not [p for p in tmp_path.iterdir() if "release" in p.name]
    publish()
    assert len(ledger.entries()) == (1 if checkpoint else 2)


def test_an_evaluation_that_finds_no_room_leaves_the_release_whole(
    people_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.rename

    def full(source: Any, to: Any) -> None:
        if str(to).endswith(".evaluation"):
            raise OSError(errno.ENOSPC, "No space left on device")
        rename(source, to)

    monkeypatch.setattr(os, "rename", full)
    out = tmp_path / "release"
    with pytest.raises(UnwrittenError, match=r"No space.*whole, and paid for.*sfumato attack"):
        sfumato.publish(people_file, epsilon=1.0, out=out, attacks=["linkage.nearest"])
    assert sfumato.Release.load(out).card.ledger["sequence"] == 1
    assert [p.name for p in tmp_path.iterdir() if "release" in p.name] == ["release"]


def test_figures_that_cannot_be_computed_fail_before_the_debit(
    people: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sfumato.publish.method as method

    def broken(guarantee: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(method, "figures_of", broken)
    ledger = Ledger.in_memory()
    with pytest.raises(ZeroDivisionError):
        sfumato.publish(people, epsilon=1.0, ledger=ledger, holdout=0)
    assert ledger.entries() == []


def test_in_memory_data_warns_that_nothing_remembers_the_spending(people: Table) -> None:
    with pytest.warns(UserWarning, match="ledger"):
        release = sfumato.publish(people, epsilon=1.0, holdout=0)
    assert release.path is None
    assert release.evaluation is None


def test_a_data_frame_needs_a_schema(people: Table) -> None:
    with pytest.raises(InputError, match="schema"):
        sfumato.publish(people.to_pandas(), epsilon=1.0)
    ledger = Ledger.in_memory()
    release = sfumato.publish(
        people.to_pandas(), schema=people.schema, epsilon=1.0, ledger=ledger, holdout=0
    )
    assert release.card.method["name"] == "tables.marginals"


def test_the_number_of_records_is_on_the_card_only_where_the_relation_makes_it_public(
    people: Table,
) -> None:
    cards: dict[str, Card] = {}
    for method in ("tables.independent", "tables.adaptive"):
        settings = {"importance": "paid"} if method == "tables.adaptive" else {}
        cards[method] = sfumato.publish(
            people,
            epsilon=2.0,
            delta=1e-5,
            method=method,
            settings=settings,
            ledger=Ledger.in_memory(),
            holdout=0,
        ).card
    declared = {name: [f.name for f in card.facts] for name, card in cards.items()}
    assert "records" not in declared["tables.independent"]
    assert "records" in declared["tables.adaptive"]


def test_a_release_under_add_remove_has_a_noisy_number_of_rows(people: Table) -> None:
    ledger = Ledger.in_memory()
    sizes = {
        len(sfumato.publish(people, epsilon=0.5, ledger=ledger, holdout=0).data) for _ in range(15)
    }
    # The true number comes out with probability below 0.2: always the same, 0.2**14 < 1e-9.
    assert len(sizes) > 1


def test_a_holdout_is_never_published_from(people: Table) -> None:
    from sfumato.api.inputs import resolve

    inputs = resolve(people, target=None, schema=None, holdout=0.25, seed=3)
    assert inputs.held_out is not None
    assert len(inputs.members) + len(inputs.held_out) == len(people)
    assert len(inputs.held_out) == pytest.approx(len(people) / 4, abs=40)
    again = resolve(people, target=None, schema=None, holdout=0.25, seed=3)
    np.testing.assert_array_equal(again.members.codes()["age"], inputs.members.codes()["age"])


@pytest.mark.parametrize("holdout", [1, -0.1, 1.5])
def test_a_holdout_that_is_no_share_is_refused(people: Table, holdout: float) -> None:
    with pytest.raises(InputError, match="holdout"):
        sfumato.publish(people, epsilon=1.0, holdout=holdout)


def test_two_files_of_one_name_get_two_ledgers(people: Table, tmp_path: Path) -> None:
    from sfumato.api.inputs import file_ledger

    paths = {file_ledger(None, tmp_path / part / "people.csv").path for part in ("a", "b")}
    assert len(paths) == 2
    assert file_ledger(None, "dataset:digits").path == file_ledger(None, "dataset:digits/test").path


@pytest.mark.parametrize("first", ["people", "people/data.parquet"])
def test_a_saved_folder_and_the_file_in_it_share_a_ledger(
    people: Table, tmp_path: Path, first: str
) -> None:
    from sfumato.api.inputs import file_ledger

    people.save(tmp_path / "people")
    (tmp_path / "elsewhere").symlink_to(tmp_path / "people")
    facts = None if first == "people" else people.schema
    sfumato.publish(tmp_path / first, epsilon=1.0, schema=facts, holdout=0, evaluate=False)
    for name in ("people", "people/data.parquet", "elsewhere/data.parquet"):
        assert len(list(file_ledger(None, tmp_path / name).entries())) == 1, name


def test_a_folder_has_one_ledger_by_whatever_name_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: ``.`` or a link had a ledger of its own, whose ceiling knew of nothing spent."""
    from sfumato.api.inputs import file_ledger

    for part in ("a", "b"):
        (tmp_path / part).mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    monkeypatch.chdir(tmp_path / "a")
    names = (tmp_path / "a", ".", "../a", tmp_path / "link", tmp_path / "b/../a/")
    paths = {file_ledger(None, data).path for data in names}
    assert len(paths) == 1
    assert file_ledger(None, tmp_path / "b").path not in paths


def test_a_ledger_that_was_called_otherwise_goes_on_and_several_are_told(tmp_path: Path) -> None:
    from sfumato.api.inputs import file_ledger

    own = file_ledger(None, tmp_path / "a").path
    assert own is not None
    earlier = own.with_name(own.name.replace("a-", "link-"))
    Ledger.open(earlier).debit(Empirical(), release_id="1", method="images.blur")
    own.unlink(missing_ok=True)
    assert file_ledger(None, tmp_path / "a").path == earlier
    own.write_bytes(earlier.read_bytes())
    with pytest.raises(InputError, match="there are 2 ledgers of"):
        file_ledger(None, tmp_path / "a")


def test_attack_and_measure_take_a_folder_and_files(people_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "release"
    sfumato.publish(people_file, epsilon=1.0, out=out, evaluate=False)
    findings = sfumato.attack(
        out, members=people_file, non_members=people_file, attacks=["membership.distance"]
    )
    assert [f.attack for f in findings] == ["membership.distance"]
    assert not findings[0].better_than_chance  # members and non-members are the same rows
    evaluation = sfumato.measure(out, train=people_file, test=people_file)
    assert evaluation.findings == ()
    assert evaluation.utility.best("p1", "accuracy").value > 0.8


def test_compare_judges_every_method_at_every_budget_and_publishes_nothing(
    people_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "comparison"
    comparison = sfumato.compare(
        people_file,
        epsilons=[0.5, 4],
        methods=["tables.independent", "tables.adaptive"],
        attacks=[],
        out=out,
    )
    assert [(r.method, r.epsilon) for r in comparison.rows] == [
        ("tables.independent", 0.5),
        ("tables.independent", 4),
        ("tables.adaptive", 0.5),
        ("tables.adaptive", 4),
    ]
    assert json.loads((out / "comparison.json").read_text("utf-8"))["data"] == "people"
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    assert "<html" in (out / "report.html").read_text("utf-8")
    assert not list((tmp_path / "home").rglob("*.db"))


def test_processes_of_torchrun_are_refused_before_each_pays(
    people_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    ledger = tmp_path / "people.db"
    with pytest.raises(InputError, match="torchrun started 2 processes, and each would publish"):
        sfumato.publish(people_file, epsilon=1.0, out=tmp_path / "release", ledger=ledger)
    assert not ledger.exists()


@pytest.mark.parametrize(
    ("side", "classes", "chosen"),
    [(8, 2, "generators.taught"), (7, 2, "generators.merf"), (8, 1, "generators.merf")],
)
def test_auto_takes_the_teacher_where_it_has_enough_to_learn_from(
    side: int, classes: int, chosen: str
) -> None:
    epsilon = 20_000 / 60  # so few images tell enough at no smaller budget
    rng = np.random.default_rng(0)
    names = [str(i) for i in range(classes)]
    images = ImageSet.from_arrays(rng.random((60, side, side)), rng.integers(0, classes, 60), names)
    ready = plan(images, epsilon=epsilon, delta=1e-5, holdout=0, ledger=Ledger.in_memory())
    assert ready.calibrated.method.name == chosen
