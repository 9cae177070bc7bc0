"""What a ledger says: all its lines, as one transaction read them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sfumato.errors import LedgerError
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger.entry import CEILING, DEBIT, Entry, Head, chain_problems
from sfumato.privacy.ledger.totals import Spending, Total, left
from sfumato.privacy.ledger.transaction import Transaction


@dataclass(frozen=True)
class Book:
    """The chain's two ends and every line between them."""

    head: Head
    entries: list[Entry]

    @classmethod
    def examine(
        cls, transaction: Transaction, known: Iterable[str] = ()
    ) -> tuple[Book | None, list[str]]:
        """What the ledger says, if it can be read at all, and what is wrong with it.

        Args:
            transaction: Where to read.
            known: Hashes noted elsewhere; each must be in the chain.
        """
        problems = transaction.problems()
        try:
            book = cls(transaction.head(), transaction.entries())
        except LedgerError as error:
            return None, [*problems, error.problem]
        return book, problems + chain_problems(book.head, book.entries, known)

    @cached_property
    def debits(self) -> list[Entry]:
        """The lines that paid for a release."""
        return [entry for entry in self.entries if entry.kind == DEBIT]

    @cached_property
    def paid(self) -> list[Mapping[str, Any]]:
        """The guarantees that were paid for, as written by ``to_dict``."""
        return [entry.guarantee for entry in self.debits]

    @cached_property
    def ceiling(self) -> Budget | None:
        """The ceiling that was set last."""
        for entry in reversed(self.entries):
            if entry.kind == CEILING:
                return Budget(**entry.guarantee)
        return None

    def totals(self, delta: float | None = None) -> list[Total]:
        """What all releases come to, at ``delta``, by default the ceiling's if there is one."""
        if delta is None and self.ceiling is not None:
            delta = self.ceiling.delta
        return Spending(self.paid).totals(delta)

    def left(self) -> float | None:
        """The epsilon that surely still fits; None without a ceiling."""
        return None if self.ceiling is None else left(self.ceiling, Spending(self.paid))
