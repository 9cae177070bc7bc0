from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from sfumato.errors import BudgetError
from sfumato.privacy.budget import Budget
from sfumato.privacy.guarantee import Central, Empirical, Local
from sfumato.privacy.ledger import Ledger
from sfumato.publish.sklearn import IndependentSynthesizer, LocalPerturber

MEMORY = ":memory:"
X = np.random.default_rng(0).random((300, 3))
Y = (X[:, 0] > 0.5).astype(int)


@pytest.mark.parametrize(
    "estimator",
    [
        LocalPerturber(),
        LocalPerturber(2.0, delta=1e-6, noise="gaussian", lower=-5, upper=5, ledger=MEMORY),
        IndependentSynthesizer(),
        IndependentSynthesizer(1.0, 1e-6, binning="log", lower=-5, upper=5, ledger=MEMORY),
    ],
    ids=["local", "local-gaussian", "independent", "independent-gaussian"],
)
def test_passes_the_checks_of_scikit_learn(estimator: object) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(estimator, on_skip=None)
    assert sum(result["status"] == "passed" for result in results) > 30


def test_every_transform_debits_and_draws_anew(tmp_path) -> None:
    file = tmp_path / "ledger.sqlite"
    noisy = LocalPerturber(1.0, ledger=file).fit(X)
    assert Ledger.open(file).entries() == []
    first, second = noisy.transform(X), noisy.transform(X)
    assert np.mean(first != second) > 0.3
    entries = [e for e in Ledger.open(file).entries() if e.kind == "debit"]
    assert [e.method for e in entries] == ["tables.adaptive"] * 2
    assert isinstance(noisy.guarantee_, Local)
    assert noisy.guarantee_.epsilon() == pytest.approx(1.0)


def test_a_ceiling_refuses_the_next_transform(tmp_path) -> None:
    file = tmp_path / "ledger.sqlite"
    Ledger.open(file).set_ceiling(Budget(1.5))
    noisy = LocalPerturber(1.0, ledger=str(file)).fit(X)
    noisy.transform(X)
    with pytest.raises(BudgetError):
        noisy.transform(X)


def test_values_stay_within_the_public_bounds_and_on_the_grid() -> None:
    noisy = LocalPerturber(8.0, lower=[0, -1, 0], upper=[1, 1, 4], granularity=0.25, ledger=MEMORY)
    out = noisy.fit_transform(10 * X - 5)
    assert np.all(out.min(axis=0) >= [0, -1, 0])
    assert np.all(out.max(axis=0) <= [1, 1, 4])
    np.testing.assert_array_equal(out, np.round(out * 4) / 4)


def test_nothing_is_fitted_to_the_rows() -> None:
    """Battery 6: fitted on rows of another scale, the perturber's state is the same."""
    states = [
        {k: str(v) for k, v in vars(LocalPerturber(ledger=MEMORY).fit(rows)).items()}
        for rows in (X, 100 * X - 50)
    ]
    assert states[0] == states[1]


def test_weights_give_a_column_less_noise() -> None:
    # In the middle of the range, where clamping cuts both sides alike.
    rows = np.full((3000, 2), 0.5)
    noisy = LocalPerturber(20.0, weights=[100.0, 1.0], ledger=MEMORY).fit_transform(rows)
    spread = np.abs(noisy - 0.5).mean(axis=0)
    assert spread[0] < spread[1] / 1.5


def test_a_random_state_is_for_tests_and_says_so() -> None:
    with pytest.warns(UserWarning, match="protects nobody"):
        seeded = LocalPerturber(random_state=0, ledger=MEMORY).fit(X)
    assert isinstance(seeded.guarantee_, Empirical)
    np.testing.assert_array_equal(seeded.transform(X), seeded.transform(X))
    assert seeded.publish(X).card.noise["secure"] is False
    assert LocalPerturber(ledger=MEMORY).fit(X).publish(X).card.noise["secure"] is True


def test_without_a_ledger_it_warns() -> None:
    for estimator in (LocalPerturber(), IndependentSynthesizer()):
        with pytest.warns(UserWarning, match="no ledger was given"):
            estimator.fit(X)


def test_works_in_a_pipeline_and_as_a_clone() -> None:
    noisy = make_pipeline(StandardScaler(), LocalPerturber(lower=-3, upper=3, ledger=MEMORY))
    assert clone(noisy).fit_transform(X).shape == X.shape
    names = LocalPerturber(ledger=MEMORY).fit(X).get_feature_names_out(["a", "b", "c"])
    assert list(names) == ["a", "b", "c"]


def test_fitting_the_synthesizer_debits_once_and_sampling_is_free(tmp_path) -> None:
    file = tmp_path / "ledger.sqlite"
    synthetic = IndependentSynthesizer(4.0, classes=(0, 1), ledger=file).fit(X, Y)
    for _ in range(3):
        rows, labels = synthetic.sample(50)
        assert rows.shape == (50, 3)
        assert labels is not None
        assert set(labels) <= {0, 1}
    assert len([e for e in Ledger.open(file).entries() if e.kind == "debit"]) == 1
    assert isinstance(synthetic.guarantee_, Central)
    assert synthetic.guarantee_.epsilon() <= 4.0
    assert abs(synthetic.n_records_ - 300) < 60


def test_synthetic_rows_follow_the_class() -> None:
    synthetic = IndependentSynthesizer(
        500.0, classes=("low", "high"), random_state=0, ledger=MEMORY
    )
    rows, drawn = synthetic.fit(X, np.where(Y == 1, "high", "low")).sample(1000)
    assert drawn is not None
    assert rows[drawn == "high", 0].min() > 0.4
    assert rows[drawn == "low", 0].max() < 0.6
    again, _ = synthetic.sample(1000)
    np.testing.assert_array_equal(rows, again)


def test_without_classes_labels_are_ignored() -> None:
    rows, labels = IndependentSynthesizer(ledger=MEMORY).fit(X, Y).sample(4)
    assert rows.shape == (4, 3)
    assert labels is None


def test_a_fitted_estimator_holds_no_private_row() -> None:
    """Fitted on 40 times the rows, its pickle is no larger."""
    sizes = []
    for repeat in (1, 40):
        rows, labels = np.tile(X, (repeat, 1)), np.tile(Y, repeat)
        fitted = IndependentSynthesizer(classes=(0, 1), ledger=MEMORY).fit(rows, labels)
        sizes.append(len(pickle.dumps(fitted)))
        assert len(pickle.dumps(LocalPerturber(ledger=MEMORY).fit(rows))) < 5_000
    assert sizes[1] < sizes[0] + 200


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (LocalPerturber(0.0, ledger=MEMORY), "epsilon is 0.0"),
        (LocalPerturber(lower=1.0, upper=0.0, ledger=MEMORY), "is not below upper"),
        (LocalPerturber(lower=[0.0, 0.0], ledger=MEMORY), "lower has shape"),
        (LocalPerturber(weights=[1.0, -1.0, 1.0], ledger=MEMORY), "weight of"),
        (LocalPerturber(noise="gaussian", ledger=MEMORY), "delta is 0"),
        (LocalPerturber(allocation="best", ledger=MEMORY), "allocation is"),
        (IndependentSynthesizer(bins=0, ledger=MEMORY), "bins is 0"),
        (IndependentSynthesizer(granularity=0.3, ledger=MEMORY), "granularity"),
        (IndependentSynthesizer(classes=(0, 2), ledger=MEMORY), "label 1 was not declared"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refuses_bad_parameters_the_way_scikit_learn_does(
    estimator: LocalPerturber | IndependentSynthesizer, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        estimator.fit(X, Y)


def test_refuses_to_sample_nothing() -> None:
    with pytest.raises(ValueError, match="n_samples is 0"):
        IndependentSynthesizer(ledger=MEMORY).fit(X).sample(0)
