"""One public fact, with where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Fact:
    """One public fact that a release rests on.

    Args:
        name: What it is, such as ``"bounds of age"``.
        value: JSON value; long values are summarised by their digest.
        provenance: ``"public"`` (declared), ``"public: SOURCE"`` or ``"ledger:ENTRY"`` (paid).
    """

    name: str
    value: Any
    provenance: str = "public"
