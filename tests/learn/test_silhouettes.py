"""Silhouettes: a function of the seed, in range, of any shape."""

from __future__ import annotations

import pytest
import torch

from sfumato.errors import InputError
from sfumato.learn.silhouettes import silhouettes, surfaces


@pytest.mark.parametrize("kind", [silhouettes, surfaces])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 12, 20), (1, 8, 8), (1, 1, 1)])
def test_pictures_of_any_shape_follow_from_the_seed(kind, shape) -> None:
    made = kind(7, shape, 3)
    assert made.shape == (7, *shape)
    assert made.dtype == torch.float32
    assert float(made.min()) >= 0
    assert float(made.max()) <= 1
    assert torch.equal(made, kind(7, shape, 3))
    assert not torch.equal(made, kind(7, shape, 4))


def test_they_differ_and_stand_in_the_middle() -> None:
    made = silhouettes(600, (1, 28, 28), 0)[:, 0]
    assert len({picture.numpy().tobytes() for picture in made}) > 590
    edge = torch.cat([made[:, 0], made[:, -1], made[:, :, 0], made[:, :, -1]], dim=1)
    assert float(made[:, 10:18, 10:18].mean()) > 4 * float(edge.mean())
    assert (made.flatten(1).amax(dim=1) > 0).float().mean() > 0.95


@pytest.mark.parametrize(("n", "shape"), [(0, (1, 8, 8)), (3, (8, 8)), (3, (1, 0, 8))])
def test_nothing_to_draw_is_refused(n: int, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="silhouettes"):
        silhouettes(n, shape)
