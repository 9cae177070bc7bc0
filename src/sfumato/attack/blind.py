"""The attacker without access to the release: what the evidence itself gives away.

Members and non-members that differ (another year, another clinic) can be told apart without any
leak. An attack that does no better than this one has not shown a leak.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sfumato.measure import intervals
from sfumato.measure.features import Design
from sfumato.measure.threads import one_thread

if TYPE_CHECKING:
    from sfumato.attack.targets import Records

Halves = tuple[
    tuple[NDArray[np.int64], NDArray[np.int64]], tuple[NDArray[np.int64], NDArray[np.int64]]
]
"""Of members and of others: row numbers to learn from, and to judge on."""


@dataclass(frozen=True)
class Blind:
    """What somebody without the release makes of the records that he did not learn from.

    Args:
        inside: (h,) membership scores of members.
        outside: (k,) and of others.
        rows: (h,) and (k,) which of the members and of the others these are.
    """

    inside: NDArray[np.float64]
    outside: NDArray[np.float64]
    rows: tuple[NDArray[np.int64], NDArray[np.int64]]

    @property
    def area(self) -> float:
        """The area under their ROC curve."""
        return intervals.auc(self.inside, self.outside)[0]


def halves(members: int, others: int, rng: np.random.Generator) -> Halves:
    """Half of either side to learn from, at random, and the rest to judge on."""
    inside, outside = rng.permutation(members), rng.permutation(others)
    half, rest = members // 2, others // 2
    return (inside[:half], inside[half:]), (outside[:rest], outside[rest:])


def scores(members: Records, others: Records, parts: Halves) -> Blind:
    """Membership scores from the records' own values, learnt on one half of each side.

    Args:
        members: m records.
        others: n records.
        parts: Of both, as :func:`halves` makes them.
    """
    found = split_scores(_plain(members), _plain(others), parts)
    return Blind(*found, (parts[0][1], parts[1][1]))


def split_scores(
    members: NDArray[np.float64], others: NDArray[np.float64], parts: Halves
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores of held-out rows of features from a classifier of the other half.

    One split, not two that change roles: with those, the two halves' mistakes depend on each
    other and an interval over both would be too narrow.

    Args:
        members: (m, p) features.
        others: (n, p) features.
        parts: Rows of both, as :func:`halves` makes them.

    Returns:
        For the held-out members and others, the log-odds of being a member.
    """
    from sklearn.linear_model import LogisticRegression

    (learnt, judged), (known, strange) = parts
    x = np.concatenate([members[learnt], others[known]])
    y = np.repeat([1, 0], [len(learnt), len(known)])
    centre, spread = x.mean(axis=0), x.std(axis=0)
    spread[spread < 1e-9] = 1.0
    with one_thread():
        model = LogisticRegression(C=0.1, max_iter=200).fit((x - centre) / spread, y)
        scaled = [
            np.clip((rows - centre) / spread, -10, 10)
            for rows in (members[judged], others[strange])
        ]
        scores = [np.asarray(model.decision_function(rows), np.float64) for rows in scaled]
    return scores[0], scores[1]


def _plain(records: Records) -> NDArray[np.float64]:
    if records.columns:
        return np.asarray(Design(records.columns).matrix(records.values).toarray())  # type: ignore[arg-type]
    return np.asarray(records.values, dtype=np.float64)
