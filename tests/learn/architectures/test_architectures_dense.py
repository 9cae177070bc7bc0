"""Dense networks: codes of a table as features, and fixed projections."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from sfumato.learn.architectures import build
from sfumato.learn.architectures.dense import CodesToFeatures, Projection
from sfumato.learn.features import Column, Features

COLUMNS = (
    Column(4),
    Column(9, grid=8),  # numbers, one of them missing
    Column(5, grid=5),
    Column(1, grid=1),  # a number that is always the same
    Column(2, grid=1),
    Column(3),
)


def codes(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, [column.size for column in COLUMNS], (n, len(COLUMNS)))


def test_codes_become_the_features_of_the_logistic_regression_but_for_its_public_factor() -> None:
    rows = codes(200)
    known = Features(COLUMNS)
    layer = CodesToFeatures([(column.size, column.grid) for column in COLUMNS])
    found = layer(torch.from_numpy(rows.astype(np.int32))).numpy()
    wanted = known.matrix(rows).toarray() * known.norm
    assert layer.width == known.width - 1
    np.testing.assert_allclose(found, wanted[:, :-1], atol=1e-6)  # the last one is the constant


def test_a_row_is_never_longer_than_the_root_of_its_columns() -> None:
    layer = CodesToFeatures([(column.size, column.grid) for column in COLUMNS])
    norms = layer(torch.from_numpy(codes(500))).norm(dim=1)
    assert norms.max() <= np.sqrt(len(COLUMNS)) + 1e-6


def test_the_encoder_holds_nothing_that_a_release_would_carry() -> None:
    layer = CodesToFeatures([(3, None), (5, 4)])
    assert layer.state_dict() == {}
    assert list(layer.parameters()) == []


def test_a_projection_is_linear_and_not_trained() -> None:
    layer = Projection(4, 2)
    layer.directions.copy_(torch.eye(4)[:, :2])
    rows = torch.tensor([[3.0, 4.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [6.0, 8.0, 0.0, 0.0]])
    found = layer(rows)
    torch.testing.assert_close(found, torch.tensor([[3.0, 4.0], [0.0, 0.0], [6.0, 8.0]]))
    assert list(layer.parameters()) == []
    assert set(layer.state_dict()) == {"directions"}


@pytest.mark.parametrize("hidden", [(), (7,), (7, 5)])
def test_hidden_widths_are_those_asked_for(hidden: tuple[int, ...]) -> None:
    module = build({"family": "dense", "shape": [1, 2, 3], "classes": 4, "hidden": hidden})
    shapes = [tuple(p.shape) for n, p in module.named_parameters() if n.endswith("weight")]
    widths = [6, *hidden, 4]
    assert shapes == [(b, a) for a, b in itertools.pairwise(widths)]
