"""Planted defects: faults of published code and claims, put into our own methods.

Each is an honest row with one thing wrong. They live in the tests only; the meta-test runs the
named checks on them and expects every one to fail.
"""

from __future__ import annotations

from battery.planted import generators, mechanisms, models, runs, tables
from battery.planted.defect import Planted

PLANTED: tuple[Planted, ...] = (
    *mechanisms.PLANTED,
    *tables.PLANTED,
    *generators.PLANTED,
    *models.PLANTED,
    *runs.PLANTED,
)

__all__ = ["PLANTED", "Planted"]
