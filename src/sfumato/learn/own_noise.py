"""Random inputs of an example that no other example has a say in.

A model with random inputs (an autoencoder's draw from its posterior, a diffusion step's time and
noise) needs some for each example of a batch. Drawn in the order of the batch from a seed that is
published, an example's would depend on how many others come before it: one record more would move
all contributions after it, and no clip of single gradients would bound that. Here they are a public
function of the example itself, the step and the seed.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Words = NDArray[np.uint64]

_WEYL = np.uint64(0x9E3779B97F4A7C15)


def keys_of(examples: Tensor) -> Tensor:
    """(n,) int64: a hash of each example's own numbers.

    Args:
        examples: (n, ...) floats.
    """
    flat = np.ascontiguousarray(examples.detach().cpu().numpy()).reshape(len(examples), -1)
    words = flat.view(np.uint32).astype(np.uint64)
    found = np.full(len(flat), words.shape[1], np.uint64)
    for column in words.T:
        found = _mixed((found + _WEYL) ^ column)
    return torch.from_numpy(found.view(np.int64))


def gaussian(keys: Tensor, width: int, seed: int, step: int) -> Tensor:
    """(n, width) float32, standard normal: by key, step and seed, and nothing else.

    Args:
        keys: (n,) from :func:`keys_of`.
        width: Numbers an example.
        seed: At least 0; may be published.
        step: At least 0.
    """
    pairs = (width + 1) // 2
    first, second = (_uniform(keys, pairs, seed, 2 * step + half) for half in (0, 1))
    radius = np.sqrt(-2 * np.log(first))
    angle = 2 * math.pi * second
    both = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return torch.from_numpy(both[:, :width].astype(np.float32)).to(keys.device)


def uniform(keys: Tensor, width: int, seed: int, step: int) -> Tensor:
    """(n, width) float32 in (0, 1), as :func:`gaussian`."""
    drawn = _uniform(keys, width, seed, 2 * step)
    return torch.from_numpy(drawn.astype(np.float32)).to(keys.device)


def _uniform(keys: Tensor, width: int, seed: int, number: int) -> NDArray[np.float64]:
    """In (0, 1], float64."""
    own = keys.detach().cpu().numpy().view(np.uint64)[:, None]
    place = _mixed(
        np.uint64((seed << 40 ^ number << 16) & (2**64 - 1)) ^ np.arange(width, dtype=np.uint64)
    )
    words = _mixed(_mixed(own ^ place) + _WEYL)
    return np.asarray(((words >> np.uint64(11)).astype(np.float64) + 1) * 2.0**-53)


def _mixed(words: Words) -> Words:
    """Every bit of the result hangs on every bit of the word (the finaliser of SplitMix64)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(words ^ (words >> np.uint64(31)), dtype=np.uint64)
