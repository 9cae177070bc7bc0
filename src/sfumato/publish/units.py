"""Any method, for people with several rows: bounded rows, and a guarantee for the person.

Nothing in a method changes. It is calibrated for one record of the *bounded* table, to a budget so
much smaller that what follows for all kept rows of a person meets the budget that was asked for.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.data.persons import KEY_BYTES
from sfumato.errors import InputError
from sfumato.privacy.budget import Budget
from sfumato.privacy.guarantee import Guarantee, Local
from sfumato.privacy.units import for_unit, noun, of_one_record
from sfumato.publish.method import Calibrated, Method, RecordCaveat

if TYPE_CHECKING:
    from sfumato.data import Schema

_TRIES = 6
_CLOSE = 0.995  # share of the budget that is near enough to all of it
_STEP = 1e-3
_ROUNDING = 1e-9


def calibrate(method: Method, budget: Budget, facts: Any) -> Calibrated:
    """The run that spends ``budget`` on each person, if the facts name a unit; else on each record.

    Args:
        method: The public choices.
        budget: Of one person.
        facts: A ``Schema``, whose ``unit`` and ``rows_per_unit`` say whose rows are bounded, or an
            ``ImageSchema``. ``records`` is the number of rows that are left when they are.

    Raises:
        InputError: As for the method, or if nothing is known of several records together.
    """
    unit = getattr(facts, "unit", None)
    if unit is None:
        return method.calibrate(budget, facts)
    rows, name = facts.rows_per_unit, noun(unit)
    of_one = facts.without_unit()

    def at(row_budget: Budget) -> tuple[Calibrated, Guarantee]:
        made = method.calibrate(row_budget, of_one)
        return made, for_unit(made.guarantee, name, rows, budget.delta)

    made, guarantee = _fitted(at, budget, rows)
    plan = {**made.plan, "rows_per_unit": rows}
    if rows > 1:
        plan["of_one_row"] = {"epsilon": made.budget.epsilon, "delta": made.budget.delta}
    return replace(
        made,
        budget=budget,
        facts=_with_unit(made.facts, facts),
        guarantee=guarantee,
        plan=plan,
        caveats=(
            *(c for c in made.caveats if not isinstance(c, RecordCaveat)),
            *_caveats(guarantee, name, rows, getattr(made.facts, "records", None) is not None),
        ),
        per_unit=True,
    )


def _fitted(
    at: Callable[[Budget], tuple[Calibrated, Guarantee]], budget: Budget, rows: int
) -> tuple[Calibrated, Guarantee]:
    """The largest budget of one row found with which a person's meets the whole.

    Group privacy gives one that always fits. Where the event has a tighter form (Gaussian noise;
    the reports of one person, which are composed) a larger one does, and is looked for.
    """
    row_budget = of_one_record(budget, rows)
    best, reached = None, 0.0
    scale, fits, fails = 1.0, 0.0, math.inf
    for _ in range(_TRIES):
        made = at(replace(row_budget, epsilon=row_budget.epsilon * scale))
        spent = made[1].epsilon()
        if math.isinf(spent):
            return made  # nothing is proven, so there is nothing to fit
        if spent <= budget.epsilon * (1 + _ROUNDING):
            stalled = best is not None and spent <= reached * (1 + _STEP)
            if best is None or spent > reached:
                best, reached = made, spent
            fits = scale
            if rows == 1 or stalled or spent >= _CLOSE * budget.epsilon:
                break
        else:
            fails = scale
        if fails <= fits * (1 + _STEP):
            break
        scale *= budget.epsilon / spent * (1 - _STEP)
        if not fits < scale < fails:
            scale = math.sqrt(fits * fails) if fits else fails * _CLOSE
    if best is None:
        raise InputError(
            f"no noise was found with which {rows} rows of one person meet {budget}",
            "Use fewer rows of each person.",
        )
    return best


def _with_unit(made: Any, facts: Schema) -> Any:
    """The facts a method settled on, for the data as they come."""
    return replace(made, drop=facts.drop, unit=facts.unit, rows_per_unit=facts.rows_per_unit)


def _caveats(guarantee: Guarantee, name: str, rows: int, counted: bool) -> tuple[str, ...]:
    """What is said of persons; ``counted`` where the number of kept rows is public."""
    kept = "one row" if rows == 1 else f"at most {rows} rows"
    said = [
        f"Of each {name} {kept} went in, drawn at random; all else of them was left out, and "
        f"whose a row is was never read by the method."
    ]
    add_remove = getattr(guarantee, "neighbours", "") == "add-remove"
    if rows > 1 and isinstance(guarantee, Local):
        said.append(
            f"How many rows of a {name} were kept is not hidden, nor which released rows follow "
            "each other in the data: the guarantee is for their values, all together."
        )
    elif rows > 1 and (counted or not add_remove):
        said.append(
            f"The number of rows that were kept of a {name} (1 to {rows}) is not hidden, as the "
            "number of all rows is public: the guarantee is for their values, all together."
        )
    return tuple(said)


def bounded(data: Any, facts: Any, workspace: Path | None = None, key: bytes | None = None) -> Any:
    """The rows of each person that may be used.

    Args:
        data: The private data; as they are if the facts name no unit, or bounded already.
        facts: The public facts.
        workspace: Where an interrupted run keeps its draws; it goes on with the same rows.
        key: Of the choice; None draws one, or takes the workspace's.

    Raises:
        InputError: If the data do not say whose a row is, or facts and data name different units.
    """
    unit = getattr(facts, "unit", None)
    of_data = getattr(getattr(data, "schema", None), "unit", None)
    if unit != of_data:
        raise InputError(
            f"the data say by {of_data!r} whom a row is of, the facts by {unit!r}",
            "Open the data with the schema that the release states.",
        )
    if unit is None:
        return data
    if workspace is None:
        return data if data.bounded else data.bound(key or secrets.token_bytes(KEY_BYTES))
    from sfumato.publish.workspace import selected, selection

    if data.bounded and selected(workspace) is None:
        raise InputError(
            f"{workspace} does not say which rows of each {noun(unit)} are used",
            "Give the data unbounded, so that an interrupted run goes on with the same rows.",
        )
    return data if data.bounded else data.bound(selection(workspace, key))


def anonymous(data: Any) -> Any:
    """The data without the column that says whose a row is: what a method is given."""
    named = getattr(getattr(data, "schema", None), "unit", None)
    return data if named is None else data.without_unit()
