"""From what holds for one record to what holds for all records of one person.

A person is in the bounded table with at most ``rows`` records, whichever they are. So two tables
that differ in a person are at most ``rows`` steps of the record's relation apart:

- under *add/remove*, a person who comes or goes brings or takes that many records;
- under *replace-one* and *zero-out*, and in a local guarantee, a person's kept records get other
  values; how many there are (1 to ``rows``) is a public fact, as the number of records is.

A central event is then accounted by group privacy (``GroupDpEvent``). In a local guarantee every
record is reported by itself, so the reports of one person are composed, which costs less.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace

from sfumato.errors import InputError
from sfumato.privacy.budget import Budget
from sfumato.privacy.guarantee import Central, Empirical, Guarantee, Local, Metric

_KEY = re.compile(r"[\s_.-]*(id|ids|key|code|no|nr|num|number|uuid)$", re.IGNORECASE)


def noun(column: str) -> str:
    """Whom the values of a column stand for, in a word for sentences.

    What is left of an abbreviation is no word.

    >>> noun("patient_id"), noun("CustomerID"), noun("id"), noun("pid")
    ('patient', 'customer', 'person', 'person')
    """
    stem = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", column)
    while _KEY.search(stem) and (shorter := _KEY.sub("", stem)) != stem:
        stem = shorter
    words = re.sub(r"[\s_.-]+", " ", stem).strip().lower()
    taken = ("record", "row", "whole image")
    return words if len(words) > 2 and words not in taken else "person"


def of_one_record(budget: Budget, rows: int) -> Budget:
    """What one record may cost so that ``rows`` of them together cost ``budget``.

    Group privacy read backwards: ``epsilon / rows``, and the delta that a chain of ``rows``
    neighbours sums to the budget's.

    >>> of_one_record(Budget(1.0, 1e-5), 1)
    Budget(epsilon=1.0, delta=1e-05)
    """
    epsilon = budget.epsilon / rows
    chain = math.fsum(math.exp(min(step * epsilon, 700.0)) for step in range(rows))
    return Budget(epsilon, budget.delta / chain)


def for_unit(guarantee: Guarantee, unit: str, rows: int, delta: float) -> Guarantee:
    """What a guarantee for one record proves of a person with at most ``rows`` of them.

    Args:
        guarantee: For one record of the bounded table.
        unit: Whom the records belong to, in a word.
        rows: The most records of one person.
        delta: Where the person's epsilon is read off; a pure guarantee stays pure.

    Raises:
        InputError: If nothing is known of several records together.
    """
    if isinstance(guarantee, Empirical):
        return guarantee
    if isinstance(guarantee, Metric):
        if rows > 1:
            raise InputError(
                f"a guarantee by distance is proven for one record, not for {rows} of a {unit}",
                "Keep one row of each: rows_per_unit = 1.",
            )
        worst = guarantee.worst_case
        return guarantee if worst is None else replace(guarantee, worst_case=_named(worst, unit))
    from sfumato.privacy import events

    at = 0.0 if guarantee.delta == 0 else delta
    if rows == 1:
        return replace(guarantee, unit=unit)
    if isinstance(guarantee, Local):
        event = events.repeat(guarantee.event, rows)
    else:
        event = events.GroupDpEvent(guarantee.event, rows)
    return replace(guarantee, event=event, delta=at, unit=unit)


def _named(guarantee: Central, unit: str) -> Central:
    return replace(guarantee, unit=unit)
