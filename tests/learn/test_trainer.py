"""Training, with a loop of one's own and without. Statistical tests: false alarm <= 1e-6."""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import chi2
from torch import Tensor, nn
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
)

from sfumato.errors import BudgetError, InputError
from sfumato.learn.adaptive import AdaptiveQuantile
from sfumato.learn.clipping import Flat, per_layer
from sfumato.learn.engine import Engine
from sfumato.learn.loop import PrivateLoop
from sfumato.learn.mechanism import DpSgd
from sfumato.learn.noise import add_gaussian
from sfumato.learn.optimise import make_private
from sfumato.learn.progress import Progress
from sfumato.learn.sampling import PoissonSampling
from sfumato.learn.trainer import PrivateTrainer
from sfumato.privacy import accounting
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.noise import SeededSource

pytestmark = pytest.mark.filterwarnings("ignore:no ledger was given")
ALARM = 1e-6
ROWS = 64


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(outputs, targets, reduction="none")


def data(rows: int = ROWS) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(rows, 6, generator=generator)
    return inputs, (inputs[:, 0] > 0).long()


def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2))


def mechanism(
    rate: float = 0.25, sigma: float = 1.0, steps: int = 8, clipping: Any = None, rows: int = ROWS
) -> DpSgd:
    return DpSgd(PoissonSampling(rows, rate), clipping or Flat(0.5), sigma, steps, 1e-5)


def trainer(made: DpSgd | None = None, *, seed: int = 3, **settings: Any) -> PrivateTrainer:
    module = network()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.3, momentum=0.9)
    settings = {"data": data(), "source": SeededSource(seed)} | settings
    return PrivateTrainer(module, loss, optimizer, made or mechanism(), **settings)


def flat(module: nn.Module) -> Tensor:
    return torch.cat([p.detach().ravel() for p in module.parameters()])


@pytest.mark.parametrize("clipping", [Flat(0.5), per_layer(["0.w", "2.w"], 0.5)])
def test_the_engine_trains_as_the_slow_loop_does(loop_engine: Any, clipping: Any) -> None:
    made = mechanism(clipping=clipping)
    fast, slow = trainer(made), trainer(made, engine=loop_engine)
    assert torch.allclose(flat(fast.fit()), flat(slow.fit()), atol=1e-5)


@pytest.mark.parametrize("physical", [1, 5, 7, 64])
def test_the_size_of_physical_batches_changes_nothing(physical: int) -> None:
    made = mechanism(rate=0.9)
    whole = flat(trainer(made).fit())
    assert torch.allclose(flat(trainer(made, physical_batch_size=physical).fit()), whole, atol=1e-5)


class NoisyParts(PrivateLoop):
    """Planted: noise in every physical batch, for which only one is accounted."""

    def _sum_of_part(self, rows: NDArray[np.int64]) -> Any:
        part = super()._sum_of_part(rows)
        noisy = add_gaussian(list(part.gradients.values()), [0.5] * len(part.gradients))
        return part._replace(gradients=dict(zip(part.gradients, noisy, strict=True)))


def gradient_noise(kind: type[PrivateLoop], physical: int) -> tuple[float, int]:
    """The sum of squares, in units of the accounted noise, of a module without a gradient."""
    module = nn.Linear(200, 200, bias=False)
    inputs = torch.zeros(ROWS, 200), torch.zeros(ROWS, dtype=torch.long)
    private = kind(
        module,
        torch.optim.SGD(module.parameters(), 1.0),
        loss,
        inputs,
        mechanism(rate=1.0),
        physical_batch_size=physical,
        source=SeededSource(1),
    )
    private.backward()
    assert module.weight.grad is not None
    stddev = 1.0 * 0.5 / ROWS
    return float((module.weight.grad.double() / stddev).square().sum()), module.weight.numel()


@pytest.mark.parametrize("physical", [64, 16, 1])
def test_noise_is_added_once_whatever_the_physical_batches(physical: int) -> None:
    square, n = gradient_noise(PrivateLoop, physical)
    assert chi2.ppf(ALARM / 2, n) <= square <= chi2.isf(ALARM / 2, n)
    square, n = gradient_noise(NoisyParts, physical)
    assert square > chi2.isf(ALARM / 2, n)


def test_one_example_with_nan_adds_nothing_and_spoils_nothing() -> None:
    inputs, targets = data()
    bad = inputs.clone()
    bad[5] = math.nan
    bad[9] = math.inf
    zero = torch.ones(ROWS)
    zero[[5, 9]] = 0

    def masked(outputs: Tensor, targets: Tensor) -> Tensor:
        return loss(outputs, targets % 2) * (targets < 2)

    spoilt = trainer(mechanism(rate=1.0), data=(bad, targets)).fit()
    assert flat(spoilt).isfinite().all()
    module = network()
    blanked = targets + 2 * (1 - zero).long()  # the same records with a loss of zero
    PrivateTrainer(
        module,
        masked,
        torch.optim.SGD(module.parameters(), lr=0.3, momentum=0.9),
        mechanism(rate=1.0),
        (inputs, blanked),
        source=SeededSource(3),
    ).fit()
    assert torch.allclose(flat(spoilt), flat(module), atol=1e-6)


def test_a_part_in_evaluation_mode_stays_frozen_in_a_fit_and_after_it() -> None:
    """As the refusal of batch norms says: ``.eval()`` freezes them."""
    inputs, targets = data()
    module = nn.Sequential(network()[0], nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 2))
    module[1].eval()
    before = module[1].running_mean.clone()
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    PrivateTrainer(module, loss, optimizer, mechanism(), (inputs, targets)).fit()
    assert [part.training for part in module.modules()] == [True, True, False, True, True]
    assert torch.equal(before, module[1].running_mean)


def test_an_average_that_was_not_kept_is_told_of_and_the_folder_let_go(tmp_path: Path) -> None:
    first = trainer()
    first.fit(2, checkpoint=tmp_path)
    first.close()
    with pytest.raises(InputError, match="no average of the weights was kept"):
        trainer(averaging=0.9).resume(tmp_path)
    second = trainer()
    second.resume(tmp_path)
    assert second.steps_taken == 2
    second.close()


def test_an_empty_batch_is_a_noisy_step() -> None:
    one = trainer(mechanism(rate=1e-9, steps=2))
    before = flat(one.module).clone()
    one.fit()
    assert one.steps_taken == 2
    assert (flat(one.module) != before).all()


def test_a_training_refuses_more_steps_than_it_paid_for() -> None:
    one = trainer(mechanism(steps=3))
    one.fit()
    weights = flat(one.module).clone()
    with pytest.raises(BudgetError, match="all 3 steps"):
        one.step()
    with pytest.raises(BudgetError, match="all 3 steps"):
        one.fit(1)
    assert torch.equal(flat(one.module), weights)
    assert trainer(mechanism(steps=3)).fit(2) is not None


def test_progress_says_what_is_spent_and_never_a_private_loss() -> None:
    seen: list[Progress] = []
    one = trainer(mechanism(steps=4))
    one.fit(progress=seen.append)
    assert [p.step for p in seen] == [1, 2, 3, 4]
    spent = [p.epsilon for p in seen]
    assert spent == sorted(spent)
    assert spent[-1] == pytest.approx(one.guarantee.epsilon())
    assert spent[1] == pytest.approx(mechanism(steps=2).epsilon())
    assert all(p.seconds >= 0 and p.seconds_left >= 0 for p in seen)
    assert seen[-1].seconds_left == 0
    assert not any("loss" in name or "norm" in name for name in dir(seen[0]))


def test_the_ledger_is_debited_once_for_all_steps_before_the_first_draw() -> None:
    ledger = Ledger.in_memory()
    ledger.set_ceiling(Budget(100.0, 1e-5))
    one = trainer(ledger=ledger, label="clinic")
    one.fit()
    (entry,) = [e for e in ledger.entries() if e.kind == "debit"]
    assert entry.guarantee == one.guarantee.to_dict()
    assert entry.label == "clinic"


def test_a_refusing_ledger_stops_the_training_before_it_draws() -> None:
    ledger = Ledger.in_memory()
    ledger.set_ceiling(Budget(0.01, 1e-5))
    source = SeededSource(0)
    one = trainer(ledger=ledger, source=source)
    before = flat(one.module).clone()
    with pytest.raises(BudgetError):
        one.fit()
    assert one.steps_taken == 0
    assert torch.equal(flat(one.module), before)
    assert source.bytes(8) == SeededSource(0).bytes(8)


class Named(Dataset[tuple[dict[str, Tensor], Tensor]]):
    """Inputs by name, as language models take them."""

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, row: int) -> tuple[dict[str, Tensor], Tensor]:
        return {"ids": data()[0][row]}, data()[1][row]


@pytest.mark.parametrize(
    ("settings", "kind", "problem"),
    [
        ({"loss": nn.CrossEntropyLoss()}, InputError, "one loss an example"),
        ({"data": Named()}, InputError, "a part of the inputs is a dict"),
        ({"data": (data()[0].double(), data()[1])}, RuntimeError, "dtype"),
        ({"data": (data()[0][:, :5], data()[1])}, RuntimeError, "shapes"),
        ({"data": (data()[0], data()[1] + 2)}, InputError, "record 0, .* out of bounds"),
    ],
)
def test_a_mistake_that_a_few_records_show_is_found_before_anything_is_paid(
    settings: dict[str, Any], kind: type[Exception], problem: str
) -> None:
    ledger, module = Ledger.in_memory(), network()
    given: dict[str, Any] = {"loss": loss, "data": data()} | settings
    one = PrivateTrainer(
        module,
        given["loss"],
        torch.optim.SGD(module.parameters(), lr=0.3),
        mechanism(),
        given["data"],
        ledger=ledger,
    )
    with pytest.raises(kind, match=problem):
        one.fit()
    assert one.steps_taken == 0
    assert not [entry for entry in ledger.entries() if entry.kind == "debit"]


def test_a_loss_that_mixes_is_found_before_anything_is_paid_among_equal_rows() -> None:
    def relative(outputs: Tensor, targets: Tensor) -> Tensor:
        losses = loss(outputs, targets)
        return losses - losses.mean()

    ledger, (inputs, targets) = Ledger.in_memory(), data()
    inputs, targets = inputs.clone(), targets.clone()
    inputs[: ROWS // 2], targets[: ROWS // 2] = inputs[0], targets[0]
    module = network()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.3)
    one = PrivateTrainer(module, relative, optimizer, mechanism(), (inputs, targets), ledger=ledger)
    with pytest.raises(InputError, match="the loss 'relative' mixes examples"):
        one.fit()
    assert not [entry for entry in ledger.entries() if entry.kind == "debit"]


def test_words_that_are_counted_are_found_before_anything_is_paid_one_record_at_a_time() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(9, dtype=torch.long))
            self.table = nn.EmbeddingBag(9, 2)

        def forward(self, words: Tensor) -> Tensor:
            self.seen += torch.bincount(words.flatten(), minlength=9)
            return self.table(words)

    ledger, module = Ledger.in_memory(), Counting()
    words = torch.arange(ROWS * 3).reshape(ROWS, 3) % 7
    one = PrivateTrainer(
        module,
        loss,
        torch.optim.SGD(module.parameters(), lr=0.3),
        mechanism(),
        (words, data()[1]),
        physical_batch_size=1,
        ledger=ledger,
    )
    with pytest.raises(InputError, match="a buffer 'seen' that examples reach"):
        one.fit()
    assert not module.seen.any()
    assert not [entry for entry in ledger.entries() if entry.kind == "debit"]


def test_the_look_at_a_few_records_changes_no_step() -> None:
    def trained(ledger: Ledger | None) -> Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(5)  # of the dropout
            module = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 2))
            optimizer = torch.optim.SGD(module.parameters(), lr=0.3)
            given: Any = {"source": SeededSource(3), "ledger": ledger}
            return flat(PrivateTrainer(module, loss, optimizer, mechanism(), data(), **given).fit())

    assert torch.equal(trained(None), trained(Ledger.in_memory()))


def test_the_average_and_the_schedule_are_functions_of_the_noisy_steps() -> None:
    weights: list[Tensor] = []
    one = trainer(averaging=0.5, schedule=lambda step: 0.5**step)
    average = flat(one.module).clone()
    rates = []

    def watch(progress: Progress) -> None:
        weights.append(flat(one.module).clone())
        rates.append(one.optimizer.param_groups[0]["lr"])

    one.fit(progress=watch)
    for step, now in enumerate(weights, start=1):
        decay = min(0.5, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * now
    assert one.average is not None
    found = torch.cat([w.ravel() for w in one.average.weights.values()])
    assert torch.allclose(found, average, atol=1e-6)
    assert rates == pytest.approx([0.3 * 0.5**step for step in range(8)])
    one.average.copy_to(one.module)
    assert torch.allclose(flat(one.module), average, atol=1e-6)


def test_augmentation_sees_every_part_and_changes_the_gradient() -> None:
    sizes: list[int] = []

    def halve(inputs: Any, targets: Tensor) -> tuple[Any, Tensor]:
        sizes.append(len(inputs))
        return inputs / 2, targets

    plain = flat(trainer(mechanism(rate=1.0, steps=2)).fit())
    changed = trainer(mechanism(rate=1.0, steps=2), augment=halve, physical_batch_size=40).fit()
    assert [size for size in sizes if size > 3] == [40, 24, 40, 24]  # the others are looks
    inputs, targets = data()
    by_hand = trainer(mechanism(rate=1.0, steps=2), data=(inputs / 2, targets)).fit()
    assert torch.allclose(flat(changed), flat(by_hand), atol=1e-5)
    assert not torch.allclose(flat(changed), plain, atol=1e-4)


def mixup(inputs: Any, targets: Tensor) -> tuple[Any, Tensor]:
    return 0.7 * inputs + 0.3 * inputs[torch.randperm(len(inputs))], targets


def mixup_of_numpy(inputs: Any, targets: Tensor) -> tuple[Any, Tensor]:
    share = np.random.beta(0.4, 0.4)  # noqa: NPY002
    order = np.random.permutation(len(inputs))  # noqa: NPY002
    return share * inputs + (1 - share) * inputs[order], targets


def pasted(inputs: Any, targets: Tensor) -> tuple[Any, Tensor]:
    inputs = inputs.clone()
    inputs[:-1, :2] = inputs[1:, :2]
    return inputs, targets


def taught_by_others(inputs: Any, targets: Tensor) -> tuple[Any, Tensor]:
    return inputs, targets.roll(1)


@pytest.mark.parametrize("augment", [mixup, mixup_of_numpy, pasted, taught_by_others])
@pytest.mark.parametrize("pays", [True, False])
def test_an_augmentation_that_mixes_examples_is_refused_before_anything_is_paid(
    augment: Any, pays: bool
) -> None:
    ledger = Ledger.in_memory()
    one = trainer(mechanism(rate=1.0), augment=augment, ledger=ledger if pays else None)
    before = flat(one.module)
    with pytest.raises(InputError, match=f"the augmentation '{augment.__name__}' mixes examples"):
        one.fit()
    assert not [entry for entry in ledger.entries() if entry.kind == "debit"]
    assert torch.equal(flat(one.module), before)


def test_an_augmentation_that_drops_examples_is_refused_before_anything_is_paid() -> None:
    def dropping(inputs: Any, targets: Tensor) -> tuple[Any, Tensor]:
        return inputs[1:], targets[1:]

    ledger = Ledger.in_memory()
    with pytest.raises(InputError, match="the augmentation 'dropping' makes 2 examples of 3"):
        trainer(augment=dropping, ledger=ledger).fit()
    assert not [entry for entry in ledger.entries() if entry.kind == "debit"]


def cut_and_mixed(records: list[Any]) -> tuple[Tensor, Tensor]:
    return mixup(*default_collate(records))


def standardised(records: list[Any]) -> tuple[Tensor, Tensor]:
    inputs, targets = default_collate(records)
    return (inputs - inputs.mean(0)) / (inputs.std(0) + 1e-3), targets


def padded_to_the_longest(records: list[Any]) -> tuple[Tensor, Tensor]:
    words = [row[: 3 + int(target)] for row, target in records]
    targets = torch.tensor([int(target) for _, target in records])
    return nn.utils.rnn.pad_sequence(words, batch_first=True), targets


class OneByOne(Dataset[Any]):
    def __init__(self) -> None:
        self.parts = data()

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        return self.parts[0][row], self.parts[1][row]


@pytest.mark.filterwarnings("ignore:the loader's batches")
@pytest.mark.parametrize("collate", [cut_and_mixed, standardised, padded_to_the_longest])
@pytest.mark.parametrize("tensors", [True, False])
def test_a_collate_function_that_mixes_examples_is_refused_before_anything_is_paid(
    collate: Any, tensors: bool
) -> None:
    ledger = Ledger.in_memory()
    held = TensorDataset(*data()) if tensors else OneByOne()
    loader = DataLoader(held, batch_size=16, collate_fn=collate)
    one = trainer(mechanism(rate=1.0), data=loader, ledger=ledger)
    with pytest.raises(
        InputError, match=f"the collate function '{collate.__name__}' mixes examples"
    ):
        one.fit()
    assert not [entry for entry in ledger.entries() if entry.kind == "debit"]


@pytest.mark.filterwarnings("ignore:the loader's batches")
def test_a_collate_function_that_makes_each_example_by_itself_is_let_through() -> None:
    def shaken(records: list[Any]) -> tuple[Tensor, Tensor]:
        inputs, targets = default_collate(records)
        return inputs + torch.randn_like(inputs), targets

    loader = DataLoader(OneByOne(), batch_size=16, collate_fn=shaken)
    trainer(mechanism(rate=1.0, steps=2), data=loader).fit()


def repeated() -> list[Dataset[Any]]:
    whole = OneByOne()
    rare = Subset(whole, [1, 2, 3])
    return [
        Subset(whole, [0, 1, 2, 3, 2]),
        Subset(Subset(whole, list(range(9))), [-1, 8]),  # two names of one
        ConcatDataset([whole, whole]),
        ConcatDataset([whole, rare]),
        ConcatDataset([Subset(whole, [0, 1]), rare]),
    ]


@pytest.mark.parametrize("data_set", repeated())
def test_a_record_that_is_there_twice_is_refused(data_set: Dataset[Any]) -> None:
    """Noise for one row would not hide a record that is several."""
    with pytest.raises(InputError, match=r"records of the data set are there before"):
        private(data_set, expected_batch_size=2)


def test_parts_of_a_data_set_are_let_through() -> None:
    whole, other = OneByOne(), OneByOne()
    half = Subset(whole, range(0, ROWS, 2))
    rest = Subset(whole, range(1, ROWS, 2))
    for made in (half, ConcatDataset([half, rest]), ConcatDataset([whole, other])):
        private(made, expected_batch_size=4)


def test_random_changes_of_each_example_are_let_through_and_draw_what_they_would() -> None:
    def shaken(inputs: Any, targets: Tensor) -> tuple[Any, Tensor]:
        flipped = torch.where(torch.rand(len(inputs), 1) < 0.5, -inputs, inputs)
        by_python = torch.tensor([[random.random()] for _ in inputs])
        by_numpy = torch.from_numpy(np.random.random((len(inputs), 1)))  # noqa: NPY002
        return flipped + by_python + by_numpy.float() + torch.randn_like(inputs), targets

    def trained(looks: bool) -> Tensor:
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        one = trainer(mechanism(rate=1.0), augment=shaken)
        one._loop._looked = not looks
        return flat(one.fit())

    with torch.random.fork_rng():
        assert torch.equal(trained(True), trained(False))


def test_frozen_parameters_stay_and_get_no_gradient() -> None:
    module = network()
    module[0].requires_grad_(False)
    before = module[0].weight.clone()
    module[0].weight.grad = torch.ones_like(before)  # planted: a gradient that is not private
    one = PrivateTrainer(
        module,
        loss,
        torch.optim.SGD(module.parameters(), lr=1.0),
        mechanism(),
        data(),
        source=SeededSource(0),
    )
    one.fit()
    assert torch.equal(module[0].weight, before)
    assert module[0].weight.grad is None


class Rows(Dataset[tuple[Tensor, Tensor]]):
    """A map-style data set."""

    def __init__(self) -> None:
        self.inputs, self.targets = data()

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        return self.inputs[row], self.targets[row]


class Stream(IterableDataset[tuple[Tensor, Tensor]]):
    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield from zip(*data(), strict=True)


@pytest.mark.parametrize("make", [Rows, lambda: TensorDataset(*data())])
def test_data_sets_train_as_their_tensors_do(make: Callable[[], Any]) -> None:
    assert torch.allclose(flat(trainer(data=make()).fit()), flat(trainer().fit()), atol=1e-6)


def test_several_inputs_are_fetched_together() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 2)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.layer(a + b)

    inputs, targets = data()
    found = []
    for given in ((inputs, torch.zeros_like(inputs)), (inputs / 2, inputs / 2)):
        torch.manual_seed(0)
        module = Two()
        optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
        one = PrivateTrainer(
            module, loss, optimizer, mechanism(), (given, targets), source=SeededSource(0)
        )
        found.append(flat(one.fit()))
    assert torch.allclose(*found, atol=1e-5)


def private(given: Any, **settings: Any) -> PrivateLoop:
    module = network()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
    settings = {"loss": loss, "steps": 5, "source": SeededSource(0)} | settings
    return make_private(module, optimizer, given, Budget(3.0, 1e-3), **settings)


def test_a_shuffled_loader_is_drawn_anew_by_the_accounted_sampler() -> None:
    sizes: list[int] = []

    def watch(inputs: Any, targets: Tensor) -> tuple[Any, Tensor]:
        sizes.append(len(targets))
        return inputs, targets

    loader = DataLoader(TensorDataset(*data()), batch_size=16, shuffle=True, drop_last=True)
    with pytest.warns(UserWarning, match="batches of 16 are not used"):
        loop = private(loader, steps=40, augment=watch)
    assert loop.mechanism.sampling == PoissonSampling(ROWS, 0.25)
    for _ in loop:
        loop.optimizer.step()
    assert len(set(sizes)) > 5  # batches of one size would be a shuffled loader's
    assert loop.mechanism.epsilon() <= 3.0


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: DataLoader(Stream(), batch_size=4), "which no accountant here knows"),
        (lambda: Stream(), "an order of its own"),
        (
            lambda: DataLoader(
                Rows(), batch_size=4, sampler=WeightedRandomSampler([1.0] * ROWS, ROWS)
            ),
            "a WeightedRandomSampler, which no accountant",
        ),
        (
            lambda: DataLoader(Rows(), batch_sampler=[[0, 1], [2, 3]]),
            "chooses its records by a list",
        ),
        (lambda: (torch.zeros(3, 2), torch.zeros(4)), "3 and 4 rows"),
        (lambda: (torch.zeros(3, 2),), "the data is 1 things"),
        (lambda: (np.zeros((3, 2)), torch.zeros(3)), "inputs is a ndarray, no tensor"),
        (lambda: (torch.zeros(3, 2), [0, 1, 1]), "targets is a list, no tensor"),
    ],
)
def test_data_that_cannot_be_sampled_from_are_refused(
    make: Callable[[], Any], problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        private(make(), expected_batch_size=4)


def test_make_private_sets_noisy_mean_gradients_for_any_loop() -> None:
    loop = private(data(), expected_batch_size=16, clipping=Flat(0.5))
    assert 0 < loop.mechanism.epsilon() <= 3.0
    steps = []
    for progress in loop:
        assert all(p.grad is not None for p in loop.module.parameters())
        loop.optimizer.step()
        steps.append(progress.step)
    assert steps == [1, 2, 3, 4, 5]
    with pytest.raises(BudgetError):
        loop.backward()
    module = network()
    same = PrivateTrainer(
        module,
        loss,
        torch.optim.SGD(module.parameters(), lr=0.5),
        loop.mechanism,
        data(),
        source=SeededSource(0),
    )
    assert torch.equal(flat(same.fit()), flat(loop.module))


def test_without_a_ledger_it_is_said_that_nothing_remembers_what_is_spent() -> None:
    with pytest.warns(UserWarning, match="nothing will remember what this training spends"):
        private(data(), expected_batch_size=16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        private(data(), expected_batch_size=16, ledger=Ledger.in_memory())


def test_epochs_are_turned_into_steps() -> None:
    assert private(data(), steps=None, epochs=2, expected_batch_size=16).mechanism.steps == 8
    counted = private(data(), steps=np.int64(8), expected_batch_size=16).mechanism.steps
    assert (type(counted), counted) == (int, 8)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({}, "there is no batch size"),
        ({"expected_batch_size": 16, "epochs": 2}, "length of the training is not clear"),
        ({"expected_batch_size": 16, "steps": None}, "length of the training is not clear"),
        ({"expected_batch_size": 65}, "expected batch size is 65"),
        ({"expected_batch_size": 16, "physical_batch_size": 0}, "physical_batch_size is 0"),
        ({"expected_batch_size": 16, "max_batch_size": 20}, "no guarantee under add-remove"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        private(data(), **settings)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"budget": (3.0, 1e-5)}, r"the budget is \(3.0, 1e-05\). Give sfumato.Budget"),
        ({"clipping": 1.0}, r"the clipping is 1.0. Give a clipping, such as Flat\(1.0\)"),
        ({"noise": 1.0}, "the noise is 1.0. Give a plan"),
        ({"ledger": "work.db"}, "the ledger is 'work.db'. Give Ledger.open"),
    ],
)
def test_a_number_or_a_path_for_a_thing_is_refused_by_its_name(
    settings: dict[str, Any], problem: str
) -> None:
    module, given = network(), {"budget": Budget(3.0, 1e-5), "expected_batch_size": 16, "steps": 2}
    optimizer, given = torch.optim.SGD(module.parameters(), lr=0.5), given | settings
    with pytest.raises(InputError, match=problem):
        make_private(module, optimizer, data(), given.pop("budget"), loss=loss, **given)
    wrong: Any = Budget(3.0, 1e-5)
    with pytest.raises(InputError, match="the mechanism is a Budget"):
        PrivateTrainer(module, loss, optimizer, wrong, data())


def test_an_optimiser_of_other_parameters_is_refused() -> None:
    module, other = network(), network()
    with pytest.raises(InputError, match="not the module's"):
        PrivateTrainer(
            module, loss, torch.optim.SGD(other.parameters(), lr=1.0), mechanism(), data()
        )
    module.requires_grad_(False)
    with pytest.raises(InputError, match="no trainable parameter"):
        PrivateTrainer(
            module, loss, torch.optim.SGD(module.parameters(), lr=1.0), mechanism(), data()
        )


@pytest.mark.parametrize("kind", [torch.optim.SparseAdam, torch.optim.LBFGS])
def test_an_optimiser_that_noisy_gradients_do_not_fit_is_refused(kind: Any) -> None:
    module = network()
    with pytest.raises(InputError, match=f"the optimiser is {kind.__name__}"):
        PrivateTrainer(module, loss, kind(module.parameters()), mechanism(), data())


def test_a_mean_over_the_batch_is_no_loss_of_an_example() -> None:
    one = trainer()
    one._loop._engine = Engine(one.module, nn.CrossEntropyLoss(), Flat(1.0))
    with pytest.raises(InputError, match="loss"):
        one.fit()


def test_gradients_keep_the_type_and_layout_of_their_parameters() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 16, 2))
    module = module.to(memory_format=torch.channels_last)
    images = torch.randn(ROWS, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    loop = PrivateLoop(
        module,
        torch.optim.SGD(module.parameters(), 0.1),
        loss,
        (images, data()[1]),
        mechanism(),
        source=SeededSource(0),
    )
    loop.backward()
    for parameter in module.parameters():
        assert parameter.grad is not None
        assert parameter.grad.stride() == parameter.stride()


@pytest.mark.parametrize("clipping", [Flat(0.5), AdaptiveQuantile(initial=0.5, count_stddev=20.0)])
def test_private_training_learns(clipping: Any) -> None:
    inputs, targets = data(4000)
    module = nn.Linear(6, 2)
    made = DpSgd.calibrate(
        Budget(3.0, 1e-5), records=4000, expected_batch_size=400, steps=60, clipping=clipping
    )
    PrivateTrainer(
        module,
        loss,
        torch.optim.SGD(module.parameters(), lr=2.0),
        made,
        (inputs, targets),
        source=SeededSource(5),
    ).fit()
    accuracy = float((module(inputs).argmax(1) == targets).float().mean())
    assert accuracy > 0.93


@pytest.mark.parametrize("clip_norm", [0.5, 1.0])
def test_dirac_canaries_through_the_whole_trainer_stay_within_the_claim(
    canary_audit: Any, clip_norm: float
) -> None:
    # Each record's gradient is a hundred at one weight of its own, clipped to 0.5; as many weights
    # have no record. Planted, in the second run: clipping to twice the bound that noise is for.
    rows = 20_000
    rate, sigma, steps = 0.5, 2.0, 20
    module = nn.Embedding(2 * rows, 1)
    made = mechanism(rate, sigma, steps, Flat(0.5), rows)
    loop = PrivateLoop(
        module,
        torch.optim.SGD(module.parameters(), lr=0.0),
        lambda outputs, targets: 100.0 * outputs.reshape(-1),
        (torch.arange(rows), torch.zeros(rows)),
        made,
        source=SeededSource(4),
        physical_batch_size=20_000,
        engine=lambda module, loss, _: Engine(module, loss, Flat(clip_norm)),
    )
    score = np.zeros(2 * rows)
    for _ in loop:
        assert module.weight.grad is not None
        seen = module.weight.grad[:, 0].double().numpy() * made.sampling.expected_batch_size / 0.5
        score += np.log1p(rate * np.expm1((2 * seen - 1) / (2 * sigma**2)))
    true, false, _ = canary_audit(score[:rows], score[rows:])
    ceiling = accounting.max_tpr(made.event, false, made.neighbours)
    assert (true <= ceiling) == (clip_norm == 0.5)
    assert true > 0.75 * ceiling


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"module": loss}, "the module is a function"),
        ({"optimizer": None}, "the optimiser is a NoneType"),
        ({"loss": None}, "the loss is a NoneType"),
        ({"data": {"inputs": data()[0], "targets": data()[1]}}, "the data is a dict, whose rows"),
        ({"data": pd.DataFrame({"a": [1.0] * ROWS})}, "the data is a DataFrame, whose rows"),
    ],
)
def test_what_is_no_training_is_named(settings: dict[str, Any], problem: str) -> None:
    module = network()
    given: dict[str, Any] = {
        "module": module,
        "loss": loss,
        "optimizer": torch.optim.SGD(module.parameters(), lr=0.3),
        "mechanism": mechanism(),
        "data": data(),
    }
    with pytest.raises(InputError, match=problem):
        PrivateTrainer(**(given | settings))


def test_arguments_in_a_wrong_order_do_not_show_the_data() -> None:
    module, records = network(), (torch.full((ROWS, 3), 0.8125), data()[1])
    optimizer, made = torch.optim.SGD(module.parameters(), lr=0.3), mechanism()
    wrong: Any = records
    for call in (
        lambda: PrivateTrainer(module, loss, optimizer, wrong, records),
        lambda: PrivateTrainer(module, wrong, optimizer, made, records),
        lambda: PrivateTrainer(module, loss, wrong, made, records),
        lambda: make_private(module, optimizer, records, wrong, loss=loss),
        lambda: make_private(module, optimizer, wrong, wrong, loss=loss),
    ):
        with pytest.raises(InputError, match="is a tuple") as raised:
            call()
        assert "0.8125" not in str(raised.value)


@pytest.mark.parametrize("steps", [2.5, 0, -1, "3"])
def test_a_number_of_steps_that_is_none_is_named_before_the_debit(
    steps: Any, tmp_path: Path
) -> None:
    ledger = Ledger.in_memory()
    with pytest.raises(InputError, match="steps is "):
        trainer(ledger=ledger).fit(steps, checkpoint=tmp_path / "work")
    assert not ledger.entries()


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_a_schedule_that_gives_no_number_takes_no_step(factor: float) -> None:
    one = trainer(schedule=lambda step: factor)
    with pytest.raises(InputError, match=r"the schedule gives (nan|inf) at step 0"):
        one.step()
    assert one.steps_taken == 0
