"""Table methods as scikit-learn estimators, on numeric arrays with public bounds.

Constructor parameters are public: bounds, granularity and classes are declared there and never
read off ``X`` or ``y``. Values outside the bounds are clamped to them. Privacy noise comes from
the operating system and cannot be repeated, unless a test asks for it and gives up all privacy.
"""

from __future__ import annotations

import uuid
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from sfumato.data import Categorical, Numeric, Schema, Table
from sfumato.errors import InputError
from sfumato.privacy.budget import Budget
from sfumato.privacy.guarantee import Empirical
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.noise import SECURE, NoiseSource, SeededSource
from sfumato.publish.tables.adaptive import Adaptive
from sfumato.publish.tables.independent import Independent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sfumato.privacy.guarantee import Guarantee
    from sfumato.publish.method import Calibrated
    from sfumato.release.release import Release

    Bound = float | Sequence[float]
    LedgerLike = Ledger | str | Path | None

GRID = 1024
"""Steps of the default granularity between two bounds."""

_TARGET = "target"


class LocalPerturber(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Each row under its own noise (``tables.adaptive``): local differential privacy of a row.

    Every call of :meth:`transform` publishes the rows anew and debits the ledger.

    Args:
        epsilon: What a row may cost, all features together.
        delta: Needed by ``noise="gaussian"`` alone.
        lower: Public lower bound, of all features or one for each.
        upper: Public upper bound, likewise.
        granularity: Step of the published values, likewise; None: 1024 steps between the bounds.
        allocation: How epsilon is divided by ``weights``; see ``tables.adaptive``.
        weights: (n_features,) public importance; None: all equal.
        noise: ``"laplace"`` or ``"gaussian"``.
        random_state: For tests only. None: secure noise. Anything else makes the noise
            predictable: the result then protects nobody, :meth:`fit` warns, and ``guarantee_``
            says so.
        ledger: Takes the debits: its file, or a ``Ledger`` (which cannot be cloned or pickled).
            None: nothing remembers what is spent, and :meth:`fit` warns; ``":memory:"`` does not.

    Attributes:
        guarantee_: What one call of :meth:`transform` proves; ``Empirical`` with a
            ``random_state``.

    Guaranteed: each row of a result is (epsilon, delta)-LDP for replacing the row by any other.

    >>> noisy = LocalPerturber(epsilon=4.0, lower=0.0, upper=1.0, ledger=":memory:")
    >>> noisy.fit_transform(np.full((3, 2), 0.5)).shape
    (3, 2)
    """

    def __init__(
        self,
        epsilon: float = 1.0,
        *,
        delta: float = 0.0,
        lower: Bound = 0.0,
        upper: Bound = 1.0,
        granularity: Bound | None = None,
        allocation: str = "cube-root",
        weights: Sequence[float] | None = None,
        noise: str = "laplace",
        random_state: Any = None,
        ledger: LedgerLike = None,
    ) -> None:
        self.epsilon = epsilon
        self.delta = delta
        self.lower = lower
        self.upper = upper
        self.granularity = granularity
        self.allocation = allocation
        self.weights = weights
        self.noise = noise
        self.random_state = random_state
        self.ledger = ledger

    def fit(self, X: ArrayLike, y: Any = None) -> LocalPerturber:
        """Checks parameters against the number of features; nothing is read off the values.

        Raises:
            ValueError: If a parameter is out of its range.
        """
        validate_data(self, X, dtype=np.float64)
        _warn_without(self.ledger)
        self.guarantee_: Guarantee = self._calibrated().guarantee
        if self.random_state is not None:
            self.guarantee_ = Empirical()
            warnings.warn(
                "random_state makes the noise predictable: the result protects nobody; use it in "
                "tests only",
                stacklevel=2,
            )
        return self

    def transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """A report of each row, (n, n_features) float64 on the grid; debits the ledger.

        Raises:
            BudgetError: If the ledger's ceiling refuses.
        """
        released: Any = self.publish(X).data
        columns = released.schema.columns
        codes = released.codes()
        return np.stack([column.values(codes[column.name]) for column in columns], axis=1)

    def publish(self, X: ArrayLike) -> Release:
        """The same as a release with its card; debits the ledger.

        Raises:
            BudgetError: If the ledger's ceiling refuses.
        """
        check_is_fitted(self)
        rows = validate_data(self, X, dtype=np.float64, reset=False)
        calibrated = self._calibrated()
        source: NoiseSource = SECURE
        if self.random_state is not None:
            source = SeededSource(int(check_random_state(self.random_state).randint(2**31 - 1)))
        table = _table(rows, calibrated.facts)
        return calibrated(table, ledger=_opened(self.ledger), source=source)

    def _calibrated(self) -> Calibrated:
        try:
            facts = _schema(self, None)
            weights = None
            if self.weights is not None:
                given = _each("weights", self.weights, self.n_features_in_)
                weights = dict(zip(facts.names, given, strict=True))
            method = Adaptive(allocation=self.allocation, weights=weights, noise=self.noise)
            return method.calibrate(Budget(self.epsilon, self.delta), facts)
        except InputError as error:
            raise ValueError(str(error)) from None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.non_deterministic = True
        return tags


class IndependentSynthesizer(BaseEstimator):  # type: ignore[misc]
    """Synthetic rows from noisy counts (``tables.independent``): central differential privacy.

    :meth:`fit` measures and debits the ledger once; sampling is free.

    Args:
        epsilon: What one record may cost.
        delta: 0 asks for pure differential privacy.
        lower: Public lower bound, of all features or one for each.
        upper: Public upper bound, likewise.
        granularity: Step of the values, likewise; None: 1024 steps between the bounds.
        classes: The public labels; features are then measured by class, and :meth:`fit` needs
            ``y``. None: ``y`` is ignored.
        bins: Bins of a feature.
        binning: How they are cut; see ``tables.independent``.
        random_state: Of the sampling, which is not privacy noise.
        ledger: Takes the debit: its file, or a ``Ledger`` (which cannot be cloned or pickled).
            None: nothing remembers what is spent, and :meth:`fit` warns; ``":memory:"`` does not.

    Attributes:
        guarantee_: What is proven of everything that can be sampled.
        n_records_: The noisy number of records.

    Guaranteed: the fitted object is (epsilon, delta)-DP for adding or removing one row of ``X``.

    >>> synthetic = IndependentSynthesizer(2.0, classes=(0, 1), ledger=":memory:")
    >>> rows, labels = synthetic.fit(np.full((50, 2), 0.5), np.arange(50) % 2).sample(5)
    >>> rows.shape, set(labels.tolist()) <= {0, 1}
    ((5, 2), True)
    """

    def __init__(
        self,
        epsilon: float = 1.0,
        delta: float = 0.0,
        *,
        lower: Bound = 0.0,
        upper: Bound = 1.0,
        granularity: Bound | None = None,
        classes: Sequence[Any] | None = None,
        bins: int = 32,
        binning: str = "refined",
        random_state: Any = None,
        ledger: LedgerLike = None,
    ) -> None:
        self.epsilon = epsilon
        self.delta = delta
        self.lower = lower
        self.upper = upper
        self.granularity = granularity
        self.classes = classes
        self.bins = bins
        self.binning = binning
        self.random_state = random_state
        self.ledger = ledger

    def fit(self, X: ArrayLike, y: ArrayLike | None = None) -> IndependentSynthesizer:
        """Measures the noisy counts; debits the ledger.

        Raises:
            ValueError: If a parameter is out of its range, or a label is none of ``classes``.
            BudgetError: If the ledger's ceiling refuses.
        """
        if self.classes is None:
            rows, labels = validate_data(self, X, dtype=np.float64), None
        else:
            rows, labels = validate_data(self, X, y, dtype=np.float64)
            labels = self._codes_of(np.asarray(labels))
        _warn_without(self.ledger)
        calibrated = self._calibrated()
        table = _table(rows, calibrated.facts, labels)
        _opened(self.ledger).debit(
            calibrated.guarantee, release_id=uuid.uuid4().hex, method=calibrated.method.name
        )
        self.estimate_ = calibrated.run.measure(table, SECURE)  # type: ignore[attr-defined]
        self.guarantee_: Guarantee = calibrated.guarantee
        self.n_records_ = self.estimate_.records
        return self

    def sample(self, n_samples: int = 1) -> tuple[NDArray[np.float64], NDArray[Any] | None]:
        """Synthetic rows, (n_samples, n_features) float64, and their labels if there are classes.

        Raises:
            ValueError: If ``n_samples`` is below 1.
        """
        check_is_fitted(self)
        if n_samples < 1:
            raise ValueError(f"n_samples is {n_samples}. Give at least 1.")
        state = check_random_state(self.random_state)
        rng = np.random.default_rng(state.randint(2**31 - 1, size=4))
        calibrated = self._calibrated()
        drawn = calibrated.run.draw(self.estimate_, n_samples, rng)  # type: ignore[attr-defined]
        codes = drawn.codes()
        columns = drawn.schema.features
        rows = np.stack([column.values(codes[column.name]) for column in columns], axis=1)
        if self.classes is None:
            return rows, None
        return rows, np.asarray(self.classes)[codes[_TARGET]]

    def _calibrated(self) -> Calibrated:
        try:
            method = Independent(bins=self.bins, binning=self.binning)
            facts = _schema(self, self.classes)
            return method.calibrate(Budget(self.epsilon, self.delta), facts)
        except InputError as error:
            raise ValueError(str(error)) from None

    def _codes_of(self, labels: NDArray[Any]) -> NDArray[np.int64]:
        assert self.classes is not None
        places = {label: code for code, label in enumerate(self.classes)}
        try:
            return np.array([places[label] for label in labels.tolist()], dtype=np.int64)
        except KeyError as error:
            known = ", ".join(map(repr, self.classes))
            raise ValueError(
                f"label {error.args[0]!r} was not declared. The classes are {known}."
            ) from None


def _schema(estimator: Any, classes: Sequence[Any] | None) -> Schema:
    """The public facts: one grid for each feature, and the classes."""
    count = estimator.n_features_in_
    lower = _each("lower", estimator.lower, count)
    upper = _each("upper", estimator.upper, count)
    if estimator.granularity is None:
        steps = [(high - low) / GRID for low, high in zip(lower, upper, strict=True)]
    else:
        steps = _each("granularity", estimator.granularity, count)
    numbers = tuple(
        Numeric(f"feature{j}", low, high, step if step > 0 else 1.0, outside="clamp")
        for j, (low, high, step) in enumerate(zip(lower, upper, steps, strict=True))
    )
    if classes is None:
        return Schema(numbers)
    levels = tuple(f"{code}: {label}" for code, label in enumerate(classes))
    return Schema((*numbers, Categorical(_TARGET, levels)), target=_TARGET)


def _each(name: str, value: Bound, count: int) -> list[float]:
    """One number for each feature."""
    given = np.asarray(value, dtype=np.float64)
    if given.ndim == 0:
        return [float(given)] * count
    if given.shape != (count,):
        raise InputError(f"{name} has shape {given.shape}", f"Give one number, or {count}.")
    return [float(number) for number in given]


def _table(rows: NDArray[np.float64], facts: Schema, labels: Any = None) -> Table:
    """Rows as codes; values beyond the bounds are clamped."""
    import pyarrow as pa

    codes = {c.name: c.encode(pa.array(rows[:, j])) for j, c in enumerate(facts.features)}
    if labels is not None:
        codes[_TARGET] = labels
    return Table.from_codes(codes, facts)


def _warn_without(ledger: LedgerLike) -> None:
    if ledger is None:
        warnings.warn(
            "no ledger was given: nothing will remember what is spent; pass ledger=PATH",
            stacklevel=3,
        )


def _opened(ledger: LedgerLike) -> Ledger:
    if ledger is None or ledger == ":memory:":
        return Ledger.in_memory()
    return Ledger.open(ledger) if isinstance(ledger, str | Path) else ledger
