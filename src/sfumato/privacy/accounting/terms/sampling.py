"""Mechanisms run on a random sample of the records."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from logging import LogRecord

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError
from sfumato.privacy.accounting.pld import (
    TAIL,
    Array,
    Pair,
    from_cells,
    from_points,
    symmetric,
)
from sfumato.privacy.accounting.terms.additive import Gaussian
from sfumato.privacy.accounting.terms.term import Term, grid_edges, losses_at, mixture, normal_cells


@dataclass(frozen=True)
class SampledGaussian(Term):
    """Poisson sampling at ``rate``, then Gaussian noise of ``stddev`` contributions.

    Args:
        rate: In ``(0, 1)``.
        stddev: Noise over the bound on one record's contribution.
        replace: Neighbours hold opposite contributions, instead of one and none.
    """

    rate: float
    stddev: float
    replace: bool

    @property
    def spread(self) -> float:
        """From the chi-squared divergence, ``rate^2 (e^(1/stddev^2) - 1)``."""
        return self.rate * math.sqrt(math.expm1(min(self.stddev**-2, 50.0)))

    def pair(self, interval: float) -> Pair:
        """The dominating pair of Zhu, Dong, Wang 2022, Theorem 11; cells of equal loss."""
        from scipy.special import ndtri

        reach = -self.stddev * float(ndtri(TAIL))
        edges = self._edges(reach, interval)
        x = self._outcome(losses_at(edges, interval))
        none = normal_cells(x / self.stddev)
        held = normal_cells((x - 1) / self.stddev)
        upper = (1 - self.rate) * none + self.rate * held
        start = int(edges[0])
        if self.replace:
            opposite = normal_cells((x + 1) / self.stddev)
            lower = (1 - self.rate) * none + self.rate * opposite
            return symmetric(from_cells(start, upper, lower, TAIL, TAIL, interval))
        remove = from_cells(start, upper, none, 0.0, TAIL, interval)
        flipped = from_cells(-int(edges[-1]), none[::-1], upper[::-1], TAIL, 0.0, interval)
        return Pair(remove, flipped)

    def _edges(self, reach: float, interval: float) -> NDArray[np.int64]:
        high = self._loss(1 + reach)
        low = -high if self.replace else math.log1p(-self.rate)
        return grid_edges(low, high, interval)

    def _loss(self, x: float) -> float:
        """The privacy loss of the outcome ``x``."""
        scale = 2 * self.stddev**2
        rest, rate = math.log1p(-self.rate), math.log(self.rate)
        loss = float(np.logaddexp(rest, rate + (2 * x - 1) / scale))
        if not self.replace:
            return loss
        return loss - float(np.logaddexp(rest, rate + (-2 * x - 1) / scale))

    def _outcome(self, losses: Array) -> Array:
        """The outcomes at which the privacy loss takes these values; -inf below its range."""
        variance = self.stddev**2
        if not self.replace:
            with np.errstate(divide="ignore", invalid="ignore"):
                # ln(1 + (e^loss - 1) / rate), written for losses too large for exp.
                ratio = np.where(
                    losses < 30,
                    np.log1p(np.expm1(np.minimum(losses, 30)) / self.rate),
                    losses - math.log(self.rate),
                )
            return np.nan_to_num(variance * ratio + 0.5, nan=-np.inf, neginf=-np.inf)
        # loss = 2 asinh-type equation: sinh(x/var - loss/2) = c sinh(loss/2).
        half = np.abs(losses) / 2
        log_c = 1 / (2 * variance) + math.log1p(-self.rate) - math.log(self.rate)
        with np.errstate(divide="ignore"):
            log_sinh = half + np.log(-np.expm1(-2 * half)) - math.log(2) + log_c
        asinh = np.logaddexp(log_sinh, 0.5 * np.logaddexp(0.0, 2 * log_sinh))
        return np.sign(losses) * variance * (asinh + half)

    def renyi(self, orders: Array) -> Array:
        """Mironov, Talwar, Zhang 2019; for one record present or absent only."""
        if self.replace:
            raise InputError(
                "Poisson-sampled Gaussian noise has no Renyi bound here under replace-one",
                "Use epsilon(), which has one.",
            )
        return np.array(_sampled_renyi(self.rate, self.stddev, tuple(orders.tolist())))


@dataclass(frozen=True)
class Sampled(Term):
    """Poisson sampling at ``rate``, then any mechanism whose removal loss is known."""

    rate: float
    inner: Term

    @property
    def spread(self) -> float:
        """Small losses shrink by the rate."""
        return self.rate * self.inner.spread

    @property
    def pure_epsilon(self) -> float:
        """``ln(1 + rate (e^epsilon - 1))``."""
        inner = self.inner.pure_epsilon
        if inner > 700:
            return inner + math.log(self.rate) if math.isfinite(inner) else math.inf
        return math.log1p(self.rate * math.expm1(inner))

    def pair(self, interval: float) -> Pair:
        """If ``(P, Q)`` dominates removal, ``((1-q) Q + q P, Q)`` does after sampling.

        Source: Zhu, Dong, Wang 2022, Theorem 11. The grid points of the inner loss are outcomes.
        """
        inner = self.inner.pair(interval).remove
        upper = inner.masses
        lower = np.zeros_like(upper)
        held = upper > 0
        lower[held] = np.exp(np.log(upper[held]) - inner.losses[held])
        losses = np.logaddexp(math.log1p(-self.rate), math.log(self.rate) + inner.losses)
        mixed = (1 - self.rate) * lower + self.rate * upper
        infinity = self.rate * inner.infinity
        hidden = max(0.0, 1 - float(lower.sum()))  # outcomes of Q that P never gives
        floor = math.log1p(-self.rate)
        remove = from_points(
            np.append(losses, floor), np.append(mixed, (1 - self.rate) * hidden), infinity, interval
        )
        add = from_points(np.append(-losses, -floor), np.append(lower, hidden), 0.0, interval)
        return Pair(remove, add)


@dataclass(frozen=True)
class TruncatedGaussian(Term):
    """Poisson sampling, the sample cut at random to a largest batch, then Gaussian noise.

    Args:
        records: Size of the data set.
        rate: In ``(0, 1]``.
        batch: Largest batch, at least 1.
        stddev: Noise over the bound on one record's contribution.
        replace: Neighbours hold opposite contributions, instead of one and none.
    """

    records: int
    rate: float
    batch: int
    stddev: float
    replace: bool

    @property
    def spread(self) -> float:
        """That of the sample before it is cut."""
        return SampledGaussian(self.rate, self.stddev, self.replace).spread

    def pair(self, interval: float) -> Pair:
        """Two cases, mixed: the sample is cut, so that a record may displace another, or not.

        Source: arXiv 2508.15089, the bound that ``dp_accounting`` uses.
        """
        from scipy.stats import binom

        whole = _sampled_gaussian(self.rate, self.stddev, self.replace).pair(interval)
        cut = float(binom.sf(self.batch - 1, self.records - 1, self.rate))
        if cut == 0:
            return whole
        sampled = float(binom.sf(self.batch, self.records, self.rate)) * self.batch
        sampled = min(1.0, sampled / (cut * self.records))
        if sampled == 0:
            return whole
        displaced = _sampled_gaussian(sampled, self.stddev / 2, True).pair(interval)
        remove = mixture(displaced.remove, whole.remove, cut)
        if whole.add is whole.remove:
            return symmetric(remove)
        return Pair(remove, mixture(displaced.add, whole.add, cut))


def _sampled_gaussian(rate: float, stddev: float, replace: bool) -> Term:
    if rate < 1:
        return SampledGaussian(rate, stddev, replace)
    return Gaussian((2 if replace else 1) / stddev)


@lru_cache(maxsize=256)
def _sampled_renyi(rate: float, stddev: float, orders: tuple[float, ...]) -> tuple[float, ...]:
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
    from dp_accounting.rdp import RdpAccountant

    event = PoissonSampledDpEvent(rate, GaussianDpEvent(stddev))
    with _unreported():
        return tuple(RdpAccountant(list(orders)).compose(event).rdp.tolist())


@contextmanager
def _unreported() -> Iterator[None]:
    """Says nothing of orders whose series does not converge: their bound is infinite, and unused.

    There are a hundred of them among the orders of a selection, each with a warning of its own.
    """
    from absl import logging

    logger = logging.get_absl_logger()
    logger.addFilter(_converges)
    try:
        yield
    finally:
        logger.removeFilter(_converges)


def _converges(record: LogRecord) -> bool:
    return "_compute_log_a_frac failed to converge" not in record.getMessage()
