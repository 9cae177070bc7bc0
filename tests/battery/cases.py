"""Parameters of the shared tests: the rows that a check speaks of."""

from __future__ import annotations

from typing import Any

import pytest

from battery.check import Check
from battery.table import ROWS


def cases(check: Check) -> Any:
    """``pytest.mark.parametrize`` over these rows."""
    rows = [row for row in ROWS if check.applies(row)]
    assert rows, f"{check.name} speaks of no row"
    return pytest.mark.parametrize(
        "row",
        [
            pytest.param(
                row,
                id=row.name,
                marks=[
                    pytest.mark.xdist_group(row.name),  # which calibrates once for all checks
                    *([pytest.mark.slow] if not row.everyday or check.name in row.long else []),
                ],
            )
            for row in rows
        ],
    )
