from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from sfumato.privacy.noise import SeededSource

FALSE_ALARM = 1e-6


class Scripted(SeededSource):
    """Gives the words it was told to give, then those of a seed."""

    def __init__(self, words: Sequence[int] = (), seed: int = 0) -> None:
        super().__init__(seed)
        self.words = list(words)

    def uint64(self, n: int) -> np.ndarray:
        given, self.words = self.words[:n], self.words[n:]
        return np.concatenate([np.array(given, np.uint64), super().uint64(n - len(given))])


def chi_square_p(observed: np.ndarray, expected: np.ndarray) -> float:
    """P-value of counts against expected counts of the same total; sparse cells are pooled."""
    from scipy.stats import chi2

    order = np.argsort(expected)[::-1]
    observed, expected = np.asarray(observed, float)[order], np.asarray(expected, float)[order]
    few = expected < 10
    observed = np.append(observed[~few], observed[few].sum())
    expected = np.append(expected[~few], expected[few].sum())
    if expected[-1] < 1:  # not worth a cell of its own: 20 where below one is expected is 1e-19
        if observed[-1] >= 20:
            return 0.0
        observed[-2] += observed[-1]
        expected[-2] += expected[-1]
        observed, expected = observed[:-1], expected[:-1]
    if len(observed) == 1:
        return 1.0
    return float(chi2.sf(np.sum((observed - expected) ** 2 / expected), len(observed) - 1))


@pytest.fixture
def scripted() -> type[Scripted]:
    return Scripted


@pytest.fixture
def fits() -> Callable[[np.ndarray, Callable[[np.ndarray], np.ndarray]], bool]:
    """Whether integers follow a probability mass function; false alarms below 1e-6."""

    def test(draws: np.ndarray, mass: Callable[[np.ndarray], np.ndarray]) -> bool:
        low, high = int(draws.min()) - 20, int(draws.max()) + 20
        values = np.arange(low, high + 1)
        if len(values) > 20_000:  # wide: equal groups, the mass summed within each
            width = len(values) // 300
            values = np.arange(low, low + width * (len(values) // width + 1))
            expected = mass(values).reshape(-1, width).sum(axis=1)
            observed = np.bincount((draws - low) // width, minlength=len(expected))
        else:
            expected, observed = mass(values), np.bincount(draws - low, minlength=len(values))
        expected = np.append(expected, max(0.0, 1 - expected.sum())) * len(draws)
        return chi_square_p(np.append(observed, 0), expected) > FALSE_ALARM

    return test


@pytest.fixture
def agree() -> Callable[[np.ndarray, np.ndarray], bool]:
    """Whether two samples of integers come from one distribution; false alarms below 1e-6."""

    def test(a: np.ndarray, b: np.ndarray) -> bool:
        from scipy.stats import chi2

        both = np.sort(np.concatenate([a, b]))
        edges = np.unique(both[:: max(1, len(both) // 400)])
        counts = np.array(
            [np.bincount(np.searchsorted(edges, x), minlength=len(edges) + 1) for x in (a, b)],
            float,
        )
        counts = counts[:, counts.sum(axis=0) >= 20]
        expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / counts.sum()
        statistic = np.sum((counts - expected) ** 2 / expected)
        return float(chi2.sf(statistic, counts.shape[1] - 1)) > FALSE_ALARM

    return test
