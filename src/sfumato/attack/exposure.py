"""Which members stand out most: a private list for the custodian, for nobody else."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sfumato.attack.finding import Finding

HEADER = ("row", "false_positive_rate", "attack", "score")


@dataclass(frozen=True)
class Exposed:
    """How exposed one member is to one attack.

    Args:
        row: Number of the record among the members, from 0.
        false_positive_rate: How many people who are not in the data an attacker would name by
            mistake, as a share, to name this one: low is exposed.
        attack: The attack that it is lowest for.
        score: What that attack gave it.
    """

    row: int
    false_positive_rate: float
    attack: str
    score: float


def exposed(findings: Sequence[Finding]) -> list[Exposed]:
    """Every attacked member once, by its worst attack, the most exposed first.

    A rate of a record is one over the number of others at best: somebody is always on top. It
    takes an attack that is better than chance for the order to mean anything.
    """
    worst: dict[int, Exposed] = {}
    for finding in findings:
        scored = finding.records
        if scored is None:
            continue
        ordered = np.sort(scored.non_members)
        above = len(ordered) - np.searchsorted(ordered, scored.members, "left")
        rates = (above + 1) / (len(ordered) + 1)
        for row, rate, score in zip(scored.rows, rates, scored.members, strict=True):
            known = worst.get(int(row))
            if known is None or rate < known.false_positive_rate:
                worst[int(row)] = Exposed(int(row), float(rate), finding.attack, float(score))
    return sorted(worst.values(), key=lambda one: (one.false_positive_rate, one.row))


def as_csv(members: Sequence[Exposed]) -> str:
    """The list as CSV with a header."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADER)
    for one in members:
        rate, score = f"{one.false_positive_rate:.6g}", f"{one.score + 0.0:.6g}"  # -0.0 is 0
        writer.writerow((one.row, rate, one.attack, score))
    return out.getvalue()
