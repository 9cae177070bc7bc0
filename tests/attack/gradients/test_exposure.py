"""The noise and the clipping that an attacker sees are those that a card states."""

from __future__ import annotations

import pytest
import torch

from sfumato.attack.gradients.exposure import Exposure


def test_the_noise_of_a_step_is_as_strong_as_the_card_says() -> None:
    """Planted: half of it. 100,000 draws, 1 %: 4.5 sigma of their standard deviation."""
    seen = Exposure(max_grad_norm=0.1, noise_multiplier=2.0)(torch.zeros(10, 10_000), 3)
    assert float(seen.std()) == pytest.approx(0.2, rel=0.01)
    assert abs(float(seen.mean())) < 6 * 0.2 / 100_000**0.5


def test_a_gradient_is_scaled_to_the_clip_norm_and_a_shorter_one_is_left() -> None:
    seen_as = Exposure(max_grad_norm=1.0, noise_multiplier=0.0)
    seen = seen_as(torch.tensor([[3.0, 4.0], [0.3, 0.4]]), 0)
    torch.testing.assert_close(seen, torch.tensor([[0.6, 0.8], [0.3, 0.4]]))
    assert seen_as.ceiling is None
