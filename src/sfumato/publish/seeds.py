"""Seeds of what is random and is no privacy noise: they may be published."""

from __future__ import annotations

import secrets

import numpy as np


def seeds_of(base: int | None, *names: str) -> dict[str, int]:
    """Independent seeds by name, and under ``"base"`` the one they follow from.

    Args:
        base: At least 0; None draws one.
        names: What is seeded.
    """
    chosen = secrets.randbits(31) if base is None else base
    words = np.random.SeedSequence(chosen).generate_state(len(names))
    return {"base": chosen, **{name: int(word) for name, word in zip(names, words, strict=True)}}
