"""Makes the battery's own modules importable as ``battery.*``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
for module in ("correlation", "checks"):
    pytest.register_assert_rewrite(f"battery.{module}")
