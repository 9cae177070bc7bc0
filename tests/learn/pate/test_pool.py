from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sfumato.data import ImageSchema
from sfumato.errors import InputError
from sfumato.learn.pate.pool import load_pool

FACTS = ImageSchema(1, 4, 4, ("a", "b"))


def public(folder: Path, side: int = 4, classes: str = "") -> str:
    arrays: dict[str, Any] = {
        "images": np.random.default_rng(0).random((5, 1, side, side)).astype(np.float32),
        "labels": np.arange(5) % 2,
    }
    if classes:
        arrays["classes"] = list(classes)
    np.savez(folder / "public.npz", **arrays)
    return str(folder / "public.npz")


@pytest.mark.parametrize("classes", ["", "ab", "xyz"])
def test_pictures_of_any_classes_are_public_records(tmp_path: Path, classes: str) -> None:
    pool = load_pool(public(tmp_path, classes=classes), FACTS, 4)
    assert pool.inputs.shape == (4, 1, 4, 4)
    assert pool.fact.value["records"] == 4


def test_pictures_of_another_size_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\(1, 6, 6\), the private ones \(1, 4, 4\)"):
        load_pool(public(tmp_path, 6, "xyz"), FACTS, 4)
