"""``tables.adaptive`` with paid importance: a private model, noisy attributions, then the rows.

Three draws on the same records, composed: the model (Gaussian noise on gradients), the mean
attribution (discrete Laplace noise), and the rows' reports. The budget of each is fixed before
the run. Importance decides how the rows' part is divided, never how large it is, so the rows cost
the same whatever the importance turns out to be.

Source: perturbation.md A.2, P2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sfumato.privacy.budget import Budget
from sfumato.privacy.guarantee import Central
from sfumato.privacy.neighbours import Neighbours
from sfumato.publish.method import Calibrated, Progress
from sfumato.publish.tables import importance, learning
from sfumato.release.release import Artefact

if TYPE_CHECKING:
    from sfumato.data import Schema, Table
    from sfumato.privacy.noise import NoiseSource
    from sfumato.publish.tables.adaptive import Adaptive
    from sfumato.publish.tables.row import Row

CAVEATS = (
    "Importance is a statistic of all rows: the guarantee is for the release as a whole and needs "
    "a trusted curator; the rows alone are not local reports.",
)


def calibrate(method: Adaptive, budget: Budget, facts: Schema) -> Calibrated:
    """The run that spends ``budget`` on importance and rows.

    Raises:
        InputError: If there is no target or no public number of rows, or delta is 0.
    """
    from sfumato.privacy import events

    records = learning.check(facts, budget)
    gaussian = method.noise == "gaussian"
    rest = 1 - method.model_share - method.importance_share
    delta = budget.delta / 2 if gaussian else budget.delta
    for_model = Budget(method.model_share * budget.epsilon, delta)
    for_rows = Budget(rest * budget.epsilon, budget.delta / 2 if gaussian else 0.0)
    for_importance = method.importance_share * budget.epsilon
    learner = learning.Learner.calibrate(
        facts, records, for_model, for_importance, method.attribution, method.seed
    )
    # Equal weights stand in for the importance to come: what they fix is the total, not the parts.
    equal = importance.declared(None, tuple(c.name for c in facts.features), facts.target)
    row = method.row(for_rows, facts, equal, beside=(learner.event, budget))
    described = learner.describe(records)
    described["importance"]["epsilon"] = for_importance
    return Calibrated(
        method=method,
        budget=budget,
        facts=facts,
        guarantee=Central(
            events.compose(learner.event, row.cost),
            budget.delta,
            "record",
            Neighbours.REPLACE_ONE,
        ),
        plan={**described, "row_epsilon": for_rows.epsilon, "aligned": True},
        run=Run(learner, row, method.seed),
        caveats=CAVEATS,
    )


@dataclass(frozen=True)
class Run:
    """The three draws.

    Args:
        learner: Of importance.
        row: A row's budget.
        seed: See ``Adaptive``.
    """

    learner: learning.Learner
    row: Row
    seed: int | None

    def __call__(self, table: Table, source: NoiseSource, progress: Progress) -> Artefact:
        """Learns importance, then perturbs the rows by it."""
        from sfumato.publish.tables.adaptive import reported

        learnt = self.learner.learn(table, source, progress)
        released, seeds = reported(table, self.row, learnt, source, progress, self.seed)
        return Artefact(released, seeds=seeds, notes=self.row.describe(learnt))
