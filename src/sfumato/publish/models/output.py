"""``learn.output``: logistic regression whose minimiser is published under noise.

The regularised loss is strongly convex, so one record moves its minimiser by a bounded distance;
noise for that distance, and for what the optimiser leaves, goes on every weight once.

Source: Chaudhuri, Monteleoni and Sarwate, JMLR 2011, Algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sfumato.data.facts import Fact
from sfumato.publish import checks
from sfumato.publish.method import Calibrated
from sfumato.publish.models.convex import (
    RELATION,
    ConvexRun,
    ConvexSettings,
    convex_caveats,
    width,
)
from sfumato.registry import method

if TYPE_CHECKING:
    from sfumato.data import ImageSchema, Schema
    from sfumato.privacy.budget import Budget

_TRADE = 30.0
"""The regularisation is so much over records times mu unless set: a tenth of a logit of noise."""


@method("learn.output")
@dataclass(frozen=True)
class OutputMethod(ConvexSettings):
    """Logistic regression, its regularised minimiser published under Gaussian noise.

    Args:
        network: ``"auto"``, ``"dense"`` for images or ``"table-dense"`` for rows, without hidden
            layers: the proof needs a convex loss.
        hidden: No layers.
        max_norm: Public bound on the norm of a record's features, to which longer ones are
            shortened; None: of rows the longest there can be, of images a third of it.
        regularisation: Of the mean loss, for features brought to the unit ball; more means less
            noise and a less exact model. None follows from records and budget.

    Raises:
        InputError: If a value is unknown or out of its range, or the network is not convex in its
            weights.

    Guaranteed: ``Central``, mu-GDP, of one record replaced; the number of records is declared
    public.
    """

    source: ClassVar[str] = "Chaudhuri, Monteleoni, Sarwate, JMLR 2011 (output perturbation)"

    def calibrate(self, budget: Budget, facts: ImageSchema | Schema) -> Calibrated:
        """The run that spends ``budget`` on records with these public facts.

        Raises:
            InputError: If the facts lack a target or the number of records, or the budget a delta.
        """
        from sfumato.learn.noise import STREAM
        from sfumato.learn.output import OutputPerturbation
        from sfumato.privacy.calibration import analytic_gaussian_mu
        from sfumato.privacy.guarantee import Central

        records = checks.records(facts, budget)
        made = self._architecture(facts)
        ridge = self.regularisation
        if ridge is None:
            ridge = min(1.0, _TRADE / (records * analytic_gaussian_mu(budget)))
        ready = OutputPerturbation.calibrate(
            budget, records=records, ridge=ridge, weights=(width(made) + 1) * made["classes"]
        )
        return Calibrated(
            method=self,
            budget=budget,
            facts=facts,
            guarantee=Central(ready.event, budget.delta, "record", RELATION),
            plan={
                "regularisation": ridge,
                "sensitivity": ready.noise.sensitivity(RELATION),
                "tolerance": ready.tolerance,
                "stddev": ready.noise.stddev,
                "architecture": made,
            },
            run=ConvexRun(facts, ready, made, records, ridge),
            public=(Fact("network", made, "public: setting of learn.output"),),
            caveats=convex_caveats(),
            source=STREAM,
        )
