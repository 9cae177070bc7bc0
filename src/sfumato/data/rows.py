"""Rows under a schema, read, counted and cut: a stream, a query engine's, or kept codes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.data import counting, parts, persons
from sfumato.data.axes import Axis
from sfumato.data.engine import EngineSource
from sfumato.data.impossible import check_rows
from sfumato.data.passes import Passes
from sfumato.data.schema import Schema
from sfumato.data.sources import ROWS, Source
from sfumato.data.subsets import Head, Seed, row_hashes, split_threshold
from sfumato.errors import InputError

Codes = NDArray[np.int64]

_KEPT_CELLS = 1 << 26  # tables up to this many cells keep their codes in memory once computed
_AGGREGATES = 32  # measured on 41 columns: DuckDB is faster for the columns, not for their pairs


class Rows:
    """Where rows are read from, and their codes where those are known.

    Args:
        schema: The public facts that they are read by.
        source: Where they are read from; None if they are known as codes only.
        codes: (n,) integers a column, in their narrowest type; None if they are not known yet.
        whose: (n,) a number for the person of each row, where that is known beside the codes.
    """

    def __init__(
        self,
        schema: Schema,
        source: Source | None,
        codes: Mapping[str, NDArray[Any]] | None,
        whose: NDArray[np.int64] | None = None,
    ) -> None:
        self.schema = schema
        self.source = source
        self.known = dict(codes) if codes is not None else None
        self._whose = whose

    @property
    def number(self) -> int:
        """How many there are; costs a pass over CSV files the first time."""
        if self.known is not None:
            return len(next(iter(self.known.values())))
        assert self.source is not None
        return self.source.num_rows

    @property
    def ordered(self) -> bool:
        """Whether every pass gives them in the same order."""
        base = persons.origin(self.source)
        return not isinstance(base, EngineSource) or base.ordered

    def whose(self) -> NDArray[np.int64] | None:
        """(n,) a number for the person of each row; None where each row is of its own.

        Raises:
            InputError: If a row is of nobody, or rows have no order that lasts.
        """
        if self._whose is None and self.schema.unit is not None:
            assert self.source is not None
            self._whose = persons.numbers(self.source, self.schema.unit)
        return self._whose

    def under(self, schema: Schema) -> Rows:
        """All of them by other facts, on columns that they have."""
        known = self.known
        codes = None if known is None else {name: known[name] for name in schema.names}
        return Rows(schema, self.source, codes, self._whose)

    def first(self, count: int) -> Rows:
        """So many from the start."""
        codes = None if self.known is None else {n: c[:count] for n, c in self.known.items()}
        source = None if self.source is None else Head(self.source, count)
        whose = None if self._whose is None else self._whose[:count]
        return Rows(self.schema.with_records(None), source, codes, whose)

    def kept(self, some: persons.Kept) -> Rows:
        """Those that are kept of each person, with codes that are known already."""
        codes = self.known
        if codes is not None:
            mask = some.mask(0, self.number)
            codes = {name: values[mask] for name, values in codes.items()}
        return Rows(self.schema.with_records(None), some, codes)

    def parted(self, fraction: float, seed: Seed) -> tuple[Rows, Rows]:
        """The rest and a held-out part; the same seed gives the same parts.

        Args:
            fraction: Of the rows to hold out, in (0, 1).
            seed: Of a hash of the person where there are persons, of the values where rows come in
                no order, else of the row's number.

        Raises:
            InputError: If a part would be empty, or the fraction is no share.
        """
        schema = self.schema.with_records(None)
        if schema.unit is not None:
            assert self.source is not None
            those, others = persons.held_out(self.source, schema.unit, seed, fraction)
            return self.kept(those), self.kept(others)
        by_person = self._by_person(fraction, seed)
        if by_person is not None:
            return by_person
        if isinstance(self.source, EngineSource) and not self.source.ordered:
            rest, held_out = parts.held_out(self.source, fraction, seed)
            return Rows(schema, rest, None), Rows(schema, held_out, None)
        one, other = parts.halves(self.source, self.known, self.number, fraction, seed)
        return Rows(schema, *one), Rows(schema, *other)

    def _by_person(self, fraction: float, seed: Seed) -> tuple[Rows, Rows] | None:
        """The rest and the held-out part, all rows of a person in one; None where persons are not
        known, or known by the rows' source.

        Raises:
            InputError: If a part would be empty, or the fraction is no share.
        """
        if self._whose is None or self.known is None:
            return None
        people = int(self._whose.max()) + 1
        low = row_hashes(seed, 0, people)[self._whose]
        held = low < np.uint64(split_threshold(seed, people, fraction))
        if held.all() or not held.any():
            raise InputError("a part would have no rows", "Give more persons, or another seed.")
        rest, out = (
            Rows(
                self.schema.with_records(None),
                None,
                {name: values[mask] for name, values in self.known.items()},
                self._whose[mask],
            )
            for mask in (~held, held)
        )
        return rest, out

    def codes_batches(self, rows: int, columns: Sequence[str] | None) -> Iterator[dict[str, Codes]]:
        """Codes in order, up to ``rows`` rows at a time.

        Raises:
            InputError: Naming column, value and row where a value contradicts the schema.
        """
        names = self._names(columns)
        if self.known is not None:
            for start in range(0, self.number, rows):
                yield {n: self.known[n][start : start + rows].astype(np.int64) for n in names}
            return
        for narrow in self._passes.codes(names, rows):
            yield {name: narrow[name].astype(np.int64) for name in names}

    def codes(self, columns: Sequence[str] | None) -> dict[str, Codes]:
        """All codes, (n,) int64 a column.

        Raises:
            InputError: Naming column, value and row where a value contradicts the schema.
        """
        names = self._names(columns)
        if self.known is None and self._few():
            self._keep()
        if self.known is not None:
            return {name: self.known[name].astype(np.int64) for name in names}
        whole = self._passes.whole(names, self.number)
        return {name: whole.pop(name).astype(np.int64) for name in names}

    def counts(self, axes_lists: Sequence[Sequence[Axis | str]]) -> list[NDArray[np.int64]]:
        """Several contingency tables in as few passes as the source allows.

        Few rows are encoded once and counted in memory; files are streamed once, reading only the
        columns that are asked for; a query engine aggregates several of the tables at a time.

        Raises:
            InputError: If an axis or a value contradicts the schema.
        """
        lists = [[Axis(a) if isinstance(a, str) else a for a in axes] for axes in axes_lists]
        tally = counting.Tally(lists, self.schema)
        if not lists:
            return []
        names = list(dict.fromkeys(axis.column for axes in lists for axis in axes))
        if self.known is None:
            engine = self._passes.engine(names)
            # An engine in this process gives rows faster than it makes many aggregates of them.
            few = engine is not None and (not engine.embedded or len(tally.groups) <= _AGGREGATES)
            if engine is not None and few:
                return engine.count(lists, self.schema, self._passes.tokens)
            if not isinstance(self.source, EngineSource) and self._few():
                self._keep()
        if self.known is not None:
            tally.add({name: self.known[name] for name in names})
        else:
            for codes in self._passes.codes(names):
                tally.add(codes)
        return tally.tables()

    def check(self, schema: Schema) -> None:
        """Checks every value in one streaming pass.

        Args:
            schema: Facts that encode as those that the rows are read by do.

        Raises:
            InputError: If a value contradicts the schema.
        """
        engine = None if self.known is not None else self._passes.engine(self.schema.names)
        if engine is not None:
            engine.check(self.schema, self._passes.tokens)
        elif self.known is None and self._few():
            self._keep()
        if (self.known is not None or engine is not None) and not schema.impossible:
            return
        first_row = 0
        for codes in self.codes_batches(ROWS, None):
            check_rows(codes, schema, first_row if persons.numbered(self.source) else None)
            first_row += len(next(iter(codes.values())))

    def _names(self, columns: Sequence[str] | None) -> list[str]:
        if columns is None:
            return list(self.schema.names)
        return [self.schema[name].name for name in columns]

    @property
    def _passes(self) -> Passes:
        """What reads the rows, where they are not known as codes."""
        assert self.source is not None
        return Passes(self.source, self.schema)

    def _few(self) -> bool:
        return self.number * len(self.schema) <= _KEPT_CELLS

    def _keep(self) -> None:
        self.known = self._passes.whole(self.schema.names, self.number)
