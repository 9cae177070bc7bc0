"""What a release rests on, as a page shows it: declared, sourced, counted, or paid for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sfumato.report import wording

if TYPE_CHECKING:
    from sfumato.data.facts import Fact
    from sfumato.release.card import Card


def groups(card: Card) -> Iterator[dict[str, Any]]:
    """The facts of a card by where they come from, each group with its title and text."""
    counted = [f for f in card.facts if f.name == "records" and f.provenance == "public"]
    declared = [f for f in card.facts if f.provenance == "public" and f not in counted]
    sourced = [fact for fact in card.facts if fact.provenance.startswith("public:")]
    paid = [fact for fact in card.facts if fact.provenance.startswith("ledger:")]
    known = (*counted, *declared, *sourced, *paid)
    other = [fact for fact in card.facts if fact not in known]
    entry = str(card.ledger.get("entry", ""))
    yield {
        "title": "Paid for from the budget",
        "text": "The release itself, by ledger entry no. "
        f"{card.ledger.get('sequence')} ({entry[:12]}…)"
        + (", and what follows." if paid else "; nothing else."),
        "facts": _facts(paid),
        "sources": True,
    }
    if sourced:
        yield {
            "title": "From public sources",
            "text": "Declared to come from the sources named, not from the private rows.",
            "facts": _facts(sourced),
            "sources": True,
        }
    yield {
        "title": "Declared public",
        "text": f"{wording.plural(len(declared), 'fact')}, declared by the publisher without "
        "looking at the rows. Nobody can check that from here: ask where they come from."
        if declared
        else "Nothing.",
        "facts": _facts(declared),
        "sources": False,
    }
    if counted:
        yield {
            "title": "Stated exactly",
            "text": "How many records went in was counted, or declared, and is public: "
            "no guarantee hides it.",
            "facts": _facts(counted),
            "sources": False,
        }
    if other:
        yield {
            "title": "Of unknown origin",
            "text": "Their provenance is not one this project writes.",
            "facts": _facts(other),
            "sources": True,
        }


def _facts(facts: list[Fact]) -> list[dict[str, str]]:
    return [
        {
            "name": fact.name,
            "value": wording.fact_value(fact.value),
            "source": _source(fact.provenance),
        }
        for fact in facts
    ]


def _source(provenance: str) -> str:
    entry = provenance.removeprefix("ledger:")
    if entry != provenance:
        return f"ledger entry {entry[:12]}…" if len(entry) > 16 else f"ledger entry {entry}"
    return provenance.removeprefix("public: ")
