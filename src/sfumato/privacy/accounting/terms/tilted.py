"""The minimiser of an objective with a random linear term; see :mod:`sfumato.learn.objective`.

Its loss is at most ``determinants + ratio chi + ratio^2 / 2``, in either direction, where ``chi``
has the chi distribution of ``dimensions`` degrees of freedom: a privacy profile, of which the worst
pair is taken.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sfumato.privacy.accounting.pld import TAIL, Array, Pair, check_size, symmetric
from sfumato.privacy.accounting.terms.claims import from_profile
from sfumato.privacy.accounting.terms.term import Term, losses_at

_CELLS = 20_000
_POINTS = 8192


@dataclass(frozen=True)
class Tilted(Term):
    """One minimiser, against that of a neighbour.

    Args:
        ratio: The distance of two records' gradients over the standard deviation of the term.
        determinants: At least 0.
        dimensions: Degrees of freedom.
    """

    ratio: float
    determinants: float
    dimensions: int

    @property
    def spread(self) -> float:
        """Of the Gaussian that it would be in one dimension."""
        return self.ratio

    def pair(self, interval: float) -> Pair:
        """The worst pair of distributions that the profile allows."""
        from scipy.stats import chi

        reach = self.loss(float(chi(self.dimensions).isf(TAIL)))
        check_size(2 * reach, interval)
        top = math.ceil(reach / interval) + 1
        index = np.unique(np.linspace(0, top, min(top + 1, _POINTS)).astype(np.int64))
        return symmetric(from_profile(index, self.deltas(losses_at(index, interval)), interval))

    def loss(self, length: float) -> float:
        """The bound at this value of ``chi``."""
        return self.determinants + self.ratio * length + self.ratio**2 / 2

    def deltas(self, epsilons: Array) -> Array:
        """``E[(1 - e^(epsilon - loss))+]`` at each of some rising epsilons, rounded up."""
        from scipy.stats import chi

        law = chi(self.dimensions)
        end = float(law.isf(TAIL))
        edges = np.linspace(0.0, end, _CELLS)
        # The chance of each cell, all of it at the cell's far end, where the loss is largest.
        masses: Array = -np.diff(law.sf(edges))
        losses = self.determinants + self.ratio * edges[1:] + self.ratio**2 / 2
        above = np.append(np.cumsum(masses[::-1])[::-1], 0.0)
        below = np.append(np.cumsum((masses * np.exp(-losses))[::-1])[::-1], 0.0)
        first: NDArray[np.int64] = np.searchsorted(losses, epsilons, "right")
        found = above[first] - np.exp(np.minimum(epsilons, 700.0)) * below[first]
        return np.asarray(np.maximum(found * (1 + 1e-12), 0.0) + TAIL)
