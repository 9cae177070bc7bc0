"""Nothing is left out: every method, mechanism, setting and kind of test has its place."""

from __future__ import annotations

import inspect
from dataclasses import fields

import battery.checks  # noqa: F401  (fills CHECKS)
from battery.check import CHECKS
from battery.table import METHODS, ROWS
from sfumato import registry
from sfumato.privacy import mechanisms
from sfumato.publish.models.finetune import FineTuneMethod

SHARED = {FineTuneMethod}
"""Methods whose noise is drawn by the steps of learn.dpsgd, on too many numbers to correlate."""


def test_every_registered_method_has_a_row() -> None:
    covered = {row.subject for row in METHODS}
    missing = [name for name, cls in registry.load("method").items() if cls not in covered]
    assert not missing, f"add rows to tests/battery/table.py for {', '.join(missing)}"


def test_every_mechanism_has_a_row() -> None:
    classes = {c for c in vars(mechanisms).values() if inspect.isclass(c)}
    named = {c for c in classes if c.__name__ in mechanisms.__all__}
    missing = named - {row.subject for row in ROWS}
    assert not missing, f"add rows to tests/battery/rows/mechanisms.py for {missing}"


def test_every_setting_of_every_method_has_an_alternative_in_some_row() -> None:
    for name, cls in registry.load("method").items():
        tried = {key for row in METHODS if row.subject is cls for key in row.alternatives}
        missing = {field.name for field in fields(cls) if field.init} - tried
        assert not missing, f"{name}: no row says what {', '.join(sorted(missing))} changes"


def test_every_method_is_audited_and_has_its_noise_measured() -> None:
    for row in METHODS:
        assert row.runs or row.slow_runs, row.name
    # A hook may have no meaning for a row, but not for all rows of a method.
    for cls in registry.load("method").values():
        rows = [row for row in METHODS if row.subject is cls]
        for hook in ("one_run", "error", "identity", *(() if cls in SHARED else ("noise",))):
            assert any(getattr(row, hook) for row in rows), f"{cls.__name__} lacks {hook}"


def test_row_names_are_unique_and_every_check_speaks_of_a_row() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
    for check in CHECKS.values():
        assert any(check.applies(row) for row in ROWS), check.name


def test_the_page_of_the_battery_is_up_to_date() -> None:
    from battery import pages

    text = pages.PAGE.read_text(encoding="utf-8")
    assert pages.rendered(text) == text, "run python tests/battery/pages.py"


def test_the_page_of_published_faults_is_up_to_date_and_has_at_least_twenty() -> None:
    from battery import pages

    text = pages.FAULTS.read_text(encoding="utf-8")
    assert pages.filled(text, faults=pages.faults_table()) == text, "run tests/battery/pages.py"
    assert pages.faults_table().count("\n| ") >= 21  # a line of the table's own


def test_every_source_of_a_fault_is_named_by_a_planted_defect() -> None:
    from battery.planted import PLANTED
    from battery.sources import SOURCES

    unused = [name for name in SOURCES if not any(name in planted.seen_in for planted in PLANTED)]
    assert not unused
