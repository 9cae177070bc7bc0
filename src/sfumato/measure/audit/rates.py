"""The two error rates of a test, and what any mechanism with such rates must leak."""

from __future__ import annotations

import math
from dataclasses import dataclass


def limits(hits: int, n: int, alarm: float) -> tuple[float, float]:
    """A lower and an upper limit of a probability, each wrong with probability at most ``alarm``.

    Args:
        hits: How often it happened, in ``0..n``.
        n: How often it could have.
        alarm: Of one limit; both hold together with ``1 - 2 alarm``.

    Source: Clopper and Pearson, Biometrika 1934.

    >>> [round(limit, 3) for limit in limits(0, 100, 0.025)]
    [0.0, 0.036]
    """
    from scipy.special import betainccinv, betaincinv

    low = 0.0 if hits == 0 else float(betaincinv(hits, n - hits + 1, alarm))
    high = 1.0 if hits == n else float(betainccinv(hits + 1, n - hits, alarm))
    return low, high


@dataclass(frozen=True)
class Rates:
    """How one way of telling two inputs apart did on fresh samples.

    Args:
        tpr: (low, estimate, high) of accusing the one that is accused.
        fpr: (low, estimate, high) of accusing the other.
    """

    tpr: tuple[float, float, float]
    fpr: tuple[float, float, float]

    def epsilon(self, delta: float) -> float:
        """The epsilon that a mechanism with these rates has at least, at ``delta``.

        ``log((tpr - delta) / fpr)`` at the limits (Jagielski, Ullman, Oprea, NeurIPS 2020).
        """
        seen = self.tpr[0] - delta
        return max(0.0, math.log(seen / self.fpr[2])) if seen > 0 else 0.0

    def mu(self) -> float:
        """The smallest mu for which a mu-GDP mechanism could have these rates.

        ``Phi^-1(tpr) - Phi^-1(fpr)`` at the limits (Nasr et al., USENIX Security 2023). Read as an
        epsilon it speaks of mechanisms whose trade-off curve is a Gaussian's.
        """
        from scipy.special import ndtri

        return max(0.0, float(ndtri(self.tpr[0]) - ndtri(self.fpr[2])))
