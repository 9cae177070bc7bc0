"""``learn.objective``: logistic regression of an objective that has noise in it.

A random linear term is added to the regularised loss before it is minimised; see
:mod:`sfumato.learn.objective` for what that proves, and for why the minimiser need not be reached.

Sources: Chaudhuri, Monteleoni and Sarwate, JMLR 2011; Kifer, Smith and Thakurta, COLT 2012;
Iyengar et al., S&P 2019.
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

_TRADE = 10.0
"""The regularisation is so much over records times epsilon unless set: the determinants then cost a
tenth of epsilon at most."""


@method("learn.objective")
@dataclass(frozen=True)
class ObjectiveMethod(ConvexSettings):
    """Logistic regression that minimises a loss with a random linear term.

    Args:
        network: ``"auto"``, ``"dense"`` for images or ``"table-dense"`` for rows, without hidden
            layers: the proof needs a convex loss.
        hidden: No layers.
        max_norm: Public bound on the norm of a record's features, to which longer ones are
            shortened; None: of rows the longest there can be, of images a third of it.
        regularisation: Of the mean loss, for features brought to the unit ball; it must not be
            less than about ``1 / (records epsilon)``. None follows from records and budget.

    Raises:
        InputError: If a value is unknown or out of its range, or the network is not convex in its
            weights.

    Guaranteed: ``Central``, (epsilon, delta), of one record replaced; the number of records is
    declared public.
    """

    source: ClassVar[str] = "Chaudhuri et al., JMLR 2011; Iyengar et al., S&P 2019"

    def calibrate(self, budget: Budget, facts: ImageSchema | Schema) -> Calibrated:
        """The run that spends ``budget`` on records with these public facts.

        Raises:
            InputError: If the facts lack a target or the number of records, the budget a delta, or
                the regularisation costs more than the budget has.
        """
        from sfumato.learn.noise import STREAM
        from sfumato.learn.objective import ObjectivePerturbation
        from sfumato.privacy.guarantee import Central

        records = checks.records(facts, budget)
        made = self._architecture(facts)
        ridge = self.regularisation
        if ridge is None:
            ridge = _TRADE / (records * budget.epsilon)
        ready = ObjectivePerturbation.calibrate(
            budget, classes=made["classes"], records=records, ridge=ridge, width=width(made) + 1
        )
        return Calibrated(
            method=self,
            budget=budget,
            facts=facts,
            guarantee=Central(ready.event, budget.delta, "record", RELATION),
            plan={
                "regularisation": ridge,
                "linear_stddev": ready.stddev,
                "determinants": ready.determinants,
                "dimensions": ready.dimensions,
                "tolerance": ready.tolerance,
                "closing_distance": ready.closing.sensitivity(RELATION),
                "closing_stddev": ready.closing.stddev,
                "architecture": made,
            },
            run=ConvexRun(facts, ready, made, records, ridge),
            public=(Fact("network", made, "public: setting of learn.objective"),),
            caveats=convex_caveats(),
            source=STREAM,
        )
