"""Correlated noise: what is drawn, what it costs, and that nothing of it is kept.

Statistical tests: false alarm <= 1e-6.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import chi2
from torch import Tensor, nn

from sfumato.errors import InputError
from sfumato.learn import correlated
from sfumato.learn.adaptive import AdaptiveQuantile
from sfumato.learn.clipping import Clipping, Flat, per_layer
from sfumato.learn.correlated import CorrelatedDpSgd, CorrelatedNoise
from sfumato.learn.grouped import GroupedSampling
from sfumato.learn.loop import PrivateLoop
from sfumato.learn.mechanism import DpSgd, Run
from sfumato.learn.noise import standard_gaussian
from sfumato.learn.sampling import PoissonSampling
from sfumato.learn.toeplitz import Workload, participation_norm
from sfumato.privacy import accounting
from sfumato.privacy.budget import Budget
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SeededSource

ALARM = 1e-6
BANDS = (1.0, 0.7, 0.5, 0.4)


class Summed(NamedTuple):
    gradients: dict[str, Tensor]
    norms: Tensor


def zeros(size: int) -> Callable[[NDArray[np.int64]], Summed]:
    return lambda rows: Summed({"w": torch.zeros(size)}, torch.zeros(1, len(rows)))


def training(
    groups: int = 4,
    rate: float = 0.4,
    sigma: float = 2.0,
    steps: int = 12,
    coefficients: tuple[float, ...] = BANDS,
    records: int = 100,
) -> CorrelatedDpSgd:
    sampling = GroupedSampling(records, groups, rate)
    return CorrelatedDpSgd(sampling, Flat(1.0), sigma, steps, 1e-5, coefficients)


def unmixed(rows: NDArray[np.float64], coefficients: tuple[float, ...]) -> NDArray[np.float64]:
    """(steps, n): ``C w``, with ``C`` of columns of norm 1."""
    c = np.array(coefficients) / np.linalg.norm(coefficients)
    found = np.zeros_like(rows)
    for lag, weight in enumerate(c):
        found[lag:] += weight * rows[: len(rows) - lag]
    return found


def taken(run: Run, steps: int, size: int) -> NDArray[np.float64]:
    """(steps, size) noise of the sums of a run over nothing."""
    expected = run.mechanism.sampling.expected_batch_size
    rows = [run.step(zeros(size))["w"].double().numpy() for _ in range(steps)]
    return np.stack(rows) * expected


# --- What is drawn --------------------------------------------------------------------------------


def test_the_stream_solves_the_triangular_system_exactly() -> None:
    noise, source, size = CorrelatedNoise(BANDS), SeededSource(0), 500
    tensors = [torch.zeros(20, 10), torch.zeros(300)]
    rows = []
    for step in range(9):
        parts = noise.add(step, [t.clone() for t in tensors], [2.0, 2.0], source, divisor=1.0)
        assert [part.shape for part in parts] == [t.shape for t in tensors]
        rows.append(torch.cat([part.reshape(-1) for part in parts]).double().numpy())
    found, again = unmixed(np.stack(rows), BANDS), SeededSource(0)
    for step in range(9):
        drawn = [standard_gaussian(n, again) for n in (200, 300)]
        assert found[step] == pytest.approx(2.0 * torch.cat(drawn).numpy(), abs=2e-5)
    assert found.shape == (9, size)


def is_white(rows: NDArray[np.float64], stddev: float) -> bool:
    """Whether all numbers are independent, over steps too, with this standard deviation."""
    z = rows / stddev
    n = z.size
    if not chi2.ppf(ALARM / 4, n) <= np.square(z).sum() <= chi2.isf(ALARM / 4, n):
        return False
    lags = [(z[lag:] * z[:-lag]).sum() / math.sqrt(z[lag:].size) for lag in range(1, 8)]
    return max(map(abs, lags)) < 5.6  # false alarm of all seven 1.5e-7


def test_what_is_accounted_is_white_with_the_accounted_deviation() -> None:
    rows = taken(Run(training(steps=20), 100, source=SeededSource(1)), 20, 20_000)
    assert is_white(unmixed(rows, BANDS), 2.0)
    assert not is_white(rows, 2.0)  # as released it is correlated
    assert not is_white(unmixed(rows, BANDS), 2.0 * 0.99)
    assert not is_white(unmixed(rows, (1.0, 0.7, 0.5)), 2.0)  # planted: another matrix


def test_sums_of_the_noise_are_as_far_off_as_was_optimised() -> None:
    made = training(steps=20)
    total = np.cumsum(taken(Run(made, 100, source=SeededSource(2)), 20, 20_000), axis=0)
    real = math.sqrt(np.square(total).mean()) / made.sampling.expected_batch_size
    assert real == pytest.approx(made.error(), rel=0.02)  # 400,000 draws: 20 deviations
    independent = dataclasses.replace(made, coefficients=(1.0,))
    assert made.error() < 0.7 * independent.error()


def test_each_group_of_parameters_is_correlated_with_itself() -> None:
    clipping = per_layer(["a.w", "b.w"], {"a": 1.0, "b": 3.0}, equal_shares=True)
    made = dataclasses.replace(training(steps=20), clipping=clipping)
    run = Run(made, 100, source=SeededSource(3))

    def two(rows: NDArray[np.int64]) -> Summed:
        gradients = {"a.w": torch.zeros(10_000), "b.w": torch.zeros(10_000)}
        return Summed(gradients, torch.zeros(2, len(rows)))

    steps = [run.step(two) for _ in range(20)]
    for name, norm in (("a.w", 1.0), ("b.w", 3.0)):
        rows = np.stack([step[name].double().numpy() for step in steps]) * 10
        assert is_white(unmixed(rows, BANDS), 2.0 * math.sqrt(2) * norm)


def test_sums_are_rounded_to_a_grid_that_the_records_do_not_choose() -> None:
    noise = CorrelatedNoise(BANDS)
    step = 2.0**-20
    for at in range(6):
        (noisy,) = noise.add(at, [torch.rand(1000)], [2.0], SeededSource(at), divisor=1.0)
        steps = noisy.double() / step
        assert torch.equal(steps, steps.round())


# --- What it costs --------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.1, 1.0])
@pytest.mark.parametrize("taken_steps", [1, 7, 12])
def test_one_group_and_one_band_is_dp_sgd_event_and_all(rate: float, taken_steps: int) -> None:
    plain = DpSgd(PoissonSampling(100, rate), Flat(1.0), 2.0, 12, 1e-5)
    made = dataclasses.replace(training(1, rate, coefficients=(1.0,)), neighbours=plain.neighbours)
    assert made.event_after(taken_steps) == plain.event_after(taken_steps)
    assert made.epsilon() == plain.epsilon()


@pytest.mark.parametrize("neighbours", [Neighbours.ZERO_OUT, Neighbours.REPLACE_ONE])
@pytest.mark.parametrize("steps", [8, 9, 12])
def test_groups_in_order_are_one_gaussian_by_either_way_of_counting(
    neighbours: Neighbours, steps: int
) -> None:
    made = dataclasses.replace(training(4, 1.0, steps=steps), neighbours=neighbours)
    single = math.sqrt(math.ceil(steps / 4)) / 2.0
    claimed = accounting.gdp_mu(made.event, neighbours)
    assert claimed == pytest.approx(single * (2 if neighbours is Neighbours.REPLACE_ONE else 1))
    norm = participation_norm(BANDS, steps, 4) / float(np.linalg.norm(BANDS)) / 2.0
    assert norm <= single * (1 + 1e-12)  # the last column may be cut
    assert steps % 4 or norm == pytest.approx(single)


def test_overlapping_participations_cost_their_joint_norm() -> None:
    made = training(2, 1.0)
    together = participation_norm(BANDS, 12, 2) / float(np.linalg.norm(BANDS))
    assert accounting.gdp_mu(made.event, made.neighbours) == pytest.approx(together / 2.0)
    assert together > 1.25 * math.sqrt(6)  # more than six separate ones


@pytest.mark.parametrize("epsilon", [0.5, 4.0])
@pytest.mark.parametrize(("groups", "rate", "bands"), [(1, 0.05, 1), (4, 0.2, 4), (5, 1.0, 9)])
def test_calibration_meets_the_budget(epsilon: float, groups: int, rate: float, bands: int) -> None:
    made = CorrelatedDpSgd.calibrate(
        Budget(epsilon, 1e-5),
        GroupedSampling(1000, groups, rate),
        steps=60,
        clipping=Flat(1.0),
        bands=bands,
    )
    assert len(made.coefficients) == bands
    assert made.epsilon() <= epsilon
    less = dataclasses.replace(made, noise_multiplier=made.noise_multiplier / 1.002)
    assert less.epsilon() > epsilon


def test_the_best_number_of_bands_is_dp_sgd_at_little_epsilon_and_more_bands_at_much() -> None:
    chosen = [
        correlated.best(
            Budget(epsilon, 1e-5),
            records=2000,
            expected_batch_size=40,
            steps=200,
            clipping=Flat(1.0),
            workload=Workload(0.9),
        )
        for epsilon in (0.05, 8.0)
    ]
    assert [len(made.coefficients) for made in chosen] == [1, 32]
    for made, epsilon in zip(chosen, (0.05, 8.0), strict=True):
        assert 0.99 * epsilon < made.epsilon() <= epsilon


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"noise_multiplier": 0.0}, "noise_multiplier is 0.0"),
        ({"coefficients": ()}, "the coefficients are"),
        ({"coefficients": (0.0, 1.0)}, "the coefficients are"),
        ({"coefficients": (1.0, -0.5)}, "the coefficients are"),
        ({"coefficients": (1.0, math.nan)}, "the coefficients are"),
        ({"coefficients": (1.0,) * 5}, "5 bands reach over the 4 steps"),
        ({"neighbours": Neighbours.ADD_REMOVE}, "no guarantee under add-remove"),
        ({"clipping": AdaptiveQuantile(count_stddev=50.0)}, "a clip norm that moves"),
        ({"steps": 0}, "number of steps is 0"),
    ],
)
def test_settings_that_have_no_proof_are_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        dataclasses.replace(training(), **changes)


def test_everything_that_the_guarantee_rests_on_is_json() -> None:
    values = training().to_dict()
    assert json.loads(json.dumps(values)) == values
    assert training(coefficients=(1.0, 0.7, 0.5, 0.39)).to_dict() != values


# --- The white-box audit of everything together; see test_mechanism.py ---------------------------

CANARIES = 60_000


def released(run: Run, steps: int) -> NDArray[np.float64]:
    """(steps, 2 CANARIES): each record moves a coordinate of its own, the second half has none."""

    def dirac(rows: NDArray[np.int64]) -> Summed:
        gradient = torch.zeros(2 * CANARIES)
        gradient[torch.from_numpy(rows)] = 1.0
        return Summed({"w": gradient}, torch.ones(1, len(rows)))

    expected = run.mechanism.sampling.expected_batch_size
    return np.stack([run.step(dirac)["w"].double().numpy() * expected for _ in range(steps)])


def scores(
    rows: NDArray[np.float64],
    made: CorrelatedDpSgd,
    sigma: float | None = None,
    begun: tuple[int, ...] = (0,),
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The best test's score of each coordinate, with a record and without.

    Args:
        rows: What was released.
        made: What ran.
        sigma: Its noise multiplier, if it is another.
        begun: The steps at which the correlation began anew.
    """
    sigma = sigma or made.noise_multiplier
    c = np.array(made.coefficients) / np.linalg.norm(made.coefficients)
    groups, rate = made.sampling.groups, made.sampling.rate
    ends = (*begun[1:], len(rows))
    clear = np.concatenate(
        [unmixed(rows[a:b], made.coefficients) for a, b in zip(begun, ends, strict=True)]
    )
    group = np.arange(rows.shape[1]) % groups
    total = np.zeros(rows.shape[1])
    if rate == 1:
        means = np.zeros((len(rows), groups))
        for step in range(len(rows)):
            end = min(e for e in ends if e > step)
            means[step:end, step % groups][: len(c)] += c[: end - step]
        for at in range(groups):
            total[group == at] = means[:, at] @ clear[:, group == at]
    else:
        for step in range(len(rows)):
            end = min(e for e in ends if e > step)
            mine, seen = group == step % groups, c[: end - step]
            along = seen @ clear[step : step + len(seen)][:, mine]
            ratio = (2 * along - seen @ seen) / (2 * sigma**2)
            total[mine] += np.log1p(rate * np.expm1(ratio))
    return total[:CANARIES], total[CANARIES:]


def ceiling(made: CorrelatedDpSgd, false_positive_rate: float) -> float:
    return accounting.max_tpr(made.event, false_positive_rate, made.neighbours)


SETTINGS = [
    (4, 1.0, 2.0, 16, BANDS),  # in order, columns apart
    (2, 1.0, 4.0, 16, BANDS),  # in order, columns overlap
    (4, 0.5, 1.0, 32, BANDS),  # Poisson in groups
    (5, 0.4, 0.8, 30, BANDS),  # more groups than bands
]


@pytest.mark.parametrize(("groups", "rate", "sigma", "steps", "bands"), SETTINGS)
def test_canaries_stay_within_the_claim_and_come_close_to_it(
    canary_audit: Any,
    groups: int,
    rate: float,
    sigma: float,
    steps: int,
    bands: tuple[float, ...],
) -> None:
    made = training(groups, rate, sigma, steps, bands, CANARIES)
    run = Run(made, CANARIES, source=SeededSource(11))
    true, false, mu = canary_audit(*scores(released(run, steps), made))
    assert 0.6 * ceiling(made, false) < true <= ceiling(made, false)
    if rate == 1:
        claimed = accounting.gdp_mu(made.event, made.neighbours)
        assert claimed is not None
        assert 0.8 * claimed < mu <= claimed


class Once(CorrelatedDpSgd):
    """Planted: the sensitivity of one participation, whatever the number."""

    def event_after(self, steps: int) -> Any:
        return self.sampling.event(self.noise_multiplier)


@pytest.mark.parametrize(("groups", "rate", "sigma", "steps", "bands"), SETTINGS[:3])
def test_the_audit_sees_one_participation_accounted_for_many(
    canary_audit: Any,
    groups: int,
    rate: float,
    sigma: float,
    steps: int,
    bands: tuple[float, ...],
) -> None:
    made = training(groups, rate, sigma, steps, bands, CANARIES)
    fields = {f.name: getattr(made, f.name) for f in dataclasses.fields(made)}
    once = Once(**fields)
    true, false, _ = canary_audit(
        *scores(released(Run(once, CANARIES, source=SeededSource(11)), steps), made)
    )
    assert true > ceiling(once, false)
    assert true <= ceiling(made, false)


class Unchecked(CorrelatedDpSgd):
    """Planted: more bands than the steps between two participations, accounted as if it were not.

    Every row then holds several participations of a record.
    """

    def __post_init__(self) -> None:
        pass

    def event_after(self, steps: int) -> Any:
        return DpSgd(
            PoissonSampling(self.sampling.records, self.sampling.rate),
            Flat(1.0),
            self.noise_multiplier,
            self.sampling.participations(steps),
            self.delta,
        ).event


def test_the_audit_sees_participations_that_share_rows(canary_audit: Any) -> None:
    sampling = GroupedSampling(CANARIES, 1, 0.5)
    wide = Unchecked(sampling, Flat(1.0), 8.0, 32, 1e-5, (1.0,) * 4)
    rows = released(Run(wide, CANARIES, source=SeededSource(11)), 32)
    sums = unmixed(rows, wide.coefficients).sum(axis=0)
    true, false, _ = canary_audit(sums[:CANARIES], sums[CANARIES:])
    assert true > ceiling(wide, false)
    narrow = training(1, 0.5, 8.0, 32, (1.0,), CANARIES)
    sums = released(Run(narrow, CANARIES, source=SeededSource(11)), 32).sum(axis=0)
    true, false, _ = canary_audit(sums[:CANARIES], sums[CANARIES:])
    assert true <= ceiling(narrow, false)


# --- Beginning anew -------------------------------------------------------------------------------


@pytest.mark.parametrize(("groups", "rate", "sigma", "steps", "bands"), SETTINGS)
def test_canaries_stay_within_the_same_claim_over_two_interruptions(
    canary_audit: Any,
    groups: int,
    rate: float,
    sigma: float,
    steps: int,
    bands: tuple[float, ...],
) -> None:
    made = training(groups, rate, sigma, steps, bands, CANARIES)
    rows, begun = [], (0, 6, 13)
    for start, end in zip(begun, (*begun[1:], steps), strict=True):
        run = Run(made, CANARIES, source=SeededSource(start))  # another process
        run.restore(start, None)
        rows.append(released(run, end - start))
    true, false, _ = canary_audit(*scores(np.concatenate(rows), made, begun=begun))
    assert 0.5 * ceiling(made, false) < true <= ceiling(made, false)


def is_fresh(noise: NDArray[np.float64], before: NDArray[np.float64]) -> bool:
    """Whether the noise of a step has nothing to do with that of the steps before, (steps, n)."""
    n = noise.size
    scale = noise.std() * before.std(axis=1) * math.sqrt(n)
    return bool((np.abs(before @ noise) / scale < 5.6).all())


class Remembering(CorrelatedNoise):
    """Planted: its state can be stored, and noise is drawn ahead into it."""

    def __reduce__(self) -> Any:
        return Remembering, (self._coefficients,), self.__dict__


class Stored(CorrelatedDpSgd):
    def noise(self) -> CorrelatedNoise:
        return Remembering(self.coefficients)


@pytest.mark.parametrize("kind", [CorrelatedDpSgd, Stored])
def test_a_copy_of_a_run_continues_with_noise_of_its_own(kind: type[CorrelatedDpSgd]) -> None:
    made = training(steps=20)
    fields = {f.name: getattr(made, f.name) for f in dataclasses.fields(made)}
    run = Run(kind(**fields), 100, source=SeededSource(5))
    before = taken(run, 6, 20_000)
    for held in (copy.deepcopy(run._noise), pickle.loads(pickle.dumps(run._noise))):
        (noisy,) = held.add(6, [torch.zeros(20_000)], [2.0], SeededSource(6), divisor=1.0)
        assert is_fresh(noisy.double().numpy(), before) == (kind is CorrelatedDpSgd)


def test_a_step_that_failed_is_not_bridged() -> None:
    # If the noise went on as if nothing had happened, a record's next participation would come
    # one row too soon and share it with the last.
    run = Run(training(steps=20), 100, source=SeededSource(7))
    before = taken(run, 6, 20_000)

    def fails(rows: NDArray[np.int64]) -> Summed:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        run.step(fails)
    assert is_fresh(taken(run, 1, 20_000)[0], before)
    unbroken = Run(training(steps=20), 100, source=SeededSource(7))
    before = taken(unbroken, 6, 20_000)
    assert not is_fresh(taken(unbroken, 1, 20_000)[0], before)


@pytest.mark.parametrize("sizes", [[500, 20_000], [20_000]])
def test_parameters_that_were_frozen_meanwhile_begin_anew(sizes: list[int]) -> None:
    noise, source = CorrelatedNoise(BANDS), SeededSource(8)
    (first,) = noise.add(0, [torch.zeros(20_000)], [2.0], source, divisor=1.0)
    second = noise.add(1, [torch.zeros(n) for n in sizes], [2.0] * len(sizes), source, divisor=1.0)
    before = first.double().numpy()[None]
    assert is_fresh(second[-1].double().numpy(), before) == (len(sizes) == 2)


def data() -> tuple[Tensor, Tensor]:
    return torch.randn(100, 3, generator=torch.Generator().manual_seed(0)), torch.zeros(100)


class Engine:
    """Clipped sums of nothing."""

    def __init__(self, module: nn.Module, loss: object, clipping: Clipping) -> None:
        self._module = module

    def clipped_sum(self, inputs: Any, targets: Tensor) -> Summed:
        sums = {name: torch.zeros_like(p) for name, p in self._module.named_parameters()}
        return Summed(sums, torch.zeros(1, len(targets)))


def loop(steps: int = 20) -> PrivateLoop:
    module = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    return PrivateLoop(
        module,
        optimizer,
        lambda out, target: out[:, 0],
        data(),
        training(steps=steps),
        source=SeededSource(9),
        engine=Engine,
    )


def test_a_checkpoint_holds_no_noise_and_resumes_at_the_same_event(tmp_path: Path) -> None:
    from sfumato.learn import checkpoint

    first = loop()
    for _ in range(6):
        first.backward()
    first.save(tmp_path)
    held = first.run._noise
    assert isinstance(held, CorrelatedNoise)
    state, tensors = checkpoint.load(tmp_path)
    secret = {row[0].numpy().tobytes() for row in held._before}
    assert len(secret) == 3
    assert sorted(tensors) == ["module/bias", "module/weight"]
    assert state["noise"].keys() == {"source", "secure"}
    written = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert not any(part in written for part in secret)
    first.backward()  # a step that is lost
    first.close()

    second = loop()
    with pytest.warns(UserWarning, match="1 steps were begun after the checkpoint"):
        second.resume(tmp_path)
    assert second.run.taken == 7
    assert second.mechanism.event == first.mechanism.event
    seen: list[int] = []
    draw = GroupedSampling.draw

    def recorded(self: GroupedSampling, rows: int, source: Any, step: int = 0) -> Any:
        seen.append(step)
        return draw(self, rows, source, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GroupedSampling, "draw", recorded)
        second.backward()
    second.close()
    assert seen == [7]  # the groups keep their turns
