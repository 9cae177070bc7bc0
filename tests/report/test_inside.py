"""Scales and small decisions of the custodian's part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from sfumato.measure.fidelity import Fidelity
from sfumato.measure.marginals import MarginalError
from sfumato.report import inside

Make = Callable[..., Any]


@pytest.mark.parametrize(
    ("values", "ends"),
    [
        ([0.5, 0.503, 0.54], (0.49, 0.55)),
        ([0.0, 0.0021], (0.0, 0.003)),
        ([0.2, 1.0], (0.1, 1.0)),
        ([-0.13, 0.1], (-0.2, 0.2)),
        ([3.0, 12.0], (2.0, 13.0)),
        ([0.5, 0.5], (0.499, 0.501)),
        ([], (0.0, 1.0)),
    ],
)
def test_scales_are_round_and_hold_every_value(
    values: list[float], ends: tuple[float, float]
) -> None:
    low, high = inside.nice_range(values)
    assert (low, high) == pytest.approx(ends)
    assert all(low <= value <= high for value in values)


def test_the_headline_is_the_metric_that_class_frequencies_flatter_least(
    make_utility: Make,
) -> None:
    matrix = make_utility()
    assert inside.headline_metric(matrix) == "AUROC"
    blank = tuple(
        replace(s, value=None, interval=None) if s.metric == "AUROC" else s for s in matrix.scores
    )
    assert inside.headline_metric(replace(matrix, scores=blank)) == "accuracy"
    assert [table["name"] for table in inside.utility(matrix)] == ["AUROC", "Accuracy"]


def test_the_matrix_shows_every_cell_with_its_cost(make_utility: Make) -> None:
    table = inside.utility(make_utility())[0]
    row = table["rows"][0]
    assert [cell["value"] for cell in row["cells"]] == ["0.811", "0.758", "0.711", "0.721"]
    assert [cell["main"] for cell in row["cells"]] == [False, True, False, False]
    assert row["loss"] == "+0.053"
    assert "commonest class" in table["majority"]
    mean = inside.utility(make_utility(task="regression"))[0]
    assert "the mean" in mean["majority"]
    undefined = inside.utility(make_utility(majority={}))[0]
    assert undefined["majority"].startswith("undefined")


def test_a_gain_from_the_release_is_a_negative_cost() -> None:
    assert inside._difference(0.7, 0.8) == "−0.100"
    assert inside._difference(None, 0.8) == "–"


def test_the_worst_marginals_come_first() -> None:
    errors = MarginalError(
        {f"c{i}": i / 100 for i in range(20)}, None, None, (), 0, 0, 16, {"c19": 0.01}
    )
    view = inside.marginals(errors)
    assert [row["name"] for row in view["rows"]] == [f"c{i}" for i in range(19, 9, -1)]
    assert view["rows"][0]["floor"] == "0.010"
    assert view["rows"][1]["floor"] == "–"
    assert "Two columns" not in view["text"]


def test_the_curve_of_an_attack_that_is_not_bounded_has_no_ceiling(
    make_finding: Make, make_release: Make
) -> None:
    from sfumato.report.bounds import bounds

    figures = bounds(make_release().card)
    assert "forbidden" in inside._roc(make_finding(), figures)["linear"]
    assert "forbidden" not in inside._roc(make_finding(ceiling=None), figures)["linear"]


def test_a_curve_says_where_it_is_the_luck_of_few(make_finding: Make, make_release: Make) -> None:
    from sfumato.report.bounds import bounds

    figures = bounds(make_release().card)
    few = inside._roc(make_finding(details={"targets": 150}), figures)
    assert few["note"].startswith("Left of 0.67\xa0% nobody of the 150")
    assert inside._roc(make_finding(details={"targets": 1000}), figures)["note"] == ""
    assert inside._roc(make_finding(details={}), figures)["note"] == ""


def test_likeness_of_pictures_stands_beside_that_of_a_second_real_sample() -> None:
    shown = inside.fidelity(Fidelity(45.25, 0.875, 0.625, 0.75, 0.375, 0.8125, "some, v1", 1200))
    assert "1,200 images of each set, in the features of some, v1" in shown["text"]
    assert [(row["value"], row["floor"]) for row in shown["rows"]] == [
        ("45.250", "0.875"),
        ("0.625", "0.750"),
        ("0.375", "0.812"),
    ]
