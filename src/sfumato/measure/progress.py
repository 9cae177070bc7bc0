"""How a long measurement says how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int, str], None]
"""Called with steps done, steps in all, and what is being done."""


def silent(done: int, total: int, label: str) -> None:
    """The progress callback that says nothing."""


def part(progress: Progress, index: int, parts: int) -> Progress:
    """The progress of one of several equal parts of a whole, in hundredths of a part."""

    def report(done: int, total: int, label: str) -> None:
        progress(100 * index + round(100 * done / max(1, total)), 100 * parts, label)

    return report
