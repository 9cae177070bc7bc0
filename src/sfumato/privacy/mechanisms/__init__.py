"""Mechanisms: noise with the sensitivity it answers for.

Central ones release sums over many records; local ones release a report on each record. Each is a
frozen dataclass of public numbers that knows its accounting ``event``; private values and the
noise source are arguments.
"""

from __future__ import annotations

from sfumato.privacy.mechanisms.bounded_numeric import BoundedNumeric
from sfumato.privacy.mechanisms.discrete_gaussian import DiscreteGaussian
from sfumato.privacy.mechanisms.discrete_laplace import DiscreteLaplace
from sfumato.privacy.mechanisms.exponential import ExponentialMechanism
from sfumato.privacy.mechanisms.gaussian import Gaussian
from sfumato.privacy.mechanisms.grid import to_grid
from sfumato.privacy.mechanisms.laplace import Laplace
from sfumato.privacy.mechanisms.local_numeric import LocalNumeric
from sfumato.privacy.mechanisms.local_vector import LocalVector
from sfumato.privacy.mechanisms.noisy_max import NoisyMax
from sfumato.privacy.mechanisms.randomized_response import RandomizedResponse
from sfumato.privacy.mechanisms.unary_encoding import UnaryEncoding

__all__ = [
    "BoundedNumeric",
    "DiscreteGaussian",
    "DiscreteLaplace",
    "ExponentialMechanism",
    "Gaussian",
    "Laplace",
    "LocalNumeric",
    "LocalVector",
    "NoisyMax",
    "RandomizedResponse",
    "UnaryEncoding",
    "to_grid",
]
