"""One private training by several processes, which goes on where it was killed.

torchrun --standalone --nproc-per-node 2 examples/torchrun.py OUT
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from sfumato.learn.checkpoint import is_whole
from sfumato.learn.clipping import Flat
from sfumato.learn.mechanism import DpSgd
from sfumato.learn.trainer import PrivateTrainer
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger


def records(n: int = 20_000) -> tuple[Tensor, Tensor]:
    """Two overlapping clouds; every process has all of them."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 2, (n,), generator=generator)
    return torch.randn(n, 20, generator=generator) + targets[:, None] * 0.5, targets


def losses(outputs: Tensor, targets: Tensor) -> Tensor:
    """One for each example."""
    return nn.functional.cross_entropy(outputs, targets, reduction="none")


def main() -> None:
    """Trains; run by every process."""
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    torch.distributed.init_process_group("gloo")
    begun = is_whole(out / "checkpoint")  # before the first process can write one
    inputs, targets = records()
    module = nn.Sequential(nn.Linear(20, 64), nn.Tanh(), nn.Linear(64, 2))
    trainer = PrivateTrainer(
        module,
        losses,
        torch.optim.SGD(module.parameters(), lr=1.0, momentum=0.9),
        DpSgd.calibrate(
            Budget(1.0, 1e-5),
            records=len(targets),
            expected_batch_size=1000,
            steps=200,
            clipping=Flat(0.5),
        ),
        (inputs, targets),
        averaging=0.95,
        ledger=Ledger.open(out / "ledger.db"),
    )
    if begun:
        trainer.resume(out / "checkpoint")
    if trainer.steps_taken < 200:
        trainer.fit(checkpoint=out / "checkpoint", checkpoint_every=20)
    trainer.close()
    assert trainer.average is not None
    trainer.average.copy_to(module)
    if torch.distributed.get_rank() == 0:
        print(trainer.guarantee.describe())
        print(f"{trainer.steps_taken} steps, debited once: {out / 'ledger.db'}")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
