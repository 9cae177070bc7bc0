"""The sampler that runs is the one that is accounted, and sums are divided by its expectation."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from battery.check import check
from battery.recorder import STEPS, Recorder
from battery.row import MethodRow
from sfumato.privacy import events
from sfumato.privacy.noise import SeededSource
from sfumato.publish.method import silent

ALARM = 1e-7
"""Probability with which each of the tests below rejects an honest sampler."""
SAMPLES = 150


def rates(event: Any) -> set[float]:
    """Every sampling rate in an event tree, as its JSON values."""
    if isinstance(event, dict):
        own = {event["sampling_probability"]} if "sampling_probability" in event else set()
        return own.union(*(rates(value) for value in event.values()))
    if isinstance(event, list):
        return set().union(*(rates(value) for value in event))
    return set()


def samples_of(row: MethodRow, made: Any, least: int) -> list[tuple[np.ndarray, int]]:
    """Samples of as many runs as it takes."""
    found: list[tuple[np.ndarray, int]] = []
    seed = 0
    while len(found) < least:
        with Recorder(everyone=False) as recorder:
            made.run(row.data(0), SeededSource(seed), silent)
        assert recorder.samples, "the event samples, and nothing was sampled"
        found += recorder.samples
        seed += 1
    return found


@check("sampled", methods=True)
def check_sampler(row: MethodRow) -> None:
    """Each record is sampled as it is accounted: see :func:`sampled`."""
    sampled(row, SAMPLES)


def sampled(row: MethodRow, least: int) -> None:
    """Each record is drawn into each sample by a coin of its own, at the rate of the event.

    The number drawn has the mean and the spread of a binomial (batches of one size have none), no
    two records go together, and a sample says nothing of the next (a shuffled pass over all
    records avoids those it just had). False alarms: below 1e-6.
    """
    made = row.make(row.budget)
    (rate,) = rates(events.to_dict(row.event(made)))
    found = samples_of(row, made, least)
    rows = found[0][1]
    drawn = np.zeros((len(found), rows), dtype=np.int64)
    for i, (chosen, count) in enumerate(found):
        assert count == rows
        assert len(np.unique(chosen)) == len(chosen), "a record was drawn twice into one sample"
        drawn[i, chosen] = 1
    total = stats.binomtest(int(drawn.sum()), drawn.size, rate).pvalue
    assert total > ALARM, f"{drawn.mean():.4f} of the records are sampled, accounted is {rate:.4f}"
    # Squared deviations of the samples' sizes, in units of a binomial's variance.
    sizes = (drawn.sum(axis=1) - rate * rows) ** 2 / (rows * rate * (1 - rate))
    spread = stats.chi2(len(sizes))
    low, high = spread.ppf(ALARM / 2), spread.ppf(1 - ALARM / 2)
    assert low < sizes.sum() < 1.3 * high, f"the sizes of samples vary by {sizes.mean():.2f}"
    again = int((drawn[1:] & drawn[:-1]).sum())
    both = stats.binomtest(again, drawn[1:].size, rate**2).pvalue
    assert both > ALARM, "whether a record is drawn depends on the sample before"


@check("sampled", methods=True)
def check_expected_divisor(row: MethodRow) -> None:
    """Noisy sums are divided by the expected size of a sample, whatever its real size."""
    made = row.make(row.budget)
    (rate,) = rates(events.to_dict(row.event(made)))
    with Recorder(everyone=False) as recorder:
        made.run(row.data(0), SeededSource(3), silent)
    expected = rate * row.facts.records
    divisors = {d.mechanism.divisor for d in recorder.draws if d.lot and _steps(d)}
    assert divisors, "no step was recorded"
    for divisor in divisors:
        assert np.isclose(divisor, expected, rtol=1e-9), f"divided by {divisor}, not {expected}"


def _steps(draw: Any) -> bool:
    return isinstance(draw.mechanism, STEPS)
