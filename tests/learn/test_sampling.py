"""Samples are what the event says. Statistical tests: false-alarm rate at most 1e-6 each."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom, chisquare

from sfumato.errors import InputError
from sfumato.learn import sampling
from sfumato.learn.noise import CipherStream
from sfumato.learn.sampling import PoissonSampling, TruncatedPoissonSampling
from sfumato.privacy import accounting, events
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SeededSource

ALARM = 1e-6
N, RATE, STEPS = 2000, 0.1, 200


def inside(count: int, n: int, p: float, alarm: float = ALARM / 10) -> bool:
    return bool(binom.ppf(alarm / 2, n, p) <= count <= binom.isf(alarm / 2, n, p))


def is_poisson(samples: list[NDArray[np.int64]], rows: int, rate: float) -> dict[str, bool]:
    """Of a list of steps: is every record in each with ``rate``, independently of all else?"""
    taken = np.zeros((len(samples), rows), bool)
    for step, sample in enumerate(samples):
        taken[step, sample] = True
    steps = len(samples)
    sizes = taken.sum(axis=1)
    # Sizes that vary as a binomial: the sum of squared deviations, by its own chi-square.
    spread = float(((sizes - rate * rows) ** 2).sum() / (rate * (1 - rate) * rows))
    from scipy.stats import chi2

    both = int((taken[:-1] & taken[1:]).sum())
    neighbours = int((taken[:, :-1] & taken[:, 1:]).sum())
    return {
        "rate": inside(int(taken.sum()), steps * rows, rate),
        "sizes": bool(chi2.ppf(ALARM / 20, steps) <= spread <= chi2.isf(ALARM / 20, steps)),
        "steps": inside(both, (steps - 1) * rows, rate**2, ALARM / 1e3),
        "records": inside(neighbours, steps * (rows - 1), rate**2, ALARM / 1e3),
    }


def test_poisson_samples_are_independent_over_records_and_steps() -> None:
    source = SeededSource(0)
    samples = [PoissonSampling(N, RATE).draw(N, source) for _ in range(STEPS)]
    assert all(is_poisson(samples, N, RATE).values())
    assert all((np.diff(sample) > 0).all() for sample in samples)


def test_shuffled_batches_of_one_size_are_told_from_poisson_samples() -> None:
    generator = np.random.default_rng(0)
    batch = int(RATE * N)
    shuffled = [
        epoch[start : start + batch]
        for epoch in (generator.permutation(N) for _ in range(int(STEPS * RATE)))
        for start in range(0, N, batch)
    ]
    found = is_poisson(shuffled, N, RATE)
    assert found["rate"]
    assert not found["sizes"]
    assert not found["steps"]


def test_a_block_of_records_drawn_together_is_told_from_poisson_samples() -> None:
    generator = np.random.default_rng(0)
    starts = generator.integers(0, N, STEPS)
    blocks = [(start + np.arange(int(RATE * N))) % N for start in starts]
    assert not is_poisson(blocks, N, RATE)["records"]


def test_large_data_sets_are_sampled_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = PoissonSampling(1000, 0.3).draw(1000, SeededSource(3))
    monkeypatch.setattr(sampling, "_BLOCK", 64)
    parts = PoissonSampling(1000, 0.3).draw(1000, SeededSource(3))
    assert parts.tolist() == whole.tolist()


def test_rate_one_takes_everybody_and_tiny_rates_often_nobody() -> None:
    assert PoissonSampling(10, 1.0).draw(10, SeededSource(0)).tolist() == list(range(10))
    sizes = [len(PoissonSampling(10, 0.01).draw(10, SeededSource(s))) for s in range(50)]
    assert min(sizes) == 0
    assert PoissonSampling(10, 0.5).draw(0, SeededSource(0)).shape == (0,)


def test_truncated_samples_are_cut_at_random() -> None:
    truncated = TruncatedPoissonSampling(60, 0.5, 10)
    source = SeededSource(5)
    counts = np.zeros(60)
    for _ in range(4000):
        sample = truncated.draw(60, source)
        assert len(sample) == len(set(sample.tolist())) <= 10
        assert (np.diff(sample) > 0).all()
        counts[sample] += 1
    # A cut sample has fixed size, so the counts vary a little less than the test allows for.
    assert chisquare(counts).pvalue > ALARM
    first = np.zeros(60)  # planted: keep the first ones instead of random ones
    for _ in range(400):
        first[PoissonSampling(60, 0.5).draw(60, source)[:10]] += 1
    assert chisquare(first).pvalue < ALARM


def test_small_samples_are_not_cut() -> None:
    truncated, plain = TruncatedPoissonSampling(100, 0.1, 100), PoissonSampling(100, 0.1)
    assert (
        truncated.draw(100, SeededSource(1)).tolist() == plain.draw(100, SeededSource(1)).tolist()
    )


def test_the_event_is_that_of_the_sampler() -> None:
    assert PoissonSampling(100, 0.1).event(2.0) == events.PoissonSampledDpEvent(
        0.1, events.GaussianDpEvent(2.0)
    )
    assert PoissonSampling(100, 1.0).event(2.0) == events.GaussianDpEvent(2.0)
    assert TruncatedPoissonSampling(100, 0.1, 20).event(
        2.0
    ) == events.TruncatedSubsampledGaussianDpEvent(100, 0.1, 20, 2.0)


def test_cutting_costs_something_and_never_cutting_nothing() -> None:
    def epsilon(event: events.DpEvent) -> float:
        return accounting.epsilon(events.repeat(event, 50), 1e-5, Neighbours.ZERO_OUT)

    plain = epsilon(PoissonSampling(1000, 0.05).event(1.0))
    assert epsilon(TruncatedPoissonSampling(1000, 0.05, 1000).event(1.0)) == pytest.approx(plain)
    assert epsilon(TruncatedPoissonSampling(1000, 0.05, 60).event(1.0)) > 1.02 * plain


def test_truncated_sampling_has_no_guarantee_where_the_number_of_records_is_hidden() -> None:
    truncated = TruncatedPoissonSampling(100, 0.1, 20)
    with pytest.raises(InputError, match="no guarantee under add-remove"):
        truncated.check(Neighbours.ADD_REMOVE)
    truncated.check(Neighbours.ZERO_OUT, 100)
    with pytest.raises(InputError, match="99 rows, but 100 records"):
        truncated.check(Neighbours.REPLACE_ONE, 99)


def test_a_declared_number_of_records_has_to_be_right_where_it_is_public() -> None:
    plain = PoissonSampling(100, 0.1)
    plain.check(Neighbours.ADD_REMOVE, 99)
    for neighbours in (Neighbours.REPLACE_ONE, Neighbours.ZERO_OUT):
        plain.check(neighbours, 100)
        with pytest.raises(InputError, match="99 rows, but 100 records"):
            plain.check(neighbours, 99)


def test_the_divisor_is_the_expected_size() -> None:
    assert PoissonSampling.of_batches(1000, 50).expected_batch_size == pytest.approx(50)
    truncated = TruncatedPoissonSampling.of_batches(1000, 50, 60)
    assert truncated.expected_batch_size == pytest.approx(50)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: PoissonSampling(0, 0.5), "number of records is 0"),
        (lambda: PoissonSampling(10, 0.0), "sampling rate is 0.0"),
        (lambda: PoissonSampling(10, 1.01), "sampling rate is 1.01"),
        (lambda: PoissonSampling.of_batches(10, 11), "expected batch size is 11"),
        (lambda: TruncatedPoissonSampling(10, 0.5, 0), "max_batch_size is 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: object, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        make()  # type: ignore[operator]


def test_two_secure_streams_never_draw_the_same_sample() -> None:
    plain = PoissonSampling(1000, 0.5)
    samples = {tuple(plain.draw(1000, CipherStream()).tolist()) for _ in range(20)}
    assert len(samples) == 20
