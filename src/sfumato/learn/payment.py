"""What pays for a training with a loop of its own: one debit, and the count of its steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.errors import LedgerError
from sfumato.learn import checkpoint
from sfumato.privacy.ledger.begun import Begun

if TYPE_CHECKING:
    from sfumato.privacy.guarantee import Central
    from sfumato.privacy.ledger import Ledger

_METHOD = "learn.dp-sgd"


@dataclass(frozen=True)
class Payment:
    """A ledger, and how a training is named in it.

    Args:
        ledger: Debited once.
        label: For the custodian's use.
    """

    ledger: Ledger
    label: str

    def debit(self, guarantee: Central, run: str) -> dict[str, Any]:
        """Pays for all steps; returns the entry, as a checkpoint keeps it.

        Raises:
            BudgetError: If the ledger refuses.
        """
        entry = self.ledger.debit(guarantee, release_id=run, method=_METHOD, label=self.label)
        return {"entry": entry.hash, "sequence": entry.sequence}


def begun(payment: Payment | None, run: str) -> Begun | None:
    """Where the steps of all copies of a checkpoint are counted; None in memory, or unpaid."""
    return None if payment is None else Begun.of(payment.ledger, run)


def check(payment: Payment | None, folder: Path, entry: Mapping[str, Any]) -> None:
    """That the training of a checkpoint was paid for, by the ledger that is given.

    Args:
        payment: The ledger; None if none is given.
        folder: Of the checkpoint.
        entry: What it says of its debit.

    Raises:
        LedgerError: If it was not, or no ledger is given.
        InputError: If the checkpoint is damaged.
    """
    paid = checkpoint.value(folder, entry, "entry", str)
    if payment is None:
        raise LedgerError(
            f"entry {paid[:12]} of a ledger paid for the training in {folder}, and no ledger is "
            "given",
            "Pass ledger=Ledger.open(path): it knows which steps a copy of the folder took.",
        )
    if all(found.hash != paid for found in payment.ledger.entries()):
        raise LedgerError(
            f"the ledger has no entry {paid[:12]}, which paid for this training",
            "Give the ledger that it was begun with.",
        )
