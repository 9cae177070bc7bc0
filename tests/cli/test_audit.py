"""``sfumato audit`` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
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


OTHERS = """sfumato_schema: 1
target: y
columns:
  a: {type: integer, lower: 0, upper: 99}
  b: {type: integer, lower: 0, upper: 99}
  y: {type: categorical, levels: [n, p]}
"""


@pytest.fixture
def others(tmp_path: Path) -> list[Any]:
    """Rows that another software released: those of all members, where a coin said who is one."""
    rng = np.random.default_rng(3)
    rows = [f"{a},{b},{'np'[y]}" for a, b, y in rng.integers(0, (100, 100, 2), (300, 3))]
    coins = rng.random(300) < 0.5
    for name, kept in (("in", coins), ("out", ~coins), ("released", coins)):
        chosen = [row for row, keep in zip(rows, kept, strict=True) if keep]
        (tmp_path / f"{name}.csv").write_text("\n".join(["a,b,y", *chosen, ""]), "utf-8")
    (tmp_path / "facts.yaml").write_text(OTHERS, encoding="utf-8")
    sides = ("--members", tmp_path / "in.csv", "--non-members", tmp_path / "out.csv")
    return [tmp_path / "released.csv", *sides, "--schema", tmp_path / "facts.yaml"]


@pytest.mark.parametrize("neighbours", ["add-remove", "replace-one"])
@pytest.mark.parametrize("delta", [0, 1e-6])
def test_a_makers_claim_that_is_false_is_exit_code_5(
    sfumato: Any, others: list[Any], neighbours: str, delta: float
) -> None:
    claim = ("--delta", delta, "--neighbours", neighbours)
    ran = sfumato("audit", *others, "--epsilon", 0.5, *claim)
    assert ran.code == 5
    assert "made elsewhere" in ran.out
    assert "claims ε = 0.50" in ran.out
    assert sfumato("audit", *others, "--epsilon", 9, *claim).code == 0


def test_equal_halves_are_told(sfumato: Any, others: list[Any]) -> None:
    claim = ("--epsilon", 9, "--delta", 0, "--neighbours", "add-remove")
    assert "as many members as non-members" not in sfumato("audit", *others, *claim).err
    sides = [others[2], others[4]]
    least = min(len(side.read_text("utf-8").splitlines()) for side in sides)
    for side in sides:
        rows = side.read_text("utf-8").splitlines()[:least]
        side.write_text("\n".join([*rows, ""]), "utf-8")
    said = sfumato("audit", *others, *claim).err.replace("\n", " ")
    assert f"as many members as non-members ({least - 1})" in said


def test_what_others_made_claims_nothing_unless_it_is_said(sfumato: Any, others: list[Any]) -> None:
    ran = sfumato("audit", *others)
    assert ran.code == 2
    said = ran.err.replace("\n", " ")
    assert "nothing is claimed of it that could be false" in said
    assert "sfumato attack" in said
    for given, missing in (
        (("--epsilon", 1), "a claim has no delta"),
        (("--delta", 0), "a claim has no epsilon"),
        (("--epsilon", 1, "--delta", 0), "(neighbours) is missing"),
        (("--epsilon", -1, "--delta", 0), "epsilon of the claim is -1"),
        (("--epsilon", 1, "--delta", 1), "delta of the claim is 1"),
        (("--epsilon", 1, "--delta", 0, "--neighbours", "zero-out"), "is 'zero-out'"),
    ):
        ran = sfumato("audit", *others, *given)
        assert ran.code == 2
        assert missing in ran.err.replace("\n", " ")


def test_a_makers_claim_is_a_ceiling_of_attacks(
    sfumato: Any, others: list[Any], tmp_path: Path
) -> None:
    """The same rows break it in an attack, and its page says whose claim it is."""
    claim = ("--epsilon", 0.5, "--delta", 0, "--neighbours", "replace-one")
    ran = sfumato(
        *("attack", *others, "--attack", "membership.distance", *claim),
        *("--out", tmp_path / "evaluation"),
    )
    assert ran.code == 5
    page = (tmp_path / "evaluation" / "report.html").read_text(encoding="utf-8")
    assert "Claimed, and not proven here." in page
    assert "What its maker claims" in page
    assert "Nothing is claimed" not in page


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("audit", "nonsense"), "neither a method nor a release, a file or an address"),
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
