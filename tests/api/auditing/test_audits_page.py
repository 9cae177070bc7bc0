"""The committed audits: none is broken, the page is theirs and names the methods that miss."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sfumato import registry

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.skipif(
    not (ROOT / "benchmarks/results/audit.json").exists(), reason="make bench-audit was never run"
)


def bench() -> Any:
    spec = importlib.util.spec_from_file_location("bench_audit", ROOT / "benchmarks" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_every_central_method_is_audited() -> None:
    found = json.loads((ROOT / "benchmarks/results/audit.json").read_text())["audits"]
    audited = {one["subject"] for one in found}
    methods: dict[str, Any] = dict(registry.load("method"))
    central = {name for name, cls in methods.items() if cls.relation == "central"}
    assert central <= audited, f"make bench-audit: {', '.join(sorted(central - audited))}"


def test_no_committed_audit_found_a_claim_false() -> None:
    found = json.loads((ROOT / "benchmarks/results/audit.json").read_text())["audits"]
    assert found
    assert not [one["subject"] for one in found if one["broken"]]
    assert all(one["noise"]["secure"] and one["confidence"] == 0.99 for one in found)


def test_every_method_with_a_guarantee_is_in_the_table_or_named_as_missing() -> None:
    module = bench()
    found = json.loads(module.RESULTS.read_text(encoding="utf-8"))
    text = module.PAGE.read_text(encoding="utf-8")
    methods: dict[str, Any] = dict(registry.load("method"))
    for name, cls in methods.items():
        assert (f"`{name}`" in text) == (cls.relation != "no")
    assert module.missing(found) == []
    assert not {one["subject"] for one in found["audits"]} & set(module.missing(found))


def test_no_lower_bound_of_the_page_is_above_what_was_found() -> None:
    module = bench()
    found = json.loads(module.RESULTS.read_text(encoding="utf-8"))
    lines = module.PAGE.read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("| `")]
    assert len(rows) == len(found["audits"])
    for row, one in zip(rows, found["audits"], strict=True):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert one["subject"] in cells[0]
        for cell, value in ((3, "epsilon"), (4, "gaussian_epsilon"), (6, "mu")):
            assert cells[cell] == "–" or 0 <= one[value] - float(cells[cell]) < 0.01


def test_results_name_no_folder_of_the_machine_that_they_were_made_on() -> None:
    assert '"/' not in bench().RESULTS.read_text(encoding="utf-8")
    assert bench().by_name({"public": "/a/b.npz", "side": 3}) == {"public": "b.npz", "side": 3}


def test_a_result_is_kept_only_while_its_case_is_what_it_was(tmp_path: Path) -> None:
    module = bench()
    found = json.loads(module.RESULTS.read_text(encoding="utf-8"))["audits"]
    case = next(c for c in module.cases(tmp_path) if c.method == "tables.marginals")
    assert list(module.kept(found, [module.text(case)])) == [module.text(case)]
    for changes in (
        {"epsilon": 3.0},
        {"delta": 1e-7},
        {"runs": 2001},
        {"records": 21},
        {"settings": {"seed": 2}},
        {"schema": None},
    ):
        assert not module.kept(found, [module.text(replace(case, **changes))])


def test_the_page_of_audits_is_up_to_date() -> None:
    module = bench()
    text = module.PAGE.read_text(encoding="utf-8")
    found = json.loads(module.RESULTS.read_text(encoding="utf-8"))
    assert module.rendered(text, found) == text, "run python benchmarks/audit.py --page"
