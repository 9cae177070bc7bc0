"""Aggregates are noised by OpenDP, bulk by the tables, and nobody can tell which."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sfumato.privacy.mechanisms import DiscreteGaussian, DiscreteLaplace
from sfumato.privacy.noise import SECURE, SecureSource, SeededSource, aggregates
from sfumato.privacy.noise.aggregates import aggregate_noise


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many numbers OpenDP was asked for, call by call."""
    asked: list[int] = []
    original = aggregates._opendp

    def counting(law: str, scale: float, n: int) -> np.ndarray:
        asked.append(n)
        return original(law, scale, n)

    monkeypatch.setattr(aggregates, "_opendp", counting)
    return asked


@pytest.mark.parametrize("law", ["laplace", "gaussian"])
@pytest.mark.parametrize("scale", [0.8, 25.0])
def test_both_samplers_draw_one_distribution(law: str, scale: float, agree) -> None:
    library = aggregate_noise(law, scale, 50_000, SECURE)
    tables = aggregate_noise(law, scale, 400_000, SeededSource(5))
    assert agree(tables, library)
    wrong = aggregate_noise(law, scale * math.sqrt(2), 400_000, SeededSource(6))
    assert not agree(wrong, library)  # planted: a scale taken for a standard deviation


@pytest.mark.parametrize("mechanism", [DiscreteLaplace(5.0, 1), DiscreteGaussian(5.0, 1.0)])
def test_mechanisms_take_opendp_for_counts_and_tables_for_bulk(mechanism, counted) -> None:
    released = mechanism.release(np.zeros((30, 10), np.int64), SECURE)
    assert released.shape == (30, 10)
    assert counted == [300]
    assert len(np.unique(released)) > 5  # a draw for each number
    mechanism.release(np.zeros(aggregates.FEW + 1, np.int64), SECURE)
    mechanism.release(np.zeros(300, np.int64), SeededSource(1))
    mechanism.release(np.zeros(300, np.int64), SecureSource())
    mechanism.release(np.zeros(0, np.int64), SECURE)
    assert counted == [300]
