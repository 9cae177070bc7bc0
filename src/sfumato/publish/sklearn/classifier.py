"""``PrivateClassifier``: a network for numeric features, trained under a guarantee."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from sfumato.data.facts import Fact
from sfumato.errors import InputError
from sfumato.privacy.budget import Budget
from sfumato.privacy.guarantee import Empirical
from sfumato.privacy.noise import SeededSource
from sfumato.publish.sklearn.common import (
    codes_of,
    facts_of,
    opened,
    plain,
    table_of,
    warn_without,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sfumato.privacy.guarantee import Guarantee
    from sfumato.publish.method import Calibrated
    from sfumato.publish.models.dpsgd import DpSgdMethod
    from sfumato.publish.sklearn.common import Bound, LedgerLike
    from sfumato.release.release import Release

_SETTINGS = (
    "hidden",
    "epochs",
    "expected_batch_size",
    "clipping",
    "max_grad_norm",
    "optimizer",
    "learning_rate",
    "momentum",
    "schedule",
    "averaging",
    "neighbours",
)
"""Parameters that are settings of ``learn.dpsgd``."""
_READ_CLASSES = (
    "The set of classes was read off the private labels, not declared: a class that one record "
    "alone has is not hidden."
)


class PrivateClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A dense network on bounded features, trained by DP-SGD (``learn.dpsgd``).

    Features are clamped to their public bounds and scaled by them to ``[-1, 1]``. Every call of
    :meth:`fit` trains anew and debits the ledger anew; predicting is free.

    **In a search or a cross-validation every fit pays**: a grid of 6 candidates in 5 folds with a
    final fit spends 31 times. Fits without a ledger that remembers them have no guarantee
    together, whatever each one's ``guarantee_`` says. The scores of a search and the choice it
    makes are computed on private rows without noise and are covered by no guarantee: search on
    public data. Nor is a step before this one in a pipeline covered, if it is fitted to private
    rows: scale by the bounds here instead.

    Args:
        epsilon: What one record may cost.
        delta: The budget's other half; below 1/records.
        lower: Public lower bound, of all features or one for each.
        upper: Public upper bound, likewise.
        granularity: Step that values are rounded to, likewise; None: 1024 steps between the
            bounds.
        classes: The public labels. None: they are read off ``y``, which no guarantee covers:
            :meth:`fit` warns, and the card says so.
        records: The public number of records, which the sampling rate and the divisor of the noisy
            sums come from; under add-remove alone it may be wrong. None: ``len(X)`` is declared
            public.
        hidden: Widths of the hidden layers; none is logistic regression.
        epochs: How often a record is seen, on average.
        expected_batch_size: Records a step, on average; None: a hundredth of the records, 64 at
            least.
        clipping: ``"flat"``, ``"automatic"``, ``"adaptive"``, ``"per-layer"`` or
            ``"layer-budgets"``.
        max_grad_norm: Bound on a record's gradient.
        optimizer: ``"sgd"`` or ``"adam"``.
        learning_rate: Of the noisy mean gradient.
        momentum: Of ``sgd``.
        schedule: ``"constant"``, ``"linear"`` or ``"cosine"``.
        averaging: Decay of the average of the weights that is kept; None: the last weights.
        neighbours: ``"add-remove"``, ``"zero-out"`` or ``"replace-one"``.
        random_state: For tests only. None: secure noise. Anything else makes samples, noise and
            initial weights predictable: the result then protects nobody, :meth:`fit` warns, and
            ``guarantee_`` says so.
        ledger: Takes the debits: its file, or a ``Ledger`` (which cannot be cloned or pickled).
            None: nothing remembers what is spent, and :meth:`fit` warns; ``":memory:"`` does not.

    Attributes:
        classes_: (K,) the labels, sorted.
        release_: What was published: ``release_.save(folder)`` writes the model with its card.
        guarantee_: What is proven of the model, from the event of what ran; ``Empirical`` with a
            ``random_state``.

    Guaranteed: the fitted object is (epsilon, delta)-DP for ``neighbours``, given that ``classes``
    and ``records`` are public.

    Source: Abadi et al., Deep Learning with Differential Privacy, CCS 2016.

    >>> rows = np.linspace(0, 1, 200)[:, None]
    >>> labels = (rows[:, 0] > 0.5).astype(int)
    >>> private = PrivateClassifier(8.0, classes=(0, 1), ledger=":memory:").fit(rows, labels)
    >>> private.predict_proba(rows).shape, round(private.guarantee_.epsilon(), 1)
    ((200, 2), 8.0)
    """

    def __init__(
        self,
        epsilon: float = 1.0,
        delta: float = 1e-5,
        *,
        lower: Bound = 0.0,
        upper: Bound = 1.0,
        granularity: Bound | None = None,
        classes: Sequence[Any] | None = None,
        records: int | None = None,
        hidden: Sequence[int] = (),
        epochs: float = 30,
        expected_batch_size: int | None = None,
        clipping: str = "flat",
        max_grad_norm: float = 0.1,
        optimizer: str = "sgd",
        learning_rate: float = 1.0,
        momentum: float = 0.9,
        schedule: str = "constant",
        averaging: float | None = None,
        neighbours: str = "add-remove",
        random_state: Any = None,
        ledger: LedgerLike = None,
    ) -> None:
        self.epsilon = epsilon
        self.delta = delta
        self.lower = lower
        self.upper = upper
        self.granularity = granularity
        self.classes = classes
        self.records = records
        self.hidden = hidden
        self.epochs = epochs
        self.expected_batch_size = expected_batch_size
        self.clipping = clipping
        self.max_grad_norm = max_grad_norm
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.schedule = schedule
        self.averaging = averaging
        self.neighbours = neighbours
        self.random_state = random_state
        self.ledger = ledger

    def fit(self, X: ArrayLike, y: ArrayLike) -> PrivateClassifier:
        """Trains; debits the ledger.

        Args:
            X: (n, n_features) numbers; values beyond the bounds are clamped.
            y: (n,) labels, each one of ``classes``.

        Raises:
            ValueError: If a parameter is out of its range, or a label is none of ``classes``.
                Nothing is spent.
            BudgetError: If the ledger's ceiling refuses. Nothing is spent.
        """
        rows, labels = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(labels)
        warn_without(self.ledger)
        classes = self._classes(labels)
        codes = codes_of(labels, classes.tolist())
        source, seed = None, None
        if self.random_state is not None:
            drawn = check_random_state(self.random_state).randint(2**31 - 1, size=2)
            source, seed = SeededSource(int(drawn[0])), int(drawn[1])
        calibrated = self._calibrated(len(rows), seed, classes)
        facts = calibrated.facts
        if self.neighbours == "add-remove" and self.records not in (None, len(rows)):
            # The number shapes sampling and divisor alone: there may be other than so many rows.
            calibrated = replace(
                calibrated,
                facts=facts.with_records(None),
                public=(*calibrated.public, Fact("records", plain(self.records))),
            )
        try:
            release: Release = calibrated(
                table_of(rows, facts.with_records(None), codes),
                ledger=opened(self.ledger),
                source=source,
            )
        except InputError as error:
            raise ValueError(str(error)) from None
        # Together: labels that were not trained for would be given to what an earlier fit made.
        self.classes_: NDArray[Any] = classes
        self.release_: Release = release
        self.guarantee_: Guarantee = calibrated.guarantee
        if self.random_state is not None:
            self.guarantee_ = Empirical()
            warnings.warn(
                "random_state makes the noise predictable: the model protects nobody; use it in "
                "tests only",
                stacklevel=2,
            )
        return self

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The likeliest label of each row, (n,)."""
        best = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Scores of each class that sum to 1, (n, K) in the order of ``classes_``."""
        check_is_fitted(self)
        rows = validate_data(self, X, dtype=np.float64, reset=False)
        model = self.release_.model
        facts: Any = model.schema
        names = [column.name for column in facts.features]
        return model.probabilities(table_of(rows, facts.select(*names).with_records(None)))

    def _classes(self, labels: NDArray[Any]) -> NDArray[Any]:
        """The labels, sorted as scikit-learn's scorers expect them."""
        if self.classes is not None:
            declared = np.unique(np.asarray(self.classes))
            if len(declared) != len(self.classes):
                raise ValueError(f"classes repeats one: {list(self.classes)!r}. Name each once.")
            found = declared
        else:
            found = np.unique(labels)
            warnings.warn(
                "classes were not declared and are read off y, which no guarantee covers; pass "
                "classes=",
                stacklevel=3,
            )
        if len(found) < 2:
            raise ValueError("there is one class. Declare the classes to tell apart.")
        return found

    def _method(self, seed: int | None) -> DpSgdMethod:
        from sfumato.publish.models.dpsgd import DpSgdMethod

        return DpSgdMethod(
            network="table-dense",
            seed=seed,
            device="cpu",
            **{name: plain(getattr(self, name)) for name in _SETTINGS},
        )

    def _calibrated(self, rows: int, seed: int | None, classes: NDArray[Any]) -> Calibrated:
        try:
            facts = facts_of(self, classes.tolist())
            facts = facts.with_records(rows if self.records is None else plain(self.records))
            budget = Budget(plain(self.epsilon), plain(self.delta))
            made = self._method(seed).calibrate(budget, facts)
        except InputError as error:
            raise ValueError(str(error)) from None
        if self.classes is None:
            made = replace(made, caveats=(*made.caveats, _READ_CLASSES))
        return made

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.non_deterministic = True
        # A few hundred records under an epsilon of 1 promise no accuracy.
        tags.classifier_tags.poor_score = True
        return tags
