"""Models of rows are attacked as models of pictures are; shadow models take the same codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import softmax

from sfumato import registry
from sfumato.attack import Evidence
from sfumato.attack.membership.shadowed import encoded
from sfumato.attack.shadows import Job, Recipe
from sfumato.data import Table
from sfumato.measure import cnn
from sfumato.measure.features import Design

SHADOWS = {"shadows": 8, "epochs": 40, "max_records": 600}


class Rows:
    """A network of rows, known by its predictions."""

    kind, takes = "model", "table"

    def __init__(self, members: Table) -> None:
        self.schema = members.schema
        self.design = Design(tuple(members.schema.features))
        names = [column.name for column in members.schema.features]
        codes = members.codes()
        inputs = self.inputs(np.column_stack([codes[name] for name in names]))
        labels = np.asarray(codes[str(members.schema.target)], np.int64)
        rows = np.arange(len(labels))[None]
        self.network = Job(inputs, labels, 2, rows, Recipe(cnn.DENSE, 40), 9).train().module(0)

    def inputs(self, codes: Any) -> Any:
        return np.asarray(self.design.matrix(codes).toarray(), np.float32)

    def probabilities_from(self, codes: Any) -> Any:
        with torch.no_grad():
            scores = self.network(torch.from_numpy(self.inputs(codes)))
        return softmax(scores.double().numpy(), axis=1)


@pytest.fixture(scope="module")
def memorised(make_people: Any, make_release: Any) -> tuple[Any, Evidence]:
    """A model that learnt 200 owners by heart: they follow from nothing."""

    def guessed(rows: int, seed: int) -> Table:
        table = make_people(rows, seed)
        owner = np.random.default_rng(1000 + seed).integers(0, 2, rows)
        return Table.from_codes({**table.codes(), "owner": owner}, table.schema)

    members, others, auxiliary = guessed(200, 1), guessed(200, 2), guessed(600, 3)

    class Held:
        card = make_release(members).card
        model = Rows(members)

        class artefact:
            content, kind = None, "model"

    Held.artefact.content = Held.model
    return Held, Evidence(members, others, auxiliary)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("gap", {}),
        ("loss", {}),
        ("entropy", {}),
        ("quantile", {}),
        ("label_only", {}),
        ("shadow", SHADOWS),
        ("lira", SHADOWS),
        ("lira", {**SHADOWS, "mode": "offline", "family": cnn.LINEAR}),
        ("rmia", {**SHADOWS, "population": 100}),
    ],
)
def test_a_model_that_learnt_rows_by_heart_is_found(
    name: str, settings: dict[str, Any], memorised: tuple[Any, Evidence]
) -> None:
    finding = registry.build("attack", f"membership.{name}", settings)(*memorised, seed=2)
    assert finding.better_than_chance
    assert finding.breaks_guarantee  # the card claims a noise multiplier of 4
    if settings:
        assert finding.details["shadow_family"] == settings.get("family", cnn.DENSE)


def test_shadow_models_see_levels_as_columns_and_numbers_on_their_public_range(
    memorised: tuple[Any, Evidence],
) -> None:
    class Game:
        takes, model = "table", memorised[0].model

    codes = memorised[1].members.codes()
    names = [column.name for column in Game.model.schema.features]
    found = encoded(Game, np.column_stack([codes[name] for name in names]))
    assert found.dtype == np.float32
    assert found.min() >= 0
    assert found.max() <= 1
    assert (found[:, : found.shape[1]].sum(axis=1) > 0).all()
