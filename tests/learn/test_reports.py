"""Input perturbation: what one record's report shows, and that each is drawn for itself."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from sfumato.errors import InputError
from sfumato.learn.reports import LabelledReports
from sfumato.privacy import accounting
from sfumato.privacy.budget import Budget
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SeededSource

BUDGET = Budget(4.0, 1e-5)


def reports(**changed: object) -> LabelledReports:
    settings = {"max_norm": 2.0, "classes": 3, "label_share": 0.3, **changed}
    return LabelledReports.calibrate(BUDGET, **settings)  # type: ignore[arg-type]


def test_features_and_label_together_meet_the_budget() -> None:
    for share in (0.05, 0.3, 0.9):
        made = reports(label_share=share)
        assert made.response.epsilon == pytest.approx(share * BUDGET.epsilon)
        spent = accounting.epsilon(made.event, BUDGET.delta, Neighbours.REPLACE_ONE)
        assert 0.99 * BUDGET.epsilon <= spent <= BUDGET.epsilon
        # A Gaussian alone would need less noise.
        mu = accounting.gdp_mu(made.vector.event, Neighbours.REPLACE_ONE)
        assert mu is not None
        assert mu < accounting.gaussian.mu(BUDGET.epsilon, BUDGET.delta)


def test_opposite_records_are_told_apart_no_better_than_claimed() -> None:
    """The likelihood ratio itself as a test, of features and label; false alarms 1e-6."""
    made, runs = reports(), 20_000
    mu = 2 * made.vector.clip_norm / made.vector.stddev
    truth = made.response.truth_probability
    gain = np.log(truth / ((1 - truth) / 2))
    scores = []
    for sign, label in ((-1, 0), (1, 1)):
        features = np.full((runs, 4), float(sign))
        values, answers = made.release(features, np.full(runs, label), SeededSource(label))
        along = values.sum(axis=1) / 2 / made.vector.stddev  # (1, 1, 1, 1) / 2 has length 1
        scores.append(mu * along + gain * ((answers == 1) * 1.0 - (answers == 0)))
    event = made.event
    for threshold in (-2.0, 0.0, 2.0, 4.0):
        fpr, tpr = ((side > threshold).mean() for side in scores)
        error = 5 / np.sqrt(runs)
        assert tpr <= accounting.max_tpr(event, fpr + error, Neighbours.REPLACE_ONE) + error
    best = max((scores[1] > t).mean() - (scores[0] > t).mean() for t in np.linspace(-3, 3, 13))
    assert best > 2 * norm.cdf(mu / 2) - 1  # the label tells something, too


def test_every_record_and_coordinate_has_noise_of_its_own() -> None:
    values, answers = reports().release(np.zeros((3000, 5)), np.zeros(3000, int), SeededSource(0))
    correlations = np.corrcoef(values.T) - np.eye(5)
    assert np.abs(correlations).max() < 0.12  # six standard errors
    assert abs(np.corrcoef(values[1:, 0], values[:-1, 0])[0, 1]) < 0.12
    assert len(np.unique(values)) > 14_000
    assert set(answers) == {0, 1, 2}


def test_a_record_that_is_not_finite_is_reported_as_zeros_are() -> None:
    rows = np.array([[np.nan, 1.0], [0.0, 0.0]])
    values, _ = reports().release(rows, np.zeros(2, int), SeededSource(0))
    assert np.isfinite(values).all()


def test_no_delta_is_refused() -> None:
    with pytest.raises(InputError, match="delta"):
        LabelledReports.calibrate(Budget(1.0), max_norm=1.0, classes=2, label_share=0.5)
