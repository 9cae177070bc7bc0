"""Random inputs that follow from the example, the step and the seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from sfumato.errors import InputError
from sfumato.learn import own_noise
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


def test_no_two_steps_kinds_or_places_share_a_word() -> None:
    """Images of 300 x 300 have more numbers than a field of 16 bits."""
    keys = keys_of(torch.rand(2, 1, 2, 2))
    wide = 70_000
    for key in (keys[:1], keys[1:]):
        words = [
            own_noise._words(key, wide, seed=5, step=step, kind=kind).ravel()
            for step in (0, 1, 2**24, 2**24 + 1)
            for kind in range(3)
        ]
        assert len(np.unique(np.concatenate(words))) == 12 * wide


def test_seeds_of_any_size_are_told_apart() -> None:
    keys = keys_of(torch.rand(1, 2))
    drawn = {float(uniform(keys, 1, seed, 0)) for seed in (1, 1 + 2**24, 1 + 2**40, 2**63)}
    assert len(drawn) == 4


def test_more_than_a_counter_tells_apart_is_refused() -> None:
    keys = keys_of(torch.rand(1, 2))
    for step, seed in ((2**31, 0), (-1, 0), (0, -1), (0, 2**64)):
        with pytest.raises(InputError, match="random inputs of an example"):
            uniform(keys, 1, seed, step)


def test_examples_are_hashed_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second copy of all private images is not made."""
    images = torch.rand(11, 1, 3, 3)
    whole, hashed, few = keys_of(images), [], own_noise._keys

    def counted(examples: torch.Tensor) -> own_noise.Words:
        hashed.append(len(examples))
        return few(examples)

    monkeypatch.setattr(own_noise, "_keys", counted)
    monkeypatch.setattr(own_noise, "_EXAMPLES", 4)
    assert torch.equal(keys_of(images), whole)
    assert hashed == [4, 4, 3]
    assert keys_of(images[:0]).shape == (0,)


@pytest.mark.parametrize("width", [1, 2, 7])
def test_any_width(width: int) -> None:
    keys = keys_of(torch.rand(3, 2))
    assert gaussian(keys, width, 0, 0).shape == (3, width)
    assert gaussian(keys[:0], width, 0, 0).shape == (0, width)
