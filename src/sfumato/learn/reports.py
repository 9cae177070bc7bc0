"""Input perturbation: each record's own noisy report, which anything may then learn from.

A record's features are clipped to a public norm and get Gaussian noise, its label goes through
randomised response; the two are one report, accounted together. Nobody but the record's owner has
to be trusted, and training on reports is free, however often they are seen.

Source: training_attacks.md B (input perturbation of DP-UTIL, corrected): noise for the diameter of
the ball, drawn for every coordinate of every record, and a label that is protected, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sfumato.privacy.neighbours import Neighbours

if TYPE_CHECKING:
    from dp_accounting import DpEvent

    from sfumato.privacy.budget import Budget
    from sfumato.privacy.mechanisms import LocalVector, RandomizedResponse
    from sfumato.privacy.noise import NoiseSource

_BRACKET = (1e-2, 1e9)
_MOST_OF_A_LABEL = 40.0
"""An epsilon at which a label is reported as it is, for all that floats can tell."""
_CHUNK = 4096


@dataclass(frozen=True)
class LabelledReports:
    """How one record with a label is reported.

    Args:
        vector: Of the features.
        response: Of the label.
    """

    vector: LocalVector
    response: RandomizedResponse

    @classmethod
    def calibrate(
        cls, budget: Budget, *, max_norm: float, classes: int, label_share: float
    ) -> LabelledReports:
        """The least noise on the features that meets the budget beside the label's.

        Args:
            budget: Of one report; its delta above 0.
            max_norm: Public bound on the norm of a record's features.
            classes: How many labels there are.
            label_share: Of epsilon, for the label.

        Raises:
            InputError: If the budget has no delta.
        """
        from sfumato.privacy import events
        from sfumato.privacy.calibration import calibrate
        from sfumato.privacy.mechanisms import LocalVector, RandomizedResponse
        from sfumato.privacy.mechanisms.checks import delta_given

        delta_given(budget.delta, "Gaussian noise")
        share = min(label_share * budget.epsilon, _MOST_OF_A_LABEL)
        response = RandomizedResponse(classes, share)

        def event(multiplier: float) -> DpEvent:
            return events.compose(events.GaussianDpEvent(multiplier), response.event)

        multiplier = calibrate(event, budget, Neighbours.REPLACE_ONE, _BRACKET)
        return cls(LocalVector(max_norm, multiplier * max_norm), response)

    @property
    def event(self) -> DpEvent:
        """What one record's report shows: features and label."""
        from sfumato.privacy import events

        return events.compose(self.vector.event, self.response.event)

    def release(
        self, features: NDArray[np.floating], labels: NDArray[np.int64], source: NoiseSource
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """A report for each record, by draws of its own.

        Args:
            features: (n, d); a row that is not finite is reported as zeros are.
            labels: (n,) in ``[0, classes)``.
            source: The noise.

        Returns:
            (n, d) and (n,).
        """
        known = np.isfinite(features).all(axis=1)
        reports = np.empty(features.shape, np.float32)
        for start in range(0, len(features), _CHUNK):
            part = slice(start, start + _CHUNK)
            rows = np.where(known[part, None], features[part], 0)
            reports[part] = self.vector.release(rows, source)
        return reports, self.response.randomise(labels, source)
