"""The page of a comparison."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from sfumato.report import comparison, comparison_page

Make = Callable[..., Any]


@dataclass(frozen=True)
class Row:
    method: str
    epsilon: float
    delta: float
    proven: str
    seed: int
    seconds: float
    peak_mebibytes: float | None
    utility: dict[str, Any] | None
    findings: tuple[dict[str, Any], ...]
    marginals: dict[str, Any] | None
    fidelity: dict[str, Any] | None = None


@dataclass(frozen=True)
class Compared:
    data: str
    target: str | None
    rows: tuple[Row, ...]
    versions: dict[str, str] = field(default_factory=lambda: {"sfumato": "0.1.0"})


@pytest.fixture
def compared(make_finding: Make, make_utility: Make) -> Compared:
    rows = [
        Row(
            method,
            epsilon,
            1e-6,
            f"{method} proves something at {epsilon}.",
            seed,
            1.5,
            300.0,
            make_utility().to_dict(),
            (make_finding().to_dict(),),
            {"one_way_mean": 0.05 / epsilon},
        )
        for method in ("tables.independent", "tables.adaptive", "<b>elsewhere</b>")
        for epsilon in (0.5, 2.0)
        for seed in (0, 1)
    ]
    return Compared("census", "income", tuple(rows))


def test_kinds_of_guarantee_never_share_an_axis(
    compared: Compared, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = {"tables.independent": "central", "tables.adaptive": "local"}
    monkeypatch.setattr(comparison, "relation", lambda method: kinds.get(method, ""))
    html = comparison_page(compared)
    sections = re.split(r'<section class="part', html)[1:]
    assert len(sections) == 3
    assert "Central guarantees" in sections[0]
    assert "tables.independent" in sections[0]
    assert "tables.adaptive" not in sections[0]
    assert "Local guarantees" in sections[1]
    assert "tables.independent" not in sections[1]


def test_it_is_marked_private_escaped_and_offline(compared: Compared) -> None:
    html = comparison_page(compared)
    assert "Keep inside:" in html
    assert "<b>" not in html
    assert "&lt;b&gt;elsewhere&lt;/b&gt;" in html
    assert not re.search(r"<script|src=\"(?!data:)|href=\"http|url\(", html)


def test_runs_and_their_extremes_are_all_there(compared: Compared) -> None:
    html = comparison_page(compared)
    assert html.count('<span class="metric">AUROC</span>') == len(compared.rows)
    assert "2 runs each" in html
    assert "at ε = 0.5, 2" in html
    assert "0.779 at 0.5, 0.779 at 2" in html  # the best model's p2


def test_pictures_are_compared_by_their_distance_within_one_extractor(compared: Compared) -> None:
    likeness = {"extractor": "scattering, v1", "frechet": 12.5, "frechet_floor": 0.7}
    rows = tuple(replace(row, marginals=None, fidelity=likeness) for row in compared.rows[:4])
    html = comparison_page(replace(compared, rows=rows))
    assert html.count("Fréchet distance to real pictures (scattering, v1)") >= 1
    assert "Marginal error" not in html
    other = replace(rows[0], fidelity={**likeness, "extractor": "another"})
    html = comparison_page(replace(compared, rows=(other, *rows)))
    assert "Fréchet distance to real pictures (another)" in html
    assert "Fréchet distance to real pictures (scattering, v1)" in html


def test_an_attack_above_its_ceiling_stands_out(compared: Compared, make_finding: Make) -> None:
    broken = make_finding(value=0.9, interval=(0.85, 0.95)).to_dict()
    rows = (replace(compared.rows[0], findings=(broken,)), *compared.rows[1:])
    assert comparison_page(replace(compared, rows=rows)).count("above the ceiling") == 1


def test_a_comparison_without_utility_attacks_or_marginals_can_be_shown(
    compared: Compared,
) -> None:
    bare = tuple(replace(row, utility=None, findings=(), marginals=None) for row in compared.rows)
    html = comparison_page(replace(compared, rows=bare, target=None))
    assert "none run" in html
    assert "predicting" not in html


def test_the_relation_of_a_method_is_the_registered_one() -> None:
    assert comparison.relation("tables.independent") == "central"
    assert comparison.relation("tables.adaptive") == "local"
    assert comparison.relation("no.such") == ""
