from __future__ import annotations

import numpy as np
from scipy.stats import norm

from sfumato.attack.membership.lira import beyond, log_ratio, moments, surprise


def drawn(models: int, records: int) -> tuple[np.ndarray, np.ndarray]:
    """Log-odds that are 2 higher in models with the record; (models, records) and who has it."""
    rng = np.random.default_rng(0)
    inside = rng.permuted(np.arange(models)[:, None] % 2 + np.zeros((1, records)), axis=0) > 0
    return rng.normal(2.0 * inside, 1 + np.arange(records) % 3), inside


def test_the_ratio_is_that_of_two_normal_densities_each_with_its_records_own_moments() -> None:
    seen, inside = drawn(10, 6)
    own = np.linspace(-2, 4, 6)[None]
    found = log_ratio(own, seen[None], inside, each=True)
    for j in range(6):
        sides = seen[inside[:, j], j], seen[~inside[:, j], j]
        one, other = (norm.logpdf(own[0, j], s.mean(), s.std(ddof=1)) for s in sides)
        assert abs(found[j] - (one - other)) < 1e-9


def test_one_variance_is_pooled_around_the_records_own_means() -> None:
    seen, inside = drawn(10, 300)
    mean, deviation = moments(seen, inside, each=False)
    assert len(set(deviation)) == 1
    residuals = (seen - mean)[inside]
    assert abs(deviation[0] ** 2 - (residuals**2).sum() / (inside.sum() - 300)) < 1e-9
    np.testing.assert_allclose(mean[0], seen[inside[:, 0], 0].mean())


def test_surprise_is_the_tail_of_models_without_the_record_and_does_not_saturate() -> None:
    seen, _ = drawn(12, 4)
    own = np.array([[0.0, 1.0, 5.0, 200.0]])
    found = surprise(own, seen[None], each=True)
    tails = norm.logsf(own[0], seen.mean(axis=0), seen.std(axis=0, ddof=1))
    np.testing.assert_allclose(found, -tails, rtol=1e-9)
    assert np.isfinite(found).all()
    assert (
        np.diff(surprise(np.array([[30.0, 60.0, 90.0]]), seen[None, :, :3], each=False)) > 0
    ).all()


def test_answers_beyond_those_of_every_shadow_model_are_counted() -> None:
    seen = np.array([[0.0, 1.0, 5.0], [2.0, 3.0, 5.0]])[None]
    assert beyond(np.array([[1.0, 4.0, 5.0]]), seen).tolist() == [[False, True, False]]
    assert beyond(np.array([[-1.0, 1.0, 4.9]]), seen).tolist() == [[True, False, True]]


def test_queries_add_up() -> None:
    seen, inside = drawn(8, 5)
    own = np.zeros((1, 5))
    once = log_ratio(own, seen[None], inside, each=True)
    twice = log_ratio(np.repeat(own, 2, 0), np.stack([seen, seen]), inside, each=True)
    np.testing.assert_allclose(twice, 2 * once)


def test_models_that_all_agree_do_not_divide_by_zero() -> None:
    seen, inside = np.ones((6, 3)), drawn(6, 3)[1]
    assert np.isfinite(log_ratio(np.full((1, 3), 2.0), seen[None], inside, each=True)).all()
