"""``learn.adlm`` as a method: from private records to a model behind a paid-for scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sfumato.data import Categorical, ImageSchema, ImageSet, Numeric, Schema, Table
from sfumato.errors import InputError
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.noise import SeededSource
from sfumato.publish.models.adlm import AdLmMethod

BUDGET = Budget(2.0, 1e-4)
PICTURES = ImageSchema(1, 4, 4, ("dark", "light"), records=60)
PEOPLE = Schema(
    (Numeric("age", 0, 50, 1), Categorical("ill", ("no", "yes"))), target="ill", records=60
)


def small(**settings: Any) -> AdLmMethod:
    plain = {"network": "dense", "epochs": 2.0, "expected_batch_size": 20, "seed": 1}
    return AdLmMethod(**{**plain, **settings})


def test_a_model_and_its_card() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=60)
    images = ((rng.random((60, 1, 4, 4)) + labels[:, None, None, None]) / 2).astype(np.float32)
    data = ImageSet.from_arrays(images, labels, PICTURES.classes)
    calibrated = small().calibrate(BUDGET, PICTURES)
    release = calibrated(data, ledger=Ledger.in_memory(), source=SeededSource(1))
    model, card = release.artefact.content, release.card
    assert model.predict(data).shape == (60,)
    assert model.tensors["1.scale"].shape == (1, 4, 4)
    assert float(np.square(model.tensors["1.scale"]).mean()) == pytest.approx(1.0)
    assert 0.99 * BUDGET.epsilon < card.figures["epsilon"] <= BUDGET.epsilon
    assert card.plan["steps"] == 6
    assert card.plan["warmup"] == 1
    assert card.plan["relevance_noise_multiplier"] > 1
    assert any("is not what ran" in line for line in card.caveats)


def test_rows_have_weights_behind_their_encoder() -> None:
    rng = np.random.default_rng(0)
    age = rng.integers(51, size=60)
    data = Table.from_codes({"age": age, "ill": (age > 25).astype(np.int64)}, PEOPLE)
    calibrated = small(network="auto").calibrate(BUDGET, PEOPLE)
    release = calibrated(data, ledger=Ledger.in_memory(), source=SeededSource(1))
    assert release.artefact.content.tensors["1.scale"].shape == (1,)


def test_a_network_without_layers_in_sequence_is_refused_before_anything_is_spent() -> None:
    facts = ImageSchema(1, 8, 8, ("a", "b"), records=60)
    with pytest.raises(InputError, match="relevance cannot"):
        small(network="wide-resnet").calibrate(BUDGET, facts)


def test_undeclared_records_are_refused() -> None:
    with pytest.raises(InputError, match="number of records"):
        small().calibrate(BUDGET, PICTURES.with_records(None))


@pytest.mark.parametrize(
    "settings",
    [
        {"warmup": 1.0},
        {"floor": 0.0},
        {"relevance_share": 0.0},
        {"hidden": "64"},
        {"expected_batch_size": 61},
        {"neighbours": "zero-out"},
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        small(**settings).calibrate(BUDGET, PICTURES)
