from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest


def clopper_pearson(hits: int, n: int, alarm: float) -> tuple[float, float]:
    """Bounds on a probability, each wrong with probability at most ``alarm``."""
    from scipy.stats import beta

    low = 0.0 if hits == 0 else float(beta.ppf(alarm, hits, n - hits + 1))
    high = 1.0 if hits == n else float(beta.ppf(1 - alarm, hits + 1, n - hits))
    return low, high


@pytest.fixture
def audit() -> Callable[..., float]:
    """A lower bound on epsilon from reports on two values; too high with probability 1e-6.

    The best of the events "report <= t" and "report >= t", with the alarm shared between them.
    """

    def lower_bound(a: np.ndarray, b: np.ndarray, delta: float = 0.0) -> float:
        thresholds = np.unique(np.quantile(np.concatenate([a, b]), np.linspace(0, 1, 21)))
        alarm = 1e-6 / (8 * len(thresholds))
        best = 0.0
        for t in thresholds:
            for event in (lambda x, t=t: (x <= t).sum(), lambda x, t=t: (x >= t).sum()):
                for one, other in ((a, b), (b, a)):
                    seen = clopper_pearson(int(event(one)), len(one), alarm)[0]
                    false = clopper_pearson(int(event(other)), len(other), alarm)[1]
                    if seen > delta:
                        best = max(best, math.log((seen - delta) / false))
        return best

    return lower_bound


@pytest.fixture
def audit_mu() -> Callable[[np.ndarray, np.ndarray], float]:
    """A lower bound on mu of Gaussian DP, from ``TPR <= Phi(Phi^-1(FPR) + mu)``; alarm 1e-6."""

    def lower_bound(a: np.ndarray, b: np.ndarray) -> float:
        from scipy.stats import norm

        t = np.median(np.concatenate([a, b]))
        tpr = clopper_pearson(int((b > t).sum()), len(b), 5e-7)[0]
        fpr = clopper_pearson(int((a > t).sum()), len(a), 5e-7)[1]
        return float(norm.ppf(tpr) - norm.ppf(fpr))

    return lower_bound


@pytest.fixture
def independent() -> Callable[[np.ndarray], bool]:
    """Whether the columns of (repeats, numbers) noise are uncorrelated and none is constant.

    False alarms below 1e-6, shared between all pairs of columns.
    """

    def test(noise: np.ndarray) -> bool:
        from scipy.stats import norm

        repeats, numbers = noise.shape
        if np.any(noise.std(axis=0) == 0):
            return False
        pairs = np.corrcoef(noise.T)[np.triu_indices(numbers, 1)]
        limit = norm.isf(1e-6 / (2 * len(pairs))) / math.sqrt(repeats)
        return bool(np.abs(pairs).max() < 1.2 * limit)

    return test


@pytest.fixture
def near() -> Callable[[np.ndarray, np.ndarray], bool]:
    """Whether counts are what probabilities say, within binomial bounds; alarm 1e-6."""

    def test(counts: np.ndarray, probabilities: np.ndarray) -> bool:
        counts, n = np.asarray(counts), int(np.sum(counts))
        bounds = [clopper_pearson(int(c), n, 1e-6 / (2 * len(counts))) for c in counts]
        return all(low <= p <= high for (low, high), p in zip(bounds, probabilities, strict=True))

    return test


@pytest.fixture
def scripted() -> type:
    """A source that gives the words it was told to give, then those of a seed."""
    from sfumato.privacy.noise import SeededSource

    class Scripted(SeededSource):
        def __init__(self, words: list[int]) -> None:
            super().__init__(0)
            self.words = list(words)

        def uint64(self, n: int) -> np.ndarray:
            given, self.words = self.words[:n], self.words[n:]
            return np.concatenate([np.array(given, np.uint64), super().uint64(n - len(given))])

    return Scripted
