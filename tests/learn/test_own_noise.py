"""Random inputs that follow from the example, the step and the seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from sfumato.learn.own_noise import gaussian, keys_of, uniform


def test_no_other_example_has_a_say() -> None:
    images = torch.rand(50, 1, 6, 6)
    keys = keys_of(images)
    some = torch.tensor([3, 7, 41])
    assert torch.equal(keys_of(images[some]), keys[some])
    whole = gaussian(keys, 5, seed=1, step=9)
    assert torch.equal(gaussian(keys[some], 5, seed=1, step=9), whole[some])


def test_it_is_normal_and_independent_over_examples_steps_places_and_seeds() -> None:
    keys = keys_of(torch.rand(4000, 1, 4, 4))
    drawn = [gaussian(keys, 6, seed, step).numpy() for seed in (0, 1) for step in (0, 1)]
    for one in drawn:
        assert stats.kstest(one.ravel(), "norm").pvalue > 1e-4
        correlations = np.corrcoef(one.T) - np.eye(6)
        assert np.abs(correlations).max() < 0.08
    together = np.corrcoef(np.stack([one.ravel() for one in drawn])) - np.eye(4)
    assert np.abs(together).max() < 0.03
    flat = uniform(keys, 3, 0, 5).numpy()
    assert stats.kstest(flat.ravel(), "uniform").pvalue > 1e-4
    assert 0 < flat.min() < flat.max() <= 1


def test_near_examples_have_unlike_keys() -> None:
    images = torch.zeros(2, 1, 3, 3)
    images[1, 0, 0, 0] = 1e-7
    first, second = keys_of(images).tolist()
    assert bin((first ^ second) & (2**64 - 1)).count("1") > 10
    assert keys_of(images)[0] == keys_of(images[:1])[0]


@pytest.mark.parametrize("width", [1, 2, 7])
def test_any_width(width: int) -> None:
    keys = keys_of(torch.rand(3, 2))
    assert gaussian(keys, width, 0, 0).shape == (3, width)
    assert gaussian(keys[:0], width, 0, 0).shape == (0, width)
