"""The attacker without access to the release: what the evidence itself gives away.

Members and non-members that differ (another year, another clinic) can be told apart without any
leak. An attack that does no better than this one has not shown a leak.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sfumato.measure.features import Design
from sfumato.measure.threads import one_thread

if TYPE_CHECKING:
    from sfumato.attack.targets import Records


def scores(
    members: Records, others: Records, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Membership scores of the second half of each side, learnt on the first half.

    Args:
        members: m records.
        others: m records.
        rng: Halves the records.

    Returns:
        Scores of the held-out members and of the held-out others, from the records' own values.
    """
    return split_scores(_plain(members), _plain(others), rng)


def split_scores(
    members: NDArray[np.float64], others: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores of held-out rows of features from a classifier of the other half.

    One split, not two that change roles: with those, the two halves' mistakes depend on each
    other and an interval over both would be too narrow.

    Args:
        members: (m, p) features.
        others: (n, p) features.
        rng: Halves the rows.

    Returns:
        For the held-out members and others, the log-odds of being a member.
    """
    from sklearn.linear_model import LogisticRegression

    inside, outside = rng.permutation(len(members)), rng.permutation(len(others))
    half, rest = len(inside) // 2, len(outside) // 2
    x = np.concatenate([members[inside[:half]], others[outside[:rest]]])
    y = np.repeat([1, 0], [half, rest])
    centre, spread = x.mean(axis=0), x.std(axis=0)
    spread[spread < 1e-9] = 1.0
    with one_thread():
        model = LogisticRegression(C=0.1, max_iter=200).fit((x - centre) / spread, y)
        scaled = [
            np.clip((rows - centre) / spread, -10, 10)
            for rows in (members[inside[half:]], others[outside[rest:]])
        ]
        scores = [np.asarray(model.decision_function(rows), np.float64) for rows in scaled]
    return scores[0], scores[1]


def _plain(records: Records) -> NDArray[np.float64]:
    if records.columns:
        return np.asarray(Design(records.columns).matrix(records.values).toarray())  # type: ignore[arg-type]
    return np.asarray(records.values, dtype=np.float64)
