"""Principal directions: one record's reach, noise on every entry, and directions that are right."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import binom, chi2, norm

from sfumato.errors import InputError
from sfumato.learn import noise
from sfumato.learn.principal import PrincipalDirections
from sfumato.privacy import events
from sfumato.privacy.noise import SeededSource

ALARM = 1e-6


def triangle(matrix: torch.Tensor) -> torch.Tensor:
    rows, columns = torch.triu_indices(len(matrix), len(matrix))
    return matrix[rows, columns]


def odd_inputs() -> list[torch.Tensor]:
    rng = np.random.default_rng(0)
    made = [torch.from_numpy(rng.normal(size=(1, 1, 2, 3)) * 10.0**e) for e in range(-20, 21, 4)]
    made += [torch.zeros(1, 1, 2, 3), torch.ones(1, 1, 2, 3), torch.eye(6)[:1].view(1, 1, 2, 3)]
    made += [torch.full((1, 1, 2, 3), 3e38), torch.full((1, 1, 2, 3), 1e-45)]
    return [x.float() for x in made]


def test_one_record_moves_the_released_triangle_by_at_most_1() -> None:
    others = torch.from_numpy(np.random.default_rng(1).random((50, 1, 2, 3))).float()
    base = triangle(PrincipalDirections.moments(others))
    for one in odd_inputs():
        alone = triangle(PrincipalDirections.moments(one))
        assert float(alone.norm()) <= 1
        both = triangle(PrincipalDirections.moments(torch.cat([others, one])))
        assert float((both - base).norm()) <= 1
    # Planted defects: inputs that are not scaled reach further.
    far = 10 * torch.ones(1, 6, dtype=torch.float64)
    assert float(triangle(far.T @ far).norm()) > 1


def test_many_records_do_not_let_one_reach_further_by_rounding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What noise is added to keeps one record's share: a float32 sum of a million would not."""
    given: list[torch.Tensor] = []
    plain = noise.add_gaussian_double

    def seen(values: torch.Tensor, stddev: float, source: object) -> torch.Tensor:
        given.append(values.clone())
        return plain(values, stddev, SeededSource(0))

    monkeypatch.setattr(noise, "add_gaussian_double", seen)
    width, many = 8, 3_000_000.0
    direction = torch.nn.functional.normalize(torch.arange(1.0, width + 1), dim=0).double()
    one = torch.outer(direction, direction)
    for total in (many * one, many * one + one):
        monkeypatch.setattr(PrincipalDirections, "moments", staticmethod(lambda _, t=total: t))
        PrincipalDirections(2, 1.0).release(torch.zeros(1, width), SeededSource(0))
    reach = float((given[1] - given[0]).norm())
    assert reach == pytest.approx(float(triangle(one).norm()), rel=1e-6)
    rounded = float((given[1].float().double() - given[0].float().double()).norm())
    assert abs(rounded - reach) > 0.01  # the planted defect


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_row_that_is_not_finite_counts_as_zero(bad: float) -> None:
    rows = torch.rand(5, 4)
    broken = torch.cat([rows, torch.full((1, 4), 1.0)])
    broken[-1, 2] = bad
    moments = PrincipalDirections.moments
    torch.testing.assert_close(moments(broken), moments(rows), rtol=0, atol=1e-12)


def noise_problems(drawn: torch.Tensor, stddev: float) -> set[str]:
    """What tells entries, (runs, entries), from independent Gaussians of this deviation."""
    values = drawn.double() / stddev
    runs, entries = values.shape
    found = set()
    total, n = float(values.square().sum()), values.numel()
    if not chi2.ppf(ALARM / 4, n) <= total <= chi2.isf(ALARM / 4, n):
        found.add("scale")
    limit = norm.isf(ALARM / 4 / entries**2) / math.sqrt(runs)
    correlation = values.T @ values / runs
    apart = correlation - torch.diag(torch.diagonal(correlation))
    if float(apart.abs().max()) > 1.3 * limit:
        found.add("independence")
    silent = int((values.abs() < 1e-3).sum())
    if silent > binom.isf(ALARM / 4, n, 1e-3):
        found.add("entries without noise")
    return found


def entries_of(stddev: float, runs: int) -> torch.Tensor:
    source = SeededSource(4)
    return torch.stack(
        [
            noise.add_gaussian_double(torch.zeros(10, dtype=torch.float64), stddev, source)
            for _ in range(runs)
        ]
    )


def test_every_entry_of_the_triangle_has_noise_of_its_own() -> None:
    drawn = entries_of(3.0, 2000)
    assert noise_problems(drawn, 3.0) == set()
    assert "scale" in noise_problems(drawn * 0.9, 3.0)
    assert "independence" in noise_problems(drawn[:, :1].expand(-1, 10), 3.0)
    off_diagonal = drawn.clone()
    off_diagonal[:, 3] = 0.0
    assert "entries without noise" in noise_problems(off_diagonal, 3.0)


def test_the_noise_is_what_the_event_says_on_the_whole_triangle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def seen(values: torch.Tensor, stddev: float, source: object) -> torch.Tensor:
        asked.append((len(values), stddev))
        return values

    monkeypatch.setattr(noise, "add_gaussian_double", seen)
    directions = PrincipalDirections(2, 2.5)
    directions.release(torch.rand(7, 1, 2, 3), SeededSource(0))
    assert asked == [(6 * 7 // 2, 2.5)]
    assert directions.event == events.GaussianDpEvent(2.5)


def test_with_next_to_no_noise_the_directions_are_the_eigenvectors() -> None:
    rng = np.random.default_rng(2)
    basis, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    scale = np.array([8.0, 4.0, 2.0, 0.5, 0.2, 0.1])
    rows = torch.from_numpy(rng.normal(size=(4000, 6)) * scale @ basis.T).float()
    found = PrincipalDirections(3, 1e-3).release(rows, SeededSource(0)).double()
    assert found.shape == (6, 3)
    torch.testing.assert_close(found.T @ found, torch.eye(3).double(), rtol=0, atol=1e-5)
    _, vectors = torch.linalg.eigh(PrincipalDirections.moments(rows))
    aligned = (found * vectors[:, -3:].flip(1)).sum(dim=0).abs()
    assert float(aligned.min()) > 0.9999  # the strongest first


def test_with_much_noise_the_directions_tell_nothing() -> None:
    rows = torch.zeros(50, 6)
    rows[:, 0] = 1.0
    source = SeededSource(1)
    overlaps = [
        float(PrincipalDirections(1, 1e4).release(rows, source)[0, 0]) ** 2 for _ in range(300)
    ]
    # Uniform directions in six dimensions: mean 1/6, standard deviation 0.16 of each.
    assert abs(np.mean(overlaps) - 1 / 6) < 5 * 0.16 / math.sqrt(300)


def test_no_records_are_possible() -> None:
    found = PrincipalDirections(2, 1.0).release(torch.zeros(0, 1, 2, 2), SeededSource(0))
    assert found.shape == (4, 2)
    assert bool(found.isfinite().all())


@pytest.mark.parametrize(
    ("components", "multiplier", "message"),
    [
        (0, 1.0, "components is 0"),
        (True, 1.0, "components is True"),
        (1.5, 1.0, "components is 1.5"),
        (1, 0.0, "noise_multiplier is 0.0"),
        (1, math.inf, "noise_multiplier is inf"),
        (1, math.nan, "noise_multiplier is nan"),
    ],
)
def test_bad_settings_are_refused(components: int, multiplier: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        PrincipalDirections(components, multiplier)


def test_more_directions_than_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="5 components of 4 numbers"):
        PrincipalDirections(5, 1.0).release(torch.rand(3, 4), SeededSource(0))
