"""The linear baseline: exact sums, honest sampling and noise. False alarm of statistics <= 1e-6."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dp_accounting import (
    ComposedDpEvent,
    GaussianDpEvent,
    PoissonSampledDpEvent,
    SelfComposedDpEvent,
)
from numpy.typing import NDArray
from scipy.stats import binom, chi2
from torch import Tensor, nn

from sfumato.data import datasets
from sfumato.errors import InputError
from sfumato.learn import linear, recipe
from sfumato.learn.clipping import Flat
from sfumato.learn.linear import LinearEngine, clipped_sum, lengths_with_bias
from sfumato.learn.loop import PrivateLoop
from sfumato.learn.mechanism import DpSgd, Run
from sfumato.learn.recipe import CalibratedScatterLinear, ScatterLinear
from sfumato.learn.sampling import PoissonSampling
from sfumato.learn.upright import upright
from sfumato.learn.whitening import Whitening
from sfumato.privacy import accounting
from sfumato.privacy.budget import Budget
from sfumato.privacy.calibration import analytic_gaussian_mu
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SeededSource

ALARM = 1e-6


def data(n: int, d: int = 12, classes: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(n, d, generator=generator)
    return features, torch.randint(classes, (n,), generator=generator)


def calibrated(
    records: int, *, steps: int = 1, rate: float = 0.5, sigma: float = 1e-6, **choices: Any
) -> CalibratedScatterLinear:
    """With a noise multiplier of our choice."""
    choices = {"momentum": 0.0, "learning_rate": 1.0, "averaged": 1.0} | choices
    method = ScatterLinear(4, sample_rate=rate, steps=steps, **choices)
    clipping = Flat(method.max_grad_norm)
    dp_sgd = DpSgd(PoissonSampling(records, rate), clipping, sigma, steps, 1e-5)
    return CalibratedScatterLinear(method, dp_sgd)


def differs_from_loop(
    loop_engine: Any, n: int, bound: float, *, lengths: Tensor | None = None
) -> float:
    """The largest relative difference between our clipped sum and one backward pass a record."""
    features, labels = (part.double() if part.is_floating_point() else part for part in data(n))
    layer = nn.Linear(12, 4).double()
    found = clipped_sum(
        layer.weight,
        layer.bias,
        features,
        lengths_with_bias(features) if lengths is None else lengths,
        labels,
        Flat(bound),
    )

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs, targets, reduction="none")

    expected = loop_engine(layer, loss, Flat(bound)).clipped_sum(features, labels)
    assert found.norms.shape == (1, n)
    return max(
        float((found.gradients[name] - value).abs().max() / value.abs().max().clamp_min(1e-12))
        for name, value in expected.gradients.items()
    )


@pytest.mark.parametrize("n", [0, 1, 7, 64])
@pytest.mark.parametrize("bound", [0.1, 2.0, 1e3])
def test_clipped_sum_equals_one_backward_pass_a_record(
    loop_engine: Any, n: int, bound: float
) -> None:
    assert differs_from_loop(loop_engine, n, bound) < 1e-6


def test_planted_norm_without_the_bias_is_caught(loop_engine: Any) -> None:
    without = data(64)[0].norm(dim=1)
    assert differs_from_loop(loop_engine, 64, 0.1, lengths=without) > 1e-3


def test_no_record_moves_the_sum_by_more_than_the_bound() -> None:
    features, labels = data(50)
    features[::2] *= 1000
    weight, bias = torch.randn(4, 12), torch.randn(4)
    for row in range(50):
        one = slice(row, row + 1)
        lengths = lengths_with_bias(features[one])
        found = clipped_sum(weight, bias, features[one], lengths, labels[one], Flat(0.1))
        parts = [value.double().square().sum() for value in found.gradients.values()]
        assert math.sqrt(float(sum(parts))) <= 0.1 * (1 + 1e-6)


def test_a_record_that_overflows_adds_nothing() -> None:
    features, labels = data(5)
    expected = clipped_sum(
        torch.ones(4, 12),
        torch.ones(4),
        features[1:],
        lengths_with_bias(features[1:]),
        labels[1:],
        Flat(0.1),
    )
    lengths = lengths_with_bias(features)
    weight = torch.ones(4, 12)
    features[0] = 1e38
    found = clipped_sum(weight, torch.ones(4), features, lengths, labels, Flat(0.1))
    for name, value in expected.gradients.items():
        torch.testing.assert_close(found.gradients[name], value)


def test_a_long_sample_is_summed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = data(101)
    whole = calibrated(101).fit_features(features, labels, source=SeededSource(1))
    monkeypatch.setattr(recipe, "_CHUNK", 7)
    monkeypatch.setattr(linear, "_CHUNK", 7)
    parts = calibrated(101).fit_features(features, labels, source=SeededSource(1))
    torch.testing.assert_close(whole.weight, parts.weight, atol=1e-7, rtol=1e-5)


def ratio_of_declarations() -> float:
    """The step under 200 declared records over that under 400; the rows are the same."""
    features, labels = data(200)
    few, many = (
        calibrated(declared).fit_features(features, labels, source=SeededSource(5))
        for declared in (200, 400)
    )
    return float(few.weight.norm() / many.weight.norm())


def test_sums_are_divided_by_what_was_declared() -> None:
    assert ratio_of_declarations() == pytest.approx(2.0, rel=1e-4)


def test_planted_division_by_the_realised_batch_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def step(run: Any, total: Any, *, begun: Any) -> dict[str, Tensor]:
        run._taken += 1
        rows = run.mechanism.sampling.draw(run.rows, run.source)
        return {name: value / len(rows) for name, value in total(rows).gradients.items()}

    monkeypatch.setattr(Run, "step", step)
    assert ratio_of_declarations() == pytest.approx(1.0, rel=1e-4)


def samples(monkeypatch: pytest.MonkeyPatch, steps: int = 60) -> list[NDArray[np.int64]]:
    """The rows that each step of a real fit saw, of 1,000 at rate 0.2."""
    seen: list[NDArray[np.int64]] = []
    real = PrivateLoop._clipped_sum

    def spy(loop: PrivateLoop, rows: NDArray[np.int64]) -> Any:
        seen.append(rows)
        return real(loop, rows)

    monkeypatch.setattr(PrivateLoop, "_clipped_sum", spy)
    calibrated(1000, steps=steps, rate=0.2, sigma=1.0).fit_features(*data(1000))
    return seen


def check_poisson(seen: list[NDArray[np.int64]]) -> None:
    """Sizes vary as a binomial's, and a record may be in two steps running."""
    sizes = np.array([len(rows) for rows in seen])
    low, high = binom.ppf([ALARM / 2, 1 - ALARM / 2], 1000 * len(seen), 0.2)
    assert low <= sizes.sum() <= high
    spread = ((sizes - 200) ** 2).sum() / (1000 * 0.2 * 0.8)
    assert chi2.ppf(ALARM / 2, len(seen)) <= spread <= chi2.ppf(1 - ALARM / 2, len(seen))
    again = sum(len(np.intersect1d(a, b)) for a, b in zip(seen[::2], seen[1::2], strict=True))
    low, high = binom.ppf([ALARM / 2, 1 - ALARM / 2], 1000 * (len(seen) // 2), 0.04)
    assert low <= again <= high


def test_records_are_poisson_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    check_poisson(samples(monkeypatch))


def test_planted_shuffled_batches_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    waiting: list[NDArray[np.int64]] = []

    def draw(sampling: PoissonSampling, rows: int, source: object) -> NDArray[np.int64]:
        if not waiting:
            waiting.extend(np.split(generator.permutation(rows), 5))
        return waiting.pop()

    monkeypatch.setattr(PoissonSampling, "draw", draw)
    seen = samples(monkeypatch)
    with pytest.raises(AssertionError):
        check_poisson(seen)


def noise(records: int = 100) -> Tensor:
    """What one step adds to a sum over nobody, in standard deviations; (40, 1001)."""
    method = calibrated(records, sigma=3.0)
    method = dataclasses.replace(method, method=dataclasses.replace(method.method, classes=40))
    nobody = torch.zeros(0, 1000), torch.zeros(0, dtype=torch.int64)
    model = method.fit_features(*nobody, source=SeededSource(9))
    drawn = torch.cat([model.weight, model.bias[:, None]], dim=1)
    return drawn / (3.0 * 0.1 / (0.5 * records))


def check_independent(drawn: Tensor) -> None:
    """The variance, and that of the sums over rows and over columns, are a standard normal's."""
    rows, columns = drawn.shape
    for values in (drawn, drawn.sum(dim=0) / math.sqrt(rows), drawn.sum(dim=1) / columns**0.5):
        statistic, n = float(values.double().square().sum()), values.numel()
        assert chi2.ppf(ALARM / 6, n) <= statistic <= chi2.ppf(1 - ALARM / 6, n)


def test_every_weight_has_noise_of_its_own() -> None:
    check_independent(noise())


@pytest.mark.parametrize("shape", [(1, 1), (40, 1), (1, 1001)])
def test_planted_shared_noise_is_caught(shape: tuple[int, int]) -> None:
    shared = torch.randn(shape, generator=torch.Generator().manual_seed(2)).expand(40, 1001)
    with pytest.raises(AssertionError):
        check_independent(shared)


@pytest.mark.parametrize("epsilon", [1.0, 3.0])
@pytest.mark.parametrize("neighbours", [Neighbours.ADD_REMOVE, Neighbours.REPLACE_ONE])
def test_event_costs_what_was_asked_for(epsilon: float, neighbours: Neighbours) -> None:
    made = ScatterLinear(10).calibrate(Budget(epsilon, 1e-5), records=60_000, neighbours=neighbours)
    spent = accounting.epsilon(made.event, 1e-5, neighbours)
    assert 0.995 * epsilon < spent <= epsilon
    step = PoissonSampledDpEvent(0.14, GaussianDpEvent(made.dp_sgd.noise_multiplier))
    assert made.mean_multiplier is not None
    mean = GaussianDpEvent(made.mean_multiplier)
    assert made.event == ComposedDpEvent([mean, SelfComposedDpEvent(step, 280)])
    assert made.guarantee().neighbours is neighbours
    assert made.guarantee().epsilon() == spent
    forgotten = accounting.epsilon(made.dp_sgd.event, 1e-5, neighbours)
    assert forgotten < spent
    share = accounting.gdp_mu(mean, neighbours) / analytic_gaussian_mu(Budget(epsilon, 1e-5))
    assert share == pytest.approx(0.1, rel=1e-3)


def test_without_a_centre_the_published_noise_is_reproduced() -> None:
    made = ScatterLinear(10, centre_share=0).calibrate(Budget(1.0, 1e-5), records=60_000)
    assert made.dp_sgd.noise_multiplier == pytest.approx(8.86, abs=0.02)
    assert made.dp_sgd.sampling.expected_batch_size == pytest.approx(8400)
    assert made.event == made.dp_sgd.event


def with_centre(records: int, sigma: float) -> CalibratedScatterLinear:
    return dataclasses.replace(calibrated(records, rate=1.0), mean_multiplier=sigma)


def test_a_centred_layer_takes_features_as_they_are() -> None:
    """Its centre is inside its bias. Noise is a millionth, so that only the mean remains."""
    features, labels = data(64)
    features = features / 10 + 0.5  # shorter than sqrt(12)
    mean = features.mean(dim=0)
    found = with_centre(64, 1e-6).fit_features(features, labels)
    plain = calibrated(64, rate=1.0).fit_features(features - mean, labels)
    torch.testing.assert_close(found.weight, plain.weight, atol=1e-5, rtol=1e-4)
    ours = features @ found.weight.T + found.bias
    torch.testing.assert_close(
        ours, (features - mean) @ plain.weight.T + plain.bias, atol=1e-5, rtol=1e-4
    )


def test_the_centre_is_noisy_and_its_sum_is_bounded_and_divided_by_what_was_declared() -> None:
    width = 1001
    nobody = with_centre(50, 3.0).centre(torch.zeros(0, width), SeededSource(4))
    check_independent((nobody * 50 / (3.0 * width**0.5))[None].reshape(7, 143))
    longest = torch.zeros(1, width)
    longest[0, 0] = 1e6
    moved = with_centre(50, 1e-6).centre(longest, SeededSource(4))
    assert float(moved.norm()) * 50 == pytest.approx(width**0.5, rel=1e-4)


def test_planted_noise_of_a_shorter_bound_is_caught() -> None:
    nobody = with_centre(50, 3.0).centre(torch.zeros(0, 1001), SeededSource(4))
    with pytest.raises(AssertionError):
        check_independent((nobody * 50 / (3.0 * 500**0.5))[None].reshape(7, 143))


def test_features_are_normalised_and_each_image_is_alone() -> None:
    images = torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    method = ScatterLinear(10, smooth_weight=1.0)
    features = method.features(images)
    double = ScatterLinear(10, smooth_weight=2.0).features(images)
    torch.testing.assert_close(double[:, :16], 2 * features[:, :16])
    torch.testing.assert_close(double[:, 16:], features[:, 16:])
    assert features.shape == (6, 81 * 4 * 4)
    grouped = features.view(6, 27, -1)
    assert grouped.mean(dim=2).abs().max() < 1e-4
    assert grouped.square().mean(dim=2).max() <= 1 + 1e-4
    changed = images.clone()
    changed[0] *= 1000
    changed[1, 0, 3, 3] = math.nan
    again = method.features(changed)
    torch.testing.assert_close(again[2:], features[2:], atol=1e-5, rtol=0)
    assert (again[1] == 0).all()


def test_average_is_over_the_last_steps() -> None:
    features, labels = data(64)
    last, mean = (
        calibrated(64, steps=4, rate=1.0, averaged=part).fit_features(
            features, labels, source=SeededSource(0)
        )
        for part in (0.25, 0.5)
    )
    before = calibrated(64, steps=3, rate=1.0, averaged=1 / 3).fit_features(
        features, labels, source=SeededSource(0)
    )
    torch.testing.assert_close(mean.weight, (last.weight + before.weight) / 2, atol=1e-6, rtol=0)


class Killed(BaseException):
    """The process is gone."""


def fitted(folder: Path | None, dies: int = 0) -> tuple[Tensor, list[int]]:
    """Weights of a fit with almost no noise, and the steps that it told of."""
    told: list[int] = []

    def progress(done: int, of: int, what: str) -> None:
        told.append(done)
        if done == dies:
            raise Killed

    made = calibrated(64, steps=25, rate=1.0, averaged=0.8, momentum=0.5)
    try:
        model = made.fit_features(
            *data(64), source=SeededSource(0), progress=progress, folder=folder
        )
    except Killed:
        return torch.empty(0), told
    return model.weight, told


def test_a_fit_that_was_killed_after_a_checkpoint_ends_where_it_would_have(tmp_path: Path) -> None:
    whole, steps = fitted(None)
    assert steps == list(range(1, 26))
    fitted(tmp_path / "w", dies=20)
    resumed, rest = fitted(tmp_path / "w")
    assert rest == [21, 22, 23, 24, 25]
    torch.testing.assert_close(resumed, whole, atol=1e-5, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:.*steps were begun after the checkpoint")
@pytest.mark.parametrize("dies", [3, 23, 25])
def test_steps_after_the_last_checkpoint_are_lost_and_counted(dies: int, tmp_path: Path) -> None:
    fitted(tmp_path / "w", dies=dies)
    resumed, rest = fitted(tmp_path / "w")
    assert rest == list(range(dies + 1, 26))
    assert bool(resumed.isfinite().all())
    assert float(resumed.norm()) > 0


def fitted_with(whitening: Whitening | None, images: Tensor, labels: Tensor) -> Tensor:
    """Scores of a fit with almost no noise."""
    made = calibrated(len(labels), steps=3, rate=1.0, drawings=40)
    features = made.method.features(images)
    found = made.fit_features(features, labels, whitening=whitening, source=SeededSource(3))
    return features @ found.weight.T + found.bias


def test_whitening_is_folded_into_the_weights() -> None:
    """A layer on whitened features, and the one that came of it on the features themselves."""
    images = torch.rand(30, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(30) % 4
    made = calibrated(30, steps=3, rate=1.0, drawings=40)
    whitening = made.method.whitening((1, 8, 8))
    assert whitening is not None
    features = made.method.features(images)
    whitened = whitening.apply_(features.clone())
    there = made.fit_features(whitened, labels, source=SeededSource(3))
    expected = whitened @ there.weight.T + there.bias
    torch.testing.assert_close(
        fitted_with(whitening, images, labels), expected, atol=1e-4, rtol=1e-3
    )
    assert (fitted_with(None, images, labels) - expected).abs().max() > 1e-2
    torch.testing.assert_close(
        made.fit(images, labels, source=SeededSource(3)).scores(images),
        expected,
        atol=1e-4,
        rtol=1e-3,
    )


def part_of_one_whitened_record() -> float:
    """How far a record moves the sum that is taken over whitened features."""
    stretched = Whitening(torch.eye(12)[:1], torch.tensor([1.0]), 1e4)
    parts = []
    for n in (0, 1):
        made = calibrated(10, rate=1.0)
        found = made.fit_features(*data(n), whitening=stretched, source=SeededSource(1))
        # The weights were multiplied by 1e4 once more to fit the features as they are.
        parts.append(torch.cat([found.weight / 1e4, found.bias[:, None]], dim=1))
    return float((parts[1] - parts[0]).norm()) * 10


def test_a_record_is_bounded_after_whitening() -> None:
    assert part_of_one_whitened_record() == pytest.approx(0.1, rel=1e-3)


def test_planted_bound_before_whitening_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    before = lengths_with_bias(data(1)[0])
    monkeypatch.setattr(recipe, "lengths_with_bias", lambda features: before[: len(features)])
    assert part_of_one_whitened_record() > 100


def test_the_closed_form_is_refused_for_another_loss() -> None:
    with pytest.raises(InputError, match="the closed form is for a linear layer"):
        LinearEngine(nn.Linear(3, 2), nn.functional.cross_entropy, Flat(1.0))


def test_upright_features_are_those_of_the_straightened_image() -> None:
    images = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0)) ** 4
    plain, straight = ScatterLinear(4), ScatterLinear(4, upright=True)
    torch.testing.assert_close(straight.features(images), plain.features(upright(images)))
    assert (straight.features(images) - plain.features(images)).abs().max() > 1e-2


def test_features_that_are_not_finite_add_nothing_and_poison_nobody() -> None:
    features, labels = data(20)
    broken = features.clone()
    broken[0], broken[1, 3] = 3e38, math.nan
    whitening = Whitening(torch.eye(12)[:1], torch.tensor([0.5]), 2.0)
    made = calibrated(20, rate=1.0, steps=2)
    found = made.fit_features(broken, labels, whitening=whitening, source=SeededSource(2))
    assert bool(found.weight.isfinite().all())
    assert bool(broken[1, 3].isnan())  # what was given is left as it was


def test_digits_are_learnt() -> None:
    train = datasets.load("digits", "train")
    images, labels = torch.from_numpy(train.head(len(train)).images), torch.from_numpy(train.labels)
    method = ScatterLinear(10, sample_rate=0.5, steps=40, learning_rate=20.0, drawings=500)
    ticks: list[int] = []
    model = method.calibrate(Budget(4.0, 1e-4), records=len(train)).fit(
        images,
        labels,
        source=SeededSource(0),
        progress=lambda done, of, what: ticks.append(done),
    )
    assert ticks == list(range(1, 41))
    assert model.guarantee.epsilon() <= 4.0
    held_out = datasets.load("digits", "test")
    found = model.predict(torch.from_numpy(held_out.head(len(held_out)).images)).numpy()
    assert (found == held_out.labels).mean() > 0.8


def test_mistakes_are_named() -> None:
    features, labels = data(5)
    with pytest.raises(InputError, match="a label is 4"):
        calibrated(5).fit_features(features, torch.full((5,), 4))
    with pytest.raises(InputError, match="one int64 label"):
        calibrated(5).fit_features(features, labels[:4])
    with pytest.raises(InputError, match="one int64 label"):
        calibrated(5).fit_features(features, labels.float())
    for wrong in (
        {"classes": 1},
        {"learning_rate": 0.0},
        {"momentum": 1.0},
        {"averaged": 0.0},
        {"centre_share": 1.0},
        {"smooth_weight": 0.0},
        {"drawings": -1},
        {"drawings": 2.5},
        {"ridge": 0.0},
        {"sample_rate": 1.5},
    ):
        with pytest.raises(InputError, match=next(iter(wrong))):
            ScatterLinear(**({"classes": 10} | wrong))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="delta"):
        ScatterLinear(10).calibrate(Budget(1.0, 1e-3), records=60_000)
