"""Training by noisy directions. Statistical tests: false alarm <= 1e-6 each."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import warnings
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import norm
from torch import Tensor, nn

from sfumato.errors import BudgetError, InputError
from sfumato.learn import directional
from sfumato.learn.directional import Directional
from sfumato.learn.directional_loop import DirectionalLoop
from sfumato.learn.noise import grid_step
from sfumato.learn.sampling import PoissonSampling
from sfumato.learn.von_mises_fisher import mean_cosine, perturbed, unit
from sfumato.privacy.budget import Budget
from sfumato.privacy.guarantee import Metric, from_dict
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import NoiseSource, SeededSource

ALARM = 1e-6


def losses(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="none")


SIZE = 4 * 6 + 6 + 6 * 2 + 2  # of the network below


def mechanism(
    rate: float = 1.0, kappa: float = 5.0, steps: int = 3, records: int = 40, size: int = SIZE
) -> Directional:
    return Directional(PoissonSampling(records, rate), kappa, steps, size)


def blobs(n: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    targets = torch.arange(n) % 2
    return torch.randn(n, 4, generator=generator) + 3 * targets[:, None], targets


def loop(made: Directional, n: int, seed: int = 0, **more: object) -> DirectionalLoop:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
    return DirectionalLoop(
        module,
        optimizer,
        losses,
        blobs(n),
        made,
        source=SeededSource(seed),
        **more,  # type: ignore[arg-type]
    )


def test_the_guarantee_is_a_metric_and_composes_over_the_steps() -> None:
    made = mechanism(kappa=2.5, steps=40)
    guarantee = made.guarantee()
    assert isinstance(guarantee, Metric)
    assert guarantee.epsilon_per_distance == 100.0
    assert set(guarantee.typical_distances.values()) == {2.0, math.sqrt(2)}
    assert guarantee.epsilon() == 200.0, "two times kappa a step, without a delta"
    assert guarantee.worst_case.neighbours is Neighbours.REPLACE_ONE
    assert from_dict(json.loads(json.dumps(guarantee.to_dict()))) == guarantee
    json.dumps(made.to_dict())


def test_with_a_delta_any_two_values_cost_far_less_than_the_worst_that_can_be_drawn() -> None:
    made = dataclasses.replace(mechanism(rate=0.01, kappa=30.0, steps=50, size=10_000), delta=1e-5)
    assert made.guarantee().epsilon() < 5.0
    assert made.guarantee().epsilon(0.0) == 3000.0
    rarer = dataclasses.replace(made, sampling=PoissonSampling(40, 0.005))
    assert rarer.guarantee().epsilon() < made.guarantee().epsilon()


@pytest.mark.parametrize(("epsilon", "delta"), [(10.0, 0.0), (2.0, 1e-5), (40.0, 1e-5)])
@pytest.mark.parametrize("size", [20, 5000])
def test_calibration_meets_the_budget_and_wastes_next_to_nothing(
    epsilon: float, delta: float, size: int
) -> None:
    made = Directional.calibrate(
        Budget(epsilon, delta), records=500, expected_batch_size=50, steps=7, size=size
    )
    found = made.guarantee().epsilon()
    assert 0.99 * epsilon < found <= epsilon * (1 + 1e-12)
    assert made.guarantee().delta == delta
    assert made.sampling.rate == 0.1
    if delta == 0:
        assert made.kappa == pytest.approx(epsilon / 14)
    else:
        assert made.kappa > epsilon / 14


def test_a_ledger_composes_it_with_itself() -> None:
    made = mechanism(kappa=0.01, steps=25)
    ledger = Ledger.in_memory()
    ledger.set_ceiling(Budget(1.0))
    for name in ("first", "second"):
        ledger.debit(made.guarantee(), release_id=name, method="learn.vmf")
    [total] = ledger.total()
    assert total.neighbours is Neighbours.REPLACE_ONE
    assert total.epsilon == pytest.approx(1.0)
    with pytest.raises(BudgetError, match="nothing is left"):
        ledger.debit(made.guarantee(), release_id="third", method="learn.vmf")


def test_the_amplification_that_is_not_claimed_would_be_false() -> None:
    """One record, one step: "something came, and in this cap" for opposite gradients."""
    rate, kappa = 0.1, 1.0
    amplified = math.log1p(rate * math.expm1(2 * kappa))
    assert amplified < 0.5
    made = Directional(PoissonSampling(1, rate), kappa, 1, 3)
    counts = {}
    for sign, seed in ((1.0, 1), (-1.0, 2)):
        source = SeededSource(seed)
        gradient = torch.tensor([[0.0, 0.0, sign]])
        coins = made.sampling.draw(1, source).size  # the sampler itself, then many of its steps
        assert coins in (0, 1)
        came = source.bernoulli(rate, 1_000_000).sum()
        drawn = perturbed(gradient.expand(int(came), 3), kappa, source)
        counts[sign] = int((drawn[:, 2] > 0.9).sum()), 1_000_000
    low = (counts[1.0][0] - norm.isf(ALARM / 2) * math.sqrt(counts[1.0][0])) / 1e6
    high = (counts[-1.0][0] + norm.isf(ALARM / 2) * math.sqrt(counts[-1.0][0])) / 1e6
    assert amplified < math.log(low / high) < 2 * kappa
    assert made.guarantee().epsilon() == 2 * kappa


def sums(made: Directional, gradients: Tensor, seed: int) -> Tensor:
    made = dataclasses.replace(made, size=gradients.shape[1])
    return made.noisy_mean([gradients], SeededSource(seed))


def test_a_step_is_an_unbiased_estimate_of_the_mean_direction() -> None:
    made = mechanism(kappa=20.0, records=50)
    gradients = torch.randn(50, 60, generator=torch.Generator().manual_seed(2)) + 1
    truth = unit(gradients).mean(0)
    found = torch.stack([sums(made, gradients, seed) for seed in range(300)]).double()
    error = found.mean(0) - truth
    spread = found.std(0) / math.sqrt(300)
    assert float((error / spread).abs().max()) < norm.isf(ALARM / 2 / 60)
    longer = dataclasses.replace(made, length=4.0)
    assert torch.allclose(sums(longer, gradients, 1), 4 * sums(made, gradients, 1))


def test_the_length_of_a_gradient_changes_nothing() -> None:
    made = mechanism(records=8)
    gradients = torch.randn(8, 30, generator=torch.Generator().manual_seed(3))
    louder = gradients * torch.logspace(-20, 15, 8)[:, None]
    assert torch.allclose(sums(made, gradients, 1), sums(made, louder, 1), atol=1e-6)


def test_one_record_reaches_no_further_than_its_length() -> None:
    """Scaling a row by a thousand moves the sum by at most two unit vectors, whatever its draw."""
    made = mechanism(kappa=1e6, records=8)
    gradients = torch.randn(8, 30, generator=torch.Generator().manual_seed(3))
    changed = gradients.clone()
    changed[3] *= -1000
    moved = torch.linalg.vector_norm(sums(made, gradients, 1) - sums(made, changed, 1))
    assert float(moved) <= 2 / 8 / mean_cosine(1e6, 30) + 1e-6


def test_the_divisor_is_the_expected_batch_and_not_the_drawn_one() -> None:
    made = Directional(PoissonSampling(100, 0.5), 1e5, 1, 30)
    gradients = torch.ones(20, 30)
    length = torch.linalg.vector_norm(sums(made, gradients, 1))
    assert float(length) == pytest.approx(20 / 50, rel=1e-2)


def test_an_empty_sample_gives_zeros_and_counts() -> None:
    made = mechanism(rate=1e-12)
    training = loop(made, 40)
    training.backward()
    assert training.taken == 1
    assert all((p.grad == 0).all() for p in training.module.parameters())  # type: ignore[union-attr]


def test_a_record_without_a_gradient_still_sends_a_unit_vector() -> None:
    made = mechanism(kappa=5.0, records=1)
    gradients = torch.zeros(1, 30)
    length = torch.linalg.vector_norm(sums(made, gradients, 1)) * mean_cosine(5.0, 30)
    assert float(length) == pytest.approx(1.0, abs=1e-5)
    broken = torch.full((1, 30), math.nan)
    assert torch.equal(sums(made, broken, 1), sums(made, gradients, 1))


def test_sums_lie_on_a_public_grid() -> None:
    made = mechanism(records=8)
    gradients = torch.randn(8, 30, generator=torch.Generator().manual_seed(3))
    found = sums(made, gradients, 1)
    cell = grid_step(1 / math.sqrt(30)) * dataclasses.replace(made, size=30).scale
    assert torch.equal(found, ((found.double() / cell).round() * cell).float())


def test_blocks_change_memory_and_nothing_that_is_proven() -> None:
    lengths = []
    for block in (1, 3, None):
        training = loop(mechanism(kappa=1e9), 40, block=block)
        training.backward()
        lengths.append(torch.cat([p.grad.flatten() for p in training.module.parameters()]))  # type: ignore[union-attr]
    assert torch.allclose(lengths[0], lengths[1], atol=1e-4)
    assert torch.allclose(lengths[0], lengths[2], atol=1e-4)


def test_training_learns_where_noise_is_small_and_stops_at_its_last_step() -> None:
    made = Directional(PoissonSampling(200, 0.5), 400.0, 40, SIZE)
    training = loop(made, 200)
    for _ in training:
        training.optimizer.step()
    inputs, targets = blobs(200)
    right = (training.module(inputs).argmax(1) == targets).double().mean()
    assert float(right) > 0.95
    assert training.taken == 40
    before = [p.detach().clone() for p in training.module.parameters()]
    with pytest.raises(BudgetError, match="all 40 steps"):
        training.backward()
    assert all(map(torch.equal, before, training.module.parameters()))


def test_a_backward_pass_of_others_is_refused_until_the_last_step() -> None:
    training = loop(mechanism(steps=2), 40)
    inputs, targets = blobs(40)
    for _ in range(2):
        training.backward()
        losses(training.module(inputs), targets).sum().backward()
        with pytest.raises(InputError, match="no noise is on them"):
            training.optimizer.step()
    gone = weakref.ref(training)
    module, optimizer = training.module, training.optimizer
    del training
    assert gone() is None, "something keeps the loop alive"
    losses(module(inputs), targets).sum().backward()
    optimizer.step()


def test_a_training_by_directions_is_not_copied() -> None:
    with pytest.raises(InputError, match="its copy would spend its budget once more"):
        copy.deepcopy(loop(mechanism(), 40))


def test_frozen_parameters_get_no_gradient() -> None:
    training = loop(mechanism(), 40)
    training.module[0].requires_grad_(False)  # type: ignore[index]
    frozen = DirectionalLoop(
        training.module,
        training.optimizer,
        losses,
        blobs(40),
        mechanism(size=14),
        source=SeededSource(0),
    )
    frozen.backward()
    assert training.module[0].weight.grad is None  # type: ignore[index, union-attr]
    assert training.module[2].weight.grad is not None  # type: ignore[index, union-attr]


def test_what_cannot_be_trained_is_refused_before_a_draw() -> None:
    with pytest.raises(InputError, match="39 rows, but 40 records"):
        loop(mechanism(), 39)
    module = nn.Linear(4, 2)
    other = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)
    with pytest.raises(InputError, match="not the module's"):
        DirectionalLoop(module, other, losses, blobs(40), mechanism())
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    with pytest.raises(InputError, match="10 trainable parameters, but directions of 44"):
        DirectionalLoop(module, optimizer, losses, blobs(40), mechanism())
    for fields in ({"kappa": 0.0}, {"kappa": -1.0}, {"steps": 0}, {"size": 2}):
        with pytest.raises(InputError):
            mechanism(**fields)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="length is 0"):
        Directional(PoissonSampling(40, 1.0), 1.0, 1, 9, length=0.0)
    with pytest.raises(InputError, match="delta is 1"):
        Directional(PoissonSampling(40, 1.0), 1.0, 1, 9, delta=1.0)


def test_caveats_print_the_composed_figure() -> None:
    text = " ".join(mechanism(rate=0.1, kappa=1.0, steps=200).caveats())
    assert "2 κ T = 400" in text
    assert "add-remove" in text
    assert "amplifies nothing" in text


# Planted defects.

Step = Callable[[Directional, Iterable[Tensor], NoiseSource], Tensor]


def agreement(step: Step) -> set[str]:
    """What is wrong with an implementation of a noisy mean."""
    found = set()
    made = Directional(PoissonSampling(40, 0.4), 50.0, 1, 30)  # 16 are expected, 20 came
    gradients = torch.randn(20, 30, generator=torch.Generator().manual_seed(4)) + 2
    scaled = gradients * torch.tensor([1.0] * 19 + [1000.0])[:, None]
    plain = step(made, [gradients], SeededSource(1))
    if not torch.allclose(plain, step(made, [scaled], SeededSource(1)), atol=1e-5):
        found.add("a norm shows")
    many = torch.stack([step(made, [gradients], SeededSource(s)) for s in range(200)]).double()
    truth = unit(gradients).sum(0) / 16
    error = (many.mean(0) - truth) / (many.std(0) / math.sqrt(200))
    if float(error.abs().max()) > norm.isf(ALARM / 2 / 30):
        found.add("biased or wrongly divided")
    # Twenty independent draws: each has variance (1 - A^2) about its mean, over all coordinates.
    expected = 20 * (1 - mean_cosine(50.0, 30) ** 2) * made.scale**2
    # A chi-squared like figure over 200 x ~29 nearly independent numbers.
    slack = norm.isf(ALARM / 2) * math.sqrt(2 / (200 * 20))
    if abs(float(many.var(0).sum()) / expected - 1) > slack:
        found.add("not one draw for each record")
    if torch.equal(step(made, [torch.zeros(1, 30)], SeededSource(1)), torch.zeros(30)):
        found.add("an absent gradient shows")
    return found


def _as_it_is(made: Directional, blocks: Iterable[Tensor], source: NoiseSource) -> Tensor:
    return made.noisy_mean(blocks, source)


def _keeps_norms(made: Directional, blocks: Iterable[Tensor], source: NoiseSource) -> Tensor:
    rows = torch.cat(list(blocks))
    noisy = perturbed(rows, made.kappa, source) * torch.linalg.vector_norm(rows, dim=1)[:, None]
    return (noisy.sum(0) * made.scale).float()


def _noise_on_the_mean(made: Directional, blocks: Iterable[Tensor], source: NoiseSource) -> Tensor:
    """One draw around the direction of the sum: the neighbours' sums may point anywhere."""
    rows = torch.cat(list(blocks))
    return (
        perturbed(unit(rows).sum(0)[None], made.kappa, source)[0] * len(rows) * made.scale
    ).float()


def _drawn_batch(made: Directional, blocks: Iterable[Tensor], source: NoiseSource) -> Tensor:
    rows = torch.cat(list(blocks))
    return (
        perturbed(rows, made.kappa, source).mean(0) / mean_cosine(made.kappa, made.size)
    ).float()


def _drops_zeros(made: Directional, blocks: Iterable[Tensor], source: NoiseSource) -> Tensor:
    rows = [block[block.abs().sum(1) > 0] for block in blocks]
    return made.noisy_mean(rows, source)


def test_the_checks_of_a_step_accept_it() -> None:
    assert agreement(_as_it_is) == set()


@pytest.mark.parametrize(
    ("planted", "problem"),
    [
        (_keeps_norms, "a norm shows"),
        (_noise_on_the_mean, "not one draw for each record"),
        (_drawn_batch, "biased or wrongly divided"),
        (_drops_zeros, "an absent gradient shows"),
    ],
)
def test_planted_steps_are_caught(planted: Step, problem: str) -> None:
    assert problem in agreement(planted)


def test_no_draw_comes_from_a_seedable_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    """With torch's and numpy's generators reset, two steps still differ."""
    assert directional.STREAM.secure
    found = []
    for _ in range(2):
        torch.manual_seed(1)
        np.random.seed(1)  # noqa: NPY002
        gradients = torch.ones(5, 30)
        found.append(mechanism(records=5, size=30).noisy_mean([gradients]))
    assert not torch.equal(found[0], found[1])


def weights_of(trained: DirectionalLoop) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in trained.module.parameters()]


@pytest.mark.parametrize("killed_after", range(4))
def test_resuming_at_any_step_takes_the_steps_that_are_left_and_no_more(
    tmp_path: Path, killed_after: int
) -> None:
    first = loop(mechanism(kappa=50.0), 40)
    first.save(tmp_path)
    for _ in range(killed_after):
        first.backward()
        first.optimizer.step()
        first.save(tmp_path, tensors={"average": torch.full((2,), float(first.taken))})
    first.close()  # the process ends

    second = loop(mechanism(kappa=50.0), 40, seed=1)
    more = second.resume(tmp_path)
    assert second.taken == killed_after
    assert all(map(torch.equal, weights_of(second), weights_of(first)))
    assert not killed_after or more["average"].tolist() == [float(killed_after)] * 2
    assert sum(1 for _ in second) == 3 - killed_after
    with pytest.raises(BudgetError):
        second.backward()
    second.close()
    third = loop(mechanism(kappa=50.0), 40)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        third.resume(tmp_path)
    assert third.taken == 3, "steps begun after the checkpoint count"


def test_a_checkpoint_of_another_training_by_directions_is_refused(tmp_path: Path) -> None:
    first = loop(mechanism(), 40)
    first.save(tmp_path)
    with pytest.raises(InputError, match="another process is training"):
        loop(mechanism(), 40).resume(tmp_path)
    first.close()
    for other in (mechanism(kappa=6.0), mechanism(steps=4)):
        with pytest.raises(InputError, match="another mechanism"):
            loop(other, 40).resume(tmp_path)
