"""Von Mises-Fisher noise on a direction, and sampling that shows.

Of all pairs of directions the opposite ones are told apart best. Let ``S`` be the best test of
``mu`` against ``mu'`` at some epsilon: a cap around ``mu - mu'``. Turning ``mu'`` further away from
``mu``, up to ``-mu``, takes it away from the cap's centre; the probability of a cap is a
convolution of two functions that fall with the angle, so it falls with the angle between ``mu'``
and the centre. ``P(S)`` stays, ``e^epsilon P'(S)`` falls: the divergence grows. A uniform direction
is a mixture of directions, and no further from ``mu`` than they are (joint convexity).

So ``(mu, -mu)`` dominates every pair. Its loss is ``2 kappa t``, where ``t`` is the cosine with
``mu``, of density proportional to ``exp(kappa t) (1 - t^2)^((d - 3) / 2)``: about normal, with
``mu`` of ``2 kappa / sqrt(d)``, where ``d`` is large and ``kappa`` well below it. The worst case
``2 kappa`` is next to never seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sfumato.privacy.accounting.pld import TAIL, Array, Pair, from_cells, from_points, symmetric
from sfumato.privacy.accounting.terms.term import Term, grid_edges, losses_at, mixture

_DROP = 80.0
"""Nats below its peak where the density of the angle is cut: what lies beyond is far below TAIL."""
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(4)


@dataclass(frozen=True)
class Direction(Term):
    """One draw around a direction, against one around the opposite direction.

    Args:
        kappa: Concentration, above 0.
        dimension: ``d``, at least 3.
    """

    kappa: float
    dimension: int

    @property
    def pure_epsilon(self) -> float:
        """``2 kappa``."""
        return 2 * self.kappa

    @property
    def spread(self) -> float:
        """That of the normal limit."""
        return 2 * self.kappa / math.sqrt(self.dimension)

    def pair(self, interval: float) -> Pair:
        """Cells of equal loss are cells of the cosine, integrated by Gauss's rule."""
        low, high = self._reach()
        edges = grid_edges(2 * self.kappa * low, 2 * self.kappa * high, interval)
        t = np.clip(losses_at(edges, interval) / (2 * self.kappa), -1.0, 1.0)
        half = np.diff(t) / 2
        nodes = t[:-1] + half + half * _NODES[:, None]  # (4, cells)
        with np.errstate(divide="ignore"):
            density = self._log_density(nodes)
        density -= density.max()
        upper = (_WEIGHTS[:, None] * np.exp(density)).sum(axis=0) * half
        density -= 2 * self.kappa * nodes
        peak = float(density.max())
        lower = (_WEIGHTS[:, None] * np.exp(density - peak)).sum(axis=0) * half
        total = upper.sum()
        lower = np.exp(np.log(np.maximum(lower, 1e-300)) + peak) / total
        return symmetric(from_cells(int(edges[0]), upper / total, lower, TAIL, TAIL, interval))

    def _log_density(self, t: Array) -> Array:
        found: Array = self.kappa * t + (self.dimension - 3) / 2 * np.log1p(-(t**2))
        return found

    def _reach(self) -> tuple[float, float]:
        """The cosines between which the density is within ``_DROP`` nats of its peak."""
        from scipy.optimize import brentq

        power = self.dimension - 3
        # kappa (1 - t^2) = power t
        peak = 2 * self.kappa / (power + math.hypot(power, 2 * self.kappa))
        top = self._log(peak)

        def over(t: float) -> float:
            return max(self._log(t) - top, -2 * _DROP) + _DROP

        low = -1.0 if over(-1.0) > 0 else float(brentq(over, -1.0, peak))
        high = 1.0 if over(1.0) > 0 else float(brentq(over, peak, 1.0))
        return low, high

    def _log(self, t: float) -> float:
        if abs(t) >= 1:
            return self.kappa * t if self.dimension == 3 else -math.inf
        return self.kappa * t + (self.dimension - 3) / 2 * math.log1p(-t * t)


@dataclass(frozen=True)
class Shown(Term):
    """A mechanism run with probability ``rate``, where it shows whether it was run.

    Poisson sampling, if what a step gives away may include whether the record was in its sample:
    the coin does not depend on the record's value, so between two values nothing is lost by
    handing it out.

    Args:
        rate: In ``(0, 1)``.
        inner: What is run.
    """

    rate: float
    inner: Term

    @property
    def pure_epsilon(self) -> float:
        """Unchanged: it may have been run."""
        return self.inner.pure_epsilon

    @property
    def spread(self) -> float:
        """That of a loss which is mostly zero."""
        return math.sqrt(self.rate) * self.inner.spread

    def pair(self, interval: float) -> Pair:
        """The inner loss with probability ``rate``, else none."""
        inner = self.inner.pair(interval)
        nothing = from_points(np.zeros(1), np.ones(1), 0.0, interval)
        remove = mixture(inner.remove, nothing, self.rate)
        if inner.add is inner.remove:
            return symmetric(remove)
        return Pair(remove, mixture(inner.add, nothing, self.rate))
