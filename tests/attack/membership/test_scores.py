from __future__ import annotations

import numpy as np

from sfumato.attack.membership.scores import log_odds, log_odds_of_scores, modified_entropy


def softmax(scores: np.ndarray) -> np.ndarray:
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def test_log_odds_from_scores_and_from_probabilities_agree() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(0, 4, (200, 5)), rng.integers(0, 5, 200)
    np.testing.assert_allclose(
        log_odds_of_scores(scores, labels), log_odds(softmax(scores), labels), atol=1e-8
    )


def test_certain_records_stay_apart_and_finite() -> None:
    scores = np.array([[40.0, 0.0], [50.0, 0.0], [1e6, 0.0], [0.0, 1e6]])
    odds = log_odds_of_scores(scores, np.zeros(4, np.int64))
    assert odds[0] < odds[1] < odds[2]
    assert np.isfinite(odds).all()
    exact = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert np.isfinite(log_odds(exact, np.zeros(2, np.int64))).all()


def test_modified_entropy_is_its_formula_and_falls_as_the_true_class_gains() -> None:
    rng = np.random.default_rng(1)
    p, labels = softmax(rng.normal(0, 2, (100, 4))), rng.integers(0, 4, 100)
    for row, label, found in zip(p, labels, modified_entropy(p, labels), strict=True):
        others = np.delete(row, label)
        expected = -(1 - row[label]) * np.log(row[label]) - (others * np.log(1 - others)).sum()
        assert abs(found - expected) < 1e-9
    share = np.linspace(0.01, 0.99, 50)
    rising = modified_entropy(np.column_stack([share, 1 - share]), np.zeros(50, np.int64))
    assert (np.diff(rising) < 0).all()


def test_modified_entropy_tells_nearly_certain_records_apart() -> None:
    left = np.array([1e-9, 1e-12, 1e-20])
    entropy = modified_entropy(np.column_stack([1 - left, left]), np.zeros(3, np.int64))
    assert (np.diff(entropy) < 0).all()
    assert (entropy > 0).all()
