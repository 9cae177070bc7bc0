"""The printed epsilon is what the printed event, and the printed noise, come to."""

from __future__ import annotations

import math

from battery import accountant
from battery.check import check
from battery.row import MethodRow
from battery.rows.adaptive import entries
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.noise import SeededSource

TOLERANCE = 2e-3
"""Of epsilon, relative and absolute: two accountants round on their own grids."""


@check(methods=True)
def check_event_gives_epsilon(row: MethodRow) -> None:
    """Another accountant, given the card's event and relation, arrives at its epsilon."""
    card = _card(row)
    printed = card.figures["epsilon"]
    assert printed <= row.budget.epsilon, "more is spent than was asked for"
    recomputed = accountant.of_card(card.guarantee)
    assert printed >= recomputed - TOLERANCE * (1 + recomputed), (
        f"the card says {printed}, its event gives {recomputed}"
    )
    other = accountant.by_dp_accounting(card.guarantee)
    if other is not None:
        assert math.isclose(printed, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE), (
            f"the card says {printed}, dp_accounting {other}"
        )


@check("parts", methods=True)
def check_parts_sum(row: MethodRow) -> None:
    """The noise printed for each attribute, marginal and step composes to the printed epsilon."""
    card = _card(row)
    printed = card.figures["epsilon"]
    parts = row.parts(card.plan, row.facts).epsilon(card.figures["delta"])
    assert parts <= printed + TOLERANCE * (1 + printed), (
        f"the parts come to {parts}, printed is {printed}"
    )
    # Far less would mean that the plan does not print everything that is drawn.
    assert parts >= 0.85 * printed, f"the parts come to {parts} only, printed is {printed}"


@check(methods=True)
def check_epsilons_sum(row: MethodRow) -> None:
    """The epsilons printed for attributes and label sum to the row's, and that to the whole's."""
    plan = _card(row).plan
    if "row_epsilon" not in plan:
        return
    parts = [entry["epsilon"] for entry in entries(plan)]
    assert math.fsum(parts) <= plan["row_epsilon"] * (1 + 1e-12)
    learnt = [plan[key]["epsilon"] for key in ("model", "importance") if key in plan]
    # Of records that are held out to learn from none is released: the two are not added up.
    whole = [plan["row_epsilon"], math.fsum(learnt)]
    spent = max(whole) if "held_out_records" in plan else math.fsum(whole)
    assert spent <= row.budget.epsilon * (1 + 1e-12)


def _card(row: MethodRow):
    made = row.make(row.budget)
    return made(row.data(0), ledger=Ledger.in_memory(), source=SeededSource(23)).card
