"""The checks, a file a theme; importing this package fills ``battery.check.CHECKS``."""

from __future__ import annotations

from battery.checks import (
    accountants,
    audits,
    clipping,
    config,
    counts,
    crash,
    data_independence,
    independence,
    noise_and_budget,
    parts_sum,
    replay,
    sampling,
    zero_strength,
)

__all__ = [
    "accountants",
    "audits",
    "clipping",
    "config",
    "counts",
    "crash",
    "data_independence",
    "independence",
    "noise_and_budget",
    "parts_sum",
    "replay",
    "sampling",
    "zero_strength",
]
