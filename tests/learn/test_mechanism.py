"""One object for sampler, clip, noise, steps and event. Statistical tests: false alarm <= 1e-6."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import chi2
from torch import Tensor

from sfumato.errors import BudgetError, InputError
from sfumato.learn.adaptive import AdaptiveQuantile
from sfumato.learn.clipping import Automatic, Flat, per_layer
from sfumato.learn.mechanism import DpSgd, Run
from sfumato.learn.sampling import PoissonSampling, TruncatedPoissonSampling
from sfumato.privacy import accounting
from sfumato.privacy.budget import Budget
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SeededSource

ALARM = 1e-6


class Summed(NamedTuple):
    gradients: dict[str, Tensor]
    norms: Tensor


class Recorded(SeededSource):
    """A source that counts the bytes drawn from it."""

    drawn = 0

    def uint64(self, n: int) -> NDArray[np.uint64]:
        self.drawn += n
        return super().uint64(n)


def zeros(size: int = 1000) -> Callable[[NDArray[np.int64]], Summed]:
    return lambda rows: Summed({"w": torch.zeros(size)}, torch.zeros(1, len(rows)))


def mechanism(rate: float = 0.1, sigma: float = 2.0, steps: int = 10, records: int = 100) -> DpSgd:
    return DpSgd(PoissonSampling(records, rate), Flat(1.0), sigma, steps, 1e-5)


@pytest.mark.parametrize(
    ("sigma", "steps", "neighbours", "epsilon"),
    [
        (4.0, 10_000, Neighbours.ADD_REMOVE, 0.947),
        (4.0, 10_000, Neighbours.ZERO_OUT, 0.947),
        (4.0, 10_000, Neighbours.REPLACE_ONE, 1.993),
        (2.0, 1_000, Neighbours.ADD_REMOVE, 0.622),
        (8.0, 1_000, Neighbours.REPLACE_ONE, 0.264),
    ],
)
def test_published_settings_cost_what_they_cost(
    sigma: float, steps: int, neighbours: Neighbours, epsilon: float
) -> None:
    sampling = PoissonSampling(60_000, 0.01)
    assert DpSgd(sampling, Flat(4.0), sigma, steps, 1e-5, neighbours).epsilon() == pytest.approx(
        epsilon, rel=0.01
    )


@pytest.mark.parametrize("neighbours", list(Neighbours))
@pytest.mark.parametrize("epsilon", [1.0, 8.0])
def test_calibration_meets_the_budget_and_wastes_next_to_nothing(
    neighbours: Neighbours, epsilon: float
) -> None:
    made = DpSgd.calibrate(
        Budget(epsilon, 1e-5),
        records=10_000,
        expected_batch_size=100,
        steps=500,
        clipping=Flat(1.0),
        neighbours=neighbours,
    )
    assert made.epsilon() <= epsilon
    less = dataclasses.replace(made, noise_multiplier=made.noise_multiplier / 1.002)
    assert less.epsilon() > epsilon
    assert made.guarantee().neighbours is neighbours
    assert made.guarantee().event == made.event


def test_truncated_sampling_is_calibrated_with_its_own_event() -> None:
    budget = Budget(2.0, 1e-5)
    made = DpSgd.calibrate(
        budget,
        records=2000,
        expected_batch_size=100,
        steps=100,
        clipping=Flat(1.0),
        neighbours=Neighbours.ZERO_OUT,
        max_batch_size=120,
    )
    assert isinstance(made.sampling, TruncatedPoissonSampling)
    assert 1.99 < made.epsilon() <= 2.0
    plain = dataclasses.replace(made, sampling=PoissonSampling(2000, 0.05))
    assert plain.epsilon() < made.epsilon()  # cutting is not free
    with pytest.raises(InputError, match="no guarantee under add-remove"):
        DpSgd.calibrate(
            budget,
            records=2000,
            expected_batch_size=100,
            steps=100,
            clipping=Flat(1.0),
            max_batch_size=120,
        )


def test_a_delta_that_would_publish_somebody_is_refused() -> None:
    with pytest.raises(InputError, match="at least 1/records"):
        DpSgd.calibrate(
            Budget(1.0, 1e-3), records=1000, expected_batch_size=10, steps=5, clipping=Flat(1.0)
        )


def test_no_step_beyond_the_last_and_nothing_drawn_for_it() -> None:
    source = Recorded(0)
    run = Run(mechanism(steps=3), 100, source=source)
    for taken in range(1, 4):
        run.step(zeros())
        assert (run.taken, run.left) == (taken, 3 - taken)
    before = source.drawn
    with pytest.raises(BudgetError, match="all 3 steps of this training have been taken"):
        run.step(zeros())
    assert source.drawn == before


def test_a_step_counts_from_before_anything_is_drawn() -> None:
    source = Recorded(0)
    run = Run(mechanism(), 100, source=source)
    seen: list[tuple[int, int]] = []

    def fails(rows: NDArray[np.int64]) -> Summed:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        run.step(fails, begun=lambda step: seen.append((step, source.drawn)))
    assert seen == [(1, 0)]
    assert run.taken == 1


def test_a_continued_run_never_counts_backwards() -> None:
    run = Run(mechanism(steps=10), 100, source=SeededSource(0))
    run.restore(4, None)
    assert run.left == 6
    for taken in (3, 11):
        with pytest.raises(InputError, match=f"{taken} steps were taken before"):
            run.restore(taken, None)


def sums_of_ones(rows: NDArray[np.int64]) -> Summed:
    """Every record adds a one."""
    return Summed({"w": torch.full((3,), float(len(rows)))}, torch.ones(1, len(rows)))


def divided_by_the_expected_size(step: Callable[[], Tensor], sizes: list[int], by: float) -> bool:
    return all(
        torch.allclose(step(), torch.full((3,), sizes[-1] / by), atol=1e-3) for _ in range(20)
    )


def test_sums_are_divided_by_the_expected_size_and_never_by_the_realised_one() -> None:
    run = Run(mechanism(sigma=1e-3, steps=100), 100, source=SeededSource(0))
    sizes: list[int] = []

    def recorded(rows: NDArray[np.int64]) -> Summed:
        sizes.append(len(rows))
        return sums_of_ones(rows)

    assert divided_by_the_expected_size(lambda: run.step(recorded)["w"], sizes, 10.0)
    assert len(set(sizes)) > 3
    # Planted: the mean over the realised batch.
    assert not divided_by_the_expected_size(
        lambda: run.step(recorded)["w"] * 10 / max(1, sizes[-1]), sizes, 10.0
    )


def test_the_rows_of_a_step_are_the_samplers() -> None:
    run = Run(mechanism(rate=0.3, steps=5), 100, source=SeededSource(8))
    seen: list[list[int]] = []

    def recorded(rows: NDArray[np.int64]) -> Summed:
        seen.append(rows.tolist())
        return zeros(0)(rows)

    for _ in range(5):
        run.step(recorded)
    other = SeededSource(8)
    assert seen == [PoissonSampling(100, 0.3).draw(100, other).tolist() for _ in range(5)]


def has_stddev(values: Tensor, stddev: float) -> bool:
    square = float((values.double() / stddev).square().sum())
    n = values.numel()
    return bool(chi2.ppf(ALARM / 2, n) <= square <= chi2.isf(ALARM / 2, n))


def test_an_empty_sample_takes_a_normal_noisy_step() -> None:
    run = Run(
        DpSgd(PoissonSampling(100, 1e-9), Flat(0.5), 2.0, 3, 1e-5), 100, source=SeededSource(1)
    )
    noisy = run.step(zeros(20_000))["w"]
    assert has_stddev(noisy, 2.0 * 0.5 / 1e-7)
    assert run.taken == 1
    assert not has_stddev(noisy / 1.05, 2.0 * 0.5 / 1e-7)


def test_a_clip_norm_that_moves_is_paid_for_by_more_noise_on_the_gradients() -> None:
    adaptive = AdaptiveQuantile(initial=0.5, count_stddev=1.5)
    made = DpSgd(PoissonSampling(100, 0.1), adaptive, 2.0, 5, 1e-5)
    run = Run(made, 100, source=SeededSource(1))
    assert run.clip_norm == 0.5
    noisy = run.step(zeros(200_000))["w"]
    drawn = 0.5 / 10 / math.sqrt(2.0**-2 - 3.0**-2)
    assert has_stddev(noisy, drawn)
    assert not has_stddev(noisy, 2.0 * 0.5 / 10)  # planted: the accounted multiplier is drawn
    moved = run.clip_norm
    assert moved is not None
    assert moved != 0.5
    assert run.clipping.sensitivity(Neighbours.ADD_REMOVE) == moved
    assert has_stddev(run.step(zeros(200_000))["w"], drawn * moved / 0.5)


def test_each_group_of_parameters_gets_its_own_noise() -> None:
    clipping = per_layer(["a.w", "b.w"], {"a": 1.0, "b": 3.0}, equal_shares=True)
    made = DpSgd(PoissonSampling(100, 0.1), clipping, 2.0, 5, 1e-5)

    def two(rows: NDArray[np.int64]) -> Summed:
        gradients = {"a.w": torch.zeros(20_000), "b.w": torch.zeros(20_000)}
        return Summed(gradients, torch.zeros(2, len(rows)))

    noisy = Run(made, 100, source=SeededSource(2)).step(two)
    assert has_stddev(noisy["a.w"], 2 * math.sqrt(2) * 1.0 / 10)
    assert has_stddev(noisy["b.w"], 2 * math.sqrt(2) * 3.0 / 10)


def test_a_microbatch_is_no_unit_of_clipping() -> None:
    run = Run(mechanism(rate=1.0), 100, source=SeededSource(0))
    with pytest.raises(InputError, match="25 gradients were clipped for 100 records"):
        run.step(lambda rows: Summed({"w": torch.zeros(3)}, torch.zeros(1, len(rows) // 4)))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"noise_multiplier": 0.0}, "noise_multiplier is 0.0"),
        ({"noise_multiplier": math.nan}, "noise_multiplier is nan"),
        ({"steps": 0}, "number of steps is 0"),
        ({"delta": 0.0}, "delta is 0.0"),
        ({"sampling": TruncatedPoissonSampling(100, 0.1, 20)}, "no guarantee under add-remove"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, object], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        dataclasses.replace(mechanism(), **changes)  # type: ignore[arg-type]


def test_rows_that_contradict_the_public_number_are_refused() -> None:
    made = dataclasses.replace(mechanism(), neighbours=Neighbours.REPLACE_ONE)
    with pytest.raises(InputError, match="101 rows, but 100 records"):
        Run(made, 101)


@pytest.mark.parametrize(
    "clipping", [Flat(1.0), Automatic(), AdaptiveQuantile(), per_layer(["a.w", "b.w"], 1.0)]
)
def test_everything_that_the_guarantee_rests_on_is_json(clipping: object) -> None:
    made = DpSgd(PoissonSampling(10_000, 0.1), clipping, 2.0, 10, 1e-5)  # type: ignore[arg-type]
    values = made.to_dict()
    assert json.loads(json.dumps(values)) == values
    assert dataclasses.replace(made, delta=1e-6).to_dict() != values
    assert values["clipping"]["type"] == type(clipping).__name__


# --- A white-box audit of everything together (training_attacks.md C10) ---------------------------
# Each of the records moves a coordinate of its own by the clip norm; as many coordinates have no
# record. Samples and noise are independent over coordinates, so one run gives independent scores.

CANARIES = 60_000


def log_ratios(run: Run) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The best test's score of each coordinate, with a record and without."""
    made = run.mechanism
    rate, sigma = made.sampling.rate, made.noise_multiplier

    def dirac(rows: NDArray[np.int64]) -> Summed:
        gradient = torch.zeros(2 * CANARIES)
        gradient[torch.from_numpy(rows)] = 1.0
        return Summed({"w": gradient}, torch.ones(1, len(rows)))

    total = np.zeros(2 * CANARIES)
    for _ in range(made.steps):
        seen = run.step(dirac)["w"].double().numpy() * made.sampling.expected_batch_size
        total += np.log1p(rate * np.expm1((2 * seen - 1) / (2 * sigma**2)))
    return total[:CANARIES], total[CANARIES:]


def ceiling(made: DpSgd, false_positive_rate: float) -> float:
    return accounting.max_tpr(made.event, false_positive_rate, made.neighbours)


@pytest.mark.parametrize(
    ("rate", "sigma", "steps"), [(1.0, 4.0, 16), (0.5, 2.0, 20), (0.1, 1.0, 50)]
)
def test_dirac_canaries_stay_within_the_claim_and_come_close_to_it(
    canary_audit: Any, rate: float, sigma: float, steps: int
) -> None:
    made = mechanism(rate, sigma, steps, CANARIES)
    true, false, mu = canary_audit(*log_ratios(Run(made, CANARIES, source=SeededSource(11))))
    claimed = accounting.gdp_mu(made.event, made.neighbours)
    assert claimed is not None
    assert 0.85 * ceiling(made, false) < true <= ceiling(made, false)  # the audit has teeth
    assert (0.9 if rate == 1 else 0.5) * claimed < mu <= claimed


@pytest.mark.parametrize(
    ("rate", "sigma"), [(0.1, 0.5), (0.2, 1.0)], ids=["half the noise", "twice the rate"]
)
def test_the_audit_sees_less_noise_or_more_sampling_than_accounted(
    canary_audit: Any, rate: float, sigma: float
) -> None:
    made = mechanism(0.1, 1.0, 50, CANARIES)
    real = mechanism(rate, sigma, 50, CANARIES)
    true, false, _ = canary_audit(*log_ratios(Run(real, CANARIES, source=SeededSource(11))))
    assert true > ceiling(made, false)
    assert true <= ceiling(real, false)


class Shuffled(PoissonSampling):
    """Planted: batches of one size from shuffled passes, with the event of Poisson samples."""

    left = np.zeros(0, np.int64)

    def draw(self, rows: int, source: object) -> NDArray[np.int64]:
        left = self.left if len(self.left) else np.random.default_rng(0).permutation(rows)
        size = round(self.rate * rows)
        object.__setattr__(self, "left", left[size:])
        return left[:size]


def test_the_audit_sees_a_shuffled_loader_under_the_poisson_claim(canary_audit: Any) -> None:
    # Over one pass a Poisson sampler misses a record with probability 0.95^20 = 0.36, which hides
    # it; a shuffled pass never does.
    made = DpSgd(PoissonSampling(CANARIES, 0.05), Flat(1.0), 0.25, 20, 1e-5)
    true, false, _ = canary_audit(*log_ratios(Run(made, CANARIES, source=SeededSource(11))))
    assert true <= ceiling(made, false)
    shuffled = dataclasses.replace(made, sampling=Shuffled(CANARIES, 0.05))
    assert shuffled.epsilon() == made.epsilon()
    true, false, _ = canary_audit(*log_ratios(Run(shuffled, CANARIES, source=SeededSource(11))))
    assert true > ceiling(made, false)
