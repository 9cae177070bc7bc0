"""Imputation: what anybody who knows such records could infer, without the release."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.measure import models

if TYPE_CHECKING:
    from sfumato.data.columns import Column


@dataclass(frozen=True)
class Imputer:
    """A forest that guesses one column from others.

    Args:
        model: Trained on the attacker's records.
        unknown: Positions of columns that it does not look at, its own among them.
    """

    model: models.Fitted
    unknown: tuple[int, ...]

    @classmethod
    def fit(
        cls,
        rows: NDArray[Any],
        columns: tuple[Column, ...],
        at: int,
        *,
        leave_out: tuple[int, ...] = (),
        labels: NDArray[Any] | None = None,
        classes: int | None = None,
        seed: int = 0,
    ) -> Imputer:
        """Learns a column of the attacker's records.

        Args:
            rows: (n, d) codes.
            columns: The d columns.
            at: Position of the column to guess.
            leave_out: Positions of others that are not known.
            labels: (n,) what to guess instead of the column's codes, such as groups of them.
            classes: How many of those there are.
            seed: Of the forest.
        """
        unknown = tuple(sorted({at, *leave_out}))
        known = tuple(c for j, c in enumerate(columns) if j not in unknown)
        guess = rows[:, at] if labels is None else labels
        count = columns[at].size if classes is None else classes
        fitted = models.classifier(
            models.FOREST, known, np.delete(rows, unknown, axis=1), guess, count, seed
        )
        return cls(fitted, unknown)

    def probabilities(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """(n, K) of (n, d) codes, whose unknown columns are not read."""
        return self.model.predict(np.delete(rows, self.unknown, axis=1))
