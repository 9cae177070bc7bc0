"""The sensitivity that is paid for is that of what is computed."""

from __future__ import annotations

from functools import cache

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from battery.accountant import COARSE, Parts
from battery.check import check
from battery.recorder import Draw, Recorder, realised
from battery.row import MethodRow
from sfumato.privacy.noise import SeededSource
from sfumato.publish.method import silent


@check("neighbour", methods=True)
def check_realised_loss(row: MethodRow) -> float:
    """No neighbour costs more than is paid for: see :func:`dearest`."""
    return dearest(row, row.examples)


def dearest(row: MethodRow, examples: int) -> float:
    """No two neighbours are further apart, under the noise really drawn, than epsilon says.

    The run is played back on random neighbours and on the two extremes; what their transcript
    costs is computed from the mechanisms' noise and the distance of what they were given. Not a
    statistic: an epsilon above the claim is a counterexample.

    Returns:
        The largest epsilon found.
    """
    made = row.make(row.budget)
    claim = row.epsilon(made)
    delta = row.delta(made)
    found = [0.0]

    def recorded(private: object) -> list[Draw]:
        with Recorder() as recorder:
            made.run(private, SeededSource(1), silent)
        return recorder.draws

    @cache  # the same data and the same source: one run, for all its neighbours
    def of_data(seed: int) -> list[Draw]:
        return recorded(row.data(seed))

    judged: list[Parts] = []

    def judge(draws: list[Draw], other: object) -> None:
        with Recorder(draws) as replay:
            made.run(other, SeededSource(1), silent)
        both = draws, replay.draws
        parts = realised(*both, row.neighbours.value)
        if any(dearer.covers(parts) for dearer in judged):
            return
        # Every sample counted as the worst, on a coarse grid: no less, and quicker.
        cost = parts.epsilon(delta, COARSE)
        if cost > claim * (1 + 1e-3):
            cost = parts.epsilon(delta)
        if cost > claim:
            parts = realised(*both, row.neighbours.value, each=True)
            cost = parts.epsilon(delta)
        found.append(cost)
        assert cost <= claim * (1 + 2e-3) + 1e-9, f"a neighbour costs {cost}, claimed is {claim}"
        judged.append(parts)

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],  # a seed has no simpler form
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 2**32 - 1))
    def explore(seed: int) -> None:
        rng = np.random.default_rng(seed)
        judge(of_data(seed % 3), row.neighbour(row.data(seed % 3), rng))

    one, other = row.extremes
    judge(recorded(one), other)
    explore()
    assert max(found) >= row.least * claim, (
        f"neighbours cost {max(found)} at most: nothing is tested"
    )
    return max(found)
