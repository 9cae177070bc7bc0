"""The account of what has been spent on one private data set; append-only and hash-chained."""

from __future__ import annotations

from sfumato.privacy.ledger.entry import Entry
from sfumato.privacy.ledger.ledger import Ledger
from sfumato.privacy.ledger.totals import Total

__all__ = ["Entry", "Ledger", "Total"]
