"""What people require of a release beside its guarantee: public columns, impossible rows.

Both are post-processing of what a method published, by public facts, so they cost nothing.

*Passed through.* A column that is declared public is copied, value by value, where a released row
is the noisy version of a row (the plan says ``aligned``). Synthetic rows belong to nobody: there
is nothing to copy to, so the column is modelled, and protected, like any other.

*Impossible.* A combination that is declared impossible is in no released row. Synthetic rows that
have it are replaced by other synthetic rows, which conditions their distribution; in rows that
stand for real ones, one value of the combination is drawn anew.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.data.facts import Fact
from sfumato.errors import InputError
from sfumato.privacy.budget import Budget
from sfumato.publish import units
from sfumato.publish.method import Calibrated, Method, Progress

if TYPE_CHECKING:
    from pathlib import Path

    from sfumato.data import Schema, Table
    from sfumato.data.impossible import Impossible
    from sfumato.privacy.noise import NoiseSource
    from sfumato.publish.room import Part
    from sfumato.release.release import Artefact

_ROUNDS = 200
_PREFERRED = 20  # rounds in which no column but the preferred one is drawn anew
_TRIED = 1 << 10  # made-up rows that show whether the combinations leave anything
_ROWS = 1 << 16
Codes = dict[str, NDArray[np.int64]]


def calibrate(method: Method, budget: Budget, facts: Any) -> Calibrated:
    """The run that spends ``budget`` and keeps what the facts require of the released rows.

    Takes and refuses what :func:`sfumato.publish.units.calibrate` does, which it is built on.

    Raises:
        InputError: Or if every column is passed through, or no values are possible.
    """
    passed = tuple(getattr(facts, "pass_through", ()))
    rules = tuple(getattr(facts, "impossible", ()))
    made = units.calibrate(method, budget, facts)
    if method.gives != "table":
        return made
    copied: tuple[str, ...] = ()
    if passed and made.plan.get("aligned") is True:
        copied = passed
        rest = [name for name in facts.names if name not in passed]
        if not rest:
            raise InputError("every column is passed through", "There is nothing to publish.")
        part = units.calibrate(method, budget, facts.select(*rest))
        whole = facts.with_records(part.facts.records)
        public = (*part.public, Fact("passed through", list(passed)))
        made = replace(part, facts=whole, public=public)
    for rule in rules:
        if set(rule.values) <= set(copied):
            raise InputError(
                f"impossible {rule} is of columns that are passed through as they are",
                "Take it out, or let a column be published with noise.",
            )
    if rules:
        _check_possible(facts)
    if copied or rules:
        aligned = made.plan.get("aligned") is True
        made = replace(made, run=_Kept(made.run, facts, copied, aligned))
    return replace(made, caveats=(*made.caveats, *_caveats(passed, copied, rules)))


def _caveats(
    passed: Sequence[str], copied: Sequence[str], rules: Sequence[object]
) -> Iterator[str]:
    if copied:
        yield (
            f"{', '.join(copied)}: declared public and copied row by row, outside of the "
            "guarantee. Whoever knows these values of a person may know which row is theirs; what "
            "the guarantee limits is what the rest of the row tells."
        )
    elif passed:
        yield (
            f"{', '.join(passed)}: declared public, and modelled like any other column, because a "
            "synthetic row belongs to nobody whose values could be copied."
        )
    if rules:
        yield f"In no released row: {'; '.join(map(str, rules))}."


def _check_possible(facts: Schema) -> None:
    """Refuses combinations that contradict each other, by rows that are nobody's.

    Raises:
        InputError: If no values are found that are possible for each of them.
    """
    rng = np.random.default_rng(0)
    rows = {column.name: rng.integers(column.size, size=_TRIED) for column in facts}
    _Kept(None, facts, (), aligned=True).made_possible(rows, rng)


def possible(table: Table, facts: Schema, seed: int) -> tuple[Table, int]:
    """Synthetic rows, of which those that the facts declare impossible are replaced by others.

    Args:
        table: Of which each row belongs to nobody.
        facts: Public.
        seed: Of the replacements.

    Returns:
        The rows, and how many were replaced.

    Raises:
        InputError: If no values are possible.
    """
    if not facts.impossible:
        return table, 0
    return _Kept(None, facts, (), aligned=False).without_impossible(table, seed)


@dataclass(frozen=True)
class _Kept:
    """A method's run, then what the facts require.

    Args:
        run: The method's own.
        facts: Of the whole table.
        copied: Columns that the method never sees and whose values are copied.
        aligned: Whether a released row stands for a private one.
    """

    run: Any
    facts: Schema
    copied: tuple[str, ...]
    aligned: bool

    def check(self, table: Table) -> None:
        """Refuses, before anything is paid for, rows that cannot be copied or made possible.

        Rows without an order cannot be copied, and beside a copied value there may be no others
        with which a row is possible.
        """
        if self.copied and not table.ordered:
            raise InputError(
                f"{', '.join(self.copied)}: passed through, and the table gives rows in no order",
                "Name a folder for a private copy of its rows (--spool DIR), export the table to "
                "Parquet, or leave pass_through out.",
            )
        self._check_beside_copied(table)
        if hasattr(self.run, "check"):
            self.run.check(table)

    def _check_beside_copied(self, table: Table) -> None:
        """Tries every kind of copied values with made-up values of the other columns."""
        rules = [rule for rule in self.facts.impossible if set(rule.values) & set(self.copied)]
        names = [n for n in self.copied if any(n in rule.values for rule in rules)]
        if not names:
            return
        seen: dict[bytes, Codes] = {}  # of each kind, by which rules the copied values are part of
        for codes in table.codes_batches(columns=names):
            parts = [self._others(rule, codes, set(names)) for rule in rules]
            kinds, first = np.unique(np.stack(parts, axis=1), axis=0, return_index=True)
            for kind, at in zip(kinds, first, strict=True):
                seen.setdefault(kind.tobytes(), {n: codes[n][[at]] for n in names})
        rng = np.random.default_rng(0)
        for values in seen.values():
            rows = {c.name: rng.integers(c.size, size=_TRIED) for c in self.facts}
            rows |= {name: np.repeat(codes, _TRIED) for name, codes in values.items()}
            try:
                self.made_possible(rows, rng)
            except InputError:
                said = ", ".join(
                    f"{name}: {self.facts[name].decode(codes)[0]}" for name, codes in values.items()
                )
                raise InputError(
                    f"beside {{{said}}}, passed through as it is, no values of the other columns "
                    "were found that impossible: leaves",
                    "Take a combination out, or let the column be published with noise.",
                ) from None

    def _others(self, rule: Impossible, codes: Codes, names: set[str]) -> NDArray[np.bool_]:
        """(n,) where a rule's values of these columns are all there; True if it names none."""
        found = [rule.forbidden(self.facts[n])[codes[n]] for n in rule.values if n in names]
        rows = len(next(iter(codes.values())))
        return np.asarray(np.logical_and.reduce([np.ones(rows, bool), *found]))

    @property
    def resumable(self) -> bool:
        """Whether the method's own run is."""
        return bool(getattr(self.run, "resumable", False))

    @property
    def certain(self) -> Iterable[Part]:
        """What the method's own run has in memory for certain."""
        held: Iterable[Part] = getattr(self.run, "certain", ())
        return held

    def __call__(
        self,
        table: Table,
        source: NoiseSource,
        progress: Progress,
        workspace: Path | None = None,
    ) -> Artefact:
        """The method's artefact with its public columns, and without impossible rows."""
        own = [name for name in self.facts.names if name not in self.copied]
        further = () if workspace is None else (workspace,)
        artefact: Artefact = self.run(
            table.select(*own) if self.copied else table, source, progress, *further
        )
        seed = secrets.randbits(63)
        beside = even(table.codes_batches(columns=self.copied)) if self.copied else None
        made: Any = artefact.content
        kept, changed = self.without_impossible(made, seed, beside)
        artefact = replace(artefact, content=kept)
        if not self.facts.impossible:
            return artefact
        return replace(
            artefact,
            seeds={**artefact.seeds, "impossible rows": seed},
            notes={**artefact.notes, "impossible_rows_replaced": changed},
        )

    def without_impossible(
        self, made: Table, seed: int, beside: Iterator[Codes] | None = None
    ) -> tuple[Table, int]:
        """The rows with what is copied beside them, and how many were impossible."""
        from sfumato.publish.tables.rows import Collector

        rng = np.random.default_rng(seed)
        collector = Collector(self.facts)
        changed = 0
        for codes in even(made.codes_batches()):
            if beside is not None:
                codes |= next(beside)
            changed += self.made_possible(codes, rng)
            collector.add(codes)
        return collector.table(), changed

    def made_possible(self, codes: Codes, rng: np.random.Generator) -> int:
        """Changes the rows that have an impossible combination; how many there were.

        Raises:
            InputError: If no values are found that are possible.
        """
        bad = self._impossible(codes)
        if not bad.any():
            return 0
        if not self.aligned and not bad.all():
            donors = rng.choice(np.flatnonzero(~bad), size=int(bad.sum()))
            for values in codes.values():
                values[bad] = values[donors]
        else:
            self._redraw(codes, rng)
        return int(bad.sum())

    def _impossible(self, codes: Codes) -> NDArray[np.bool_]:
        found = [rule.where(codes, self.facts) for rule in self.facts.impossible]
        rows = len(next(iter(codes.values())))
        return np.asarray(np.logical_or.reduce([np.zeros(rows, bool), *found]))

    def _redraw(self, codes: Codes, rng: np.random.Generator) -> None:
        """Draws one value of each impossible combination anew, until there is none.

        The value of the column that is named last and neither copied nor the target, uniformly
        among those with which no combination is whole. Where combinations exclude every value of
        that column between them, it is in time that of any column which is not copied.
        """
        target = self.facts.target
        for turn in range(_ROUNDS):
            for rule in self.facts.impossible:
                bad = np.flatnonzero(rule.where(codes, self.facts))
                free = [n for n in rule.values if n not in self.copied]
                name = next((n for n in reversed(free) if n != target), None) or free[-1]
                if turn >= _PREFERRED:
                    name = free[int(rng.integers(len(free)))]
                self._draw_anew(name, codes, bad, rng)
            if not self._impossible(codes).any():
                return
        raise InputError(
            "no values were found with which every row is possible",
            "The combinations under impossible: contradict each other; nothing was written.",
        )

    def _draw_anew(
        self, name: str, codes: Codes, rows: NDArray[np.int64], rng: np.random.Generator
    ) -> None:
        """New values of a column in some rows, beside the others that they have."""
        if not len(rows):
            return
        column = self.facts[name]
        rules = [rule for rule in self.facts.impossible if name in rule.values]
        forbidden = np.stack([rule.forbidden(column) for rule in rules])
        others = {n for rule in rules for n in rule.values} - {name}
        own = {n: codes[n][rows] for n in others}
        whole = np.stack([self._others(rule, own, others) for rule in rules], axis=1)
        kinds, kind = np.unique(whole, axis=0, return_inverse=True)
        for k, holds in enumerate(kinds):
            at = rows[kind.reshape(-1) == k]
            allowed = np.flatnonzero(~forbidden[holds].any(axis=0))
            if not len(allowed):  # another column has to give way
                allowed = np.arange(column.size)
            codes[name][at] = rng.choice(allowed, size=len(at))


def even(batches: Iterator[Codes], rows: int = _ROWS) -> Iterator[Codes]:
    """The same rows in batches of ``rows``, the last one shorter, however they come."""
    held: list[Codes] = []
    count = 0
    for batch in batches:
        held.append(batch)
        count += len(next(iter(batch.values())))
        while count >= rows:
            whole = _joined(held)
            yield {name: values[:rows].copy() for name, values in whole.items()}
            held = [{name: values[rows:] for name, values in whole.items()}]
            count -= rows
    if count:
        yield _joined(held)


def _joined(parts: Sequence[Codes]) -> Codes:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
