"""The tables of ``docs/battery.md`` and ``docs/planted-defects.md``, made from the battery itself.

Run ``python tests/battery/pages.py`` to write them anew; a test fails when those of checks and
defects are out of date. With ``--audits`` the audits are run at length (some minutes), too.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from battery.check import CHECKS
from battery.checks import audits
from battery.planted import PLANTED
from battery.sources import source_of
from battery.table import ROWS

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "battery.md"
FAULTS = DOCS / "planted-defects.md"


def checks_table() -> str:
    """One line a check: what it says, of how many rows, how many defects it has caught."""
    lines = [
        "| check | what holds | rows | planted defects caught |",
        "| --- | --- | ---: | ---: |",
    ]
    for name, check in CHECKS.items():
        says = (check.call.__doc__ or "").strip().splitlines()[0]
        rows = sum(check.applies(row) for row in ROWS)
        caught = sum(name in planted.caught_by for planted in PLANTED)
        home = check.call.__module__.rsplit(".", 1)[-1]
        lines.append(f"| `{home}.{name}` | {says} | {rows} | {caught} |")
    return "\n".join(lines)


def defects_table() -> str:
    """One line a planted defect: where it was seen, in what it is planted, what catches it."""
    lines = ["| defect | seen in | planted in | caught by |", "| --- | --- | --- | --- |"]
    for planted in PLANTED:
        caught = ", ".join(f"`{name}`" for name in planted.caught_by)
        lines.append(f"| {planted.name} | {planted.seen_in} | {planted.row.name} | {caught} |")
    return "\n".join(lines)


def faults_table() -> str:
    """One line a planted fault of published code or claims: its source, what catches it."""
    lines = ["| fault | as published | source | caught by |", "| --- | --- | --- | --- |"]
    for planted in PLANTED:
        source = source_of(planted.seen_in)
        if source is None:
            continue
        homes = {
            name: CHECKS[name].call.__module__.rsplit(".", 1)[-1] for name in planted.caught_by
        }
        caught = ", ".join(f"`{home}.{name}`" for name, home in homes.items())
        lines.append(
            f"| {planted.name} (in {planted.row.name}) | {planted.seen_in} | {source} | {caught} |"
        )
    return "\n".join([*lines, "", f"{len(lines) - 2} published faults."])


def audits_table() -> str:
    """One line a row: what it claims at its audit's budget, and what the audits found."""
    lines = [
        "| row | claimed ε | runs a side | two points: ε is at least | claimed ε at 1e-9 "
        "| one run: ε is at least |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in ROWS:
        made = row.make(row.audit_budget)
        runs = row.slow_runs or row.runs
        canary = audits.CANARY_DELTA if row.delta(made) else 0.0
        one_run = f"{audits.check_one_run(row):.2f}" if row.one_run else "–"
        lines.append(
            f"| {row.name} | {row.epsilon(made):.2f} | {runs} | {audits.audited(row, runs):.2f} "
            f"| {row.epsilon(made, canary):.2f} | {one_run} |"
        )
    return "\n".join(lines)


def rendered(text: str, **more: str) -> str:
    """The battery's page with its tables as they should be."""
    return filled(text, checks=checks_table(), defects=defects_table(), **more)


def filled(text: str, **tables: str) -> str:
    """A page with tables in the places that are marked for them."""
    for name, table in tables.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
        made = f"\\1{table}\n\\2"
        text, found = re.subn(pattern, made, text, flags=re.DOTALL)
        assert found == 1, f"the page has no place for the {name}"
    return text


if __name__ == "__main__":
    found = {"audits": audits_table()} if "--audits" in sys.argv else {}
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8"), **found), encoding="utf-8")
    faults = filled(FAULTS.read_text(encoding="utf-8"), faults=faults_table())
    FAULTS.write_text(faults, encoding="utf-8")
