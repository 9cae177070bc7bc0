"""Drawings: the same for the same seed, of any size, and varied."""

from __future__ import annotations

import pytest
import torch

from sfumato.errors import InputError
from sfumato.learn import drawings


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 16, 24), (1, 1, 1)])
@pytest.mark.parametrize("n", [1, 7])
def test_drawings_have_the_shape_asked_for_and_lie_in_the_unit_interval(
    n: int, shape: tuple[int, int, int]
) -> None:
    drawn = drawings.draw(n, shape)
    assert drawn.shape == (n, *shape)
    assert drawn.dtype == torch.float32
    assert float(drawn.min()) >= 0
    assert float(drawn.max()) <= 1


def test_a_seed_gives_the_same_drawings_whatever_was_drawn_before() -> None:
    first = drawings.draw(20, (1, 12, 12), seed=3)
    torch.rand(5)
    torch.testing.assert_close(drawings.draw(20, (1, 12, 12), seed=3), first, atol=0, rtol=0)
    assert (drawings.draw(20, (1, 12, 12), seed=4) != first).any()


def test_no_two_drawings_are_alike_and_few_are_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawings, "_CHUNK", 30)
    drawn = drawings.draw(130, (1, 28, 28)).flatten(1)
    assert len(torch.unique(drawn, dim=0)) == 130
    assert (drawn.amax(dim=1) > 0.1).all()
    assert (drawn == 0).float().mean() > 0.3


def test_nothing_to_draw_is_an_error() -> None:
    for n, shape in ((0, (1, 8, 8)), (3, (8, 8)), (3, (1, 0, 8))):
        with pytest.raises(InputError, match="drawings of the shape"):
            drawings.draw(n, shape)
