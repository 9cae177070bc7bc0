"""The generator fits every shape of image, and comes back from its weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sfumato.errors import InputError
from sfumato.publish.generators.networks import Architecture, weights

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (1, 7, 13), (3, 5, 50), (1, 1, 1), (1, 64, 20)]


def architecture(shape: tuple[int, int, int], classes: int = 3) -> Architecture:
    return Architecture(shape, classes, latent=4, hidden=10, width=8)


@pytest.mark.parametrize("shape", SHAPES)
def test_images_have_the_shape_and_range_that_were_asked_for(shape: tuple[int, int, int]) -> None:
    plan = architecture(shape)
    module = plan.build().eval()
    with torch.no_grad():
        made = plan.images(module, torch.tensor([0, 1, 2, 2]), torch.Generator().manual_seed(0))
    assert made.shape == (4, *shape)
    assert 0 <= float(made.min()) <= float(made.max()) <= 1
    assert max(plan.smallest) <= 8


def test_the_architecture_and_weights_rebuild_the_same_generator() -> None:
    plan = architecture((1, 8, 8))
    module = plan.build().eval()
    again = Architecture.from_dict(plan.to_dict())
    assert again == plan
    rebuilt = again.load(weights(module))
    labels = torch.tensor([0, 2])
    with torch.no_grad():
        a = plan.images(module, labels, torch.Generator().manual_seed(1))
        b = again.images(rebuilt, labels, torch.Generator().manual_seed(1))
    assert torch.equal(a, b)


def test_the_class_matters_to_the_image() -> None:
    plan = architecture((1, 8, 8))
    module = plan.build().eval()
    with torch.no_grad():
        a, b = (
            plan.images(module, torch.tensor([label]), torch.Generator().manual_seed(1))
            for label in (0, 1)
        )
    assert not torch.equal(a, b)


@pytest.mark.parametrize(
    "change",
    [{"kind": "other"}, {"classes": 0}, {"shape": [1, 8]}, {"latent": "many"}, {"width": None}],
)
def test_an_architecture_of_something_else_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="no generator"):
        Architecture.from_dict({**architecture((1, 8, 8)).to_dict(), **change})


def test_weights_of_another_architecture_are_refused() -> None:
    tensors = weights(architecture((1, 8, 8)).build())
    with pytest.raises(InputError, match="weights do not fit"):
        architecture((1, 8, 8), classes=4).load(tensors)
    with pytest.raises(InputError, match="weights do not fit"):
        architecture((1, 8, 8)).load({"0.weight": np.zeros((10, 7), np.float32)})
