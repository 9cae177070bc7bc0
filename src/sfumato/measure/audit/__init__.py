"""Lower bounds on what a mechanism leaks, from samples: it leaks at least this, surely.

Nothing here knows a mechanism or its accountant. Whatever is chosen by looking at samples (a
statistic, a threshold) is chosen on a pilot part of them and judged on the others, so no bound
has to hold for a choice that saw its own data.

- two points: many runs on each of two neighbouring inputs (:mod:`.two_point`);
- one run: many canaries, each in or out by a fair coin (:mod:`.one_run` by (epsilon, delta),
  :mod:`.one_run_curve` by the whole trade-off curve).
"""

from __future__ import annotations

from sfumato.measure.audit.learners import (
    learn_column,
    learn_linear,
    learn_ratio,
    learn_ratio_of_levels,
)
from sfumato.measure.audit.one_run import guessed, one_run, one_run_bound
from sfumato.measure.audit.one_run_curve import Tabulated, one_run_mu, refutes
from sfumato.measure.audit.rates import Rates, limits
from sfumato.measure.audit.two_point import best_rates, excess, two_point, two_point_mu

__all__ = [
    "Rates",
    "Tabulated",
    "best_rates",
    "excess",
    "guessed",
    "learn_column",
    "learn_linear",
    "learn_ratio",
    "learn_ratio_of_levels",
    "limits",
    "one_run",
    "one_run_bound",
    "one_run_mu",
    "refutes",
    "two_point",
    "two_point_mu",
]
