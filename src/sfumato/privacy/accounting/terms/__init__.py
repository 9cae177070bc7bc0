"""The mechanisms that accounting knows, with the neighbouring relation already worked in.

Every term answers three questions about one pair of neighbours: its privacy loss distribution on
a grid, its epsilon at delta 0, and its Renyi divergence. :mod:`..resolve` makes terms of events.
"""

from __future__ import annotations

from sfumato.privacy.accounting.terms.additive import (
    DiscreteGaussian,
    DiscreteLaplace,
    Gaussian,
    Laplace,
    discrete_gaussian,
)
from sfumato.privacy.accounting.terms.claims import Bounded, Concentrated, Worst
from sfumato.privacy.accounting.terms.direction import Direction, Shown
from sfumato.privacy.accounting.terms.group import Grouped
from sfumato.privacy.accounting.terms.response import Response
from sfumato.privacy.accounting.terms.sampling import Sampled, SampledGaussian, TruncatedGaussian
from sfumato.privacy.accounting.terms.selected import Selected
from sfumato.privacy.accounting.terms.term import Term
from sfumato.privacy.accounting.terms.tilted import Tilted

__all__ = [
    "Bounded",
    "Concentrated",
    "Direction",
    "DiscreteGaussian",
    "DiscreteLaplace",
    "Gaussian",
    "Grouped",
    "Laplace",
    "Response",
    "Sampled",
    "SampledGaussian",
    "Selected",
    "Shown",
    "Term",
    "Tilted",
    "TruncatedGaussian",
    "Worst",
    "discrete_gaussian",
]
