"""A report drawn from a finite list of levels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sfumato.privacy.accounting.pld import Array, Pair, from_points, symmetric
from sfumato.privacy.accounting.terms.term import Term, points_renyi


@dataclass(frozen=True)
class Response(Term):
    """Randomised response: uniform over ``levels`` with probability ``noise``, else the truth.

    Args:
        noise: In ``(0, 1]``.
        levels: At least 2.
        blank: The neighbour holds no value and reports uniformly, instead of another value.
    """

    noise: float
    levels: int
    blank: bool

    @property
    def pure_epsilon(self) -> float:
        """The logarithm of the largest ratio of two probabilities."""
        return float(np.max(np.abs(self._points()[0])))

    def pair(self, interval: float) -> Pair:
        """Two or three points; the directions differ only against a blank."""
        losses, masses = self._points()
        remove = from_points(losses, masses, 0.0, interval)
        if not self.blank:
            return symmetric(remove)
        return Pair(remove, from_points(-losses, masses * np.exp(-losses), 0.0, interval))

    def renyi(self, orders: Array) -> Array:
        """From the list of losses, exactly; the larger of the two directions."""
        losses, masses = self._points()
        forward = points_renyi(losses, masses, orders)
        return np.maximum(forward, points_renyi(-losses, masses * np.exp(-losses), orders))

    def _points(self) -> tuple[Array, Array]:
        other = self.noise / self.levels
        true = 1 - self.noise + other
        if self.blank:
            losses = np.array([math.log(true * self.levels), math.log(other * self.levels)])
            return losses, np.array([true, other * (self.levels - 1)])
        gap = math.log(true / other)
        return np.array([gap, 0.0, -gap]), np.array([true, other * (self.levels - 2), other])
