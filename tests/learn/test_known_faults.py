"""Faults that tools for private training are known to have had, each planted here.

For each fault there is one check of a real training. It passes as the code is, and fails with the
fault planted into the code that it runs. Statistical checks: false-alarm rate at most 1e-6 each.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import chi2
from test_distributed import is_added_once
from test_sampling import is_poisson
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from sfumato.errors import InputError
from sfumato.learn import mechanism
from sfumato.learn.adaptive import AdaptiveQuantile
from sfumato.learn.clipping import Flat, PerGroup, per_layer
from sfumato.learn.engine import Engine, contributions, engine
from sfumato.learn.loop import PrivateLoop
from sfumato.learn.mechanism import DpSgd, Run
from sfumato.learn.optimise import make_private
from sfumato.learn.sampling import PoissonSampling
from sfumato.privacy.budget import Budget
from sfumato.privacy.noise import SeededSource

ALARM = 1e-6
Patch = pytest.MonkeyPatch


@dataclasses.dataclass(frozen=True)
class Fault:
    """A check that holds, and what makes it fail; with this error, if with one."""

    holds: Callable[[], bool]
    plant: Callable[[Patch], None]
    error: str | None = None


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(outputs, targets, reduction="none")


def loop_over(
    module: nn.Module,
    made: DpSgd,
    inputs: Tensor,
    targets: Tensor,
    losses: Callable[[Any, Tensor], Tensor] = loss,
) -> PrivateLoop:
    """A training that is stepped by hand."""
    optimizer = torch.optim.SGD(module.parameters(), lr=0.0)
    return PrivateLoop(module, optimizer, losses, (inputs, targets), made, source=SeededSource(1))


def gradient(loop: PrivateLoop) -> Tensor:
    loop.backward()
    found = [p.grad for p in loop.module.parameters() if p.grad is not None]
    return torch.cat([g.double().ravel() for g in found])


def at_least(values: Tensor, stddev: float) -> bool:
    """Whether zeros were noised by this much or more."""
    square = float((values / stddev).square().sum())
    return square >= float(chi2.ppf(ALARM, values.numel()))


# --- The accountant says Poisson while the loader shuffles ----------------------------------------


def samples_are_what_is_accounted() -> bool:
    rows, size, steps = 2000, 200, 200
    seen: list[NDArray[np.int64]] = []

    class Watched:
        def clipped_sum(self, inputs: Any, targets: Tensor) -> Any:
            seen.append(targets.numpy())
            return inner.clipped_sum(inputs, targets)

    module = nn.Linear(1, 1, bias=False)
    inner = Engine(module, lambda outputs, _: outputs.reshape(-1), Flat(1.0))
    loader = DataLoader(
        TensorDataset(torch.ones(rows, 1), torch.arange(rows)), batch_size=size, shuffle=True
    )
    with pytest.warns(UserWarning, match="are not used"):
        loop = make_private(
            module,
            torch.optim.SGD(module.parameters(), lr=0.0),
            loader,
            Budget(8.0, 1e-5),
            loss=lambda outputs, _: outputs,
            steps=steps,
            source=SeededSource(2),
            engine=lambda *_: Watched(),
        )
    for _ in loop:
        pass
    accounted = loop.mechanism.sampling
    assert accounted.event(1.0) == PoissonSampling(rows, size / rows).event(1.0)
    return all(is_poisson([np.sort(s) for s in seen], rows, accounted.rate).values())


def shuffle(patch: Patch) -> None:
    left: list[int] = []
    generator = np.random.default_rng(0)

    def batch(self: PoissonSampling, rows: int, source: Any) -> NDArray[np.int64]:
        if not left:
            left.extend(generator.permutation(rows).tolist())
        size = round(self.rate * rows)
        taken, left[:] = left[:size], left[size:]
        return np.sort(np.array(taken, np.int64))

    patch.setattr(PoissonSampling, "draw", batch)


# --- Division by the realised batch ---------------------------------------------------------------


def every_record_weighs_the_same_whatever_the_others() -> bool:
    """All records push one weight by 1: the noisy mean tells how many there were, times 1/20."""
    made = DpSgd(PoissonSampling(40, 0.5), Flat(1.0), 1e-6, 20, 1e-5)
    sizes = set()
    for _ in range(made.steps):
        run = Run(made, 40)
        drawn: list[int] = []

        def ones(rows: NDArray[np.int64], drawn: list[int] = drawn) -> Any:
            drawn.append(len(rows))
            return engine.ClippedSum(
                {"w": torch.full((1,), float(len(rows)))},
                torch.ones(1, len(rows)),
                torch.zeros(len(rows)),
            )

        mean = float(run.step(ones)["w"])
        sizes.add(drawn[0])
        if not math.isclose(mean, drawn[0] / 20, rel_tol=1e-4):
            return False
    assert len(sizes) > 2
    return True


def divide_by_what_came(patch: Patch) -> None:
    right = Run.step

    def realised(self: Run, clipped_sum: Any, **settings: Any) -> Any:
        sizes: list[int] = []

        def counted(rows: NDArray[np.int64]) -> Any:
            sizes.append(len(rows))
            return clipped_sum(rows)

        means = right(self, counted, **settings)
        expected = self.mechanism.sampling.expected_batch_size
        return {name: mean * expected / max(sizes[0], 1) for name, mean in means.items()}

    patch.setattr(Run, "step", realised)


# --- Adaptive clipping's hidden cost --------------------------------------------------------------


def the_clip_norm_is_paid_for() -> bool:
    """Gradients and count together must be as noisy as one Gaussian of the accounted multiplier."""
    adaptive = AdaptiveQuantile(initial=0.5, count_stddev=1.5)
    made = DpSgd(PoissonSampling(20, 0.5), adaptive, 2.0, 1, 1e-5)
    module = nn.Linear(200, 100, bias=False)
    loop = loop_over(module, made, torch.zeros(20, 200), torch.zeros(20, dtype=torch.long))
    noise = gradient(loop) * made.sampling.expected_batch_size / 0.5
    # The count moves by 1/2 a record under noise of 1.5: it has spent (2 * 1.5)^-2 of 2^-2.
    needed = (made.noise_multiplier**-2 - (2 * 1.5) ** -2) ** -0.5
    return at_least(noise, needed)


def pay_for_the_gradients_only(patch: Patch) -> None:
    patch.setattr(AdaptiveQuantile, "gradient_multiplier", lambda self, multiplier, _: multiplier)


# --- Tied weights counted twice -------------------------------------------------------------------


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.decoder = nn.Embedding(40, 32), nn.Linear(32, 40)
        self.decoder.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.decoder(self.embedding(tokens).tanh()).mean(1)


def a_weight_with_two_uses_is_one_parameter() -> bool:
    """The sum of clipped gradients must be the one that torch's own gradients give."""
    torch.manual_seed(0)
    module = Tied().double()
    tokens, targets = torch.randint(0, 40, (6, 2)), torch.randint(0, 40, (6,))
    bound = 0.3
    found = Engine(module, loss, Flat(bound)).clipped_sum(tokens, targets).gradients
    total = {name: torch.zeros_like(p) for name, p in module.named_parameters()}
    for at in range(6):
        value = loss(module(tokens[at : at + 1]), targets[at : at + 1]).sum()
        own = torch.autograd.grad(value, list(module.parameters()))
        norm = float(torch.cat([g.ravel() for g in own]).norm())
        for name, part in zip(total, own, strict=True):
            total[name] += part * min(1.0, bound / norm)
    assert len(total) == 2
    return all(torch.allclose(found[name], total[name], rtol=1e-5) for name in total)


def clip_the_uses_apart(patch: Patch) -> None:
    def apart(self: contributions.Tied) -> Tensor:
        return self.outer.squared_norms() + self.lookup.squared_norms()

    patch.setattr(contributions.Tied, "squared_norms", apart)


def count_the_sum_twice(patch: Patch) -> None:
    once = contributions.Tied.add_weighted

    def twice(self: contributions.Tied, factors: Tensor, total: Tensor) -> None:
        once(self, factors, total)
        once(self, factors, total)

    patch.setattr(contributions.Tied, "add_weighted", twice)


# --- Wrong noise per layer ------------------------------------------------------------------------


def all_layers_together_are_as_noisy_as_accounted() -> bool:
    """Scaled by the bounds of their layers, gradients must have the accounted noise at least."""
    sigma, bounds = 2.0, {"0": 1.0, "1": 3.0, "2": 0.5}
    module = nn.Sequential(*(nn.Linear(60, 60, bias=False) for _ in bounds))
    names = [name for name, _ in module.named_parameters()]
    clipping = per_layer(names, bounds, equal_shares=True)
    made = DpSgd(PoissonSampling(10, 1.0), clipping, sigma, 1, 1e-5)
    gradient(loop_over(module, made, torch.zeros(10, 60), torch.zeros(10, dtype=torch.long)))
    # A record that reaches every bound is seen along the direction of all of them.
    spent = 0.0
    for name, bound in zip(names, bounds.values(), strict=True):
        noise = module.get_parameter(name).grad
        assert noise is not None
        spent += bound**2 / float((noise.double() * 10).square().mean())
    n = 60 * 60
    return spent <= sigma**-2 * n / float(chi2.ppf(ALARM / 3, n))


def every_layer_at_full_price(patch: Patch) -> None:
    patch.setattr(
        PerGroup,
        "noise_stddevs",
        lambda self, multiplier: [multiplier * norm for norm in self.max_grad_norms],
    )


def every_layer_at_full_price_unseen(patch: Patch) -> None:
    every_layer_at_full_price(patch)
    patch.setattr(mechanism, "check_joint", lambda *_: None)


# --- The microbatch as the unit of clipping -------------------------------------------------------


def images() -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(16, 3))
    return module.double(), torch.randn(6, 2, 4, 4).double(), torch.randint(0, 3, (6,))


def whole(sums: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([g.ravel() for g in sums.values()])


def one_record_moves_the_sum_by_its_bound_at_most() -> bool:
    module, inputs, targets = images()

    def steep(outputs: Tensor, targets: Tensor) -> Tensor:
        return loss(outputs, targets % 3) * torch.where(targets >= 3, 1000.0, 1.0)

    targets[0] += 3  # one record's gradient is a thousand times as long
    made = Engine(module, steep, Flat(0.5), chunk=6)
    with_it = whole(made.clipped_sum(inputs, targets).gradients)
    targets[0] -= 3
    masked = Engine(
        module,
        lambda o, t: loss(o, t) * torch.tensor([0.0] + [1.0] * 5)[: len(t)],
        Flat(0.5),
        chunk=6,
    )
    without = whole(masked.clipped_sum(inputs, targets).gradients)
    return float((with_it - without).norm()) <= 0.5 * (1 + 1e-6)


def clip_pairs(patch: Patch) -> None:
    right = engine._group_norms

    def pairs(*given: Any) -> Tensor:
        found = right(*given)
        return found.view(len(found), -1, 2).mean(2).repeat_interleave(2, 1)

    patch.setattr(engine, "_group_norms", pairs)


# --- An empty batch -------------------------------------------------------------------------------


def a_step_without_records_is_a_noisy_one() -> bool:
    made = DpSgd(PoissonSampling(20, 1e-9), Flat(0.5), 2.0, 2, 1e-5)
    module = nn.Linear(100, 50)
    loop = loop_over(module, made, torch.ones(20, 100), torch.zeros(20, dtype=torch.long))
    noise = gradient(loop) * made.sampling.expected_batch_size
    return loop.run.taken == 1 and at_least(noise, 2.0 * 0.5) and len(noise.unique()) > 5000


def fetch_what_is_not_there(patch: Patch) -> None:
    def stacked(self: PrivateLoop, rows: NDArray[np.int64]) -> Any:
        records = [
            self._records.fetch(rows[at : at + 1], torch.device("cpu")) for at in range(len(rows))
        ]
        return self._engine.clipped_sum(
            torch.cat([r[0] for r in records]),  # type: ignore[arg-type]
            torch.cat([r[1] for r in records]),
        )

    patch.setattr(PrivateLoop, "_clipped_sum", stacked)


def skip_the_step(patch: Patch) -> None:
    right = Run.step

    def skipping(self: Run, clipped_sum: Any, **settings: Any) -> Any:
        empty: list[Any] = []

        def watched(rows: NDArray[np.int64]) -> Any:
            total = clipped_sum(rows)
            if not len(rows):
                empty.append({name: torch.zeros_like(g) for name, g in total.gradients.items()})
            return total

        means = right(self, watched, **settings)
        return empty[0] if empty else means

    patch.setattr(Run, "step", skipping)


# --- A gradient that is not a number --------------------------------------------------------------


def one_broken_record_adds_nothing() -> bool:
    module, inputs, targets = images()
    rest = whole(Engine(module, loss, Flat(0.5)).clipped_sum(inputs[1:], targets[1:]).gradients)
    inputs[0] = math.nan
    found = whole(Engine(module, loss, Flat(0.5)).clipped_sum(inputs, targets).gradients)
    return bool(found.isfinite().all()) and torch.allclose(found, rest, rtol=1e-9)


def trust_a_factor_of_zero(patch: Patch) -> None:
    for kind in (contributions.Direct, contributions.Outer):
        patch.setattr(kind, "kept", lambda self, good: self)  # zero times NaN is NaN


FAULTS = {
    "the loader shuffles": Fault(samples_are_what_is_accounted, shuffle),
    "divided by the realised batch": Fault(
        every_record_weighs_the_same_whatever_the_others, divide_by_what_came
    ),
    "the clip norm is free": Fault(the_clip_norm_is_paid_for, pay_for_the_gradients_only),
    "tied weights clipped apart": Fault(
        a_weight_with_two_uses_is_one_parameter, clip_the_uses_apart
    ),
    "tied weights summed twice": Fault(
        a_weight_with_two_uses_is_one_parameter, count_the_sum_twice
    ),
    "wrong noise per layer": Fault(
        all_layers_together_are_as_noisy_as_accounted, every_layer_at_full_price_unseen
    ),
    "wrong noise per layer, refused": Fault(
        all_layers_together_are_as_noisy_as_accounted,
        every_layer_at_full_price,
        "a noise multiplier of 1.155 where 2 is accounted",
    ),
    "microbatches are clipped": Fault(one_record_moves_the_sum_by_its_bound_at_most, clip_pairs),
    "an empty batch crashes": Fault(
        a_step_without_records_is_a_noisy_one, fetch_what_is_not_there, "non-empty list"
    ),
    "an empty batch is skipped": Fault(a_step_without_records_is_a_noisy_one, skip_the_step),
    "one NaN spoils the sum": Fault(one_broken_record_adds_nothing, trust_a_factor_of_zero),
}


@pytest.mark.parametrize("holds", dict.fromkeys(fault.holds for fault in FAULTS.values()))
def test_the_fault_is_not_here(holds: Callable[[], bool]) -> None:
    assert holds()


@pytest.mark.parametrize("name", FAULTS)
def test_the_same_check_sees_the_fault_planted(name: str, monkeypatch: Patch) -> None:
    fault = FAULTS[name]
    fault.plant(monkeypatch)
    if fault.error is None:
        assert not fault.holds()
    else:
        with pytest.raises((ValueError, InputError), match=fault.error):
            fault.holds()


@pytest.mark.xdist_group("ranks")
def test_two_processes_never_share_a_random_stream(two_ranks: Any) -> None:
    honest, _ = two_ranks("noise")
    planted, _ = two_ranks("noise", defect="equal seeds, half each")
    assert is_added_once(honest)
    assert not is_added_once(planted)
