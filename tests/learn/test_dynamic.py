"""Schedules of noise and clip norm: what runs is what is accounted.

Statistical tests: false alarm <= 1e-6.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import chi2
from torch import Tensor

from sfumato.errors import InputError
from sfumato.learn.adaptive import AdaptiveQuantile
from sfumato.learn.clipping import Automatic, Flat, PerGroup, per_layer
from sfumato.learn.dynamic import GRID, DynamicDpSgd
from sfumato.learn.mechanism import DpSgd, Run
from sfumato.learn.sampling import PoissonSampling, TruncatedPoissonSampling
from sfumato.learn.schedules import NOISE, Constant, Cyclic, Linear, Schedule, Staircase
from sfumato.privacy import accounting, events
from sfumato.privacy.budget import Budget
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SeededSource

ALARM = 1e-6


class Summed(NamedTuple):
    gradients: dict[str, Tensor]
    norms: Tensor


def zeros(size: int) -> Callable[[NDArray[np.int64]], Summed]:
    return lambda rows: Summed({"w": torch.zeros(size)}, torch.zeros(1, len(rows)))


def training(noise: Schedule = NOISE["linear"], steps: int = 8, **changes: Any) -> DynamicDpSgd:
    made = DynamicDpSgd(PoissonSampling(100, 0.1), Flat(1.0), noise, steps, 1e-5, scale=0.2)
    return dataclasses.replace(made, **changes)


@pytest.mark.parametrize("name", sorted(NOISE))
def test_the_event_is_the_composition_of_the_steps_that_run(name: str) -> None:
    made = training(NOISE[name], 30)
    sampling = made.sampling
    for taken in (1, 7, 30):
        steps = [sampling.event(made.multiplier_at(step)) for step in range(taken)]
        one_by_one = accounting.epsilon(events.compose(*steps), 1e-5, made.neighbours)
        assert made.epsilon(taken) == pytest.approx(one_by_one, rel=1e-9)
    exact = [0.2 * NOISE[name].at(step, 30) for step in range(30)]
    used = [made.multiplier_at(step) for step in range(30)]
    assert used == pytest.approx(exact, rel=math.sqrt(GRID) - 1 + 1e-9)


def test_ten_thousand_steps_are_a_short_event() -> None:
    made = training(steps=10_000, sampling=PoissonSampling(60_000, 0.01), scale=1.0)
    assert len(made.event.events) < 70
    assert made.epsilon() == pytest.approx(0.409, rel=0.01)  # re-accounted; RDP says 0.446
    assert json.loads(json.dumps(made.to_dict())) == made.to_dict()


@pytest.mark.parametrize("neighbours", [Neighbours.ADD_REMOVE, Neighbours.REPLACE_ONE])
@pytest.mark.parametrize("noise", [Staircase(15.0, 4.85), Cyclic(3.0, 1.0, 5), Constant(1.0)])
def test_calibration_scales_the_whole_schedule_to_the_budget(
    noise: Schedule, neighbours: Neighbours
) -> None:
    made = DynamicDpSgd.calibrate(
        Budget(2.0, 1e-5),
        records=10_000,
        expected_batch_size=200,
        steps=100,
        clipping=Flat(1.0),
        noise_schedule=noise,
        neighbours=neighbours,
    )
    assert made.epsilon() <= 2.0
    assert dataclasses.replace(made, scale=made.scale / 1.002).epsilon() > 2.0
    ratio = made.multiplier_at(0) / made.multiplier_at(99)
    assert ratio == pytest.approx(noise.at(0, 100) / noise.at(99, 100), rel=0.021)


def test_a_constant_schedule_is_dp_sgd() -> None:
    settings: dict[str, Any] = {
        "records": 5000,
        "expected_batch_size": 100,
        "steps": 50,
        "clipping": Flat(1.0),
    }
    plain = DpSgd.calibrate(Budget(1.0, 1e-5), **settings)
    made = DynamicDpSgd.calibrate(Budget(1.0, 1e-5), noise_schedule=Constant(7.0), **settings)
    assert made.multiplier_at(0) == pytest.approx(plain.noise_multiplier, rel=1e-3)
    assert dataclasses.replace(plain, noise_multiplier=made.multiplier_at(0)).event == made.event


def test_truncated_sampling_keeps_its_own_event() -> None:
    made = DynamicDpSgd.calibrate(
        Budget(2.0, 1e-5),
        records=2000,
        expected_batch_size=100,
        steps=20,
        clipping=Flat(1.0),
        noise_schedule=Staircase(2.0, 1.0, 2),
        neighbours=Neighbours.ZERO_OUT,
        max_batch_size=120,
    )
    assert isinstance(made.sampling, TruncatedPoissonSampling)
    assert 1.99 < made.epsilon() <= 2.0


def accounted(made: DynamicDpSgd) -> list[float]:
    """The multipliers of the event, one a step, the largest first."""
    found = []
    for part in made.event.events:
        count = part.count if isinstance(part, events.SelfComposedDpEvent) else 1
        one = part.event if isinstance(part, events.SelfComposedDpEvent) else part
        found += [one.event.noise_multiplier] * count
    return found


def is_drawn(rows: Sequence[Tensor], multipliers: Sequence[float], unit: float) -> bool:
    """Whether each step's noise has its multiplier, over the clip norm of ``unit``."""
    for row, multiplier in zip(rows, multipliers, strict=True):
        square = float((row.double() / (multiplier * unit)).square().sum())
        n, alarm = row.numel(), ALARM / (2 * len(rows))
        if not chi2.ppf(alarm, n) <= square <= chi2.isf(alarm, n):
            return False
    return True


def test_each_step_draws_the_noise_that_its_part_of_the_event_says() -> None:
    made = training(NOISE["linear"])  # falling: the event's order is the steps'
    run = Run(made, 100, source=SeededSource(3))
    rows = [run.step(zeros(40_000))["w"] for _ in range(made.steps)]
    assert is_drawn(rows, accounted(made), 1 / 10)
    # Planted: the noise of another schedule than the accounted one; of the last step everywhere.
    other = training(NOISE["exponential"], scale=0.21)
    assert not is_drawn(rows, accounted(other), 1 / 10)
    last = Run(training(Constant(4.85 * 0.2), scale=1.0), 100, source=SeededSource(3))
    assert not is_drawn([last.step(zeros(40_000))["w"] for _ in range(8)], accounted(made), 1 / 10)


def test_noise_follows_a_scheduled_clip_norm() -> None:
    made = training(Constant(1.0), clip_norms=Linear(4.0, 0.4))
    run = Run(made, 100, source=SeededSource(4))
    rows, norms = [], []
    for _ in range(made.steps):
        rows.append(run.step(zeros(40_000))["w"])
        norms.append(run.clip_norm)
    assert norms == [4.0 - 3.6 * step / 8 for step in range(8)]
    drawn = [made.multiplier_at(0) * norm for norm in norms if norm is not None]
    assert is_drawn(rows, drawn, 1 / 10)
    fixed = [made.multiplier_at(0) * 4.0] * 8  # planted: the noise of the first bound
    assert not is_drawn(rows, fixed, 1 / 10)
    assert made.event == training(Constant(1.0)).event  # noise is relative to the bound


def test_a_continued_run_goes_on_with_the_step_that_is_next() -> None:
    made = training(clip_norms=Linear(4.0, 0.4))
    run = Run(made, 100, source=SeededSource(5))
    run.restore(5, 4.0)
    row = run.step(zeros(40_000))["w"]
    assert run.clip_norm == 4.0 - 3.6 * 5 / 8
    assert is_drawn([row], [made.multiplier_at(5) * run.clip_norm], 1 / 10)
    assert not is_drawn([row], [made.multiplier_at(0) * run.clip_norm], 1 / 10)


def norms_of(size: float) -> Callable[[NDArray[np.int64]], Summed]:
    return lambda rows: Summed({"w": torch.zeros(3)}, torch.full((1, len(rows)), size))


def clip_norms(run: Run, size: float) -> list[float | None]:
    found = []
    for _ in range(6):
        run.step(norms_of(size))
        found.append(run.clip_norm)
    return found


class BatchMaximum(Run):
    """Planted: the clip norm of a step is the largest norm of its own batch, within limits."""

    def step(self, clipped_sum: Any, *, begun: Any = None) -> dict[str, Tensor]:
        def bounded(rows: NDArray[np.int64]) -> Summed:
            total: Summed = clipped_sum(rows)
            assert self._bound is not None
            if len(rows):
                self._bound.max_grad_norm = min(max(float(total.norms.max()), 0.1), 32.0)
            return total

        return super().step(bounded, begun=begun)


@pytest.mark.parametrize("run_type", [Run, BatchMaximum])
def test_clip_norms_know_nothing_of_the_records(run_type: type[Run]) -> None:
    made = training(clip_norms=Linear(4.0, 1.0))
    small, large = (run_type(made, 100, source=SeededSource(6)) for _ in range(2))
    same = clip_norms(small, 0.5) == clip_norms(large, 500.0)
    assert same == (run_type is Run)


def test_a_quantile_that_is_paid_for_goes_with_a_schedule() -> None:
    adaptive = AdaptiveQuantile(initial=0.5, count_stddev=4.0)
    made = training(clipping=adaptive)
    run = Run(made, 100, source=SeededSource(7))
    rows, norms = [], []
    for _ in range(made.steps):
        norms.append(run.clip_norm)
        rows.append(run.step(zeros(40_000))["w"])
    drawn = [
        norm / math.sqrt(made.multiplier_at(step) ** -2 - 8.0**-2)
        for step, norm in enumerate(norms)
        if norm is not None
    ]
    assert is_drawn(rows, drawn, 1 / 10)
    assert made.event == training().event
    with pytest.raises(InputError, match="too little beside a noise multiplier of 3"):
        training(clipping=AdaptiveQuantile(count_stddev=1.0))


class EachAlone(PerGroup):
    """Planted: noise ``sigma C`` in each of the layers, as if each were the only one."""

    def noise_stddevs(self, noise_multiplier: float) -> list[float]:
        return [noise_multiplier * norm for norm in self.max_grad_norms]


def test_noise_for_one_layer_is_too_little_for_several() -> None:
    layers = per_layer(["a.w", "b.w", "c.w"], {"a": 1.0, "b": 1.0, "c": 1.0}, equal_shares=True)
    Run(training(clipping=layers), 100)
    alone = EachAlone(layers.members, layers.max_grad_norms)
    with pytest.raises(InputError, match=r"a noise multiplier of 1\.7.* where 3\.0.* is accounted"):
        Run(training(clipping=alone), 100)


class Falling(Constant):
    """Reaches nothing in the middle of the steps."""

    def at(self, step: int, steps: int) -> float:
        return self.value * max(0.0, 1 - 2 * step / steps)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"scale": 0.0}, "factor on the noise multipliers is 0.0"),
        ({"steps": 0}, "number of steps is 0"),
        ({"noise_schedule": Falling(1.0)}, "noise multiplier of step 4 is 0.0"),
        ({"clip_norms": Falling(1.0)}, "clip norm of step 4 is 0.0"),
        ({"clipping": Automatic(), "clip_norms": Constant(1.0)}, "the clipping is Automatic"),
        ({"clipping": AdaptiveQuantile(), "clip_norms": Constant(1.0)}, "AdaptiveQuantile"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        training(**changes)


# --- The white-box audit of everything together; see test_mechanism.py ---------------------------

CANARIES = 40_000


def log_ratios(run: Run) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The best test's score of each coordinate, with a record and without."""
    made = run.mechanism
    rate = made.sampling.rate

    def dirac(rows: NDArray[np.int64]) -> Summed:
        gradient = torch.zeros(2 * CANARIES)
        gradient[torch.from_numpy(rows)] = 1.0
        return Summed({"w": gradient}, torch.ones(1, len(rows)))

    total = np.zeros(2 * CANARIES)
    for step in range(made.steps):
        sigma = made.multiplier_at(step)
        seen = run.step(dirac)["w"].double().numpy() * made.sampling.expected_batch_size
        total += np.log1p(rate * np.expm1((2 * seen - 1) / (2 * sigma**2)))
    return total[:CANARIES], total[CANARIES:]


def test_canaries_stay_within_the_claim_and_see_the_least_noise_accounted_as_the_most(
    canary_audit: Any,
) -> None:
    sampling = PoissonSampling(CANARIES, 0.3)
    made = training(Linear(3.0, 0.8), 12, sampling=sampling, scale=1.0)
    true, false, _ = canary_audit(*log_ratios(Run(made, CANARIES, source=SeededSource(11))))
    ceiling = accounting.max_tpr(made.event, false, made.neighbours)
    assert 0.8 * ceiling < true <= ceiling
    claimed = training(Constant(3.0), 12, sampling=sampling, scale=1.0)  # planted
    assert true > accounting.max_tpr(claimed.event, false, claimed.neighbours)
