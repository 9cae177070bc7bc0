"""``PrivateClassifier``: scikit-learn's manners, the ledger's law, and what is public."""

from __future__ import annotations

import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator

from sfumato.errors import BudgetError
from sfumato.privacy import events
from sfumato.privacy.budget import Budget
from sfumato.privacy.guarantee import Central, Empirical
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.neighbours import Neighbours
from sfumato.publish.sklearn import PrivateClassifier
from sfumato.release.release import Release

MEMORY = ":memory:"
ROWS = 200
X = np.random.default_rng(0).random((ROWS, 3))
Y = (X[:, 0] > 0.5).astype(int)


def make(**settings: Any) -> PrivateClassifier:
    return PrivateClassifier(**{"classes": (0, 1), "epochs": 3, "ledger": MEMORY, **settings})


def debits(file: Path) -> list[Any]:
    return [entry for entry in Ledger.open(file).entries() if entry.kind == "debit"]


def test_passes_the_checks_of_scikit_learn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(PrivateClassifier(lower=-5, upper=5, epochs=2), on_skip=None)
    assert sum(result["status"] == "passed" for result in results) > 45


def test_learns_what_a_few_hundred_records_allow() -> None:
    fitted = make(epsilon=8.0, epochs=20).fit(X, Y)
    assert fitted.score(X, Y) > 0.85
    scores = fitted.predict_proba(X)
    np.testing.assert_allclose(scores.sum(axis=1), 1)
    np.testing.assert_array_equal(fitted.classes_[scores.argmax(axis=1)], fitted.predict(X))


def test_parameters_may_be_of_numpys_types_as_searches_give_them(tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "epsilon": np.float32(2.0),
        "records": np.int64(ROWS + 1),
        "epochs": np.int64(2),
        "expected_batch_size": np.int32(50),
        "learning_rate": np.float32(0.5),
        "hidden": np.array([4]),
        "clipping": np.str_("automatic"),
    }
    fitted = make(**given).fit(X, Y)
    fitted.release_.save(tmp_path / "model")
    card = json.loads((tmp_path / "model" / "card.json").read_text(encoding="utf-8"))
    assert card["method"]["settings"]["hidden"] == [4]
    assert card["method"]["settings"]["expected_batch_size"] == 50
    with pytest.raises(ValueError, match=r"epochs is 0. Give a number above 0"):
        make(epochs=np.int64(0)).fit(X, Y)


def test_labels_come_back_as_they_were_declared_whatever_their_order() -> None:
    names = np.where(Y == 1, "high", "low")
    fitted = make(epsilon=8.0, epochs=20, classes=("low", "high")).fit(X, names)
    assert list(fitted.classes_) == ["high", "low"]  # sorted: scorers expect it
    assert fitted.score(X, names) > 0.85
    assert fitted.release_.model.classes == ("0: high", "1: low")


@pytest.mark.parametrize("relation", ["add-remove", "zero-out", "replace-one"])
def test_the_guarantee_is_that_of_the_event_that_ran(relation: str, tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    fitted = make(epsilon=2.0, neighbours=relation, expected_batch_size=20, ledger=file).fit(X, Y)
    proven = fitted.guarantee_
    assert isinstance(proven, Central)
    assert proven.neighbours is Neighbours(relation)
    plan = fitted.release_.card.plan
    step = events.PoissonSampledDpEvent(0.1, events.GaussianDpEvent(plan["noise_multiplier"]))
    again = Central(events.repeat(step, plan["steps"]), 1e-5, "record", Neighbours(relation))
    assert again.epsilon() == pytest.approx(proven.epsilon())
    assert 1.98 < proven.epsilon() <= 2.0
    (entry,) = debits(file)
    assert dict(entry.guarantee) == json.loads(json.dumps(proven.to_dict()))
    assert fitted.release_.card.noise["secure"] is True


def test_every_fit_pays_and_predicting_is_free(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    private = make(ledger=str(file))
    private.fit(X, Y).predict(X)
    private.fit(X, Y).predict_proba(X)
    assert [entry.method for entry in debits(file)] == ["learn.dpsgd"] * 2


def test_a_ceiling_refuses_the_next_fit_and_keeps_the_last_model(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    Ledger.open(file).set_ceiling(Budget(1.1, 1e-5))
    private = make(ledger=file).fit(X, Y)
    before = private.predict_proba(X)
    with pytest.raises(BudgetError):
        private.fit(X, Y)
    np.testing.assert_array_equal(private.predict_proba(X), before)


def test_a_fit_that_fails_leaves_the_labels_of_the_last_model() -> None:
    private = make().fit(X, Y)
    private.set_params(classes=(5, 7, 9), epochs=-1)
    with pytest.raises(ValueError, match="epochs is -1"):
        private.fit(X, np.full(ROWS, 5))
    assert set(private.predict(X)) <= {0, 1}
    assert private.predict_proba(X).shape == (ROWS, len(private.classes_))


def test_a_grid_search_pays_for_every_fit(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    private = make_pipeline(FunctionTransformer(), make(ledger=file))
    search = GridSearchCV(private, {"privateclassifier__learning_rate": [0.5, 1.0]}, cv=2)
    search.fit(X, Y)
    assert len(debits(file)) == 2 * 2 + 1
    assert search.predict(X).shape == (ROWS,)


def test_values_beyond_the_public_bounds_count_as_the_bounds() -> None:
    with pytest.warns(UserWarning, match="protects nobody"):
        fits = [make(random_state=0).fit(x, Y) for x in (np.clip(9 * X - 4, 0, 1), 9 * X - 4)]
    inside, beyond = (fitted.predict_proba(X) for fitted in fits)
    np.testing.assert_array_equal(inside, beyond)
    far = fits[0].predict_proba([[5.0, -7.0, 1e9], [1.0, 0.0, 1.0]])
    np.testing.assert_array_equal(far[0], far[1])


def test_nothing_public_is_fitted_to_the_rows() -> None:
    """Battery 6: but for the weights and the run's own numbers, other rows give the same card."""

    def card(x: Any, y: Any) -> dict[str, Any]:
        values = make(ledger=MEMORY).fit(x, y).release_.card.to_dict()
        for own in ("release_id", "created", "ledger", "seeds", "versions"):
            values.pop(own)
        return values

    one = card(X, Y)
    assert one == card(100 * X - 50, 1 - Y)
    assert one == card(np.zeros_like(X), np.zeros_like(Y))
    # The planted defect: classes read off the labels.
    with pytest.warns(UserWarning, match="read off y"):
        assert card(X, Y) != PrivateClassifier(ledger=MEMORY).fit(X, Y).release_.card.to_dict()


def test_classes_that_are_not_declared_are_read_off_with_a_warning_and_a_caveat() -> None:
    with pytest.warns(UserWarning, match="read off y, which no guarantee covers"):
        fitted = make(classes=None).fit(X, Y)
    assert any("read off the private labels" in c for c in fitted.release_.card.caveats)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = make().fit(X, Y)
    assert not any("read off" in c for c in fitted.release_.card.caveats)


def test_without_a_ledger_it_warns() -> None:
    with pytest.warns(UserWarning, match="no ledger was given"):
        make(ledger=None).fit(X, Y)


def test_declared_records_and_not_the_rows_shape_sampling_and_divisor() -> None:
    fitted = make(records=400, expected_batch_size=40).fit(X, Y)
    sampling = fitted.release_.card.plan["sampling"]
    assert sampling["records"] == 400
    assert sampling["rate"] == pytest.approx(0.1)
    facts = {fact.name: fact.value for fact in fitted.release_.card.facts}
    assert facts["records"] == 400
    with pytest.raises(ValueError, match="400 records"):
        make(records=400, neighbours="replace-one").fit(X, Y)


def test_a_random_state_is_for_tests_and_says_so() -> None:
    with pytest.warns(UserWarning, match="protects nobody"):
        seeded = [make(random_state=3).fit(X, Y) for _ in range(2)]
    assert isinstance(seeded[0].guarantee_, Empirical)
    assert seeded[0].release_.card.noise["secure"] is False
    scores = [fitted.predict_proba(X) for fitted in seeded]
    np.testing.assert_array_equal(*scores)
    fresh = [make().fit(X, Y).predict_proba(X) for _ in range(2)]
    assert np.any(fresh[0] != fresh[1])


def test_clones_and_pickles_predict_alike_and_hold_no_row(tmp_path: Path) -> None:
    fitted = make(ledger=tmp_path / "ledger.db").fit(X, Y)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))
    assert not hasattr(clone(fitted), "release_")
    sizes = [
        len(pickle.dumps(make(records=ROWS).fit(np.tile(X, (n, 1)), np.tile(Y, n))))
        for n in (1, 40)
    ]
    assert sizes[1] < sizes[0] + 500


def test_the_release_can_be_saved_and_predicts_the_same(tmp_path: Path) -> None:
    fitted = make().fit(X, Y)
    fitted.release_.save(tmp_path / "out")
    model = Release.load(tmp_path / "out").model
    frame = pd.DataFrame(X, columns=[f"feature{j}" for j in range(3)])
    np.testing.assert_array_equal(model.probabilities(frame), fitted.predict_proba(X))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epsilon": 0.0}, "epsilon is 0.0"),
        ({"delta": 0.1}, "delta is 0.1"),
        ({"lower": 1.0, "upper": 0.0}, "is not below upper"),
        ({"lower": [0.0, 0.0]}, "lower has shape"),
        ({"classes": (0, 2)}, "label 1 was not declared"),
        ({"classes": (0, 1, 1)}, "repeats one"),
        ({"classes": (0,)}, "there is one class"),
        ({"records": 0}, "records is 0"),
        ({"hidden": 5}, "hidden is 5"),
        ({"epochs": 0}, "epochs is 0"),
        ({"expected_batch_size": 500}, "expected_batch_size is 500 of 200"),
        ({"clipping": "none"}, "clipping is 'none'"),
        ({"max_grad_norm": -1.0}, "max_grad_norm is -1.0"),
        ({"optimizer": "lbfgs"}, "optimizer is"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"neighbours": "friends"}, "neighbours is"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_refuses_bad_parameters_before_anything_is_spent(
    settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    file = tmp_path / "ledger.db"
    with pytest.raises(ValueError, match=message):
        make(**{"ledger": file, **settings}).fit(X, Y)
    assert debits(file) == []
