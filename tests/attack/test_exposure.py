from __future__ import annotations

from typing import Any

import numpy as np

from sfumato.attack.exposure import as_csv, exposed
from sfumato.attack.finding import Finding, PerRecord


def finding(attack: str, members: Any, others: Any, rows: Any) -> Finding:
    records = PerRecord(
        np.asarray(rows), np.asarray(members, np.float64), np.asarray(others, np.float64)
    )
    return Finding(attack, "AUC", 0.5, (0.4, 0.6), 0.95, 0.5, records=records)


def test_each_member_is_listed_once_by_the_attack_that_finds_it_best() -> None:
    one = finding("one", [9, 1], [2, 3, 4], [5, 8])
    other = finding("other", [0, 7, 7], [1, 6, 7], [5, 8, 9])
    found = exposed([one, other])
    assert [(e.row, e.false_positive_rate, e.attack) for e in found] == [
        (5, 0.25, "one"),
        (8, 0.5, "other"),  # one other scores as high as it does
        (9, 0.5, "other"),
    ]
    assert as_csv(found[:1]) == "row,false_positive_rate,attack,score\n5,0.25,one,9\n"


def test_a_distance_of_nothing_is_written_as_nothing() -> None:
    """Scores by distance are negative ones: an exact copy's is -0.0."""
    found = exposed([finding("one", [-0.0, -0.25], [-1, -1], [0, 1])])
    scores = [line.rpartition(",")[2] for line in as_csv(found).splitlines()[1:]]
    assert scores == ["0", "-0.25"]


def test_attacks_without_scores_list_nobody() -> None:
    assert exposed([Finding("a", "AUC", 0.5, (0.4, 0.6), 0.95, 0.5)]) == []


def test_scores_of_records_are_never_written_with_a_finding() -> None:
    one = finding("one", [9.25, 1], [2, 3, 4], [5, 8])
    assert "9.25" not in str(one.to_dict())
    assert "records" not in one.to_dict()
    assert "9.25" not in repr(one)
    assert Finding.from_dict(one.to_dict()) == one
