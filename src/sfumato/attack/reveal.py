"""What an attack found, shown only to whoever asks for it.

A finding holds figures. With ``reveal=True`` the pictures that an attack made of private records
are added to its details: whatever holds them is then as private as the data. A report and a list of
findings hold them only where they were asked to reveal pictures as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.attack.finding import REVEALED

MOST = 8


def pictures(reveal: bool, found: NDArray[Any]) -> dict[str, Any]:
    """The first pictures as bytes 0..255, nested as (n, c, h, w), or nothing.

    Args:
        reveal: Whether they are shown.
        found: (n, c, h, w) in [0, 1].
    """
    if reveal is not True:
        return {}
    scaled = np.round(255 * np.clip(np.nan_to_num(found[:MOST]), 0, 1)).astype(int)
    return {REVEALED: scaled.tolist()}
