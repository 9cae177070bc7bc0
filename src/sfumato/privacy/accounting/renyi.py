"""Renyi accounting: divergences of each order add up; one order gives the best epsilon."""

from __future__ import annotations

import math

import numpy as np

from sfumato.privacy.accounting.pld import Array
from sfumato.privacy.accounting.resolve import Terms

ORDERS = (
    *(1 + i / 10 for i in range(1, 100)),
    *(float(order) for order in range(11, 64)),
    *(64.0, 72.0, 80.0, 96.0, 112.0, 128.0, 160.0, 192.0, 256.0, 384.0, 512.0, 1024.0),
)
"""Those that ``dp_accounting`` uses, and a few more for small epsilons."""


def renyi_epsilon(terms: Terms, delta: float) -> float:
    """The epsilon at ``delta``, by the best of many orders.

    Raises:
        InputError: If a term has no Renyi bound.
    """
    from dp_accounting.rdp import compute_epsilon

    if terms.revealed:
        return math.inf
    if not terms.counts:
        return 0.0
    total, slack = _total(terms)
    if delta <= slack:
        return math.inf
    return float(compute_epsilon(ORDERS, total, delta - slack)[0])


def renyi_delta(terms: Terms, epsilon: float) -> float:
    """The delta at ``epsilon``, by the best of many orders.

    Raises:
        InputError: If a term has no Renyi bound.
    """
    from dp_accounting.rdp.rdp_privacy_accountant import compute_delta

    total, slack = _total(terms)
    return min(1.0, slack + float(compute_delta(ORDERS, total, epsilon)[0]))


def _total(terms: Terms) -> tuple[Array, float]:
    """The divergences of all terms at :data:`ORDERS`, and the probability that they fail."""
    orders = np.array(ORDERS)
    total: Array = np.zeros_like(orders)
    log_held = 0.0  # probability that no (epsilon, delta) term reveals everything
    for term, count in terms.counts.items():
        total = total + count * term.renyi(orders)
        log_held += count * math.log1p(-term.slack)
    return total, -math.expm1(log_held)
