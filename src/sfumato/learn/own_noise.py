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

from sfumato.errors import InputError

Words = NDArray[np.uint64]

_HALF = 1 << 32
_EXAMPLES = 4096  # hashed at a time
_KINDS = 3  # streams of a step: two of a normal pair, one of uniform numbers
_WEYL = np.uint64(0x9E3779B97F4A7C15)


def keys_of(examples: Tensor) -> Tensor:
    """(n,) int64: a hash of each example's own numbers.

    Args:
        examples: (n, ...) floats.
    """
    parts = [_keys(part) for part in torch.split(examples.detach(), _EXAMPLES)]
    return torch.from_numpy(np.concatenate(parts).view(np.int64))


def _keys(examples: Tensor) -> Words:
    """Of so few that their numbers may lie in memory twice more."""
    flat = np.ascontiguousarray(examples.cpu().numpy())
    flat = flat.reshape(len(flat), math.prod(flat.shape[1:]))
    words = flat.view(np.uint32)
    found = np.full(len(flat), words.shape[1], np.uint64)
    for column in words.T:
        found = _mixed((found + _WEYL) ^ column)
    return found


def gaussian(keys: Tensor, width: int, seed: int, step: int) -> Tensor:
    """(n, width) float32, standard normal: by key, step and seed, and nothing else.

    Args:
        keys: (n,) from :func:`keys_of`.
        width: Numbers an example.
        seed: At least 0; may be published.
        step: At least 0.

    Raises:
        InputError: If there would be more numbers, or steps, than a counter tells apart.
    """
    pairs = (width + 1) // 2
    first, second = (_uniform(keys, pairs, seed, step, half) for half in (0, 1))
    radius = np.sqrt(-2 * np.log(first))
    angle = 2 * math.pi * second
    both = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return torch.from_numpy(both[:, :width].astype(np.float32)).to(keys.device)


def uniform(keys: Tensor, width: int, seed: int, step: int) -> Tensor:
    """(n, width) float32 in (0, 1), as :func:`gaussian`."""
    drawn = _uniform(keys, width, seed, step, 2)
    return torch.from_numpy(drawn.astype(np.float32)).to(keys.device)


def _uniform(keys: Tensor, width: int, seed: int, step: int, kind: int) -> NDArray[np.float64]:
    """In (0, 1], float64."""
    words = _mixed(_words(keys, width, seed, step, kind) + _WEYL)
    return np.asarray(((words >> np.uint64(11)).astype(np.float64) + 1) * 2.0**-53)


def _words(keys: Tensor, width: int, seed: int, step: int, kind: int) -> Words:
    """(n, width): of one key and seed, no two steps, kinds or places ever have the same word.

    The counter has a half for the step and its kind, and a half for the place; whatever else is
    done to it is one to one.
    """
    number = _KINDS * step + kind
    if not (0 <= number < _HALF and width <= _HALF and 0 <= seed < _HALF**2):
        raise InputError(
            f"{width} random inputs of an example were asked for at step {step} of seed {seed}",
            "Ask for fewer than 2**32, within 2**30 steps; a seed is below 2**64.",
        )
    own = keys.detach().cpu().numpy().view(np.uint64)
    stream = _mixed(own ^ _mixed(np.array([seed], np.uint64) + _WEYL))
    counter = np.uint64(number << 32) | np.arange(width, dtype=np.uint64)
    return _mixed(stream[:, None] ^ _mixed(counter))


def _mixed(words: Words) -> Words:
    """Every bit of the result hangs on every bit of the word (the finaliser of SplitMix64)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(words ^ (words >> np.uint64(31)), dtype=np.uint64)
