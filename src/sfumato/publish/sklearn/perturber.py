"""``LocalPerturber``: a transformer whose output anybody may see."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from sfumato.errors import InputError
from sfumato.privacy.budget import Budget
from sfumato.privacy.guarantee import Empirical
from sfumato.privacy.noise import SECURE, NoiseSource, SeededSource
from sfumato.publish.sklearn.common import each, facts_of, opened, table_of, warn_without
from sfumato.publish.tables.adaptive import Adaptive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sfumato.privacy.guarantee import Guarantee
    from sfumato.publish.method import Calibrated
    from sfumato.publish.sklearn.common import Bound, LedgerLike
    from sfumato.release.release import Release


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
        warn_without(self.ledger)
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
        table = table_of(rows, calibrated.facts)
        return calibrated(table, ledger=opened(self.ledger), source=source)

    def _calibrated(self) -> Calibrated:
        try:
            facts = facts_of(self, None)
            weights = None
            if self.weights is not None:
                given = each("weights", self.weights, self.n_features_in_)
                weights = dict(zip(facts.names, given, strict=True))
            method = Adaptive(allocation=self.allocation, weights=weights, noise=self.noise)
            return method.calibrate(Budget(self.epsilon, self.delta), facts)
        except InputError as error:
            raise ValueError(str(error)) from None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.non_deterministic = True
        return tags
