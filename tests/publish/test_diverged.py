from __future__ import annotations

import numpy as np
import pytest

from sfumato import registry
from sfumato.data import ImageSet
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.noise import SeededSource


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("generators.cvae", {"epochs": 1, "samples": 20}),
        ("learn.dpsgd", {"epochs": 1}),
    ],
)
def test_weights_that_ran_away_are_told_on_the_card(method: str, settings: dict) -> None:
    rng = np.random.default_rng(0)
    images = rng.random((60, 1, 8, 8), np.float32)
    data = ImageSet.from_arrays(images, rng.integers(0, 2, 60), ("a", "b"))
    told = {}
    for rate in (1e-3, 1e30):
        built = registry.build("method", method, {**settings, "learning_rate": rate, "seed": 0})
        run = built.calibrate(Budget(2.0, 1e-5), data.schema.with_records(60))
        release = run(data, ledger=Ledger.in_memory(), source=SeededSource(1))
        told[rate] = [c for c in release.card.caveats if "diverged" in c]
        assert release.card.verify() == []
    assert told[1e-3] == []
    assert len(told[1e30]) == 1
