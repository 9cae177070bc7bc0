"""One exception family: what was wrong, with the value, and what to do about it."""

from __future__ import annotations

from typing import ClassVar


class SfumatoError(Exception):
    """Base of every error a user can cause.

    Args:
        problem: What was wrong, naming the value.
        remedy: What to do about it.

    The message is one line, ``problem. remedy``; the command line prints it and exits with
    ``exit_code``.
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, problem: str, remedy: str = "") -> None:
        self.problem = problem.rstrip(". ")
        self.remedy = remedy
        super().__init__(f"{self.problem}. {remedy}" if remedy else f"{self.problem}.")


class InputError(SfumatoError):
    """Data, a schema, a setting or a path that cannot be used. Nothing was spent or written."""


class BudgetError(SfumatoError):
    """A release that the ledger's ceiling refuses. Nothing was spent or written."""

    exit_code = 3


class LedgerError(SfumatoError):
    """A ledger that is damaged, altered or locked."""

    exit_code = 4


class UnwrittenError(SfumatoError):
    """A release that was paid for and could not be made or written. Its debit stands."""

    exit_code = 7


class MissingExtraError(SfumatoError):
    """An optional dependency that is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed",
            f"Install it with: pip install 'sfumato[{extra}]'",
        )
