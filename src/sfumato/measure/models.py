"""The models for tables: three scikit-learn families, each used as anybody would."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.measure.features import Codes, Design
from sfumato.measure.threads import one_thread

if TYPE_CHECKING:
    from sfumato.data.columns import Column

LINEAR, FOREST, BOOSTING = "linear", "random forest", "gradient boosting"
_MANY = 5000  # rows from which a second processor is worth starting


@dataclass(frozen=True)
class Fitted:
    """A trained model.

    Args:
        predict: From (n, d) codes to (n, K) probabilities, or (n,) numbers.
        constant: Whether the training data left nothing to learn.
    """

    predict: Callable[[Codes], NDArray[np.float64]]
    constant: bool = False


def classifier(
    family: str,
    columns: Sequence[Column],
    rows: Codes,
    labels: NDArray[Any],
    classes: int,
    seed: int,
) -> Fitted:
    """Trains a classifier.

    Args:
        family: ``LINEAR`` (logistic regression), ``FOREST`` or ``BOOSTING``.
        columns: What the codes mean.
        rows: (n, d) codes.
        labels: (n,) class numbers below ``classes``; some may be absent.
        classes: K.
        seed: Of the model.

    Returns:
        A model of (n, K) probabilities; a class that was not seen gets 0, and if one class was
        seen it gets 1.
    """
    seen = np.unique(labels)
    if len(seen) == 1:
        only = np.zeros(classes)
        only[seen[0]] = 1.0
        return Fitted(lambda new: np.tile(only, (len(new), 1)), constant=True)
    encode = _encoder(family, columns, rows)
    model = _classifier(family, columns, len(rows), len(seen), seed)
    _fit(model, encode(rows), labels)

    def predict(new: Codes) -> NDArray[np.float64]:
        full = np.zeros((len(new), classes))
        with one_thread():
            full[:, seen] = model.predict_proba(encode(new))
        return full

    return Fitted(predict)


def regressor(
    family: str, columns: Sequence[Column], rows: Codes, values: NDArray[Any], seed: int
) -> Fitted:
    """Trains a regressor of (n,) numbers; takes what :func:`classifier` takes."""
    if np.ptp(values) == 0:
        return Fitted(lambda new: np.full(len(new), float(values[0])), constant=True)
    encode = _encoder(family, columns, rows)
    model = _regressor(family, columns, len(rows), seed)
    _fit(model, encode(rows), values)

    def predict(new: Codes) -> NDArray[np.float64]:
        with one_thread():
            return np.asarray(model.predict(encode(new)), dtype=np.float64)

    return Fitted(predict)


def _encoder(family: str, columns: Sequence[Column], rows: Codes) -> Callable[[Codes], Any]:
    """Codes as a family wants them: one-hot for linear models, as they are for trees."""
    if family == LINEAR:
        return Design.fitted(columns, rows).matrix
    # A column without any value to learn from stays as it is: boosting takes no column of NaN.
    holes = [
        (j, c.cardinality)
        for j, c in enumerate(columns)
        if c.ordered and c.missing and not (rows[:, j] == c.cardinality).all()
    ]

    def plain(new: Codes) -> NDArray[np.float32]:
        values = new.astype(np.float32)
        for j, absent in holes:
            values[new[:, j] == absent, j] = np.nan
        return values

    return plain


def _fit(model: Any, x: Any, y: NDArray[Any]) -> None:
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(), one_thread():
        # A linear model stopped at its stated number of steps is the model that is meant.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x, y)


def _classifier(family: str, columns: Sequence[Column], n: int, classes: int, seed: int) -> Any:
    if family == LINEAR:
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(max_iter=200)
    if family == FOREST:
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(random_state=seed, **_forest(n))
    from sklearn.ensemble import HistGradientBoostingClassifier

    steps = max(10, min(100, 300 // classes))  # each step grows a tree a class
    return HistGradientBoostingClassifier(random_state=seed, **_boosting(columns, steps))


def _regressor(family: str, columns: Sequence[Column], n: int, seed: int) -> Any:
    if family == LINEAR:
        from sklearn.linear_model import Ridge

        return Ridge(alpha=1.0)
    if family == FOREST:
        from sklearn.ensemble import RandomForestRegressor

        return RandomForestRegressor(random_state=seed, max_features=1 / 3, **_forest(n))
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(random_state=seed, **_boosting(columns, 100))


def _forest(n: int) -> dict[str, Any]:
    return {"n_estimators": 60, "min_samples_leaf": 2, "n_jobs": -1 if n >= _MANY else 1}


def _boosting(columns: Sequence[Column], steps: int) -> dict[str, Any]:
    levels = [not column.ordered and column.size <= 255 for column in columns]
    return {"max_iter": steps, "early_stopping": False, "categorical_features": levels}
