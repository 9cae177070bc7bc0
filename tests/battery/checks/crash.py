"""A crash may waste budget; it never spends twice, and never leaves half a release."""

from __future__ import annotations

import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import CO_GENERATOR
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

from battery.check import check
from battery.row import MethodRow
from sfumato.errors import InputError
from sfumato.learn import guard
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.noise import SeededSource
from sfumato.release.release import Release

POINTS = 12


class Killed(BaseException):
    """What no ``except Exception`` catches."""


class Counting(SeededSource):
    """Counts the words it gave out."""

    def __init__(self) -> None:
        super().__init__(41)
        self.drawn = 0

    def uint64(self, n: int) -> np.ndarray:
        self.drawn += n
        return super().uint64(n)


@check(methods=True)
def check_debit_before_noise(row: MethodRow) -> None:
    """Killed at any call: the ledger is whole, and nothing was drawn that was not paid for."""
    made, private = row.make(row.budget), row.data(0)

    def attempt(at: int | None) -> int:
        ledger, source = Ledger.in_memory(), Counting()
        with bomb(at) as calls:
            try:
                made(private, ledger=ledger, source=source)
            except Killed:
                assert at is not None
            else:
                assert at is None, "a crash was swallowed"
        debits = [entry for entry in ledger.entries() if entry.kind == "debit"]
        assert ledger.verify() == []
        assert len(debits) <= 1, "one run was paid for twice"
        assert source.drawn == 0 or debits, f"{source.drawn} words were drawn and not paid for"
        return calls()

    attempt(None)  # caches are filled, so that all attempts make the same calls
    for at in points(attempt(None)):
        attempt(at)


@check(methods=True)
def check_refused_data_cost_nothing(row: MethodRow) -> None:
    """Data that contradict the public facts are refused before anything is spent or drawn."""

    class Wrong:
        def validate(self, facts: Any) -> None:
            raise InputError("a value contradicts the schema", "Correct it.")

    ledger, source = Ledger.in_memory(), Counting()
    with pytest.raises(InputError, match="contradicts"):
        row.make(row.budget)(Wrong(), ledger=ledger, source=source)
    assert ledger.entries() == []
    assert source.drawn == 0


@check(methods=True)
def check_save_is_whole(row: MethodRow) -> None:
    """Killed at any call while saving: the release's folder is absent, or whole."""
    made = row.make(row.budget)
    release = made(row.data(0), ledger=Ledger.in_memory(), source=SeededSource(43))

    def attempt(at: int | None) -> int:
        with tempfile.TemporaryDirectory() as home:
            folder = Path(home) / "release"
            with bomb(at) as calls:
                try:
                    release.save(folder)
                except Killed:
                    assert at is not None
            if folder.exists():
                loaded = _loaded(folder)
                assert loaded.card.release_id == release.card.release_id
                assert loaded.card.verify() == []
            else:
                assert at is not None
            return calls()

    attempt(None)
    for at in points(attempt(None)):
        attempt(at)


def _loaded(folder: Path) -> Release:
    try:
        return Release.load(folder)
    except InputError as error:
        raise AssertionError(f"half a release was left behind: {error}") from None


def points(calls: int) -> list[int]:
    """Some calls out of all, the first and the last among them."""
    assert calls > POINTS
    return sorted({*np.linspace(1, calls, POINTS).astype(int).tolist()})


@contextmanager
def bomb(at: int | None) -> Iterator[Callable[[], int]]:
    """Raises :class:`Killed` at the ``at``-th call of a function of the package.

    Yields:
        How many calls there were.
    """
    calls = 0

    def trace(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        # A generator is also "called" when it is thrown away, and so is what tidies up after an
        # object: there Python swallows what is raised. How often others' guards are asked hangs on
        # which trainings of earlier tests are collected.
        if frame.f_code.co_flags & CO_GENERATOR or _tidies(frame) or _asks_others(frame):
            return
        if event == "call" and f"{_SEP}sfumato{_SEP}" in frame.f_code.co_filename:
            calls += 1
            if calls == at:
                raise Killed

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield lambda: calls
    finally:
        sys.settrace(before)


def _tidies(frame: FrameType) -> bool:
    """Whether a function was called because an object is gone."""
    return frame.f_back is not None and frame.f_back.f_code.co_filename == weakref.__file__


def _asks_others(frame: FrameType) -> bool:
    """Whether a function was called for whatever private trainings there are in the process."""
    asks = guard._stepping.__code__
    return frame.f_code is asks or (frame.f_back is not None and frame.f_back.f_code is asks)


_SEP = "/" if "/" in __file__ else "\\"
