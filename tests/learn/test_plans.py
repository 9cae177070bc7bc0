"""``make_private`` under every plan of the noise. Statistical tests: false alarm <= 1e-6."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor, nn

from sfumato.errors import BudgetError, InputError
from sfumato.learn.adaptive import AdaptiveQuantile
from sfumato.learn.clipping import Flat
from sfumato.learn.correlated import CorrelatedDpSgd
from sfumato.learn.dynamic import DynamicDpSgd
from sfumato.learn.loop import PrivateLoop
from sfumato.learn.mechanism import DpSgd
from sfumato.learn.optimise import make_private
from sfumato.learn.plans import BandedNoise, EvenNoise, NoisePlan, ScheduledNoise
from sfumato.learn.schedules import Linear
from sfumato.learn.toeplitz import Workload, optimise
from sfumato.learn.trainer import PrivateTrainer
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SeededSource

pytestmark = pytest.mark.filterwarnings("ignore:no ledger was given")

ALARM = 1e-6
ROWS, STEPS, WIDTH = 60, 8, 4000
BUDGET = Budget(2.0, 1e-3)
FALLING = ScheduledNoise(Linear(4.0, 1.0), Linear(1.0, 0.25))
PLANS: dict[str, tuple[NoisePlan | None, type]] = {
    "default": (None, DpSgd),
    "even": (EvenNoise(), DpSgd),
    "scheduled": (FALLING, DynamicDpSgd),
    "banded": (BandedNoise(4), CorrelatedDpSgd),
    "best bands": (BandedNoise(), CorrelatedDpSgd),
}


def nothing(outputs: Tensor, targets: Tensor) -> Tensor:
    """A loss without a gradient, so that noise is all there is."""
    return 0.0 * outputs[:, 0]


def private(noise: NoisePlan | None, **settings: Any) -> PrivateLoop:
    module = nn.Linear(WIDTH, 1, bias=False)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    chosen: dict[str, Any] = {
        "loss": nothing,
        "expected_batch_size": 6,
        "steps": STEPS,
        "noise": noise,
        "neighbours": Neighbours.ZERO_OUT,
        "source": SeededSource(0),
    }
    data = torch.zeros(ROWS, WIDTH), torch.zeros(ROWS)
    return make_private(module, optimizer, data, BUDGET, **(chosen | settings))


def rows(loop: PrivateLoop) -> Tensor:
    """The noise of every step, on the sum: (steps, WIDTH)."""
    found = []
    for _ in loop:
        (gradient,) = (p.grad for p in loop.module.parameters())
        assert gradient is not None
        found.append(gradient.view(-1).double() * loop.mechanism.sampling.expected_batch_size)
    return torch.stack(found)


def assert_spread(values: Tensor, stddev: float) -> None:
    """That centred Gaussian values have this standard deviation."""
    n = values.numel()
    low, high = (float(chi2.ppf(at, n)) ** 0.5 for at in (ALARM / 2, 1 - ALARM / 2))
    assert low <= float(values.norm()) / stddev <= high


@pytest.mark.parametrize("name", PLANS)
def test_every_plan_spends_the_budget_and_no_more(name: str) -> None:
    plan, kind = PLANS[name]
    loop = private(plan)
    assert type(loop.mechanism) is kind
    assert 0.97 * BUDGET.epsilon <= loop.mechanism.epsilon() <= BUDGET.epsilon
    assert len(rows(loop)) == STEPS
    with pytest.raises(BudgetError):
        loop.backward()


def test_a_schedule_is_what_is_drawn_step_by_step() -> None:
    loop = private(FALLING)
    noise = rows(loop)
    for step in range(STEPS):
        norm = loop.mechanism.clip_norm_at(step)
        assert norm == pytest.approx(1.0 - 0.75 * step / STEPS)
        assert_spread(noise[step], norm * loop.mechanism.multiplier_at(step))
    assert loop.mechanism.multiplier_at(0) > 2 * loop.mechanism.multiplier_at(STEPS - 1)


def test_banded_noise_is_white_once_its_matrix_is_applied() -> None:
    loop = private(BandedNoise(4), clipping=Flat(0.5))
    made = loop.mechanism
    assert isinstance(made, CorrelatedDpSgd)
    noise = rows(loop)
    c = made.coefficients
    white = torch.stack(
        [sum(c[j] * noise[t - j] for j in range(min(t + 1, len(c)))) for t in range(STEPS)]
    )
    norm = float(torch.tensor(c).double().norm())
    assert_spread(white, 0.5 * made.noise_multiplier * norm)
    assert float(noise.sum(dim=0).norm()) < 0.7 * float(noise.norm())  # it cancels


def test_bands_are_chosen_for_the_optimisers_momentum_unless_told() -> None:
    found = private(BandedNoise(4)).mechanism
    assert isinstance(found, CorrelatedDpSgd)
    assert found.coefficients == tuple(optimise(4, STEPS, Workload(0.9), 4))
    told = private(BandedNoise(4, Workload(0.0))).mechanism
    assert isinstance(told, CorrelatedDpSgd)
    assert told.coefficients == tuple(optimise(4, STEPS, Workload(), 4))
    assert told.coefficients != found.coefficients


@pytest.mark.parametrize("name", PLANS)
def test_a_killed_loop_goes_on_with_the_same_plan_and_one_debit(name: str, tmp_path: Path) -> None:
    plan, _ = PLANS[name]
    ledger = Ledger.open(tmp_path / "ledger.db")
    loop = private(plan, ledger=ledger)
    for _ in range(3):
        loop.backward()
        loop.optimizer.step()
    loop.save(tmp_path / "work")
    loop.backward()  # begun after the checkpoint: counted, lost
    loop.close()
    again = private(plan, ledger=ledger)
    with pytest.warns(UserWarning, match="1 steps were begun after the checkpoint"):
        again.resume(tmp_path / "work")
    assert again.run.left == STEPS - 4
    assert again.progress().epsilon == pytest.approx(loop.mechanism.epsilon(4))
    assert [progress.step for progress in again] == [5, 6, 7, 8]
    again.close()
    debits = [entry for entry in ledger.entries() if entry.kind == "debit"]
    assert len(debits) == 1
    for other, (different, _) in PLANS.items():
        if different != plan and {name, other} != {"default", "even"}:
            strange = private(different, ledger=ledger)
            if strange.mechanism.to_dict() != loop.mechanism.to_dict():
                with pytest.raises(InputError, match="of another mechanism"):
                    strange.resume(tmp_path / "work")


def test_a_plans_mechanism_is_what_the_trainer_takes() -> None:
    loop = private(FALLING)
    module = nn.Linear(WIDTH, 1, bias=False)
    trainer = PrivateTrainer(
        module,
        nothing,
        torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9),
        loop.mechanism,
        (torch.zeros(ROWS, WIDTH), torch.zeros(ROWS)),
        source=SeededSource(0),
    )
    trainer.fit()
    assert trainer.guarantee.epsilon() == loop.mechanism.epsilon()


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"neighbours": Neighbours.ADD_REMOVE}, "no guarantee under add-remove"),
        ({"max_batch_size": 20}, "max_batch_size is 20 with correlated noise"),
        ({"clipping": AdaptiveQuantile(1.0, count_stddev=3.0)}, "clip norm that moves"),
        ({"expected_batch_size": 30}, "do not fit into 4 groups"),
    ],
)
def test_bands_that_nothing_is_proven_of_are_refused(
    settings: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        private(BandedNoise(4), **settings)


def test_a_plan_without_a_band_is_refused() -> None:
    with pytest.raises(InputError, match="the number of bands is 0"):
        BandedNoise(0)


def test_one_band_is_independent_noise_under_any_relation() -> None:
    loop = private(BandedNoise(1), neighbours=Neighbours.ADD_REMOVE)
    same = private(EvenNoise(), neighbours=Neighbours.ADD_REMOVE)
    assert loop.mechanism.epsilon() == pytest.approx(same.mechanism.epsilon())
