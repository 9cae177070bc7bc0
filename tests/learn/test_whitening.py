"""Whitening: against the closed form over all directions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sfumato.learn import whitening
from sfumato.learn.whitening import Whitening

RIDGE = 0.01


def records(n: int = 500, d: int = 20, seed: int = 0) -> Tensor:
    """Records about a mean, varying much in a few directions that are not the axes."""
    generator = torch.Generator().manual_seed(seed)
    turned = torch.linalg.qr(torch.randn(d, d, generator=generator)).Q
    spread = 10 * 0.5 ** torch.arange(d)
    values: Tensor = (torch.randn(n, d, generator=generator) * spread) @ turned + 3
    return values


def expected(values: Tensor) -> Tensor:
    """``s (C / (ridge t) + 1)^(-1/2)`` by eigenvalues of the covariance, (d, d)."""
    centred = (values - values.mean(dim=0)).double()
    covariance = centred.T @ centred / len(values)
    trace = covariance.trace()
    variances, vectors = torch.linalg.eigh(covariance)
    shrink = (vectors * (1 + variances / (RIDGE * trace)).rsqrt()) @ vectors.T
    left = (shrink @ covariance @ shrink).trace()
    matrix: Tensor = (shrink * (trace / left).sqrt()).float()
    return matrix


def difference(found: Whitening, values: Tensor) -> float:
    matrix = found.apply_(torch.eye(values.shape[1]))
    wanted = expected(values)
    return float((matrix - wanted).abs().max() / wanted.abs().max())


def test_whitening_is_the_closed_form() -> None:
    values = records()
    assert difference(Whitening.of(len(values), lambda part: values[part], RIDGE), values) < 1e-4


def test_planted_whitening_about_zero_is_caught() -> None:
    values = records()
    both = torch.cat([values, -values])  # their mean is 0, and their covariance a second moment
    assert difference(Whitening.of(len(both), lambda part: both[part], RIDGE), values) > 1e-2


def test_directions_that_are_left_out_matter_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whitening, "_RANK", 10)
    monkeypatch.setattr(whitening, "_CHUNK", 33)
    values = records()
    found = Whitening.of(len(values), lambda part: values[part], RIDGE)
    assert found.directions.shape == (10, 20)
    assert difference(found, values) < 1e-3


def test_the_public_records_keep_their_mean_squared_length() -> None:
    values = records()
    found = Whitening.of(len(values), lambda part: values[part], RIDGE)
    centred = values - values.mean(dim=0)
    after = found.apply_(centred.clone())
    torch.testing.assert_close(after.square().sum(), centred.square().sum(), rtol=1e-4, atol=0)
    assert float(found.gains.max()) <= 1


def test_records_that_do_not_vary_are_left_alone() -> None:
    still = torch.ones(5, 4)
    found = Whitening.of(5, lambda part: still[part], RIDGE)
    torch.testing.assert_close(found.apply_(torch.eye(4)), torch.eye(4))


def test_each_record_is_whitened_by_itself() -> None:
    values = records()
    found = Whitening.of(len(values), lambda part: values[part], RIDGE)
    alone = found.apply_(values[:1].clone())
    changed = values.clone()
    changed[1:] *= 1000
    torch.testing.assert_close(found.apply_(changed)[:1], alone, rtol=1e-4, atol=1e-4)
