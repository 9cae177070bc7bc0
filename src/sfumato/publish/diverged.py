"""A training that ran away: what was released are no numbers, and the card says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sfumato.release.model import Model

if TYPE_CHECKING:
    from sfumato.release.release import Artefact

_ABSURD = 1e18  # from about here a square is more than a 32-bit float holds


def caveats(artefact: Artefact) -> tuple[str, ...]:
    """What a card says of released weights that are absurd or no numbers; nothing of others.

    The weights are released: it is read off them, and costs nothing.
    """
    content = artefact.content
    tensors = content.tensors if isinstance(content, Model) else artefact.tensors
    bad = [
        name
        for name, values in tensors.items()
        if np.issubdtype(values.dtype, np.floating) and not (np.abs(values) < _ABSURD).all()
    ]
    if not bad:
        return ()
    return (
        f"The training diverged: {len(bad)} of {len(tensors)} released arrays ({bad[0]} first) "
        f"hold numbers beyond {_ABSURD:g}, or no numbers. The release is of no use, its guarantee "
        "holds; try a lower learning rate, which is paid for anew.",
    )
