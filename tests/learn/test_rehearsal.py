"""A record that nobody can train on is found before anything is paid, or named."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

from sfumato.errors import InputError
from sfumato.learn.clipping import Flat
from sfumato.learn.loop import PrivateLoop
from sfumato.learn.mechanism import DpSgd
from sfumato.learn.records import TensorRecords
from sfumato.learn.sampling import PoissonSampling
from sfumato.learn.trainer import PrivateTrainer
from sfumato.privacy.ledger import Ledger

ROWS, ODD = 200, 117


def entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(outputs, targets, reduction="none")


def squares(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs[:, 0] - targets).square()


def made(rate: float = 1.0) -> DpSgd:
    return DpSgd(PoissonSampling(ROWS, rate), Flat(1.0), 1.0, 3, 1e-5)


def private(data: Any, ledger: Ledger, loss: Any = entropy, module: Any = None) -> PrivateLoop:
    module = nn.Linear(3, 2) if module is None else module
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    return PrivateLoop(module, optimizer, loss, data, made(), ledger=ledger)


def targets(odd: Any, dtype: Any = torch.int64) -> Tensor:
    found = (torch.arange(ROWS) % 2).to(dtype)
    found[ODD] = odd
    return found


def refused(loop: PrivateLoop, ledger: Ledger, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        loop.backward()
    assert not ledger.entries()
    assert loop.run.taken == 0


@pytest.mark.parametrize("label", [2, -1, 10**9])
def test_a_class_without_an_output_is_found_before_the_debit(label: int) -> None:
    ledger = Ledger.in_memory()
    loop = private((torch.randn(ROWS, 3), targets(label)), ledger)
    refused(
        loop, ledger, rf"record 117, whose target is {label}, cannot be taken .*; nothing was p"
    )


def test_a_class_without_an_output_is_named_where_all_records_are_tried() -> None:
    ledger = Ledger.in_memory()
    loop = private((torch.randn(4, 3), torch.tensor([0, 1, 5, 0])), ledger)
    refused(loop, ledger, "record 2, whose target is 5, cannot be taken")


def test_a_target_that_is_no_number_is_found_before_the_debit() -> None:
    for number in (float("nan"), float("inf")):
        ledger = Ledger.in_memory()
        loop = private((torch.randn(ROWS, 3), targets(number, torch.float32)), ledger, squares)
        refused(
            loop, ledger, rf"gradient of record 117, whose target is {number}, is no finite num"
        )


def test_an_input_that_is_no_number_is_found_before_the_debit() -> None:
    inputs = torch.randn(ROWS, 3)
    inputs[ODD, 1] = float("nan")
    ledger = Ledger.in_memory()
    refused(private((inputs, targets(0)), ledger), ledger, "gradient of record 117")


def test_a_token_outside_of_the_vocabulary_is_found_before_the_debit() -> None:
    tokens = torch.arange(ROWS)[:, None].repeat(1, 4) % 7
    tokens[ODD, 2] = 7
    ledger = Ledger.in_memory()
    module = nn.Sequential(nn.Embedding(7, 3), nn.Flatten(), nn.Linear(12, 2))
    refused(private((tokens, targets(0)), ledger, module=module), ledger, "record 117, whose")


def test_records_none_of_which_has_a_gradient_are_refused() -> None:
    ledger = Ledger.in_memory()
    loop = private((torch.full((ROWS, 3), float("nan")), targets(0)), ledger)
    refused(loop, ledger, "gradients of all 16 records that were tried are no finite numbers")


def test_what_the_loss_masks_is_no_fault() -> None:
    def masked(outputs: Tensor, given: Tensor) -> Tensor:
        missing = given.isnan()
        return torch.where(missing, 0.0, squares(outputs, given.nan_to_num()))

    ignoring = nn.CrossEntropyLoss(ignore_index=-100, reduction="none")
    for loss, given in (
        (masked, targets(float("nan"), torch.float32)),
        (ignoring, targets(-100)),
    ):
        private((torch.randn(ROWS, 3), given), Ledger.in_memory(), loss).backward()


def test_kinds_of_numbers_that_torch_cannot_compare_are_trained_on() -> None:
    class Floats(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(3, 2)

        def forward(self, values: Tensor) -> Tensor:
            found: Tensor = self.inner(values.float())
            return found

    for given in (torch.ones(ROWS, 3).to(torch.uint16), torch.ones(ROWS, 3).to_sparse()):
        assert len(TensorRecords(given, targets(0)).telling()) <= 2  # of the targets
        if not given.is_sparse:
            private((given, targets(0)), Ledger.in_memory(), module=Floats()).backward()


class Pairs(Dataset[Any]):
    """Records behind an interface that tells nothing of them beforehand, or the targets."""

    def __init__(self, given: Tensor, *, listed: bool) -> None:
        self.inputs, self.given = torch.randn(ROWS, 3), given
        if listed:
            self.targets = given.tolist()

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        return self.inputs[row], self.given[row]


@pytest.mark.parametrize(
    "made",
    [
        lambda given: Pairs(given, listed=True),
        lambda given: Subset(Pairs(given, listed=True), range(ROWS)),
        lambda given: Subset(TensorDataset(torch.randn(ROWS, 3), given), range(ROWS)),
        lambda given: ConcatDataset(
            [Subset(Pairs(given, listed=True), part) for part in (range(90), range(90, ROWS))]
        ),
    ],
)
def test_a_data_set_that_lists_its_targets_is_looked_through(made: Any) -> None:
    ledger = Ledger.in_memory()
    refused(private(made(targets(2)), ledger), ledger, "record 117, whose target is 2")


def test_an_odd_record_in_the_middle_is_named_and_the_training_goes_on(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "ledger.db")
    records = Pairs(targets(2), listed=False)

    def trainer() -> PrivateTrainer:
        module = nn.Linear(3, 2)
        optimizer = torch.optim.SGD(module.parameters(), 0.1)
        return PrivateTrainer(module, entropy, optimizer, made(), records, ledger=ledger)

    first = trainer()
    told = r"record 117, whose target is 2, cannot be taken \(IndexError: .*counts as taken"
    with pytest.raises(InputError, match=told):
        first.fit(checkpoint=tmp_path / "work")
    first._loop.close()
    records.given[ODD] = 0
    second = trainer()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no step was lost but the one that failed
        second.resume(tmp_path / "work")
    assert second.steps_taken == 1
    second.fit(checkpoint=tmp_path / "work")
    second.close()
    assert [entry.kind for entry in ledger.entries()] == ["debit"]
    assert re.fullmatch(r"\w+ +3\s", (tmp_path / "work" / "steps").read_text())
