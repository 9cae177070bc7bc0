"""The way back from what was released of pictures, by whichever decoder is best on other pairs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.attack.generative import fit_decoder

Pictures = NDArray[np.float32]
NETWORK, LINEAR = "network", "linear"
_PAIRS = 2000
"""That a linear decoder learns from; with more the network is better."""
_PENALTIES = np.geomspace(1e-3, 1e3, 13)


@dataclass(frozen=True)
class Pairs:
    """Pictures whose released versions the attacker has.

    Args:
        seen: (n, ...) what was released of them, any numbers.
        pictures: (n, c, h, w) in [0, 1].
        labels: (n,) their classes.
        persons: (n,) whose they are.
    """

    seen: NDArray[Any]
    pictures: Pictures
    labels: NDArray[np.int64]
    persons: NDArray[np.int64]

    def at(self, rows: NDArray[Any]) -> Pairs:
        """Some of them."""
        return Pairs(self.seen[rows], self.pictures[rows], self.labels[rows], self.persons[rows])


@dataclass(frozen=True)
class Decoded:
    """Guesses of pictures.

    Args:
        found: (m, c, h, w) with the release.
        without: (m, c, h, w) knowing the class alone.
        way: ``NETWORK`` or ``LINEAR``.
        weight: How much of the decoder's answer is taken, from 0, where it is no use, to 1.
    """

    found: Pictures
    without: Pictures
    way: str
    weight: float


def decode(
    known: Pairs, shown: NDArray[Any], labels: NDArray[np.int64], *, steps: int, seed: int
) -> Decoded:
    """Guesses the pictures behind what was released of them.

    Without the release the guess is the mean picture of the class, drawn towards that of all; with
    it, the same drawn towards a decoder's answer: a network's, or that of a penalised linear map
    from what is unusual of the released picture for its class to what is of the picture. Which
    decoder, its penalty and how far either is drawn is chosen on a fifth of the known persons, of
    whom it had learnt nothing; one that gains less on them than a standard error is not used.

    Args:
        known: The attacker's pairs.
        shown: (m, ...) what was released of others.
        labels: (m,) their classes, which the attacker is told.
        steps: Of the network's training.
        seed: Of the fifth, and of the network.
    """
    rng = np.random.default_rng([seed, 0x6465636F])
    names = np.unique(known.persons)
    held = np.isin(known.persons, rng.permutation(names)[: max(1, len(names) // 5)])
    learnt, tried = known.at(~held), known.at(held)
    means, everybody = _class_means(learnt.pictures, learnt.labels, tried.labels)
    share = _share(everybody, means, tried.pictures)
    plain = everybody + share * (means - everybody)
    judged: dict[tuple[str, float], tuple[float, float]] = {}
    for way in (NETWORK, LINEAR):
        for penalty, decoder in _fitted(way, learnt, steps, seed).items():
            guess = decoder(tried.seen, tried.labels)
            weight = _share(plain, guess, tried.pictures)
            mixed = plain + weight * (guess - plain)
            gain = _missed(plain, tried.pictures) - _missed(mixed, tried.pictures)
            judged[way, penalty] = float(gain.sum()), weight * _surely(gain, tried.persons)
    best = max(judged, key=lambda name: judged[name][0])
    weight = judged[best][1]
    means, everybody = _class_means(known.pictures, known.labels, labels)
    without = everybody + share * (means - everybody)
    guess = _fitted(best[0], known, steps, seed)[best[1]](shown, labels)
    found = np.clip(without + weight * (guess - without), 0, 1)
    return Decoded(found.astype(np.float32), without.astype(np.float32), best[0], weight)


Decoder = Callable[[NDArray[Any], NDArray[np.int64]], NDArray[np.floating]]


def _share(start: NDArray[Any], end: NDArray[Any], truth: NDArray[Any]) -> float:
    """How far from one guess towards another is nearest to the truth, from 0 to 1."""
    way = (end - start).astype(np.float64)
    long = float(np.square(way).sum())
    return float(np.clip((way * (truth - start)).sum() / long, 0, 1)) if long > 0 else 0.0


def _missed(guess: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
    """(n,) squared errors."""
    return np.asarray(np.square(guess - truth, dtype=np.float64).sum(axis=(1, 2, 3)))


def _surely(gain: NDArray[np.float64], persons: NDArray[np.int64]) -> bool:
    """Whether the gain on some persons is above its standard error."""
    each = np.bincount(np.unique(persons, return_inverse=True)[1], gain)
    return len(each) > 1 and bool(each.mean() > each.std(ddof=1) / math.sqrt(len(each)))


def _fitted(way: str, pairs: Pairs, steps: int, seed: int) -> dict[float, Decoder]:
    """Decoders of one kind, by their penalty."""
    if way == LINEAR:
        return _linear(pairs, seed)
    decoder = fit_decoder(pairs.seen, pairs.pictures, steps=steps, seed=seed)
    return {0.0: lambda seen, labels: decoder(seen)}


def _linear(pairs: Pairs, seed: int) -> dict[float, Decoder]:
    """Ridge regressions of deviations from the class on deviations from the class."""
    rows = np.random.default_rng([seed, 1]).permutation(len(pairs.labels))[:_PAIRS]
    some = pairs.at(np.sort(rows))
    flat, pictures = _flat(some.seen), _flat(some.pictures)
    x, y = (part - _class_means(part, some.labels, some.labels)[0] for part in (flat, pictures))
    spread = x.std(axis=0)
    spread[spread < 1e-6] = 1.0
    left, sizes, right = np.linalg.svd(x / spread, full_matrices=False)
    told, common = left.T @ y, max(float(np.square(sizes).mean()), 1e-12)

    def inverter(penalty: float) -> Decoder:
        shrunk = sizes / (np.square(sizes) + penalty * common)

        def invert(seen: NDArray[Any], labels: NDArray[np.int64]) -> NDArray[np.floating]:
            away = _flat(seen) - _class_means(flat, some.labels, labels)[0]
            means = _class_means(pictures, some.labels, labels)[0]
            guess = means + (away / spread @ right.T * shrunk) @ told
            return np.asarray(guess.reshape(-1, *some.pictures.shape[1:]))

        return invert

    return {float(penalty): inverter(float(penalty)) for penalty in _PENALTIES}


def _flat(values: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(values, np.float64).reshape(len(values), -1)


def _class_means(
    values: NDArray[Any], labels: NDArray[np.int64], asked: NDArray[np.int64]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The mean of each class asked for, of all where there is none of it; and the mean of all."""
    everybody = values.mean(axis=0)
    means = {int(label): values[labels == label].mean(axis=0) for label in np.unique(labels)}
    return np.stack([means.get(int(label), everybody) for label in asked]), everybody
