"""One line of the account, and the chain that ties each line to all lines before it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

from sfumato.privacy import guarantee as guarantees
from sfumato.privacy.budget import Budget
from sfumato.privacy.guarantee import Central, Local, Metric

FORMAT = 1
DEBIT = "debit"
CEILING = "ceiling"


def canonical(value: Any) -> str:
    """The one way a JSON value is written before it is hashed or stored.

    Sorted keys, no spaces, ASCII, shortest decimals that give the same double.

    Raises:
        ValueError, TypeError: If the value has no JSON form (NaN, infinity, bytes).

    >>> canonical({"b": 0.1, "a": [1, None]})
    '{"a":[1,null],"b":0.1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """The sha256 of a JSON value in its canonical form, as hex."""
    return hashlib.sha256(canonical(value).encode("ascii")).hexdigest()


@dataclass(frozen=True, slots=True)
class Entry:
    """A line that was written and is never changed.

    Args:
        sequence: Its place, from 1.
        hash: The digest of all other fields; ``previous`` among them, so of all lines before.
        previous: The hash of the line before; the ledger's own mark for the first.
        time: When it was written, UTC, ISO 8601.
        kind: ``"debit"`` or ``"ceiling"``.
        release_id: Of the release that was paid for; empty for a ceiling.
        method: What made the release.
        label: A name given by the custodian.
        guarantee: The guarantee's ``to_dict()``, its event included; of a ceiling, ``epsilon``
            and ``delta``.
    """

    sequence: int
    hash: str
    previous: str
    time: str
    kind: str
    release_id: str
    method: str
    label: str
    guarantee: Mapping[str, Any]

    @classmethod
    def after(cls, previous: Head, **values: Any) -> Entry:
        """The line that follows ``previous``, with its hash."""
        chained = {"sequence": previous.count + 1, "previous": previous.hash, **values}
        return cls(hash=digest(chained), **chained)

    def recomputed(self) -> str:
        """What the hash should be, from every other field."""
        values = self.to_dict()
        del values["hash"]
        return digest(values)

    def to_dict(self) -> dict[str, Any]:
        """The line as plain JSON values."""
        values = {name: getattr(self, name) for name in FIELDS}
        values["guarantee"] = dict(self.guarantee)
        return values

    def describe(self) -> str:
        """What the line says, in one line; its figures are computed from its event."""
        return _described(self.kind, canonical(dict(self.guarantee)))


@lru_cache(maxsize=1024)
def _described(kind: str, text: str) -> str:
    values = json.loads(text)
    if kind == CEILING:
        return f"ceiling: {Budget(**values)}"
    guarantee = guarantees.from_dict(values)
    if isinstance(guarantee, Metric) and guarantee.worst_case is not None:
        # The ledger counts what holds at any distance.
        return f"metric, at any distance: {_figures(guarantee.worst_case)}"
    if not isinstance(guarantee, Central | Local):
        return guarantee.describe()
    return f"{guarantee.kind}: {_figures(guarantee)}"


def _figures(guarantee: Central | Local) -> str:
    at = f", δ = {guarantee.delta:g}" if guarantee.delta else ""
    relation = f" ({guarantee.neighbours})" if isinstance(guarantee, Central) else ""
    return f"ε = {guarantee.epsilon():.4g}{at} for each {guarantee.unit}{relation}"


FIELDS = tuple(field.name for field in fields(Entry))


@dataclass(frozen=True, slots=True)
class Head:
    """Where the chain starts and ends.

    Args:
        ledger: A random name, so that no two ledgers share a hash.
        created: UTC, ISO 8601.
        count: How many lines there are.
        hash: The hash of the last line.
    """

    ledger: str
    created: str
    count: int
    hash: str

    @classmethod
    def first(cls, ledger: str, created: str) -> Head:
        """The head of a ledger without lines."""
        return cls(ledger, created, 0, cls.mark(ledger, created))

    @staticmethod
    def mark(ledger: str, created: str) -> str:
        """What the first line has as its previous hash."""
        return digest({"sfumato_ledger": FORMAT, "ledger": ledger, "created": created})

    def moved_to(self, entry: Entry) -> Head:
        """The head once ``entry`` is the last line."""
        return Head(self.ledger, self.created, entry.sequence, entry.hash)


def chain_problems(head: Head, entries: Sequence[Entry], known: Iterable[str] = ()) -> list[str]:
    """What is wrong with a chain, one line each; empty if it is whole.

    Found: a changed field, and lines that were removed, added, exchanged or cut off the end. Not
    found: a chain that was written anew from some line on, hashes and head included, unless a hash
    from that stretch is among ``known``.

    Args:
        head: What the file says about the chain's two ends.
        entries: The lines, in the order of their sequence.
        known: Hashes noted elsewhere, such as on the cards of releases.
    """
    problems = []
    expected = Head.first(head.ledger, head.created)
    for entry in entries:
        if entry.sequence != expected.count + 1:
            problems.append(f"entry {entry.sequence} follows entry {expected.count}")
        elif entry.previous != expected.hash:
            problems.append(f"entry {entry.sequence} does not name the hash of the one before it")
        if entry.recomputed() != entry.hash:
            problems.append(f"entry {entry.sequence} was altered: its fields do not give its hash")
        expected = expected.moved_to(entry)
    if head.count != expected.count:
        problems.append(f"the head counts {head.count} entries, the last one is {expected.count}")
    elif head.hash != expected.hash:
        problems.append("the head does not name the last entry")
    here = {expected.mark(head.ledger, head.created), *(entry.hash for entry in entries)}
    problems.extend(f"hash {noted} is not in this ledger" for noted in known if noted not in here)
    return problems
