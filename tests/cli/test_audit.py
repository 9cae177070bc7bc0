"""``sfumato audit`` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sfumato.privacy.mechanisms import DiscreteLaplace

METHOD = ("audit", "tables.independent", "--epsilon", 1, "--delta", 0)


def test_a_claim_that_stands_is_exit_code_0_with_a_record_and_a_page(
    sfumato: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "kept"
    ran = sfumato(*METHOD, "--runs", 40, "--folder", folder)
    assert ran.code == 0, ran.err
    assert "The claim stands" in ran.out
    assert json.loads((folder / "audit.json").read_text())["broken"] is False
    assert "The claim stands" in (folder / "report.html").read_text()
    assert sfumato(*METHOD, "--runs", 40, "--folder", folder).code == 0  # nothing is run again


def test_a_claim_that_is_false_is_exit_code_5_and_loud(
    sfumato: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DiscreteLaplace, "release", lambda made, values, source=None: values)
    ran = sfumato(*METHOD, "--runs", 100)
    assert ran.code == 5
    assert "The claim is false" in ran.out
    ran = sfumato(*METHOD, "--runs", 100, "--json")
    assert ran.code == 5
    assert json.loads(ran.out)["broken"] is True


def test_what_others_made_claims_nothing_to_audit(sfumato: Any, tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_text("a\n1\n", encoding="utf-8")
    for subject in (tmp_path / "out.csv", "https://model.example/predict"):
        ran = sfumato("audit", subject, "--members", "in.csv", "--non-members", "out.csv")
        assert ran.code == 2
        said = ran.err.replace("\n", " ")
        assert "nothing is claimed of it that could be false" in said
        assert "sfumato attack" in said


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("audit", "nonsense"), "neither a method nor the folder of a release"),
        (("audit", "tables.independent"), "Give epsilon"),
        ((*METHOD, "--runs", 3), "runs is 3"),
        ((*METHOD, "--set", "bins"), "has no '='"),
        ((*METHOD, "--target", "x"), "target was given"),
    ],
)
def test_bad_input_is_one_line(sfumato: Any, arguments: Any, problem: str) -> None:
    ran = sfumato(*arguments)
    assert ran.code == 2
    assert problem in ran.err.replace("\n", " ")
    assert "Traceback" not in ran.err
