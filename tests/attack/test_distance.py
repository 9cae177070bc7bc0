from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from sfumato.attack import Evidence
from sfumato.attack.distance import Distance
from sfumato.data import Categorical, Schema, Table


def test_reports_the_auc_with_roc_low_rates_and_ceilings(
    make_people: Any, make_release: Any
) -> None:
    members, others = make_people(500, 1), make_people(500, 2)
    finding = Distance()(make_release(members.head(250)), Evidence(members, others))
    assert finding.metric == "AUC"
    assert finding.chance == 0.5
    assert finding.ceiling == pytest.approx(norm.cdf(0.25 / np.sqrt(2)), abs=2e-3)
    assert finding.roc[0] == (0.0, 0.0)
    assert finding.roc[-1] == (1.0, 1.0)
    assert 0.7 < finding.value < 0.95  # half the members are in the release
    low, lower = finding.details["tpr_at_fpr"]
    assert (low["fpr_target"], lower["fpr_target"]) == (0.01, 0.001)
    assert low["fpr"] <= 0.01
    assert low["ceiling"] > lower["ceiling"]
    assert low["breaks_guarantee"]
    assert finding.details["identical_to_a_released_record"]["members"] >= 0.5


def test_auxiliary_records_calibrate_the_score(make_release: Any) -> None:
    """Ordinary people lie near everything; calibrated, that no longer counts as membership."""
    schema = Schema(tuple(Categorical(f"x{j}", tuple("0123456789")) for j in range(6)))

    def rows(seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        values = rng.integers(0, 10, (400, 6))
        values[:200] = 0  # half are all alike, the others are unlike anybody
        return values

    def table(values: np.ndarray) -> Table:
        return Table.from_codes({f"x{j}": values[:, j] for j in range(6)}, schema)

    blurred = rows(1)
    blurred[200:, 0] = np.random.default_rng(4).integers(0, 10, 200)
    release = make_release(table(blurred))
    plain = Distance()(release, Evidence(table(rows(1)), table(rows(2))))
    calibrated = Distance()(release, Evidence(table(rows(1)), table(rows(2)), table(rows(3))))
    assert not plain.details["calibrated"]
    assert calibrated.details["calibrated"]
    assert calibrated.details["uncalibrated"]["auc"] == pytest.approx(plain.value)
    assert calibrated.interval[0] > plain.interval[1]


def test_spare_non_members_show_who_lies_apart(make_people: Any, make_release: Any) -> None:
    members, others = make_people(300, 1), make_people(900, 2)
    finding = Distance()(make_release(members), Evidence(members, others))
    outlying = finding.details["outlying"]
    assert not finding.details["calibrated"]
    assert outlying["members"] + outlying["non_members"] == 80
    assert outlying["auc"] > 0.95
    few = Distance()(make_release(members), Evidence(members, make_people(320, 3)))
    assert "outlying" not in few.details


def test_members_of_another_year_are_blamed_on_the_evidence_not_on_the_release() -> None:
    """Members and hold-outs that differ are told apart without the release: no leak is shown."""
    schema = Schema((Categorical("year", ("old", "new")), Categorical("x", ("a", "b", "c"))), "x")

    def rows(old: float, seed: int) -> Table:
        rng = np.random.default_rng(seed)
        year = (rng.random(400) > old).astype(np.int64)
        return Table.from_codes({"year": year, "x": rng.integers(0, 3, 400)}, schema)

    from sfumato.release.card import Card
    from sfumato.release.release import Artefact, Release

    old_only = {"year": np.zeros(50, int), "x": np.arange(50) % 3}
    card = Card("0", {}, {"kind": "empirical", "attacks": []}, {}, {}, (), {}, {}, {}, {})
    release = Release(card, Artefact(Table.from_codes(old_only, schema)))
    finding = Distance()(release, Evidence(rows(0.9, 1), rows(0.1, 2)))
    assert finding.interval[0] > 0.8
    assert finding.baseline is not None
    assert finding.baseline > 0.8
    assert finding.ceiling is None


def test_everybody_tied_is_no_success(make_people: Any, make_release: Any) -> None:
    schema = Schema((Categorical("x", ("a", "b")), Categorical("y", ("c", "d"))))
    same = Table.from_codes({"x": np.zeros(50, int), "y": np.zeros(50, int)}, schema)
    finding = Distance()(make_release(same), Evidence(same, same))
    assert finding.value == 0.5
    assert finding.roc == ((0.0, 0.0), (1.0, 1.0))
    assert not finding.better_than_chance
