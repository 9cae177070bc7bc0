"""Comparisons: what they refuse before they start, and how they go on after an interruption."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import sfumato
from sfumato.api import comparing
from sfumato.api.runs import Runs
from sfumato.api.variants import Variant, listed
from sfumato.errors import InputError


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The labels of the runs that were computed, not read."""
    labels: list[str] = []
    run = comparing._run

    def counted(plan: Any, *rest: Any) -> dict[str, Any]:
        labels.append(f"{plan.label} {plan.budget.epsilon:g}")
        return run(plan, *rest)

    monkeypatch.setattr(comparing, "_run", counted)
    return labels


def compare(data: Path, **changes: Any) -> comparing.Comparison:
    given = {"epsilons": [1.0], "methods": ["tables.independent"], "attacks": [], **changes}
    return sfumato.compare(data, **given)


def test_an_interrupted_comparison_goes_on_where_it_stopped(
    people_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ran: list[str]
) -> None:
    out = tmp_path / "comparison"
    counted = comparing._run

    def dies(plan: Any, *rest: Any) -> dict[str, Any]:
        if plan.budget.epsilon == 2:
            raise KeyboardInterrupt
        return counted(plan, *rest)

    monkeypatch.setattr(comparing, "_run", dies)
    with pytest.raises(KeyboardInterrupt):
        compare(people_file, epsilons=[1, 2], out=out)
    monkeypatch.setattr(comparing, "_run", counted)
    with (out / "runs.jsonl").open("ab") as file:
        file.write(b'{"key": "torn')
    whole = compare(people_file, epsilons=[1, 2], out=out)
    assert ran == ["tables.independent 1", "tables.independent 2"]
    assert [row.epsilon for row in whole.rows] == [1, 2]
    again = compare(people_file, epsilons=[1, 2], out=out)
    assert len(ran) == 2
    assert again.to_json() == whole.to_json()
    assert again.rows[0].utility == whole.rows[0].utility


def test_methods_budgets_and_seeds_can_be_added_later(
    people_file: Path, tmp_path: Path, ran: list[str]
) -> None:
    out = tmp_path / "comparison"
    compare(people_file, out=out)
    uniform = "tables.adaptive[allocation=uniform]"
    wider = compare(people_file, out=out, methods=["tables.independent", uniform], seeds=[0, 1])
    assert ran == ["tables.independent 1", f"{uniform} 1", "tables.independent 1", f"{uniform} 1"]
    assert [(r.method, r.seed) for r in wider.rows] == [
        ("tables.independent", 0),
        ("tables.independent", 1),
        (uniform, 0),
        (uniform, 1),
    ]
    page = (out / "report.html").read_text("utf-8")
    assert f'<th scope="row">{uniform}</th>' in page
    assert "real rows" in page
    assert json.loads((out / "comparison.json").read_text("utf-8"))["rows"][3]["method"] == uniform


def test_a_folder_of_another_comparison_or_of_anything_else_is_refused(
    people_file: Path, tmp_path: Path, ran: list[str]
) -> None:
    out = tmp_path / "comparison"
    compare(people_file, out=out)
    with pytest.raises(InputError, match="holds a comparison of other attacks"):
        compare(people_file, out=out, attacks=["membership.distance"])
    with pytest.raises(InputError, match="holds a comparison of other holdout"):
        compare(people_file, out=out, holdout=0.5)
    (tmp_path / "release").mkdir()
    (tmp_path / "release" / "card.json").write_text("{}")
    with pytest.raises(InputError, match="lies in a release"):
        compare(people_file, out=tmp_path / "release" / "comparison")
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError, match="already exists and holds no comparison"):
        compare(people_file, out=tmp_path / "mine")
    with (
        Runs.open(tmp_path / "busy", {}),
        pytest.raises(InputError, match="another process is working"),
        Runs.open(tmp_path / "busy", {}),
    ):
        pass
    assert len(ran) == 1


def test_what_cannot_run_is_found_before_the_first_run(
    people_file: Path, tmp_path: Path, ran: list[str]
) -> None:
    out = tmp_path / "comparison"
    for changes, message in (
        ({"epsilons": [1, -1]}, "epsilon"),
        ({"epsilons": []}, "a comparison of nothing"),
        ({"holdout": 0}, "needs rows that were held out"),
        ({"attacks": ["membership.wrong"]}, "unknown attack"),
        ({"methods": ["tables.independent", "generators.merf"]}, "takes images"),
        (
            {"methods": ["tables.independent", "tables.adaptive[noise=gaussian]"], "delta": 0.0},
            "delta is 0",
        ),
        ({"methods": ["tables.adaptive[noise]"]}, "has no '='"),
        ({"methods": ["tables.adaptive[noise=:]x"]}, "cannot be read"),
        ({"methods": ["tables.adaptive[nose=1]"]}, "no setting 'nose'"),
    ):
        with pytest.raises(InputError, match=message):
            compare(people_file, out=out, **changes)
    assert ran == []
    assert not out.exists()


def test_without_names_all_methods_for_such_data_are_compared() -> None:
    labels = [variant.label for variant in comparing._fitting("table", None, "cpu")]
    assert "tables.independent" in labels
    assert "tables.adaptive" in labels
    assert not [label for label in labels if label.startswith(("learn.", "generators."))]


def test_a_variant_is_a_name_with_settings() -> None:
    variant = Variant.parse(" tables.adaptive [ label_share = 0.25, allocation=sqrt ]", "cpu")
    assert variant.label == "tables.adaptive[label_share=0.25,allocation=sqrt]"
    assert (variant.method.label_share, variant.method.allocation) == (0.25, "sqrt")
    assert listed(" a ,b[x=1,y=2],, c") == ["a", "b[x=1,y=2]", "c"]


def test_the_cost_of_a_run_is_told(people_file: Path) -> None:
    (row,) = compare(people_file).rows
    assert row.seconds > 0
    if Path("/proc/self/clear_refs").exists():
        assert row.peak_mebibytes is not None
        assert 20 < row.peak_mebibytes < 100_000
