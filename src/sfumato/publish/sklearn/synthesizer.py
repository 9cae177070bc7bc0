"""``IndependentSynthesizer``: fitted once, sampled for free."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from sfumato.errors import InputError
from sfumato.privacy.budget import Budget
from sfumato.privacy.noise import SECURE
from sfumato.publish.sklearn.common import (
    TARGET,
    codes_of,
    facts_of,
    opened,
    table_of,
    warn_without,
)
from sfumato.publish.tables.independent import Independent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sfumato.privacy.guarantee import Guarantee
    from sfumato.publish.method import Calibrated
    from sfumato.publish.sklearn.common import Bound, LedgerLike


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
            labels = codes_of(np.asarray(labels), self.classes)
        warn_without(self.ledger)
        calibrated = self._calibrated()
        table = table_of(rows, calibrated.facts, labels)
        opened(self.ledger).debit(
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
        return rows, np.asarray(self.classes)[codes[TARGET]]

    def _calibrated(self) -> Calibrated:
        try:
            method = Independent(bins=self.bins, binning=self.binning)
            facts = facts_of(self, self.classes)
            return method.calibrate(Budget(self.epsilon, self.delta), facts)
        except InputError as error:
            raise ValueError(str(error)) from None
