"""Next to no noise is next to the truth: nothing else happens to the data on the way."""

from __future__ import annotations

import numpy as np

from battery.check import check
from battery.row import Row
from sfumato.privacy.noise import SeededSource


@check("identity")
def check_identity(row: Row) -> None:
    """At a huge epsilon the release is the truth."""
    released, truth = row.identity(row.make(row.huge), SeededSource(37))
    assert np.ptp(truth) > 0 or row.tolerance == 0
    off = float(np.abs(np.asarray(released, np.float64) - truth).max())
    allowed = row.tolerance * float(np.abs(truth).max())
    assert off <= allowed, f"off by {off}, allowed is {allowed}"
