from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from sfumato.errors import InputError
from sfumato.measure import cnn
from sfumato.measure import evaluation as evaluation_module
from sfumato.measure.evaluation import Evaluation, evaluate
from sfumato.measure.progress import part, silent
from sfumato.measure.utility import Limits
from sfumato.report.inside import _banner

SMALL = Limits(train_rows=200, test_rows=200, train_images=100, epochs=1)


def test_evaluates_a_table(make_people: Any, make_release: Any) -> None:
    members, others = make_people(200, 1), make_people(100, 2)
    told: list[tuple[int, int, str]] = []
    evaluation = evaluate(
        make_release(make_people(200, 3)),
        members,
        others,
        limits=SMALL,
        progress=lambda *step: told.append(step),
    )
    assert len(evaluation.findings) >= 4
    assert evaluation.utility is not None
    assert evaluation.marginals is not None
    assert evaluation.marginals.two_way_floor is not None
    assert evaluation.distributions["kind"] == "table"
    assert evaluation.release_id == "0" * 32
    assert evaluation.seconds > 0
    assert Evaluation.from_json(evaluation.to_json()) == evaluation
    shares = [done / total for done, total, _ in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_evaluates_images(
    make_pictures: Any, make_release: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cnn, "_LEAST_STEPS", 20)
    evaluation = evaluate(
        make_release(make_pictures(60, 3)),
        make_pictures(60, 1),
        make_pictures(60, 2),
        attacks=["membership.distance"],
        limits=SMALL,
    )
    assert [finding.attack for finding in evaluation.findings] == ["membership.distance"]
    assert evaluation.marginals is None
    assert evaluation.distributions["kind"] == "images"
    assert Evaluation.from_json(evaluation.to_json()) == evaluation


def test_without_attacks_or_target_the_rest_is_measured(
    make_people: Any, make_release: Any
) -> None:
    tables = [make_people(30, seed).with_target(None) for seed in (1, 2, 3)]
    evaluation = evaluate(make_release(tables[0]), tables[1], tables[2], attacks=())
    assert evaluation.findings == ()
    assert evaluation.utility is None
    assert evaluation.marginals is not None


def test_what_refuses_is_an_error_or_left_out_with_the_reason(
    make_people: Any, make_release: Any
) -> None:
    parts = [make_people(60, seed).select("owner") for seed in (3, 1, 2)]
    given: Any = (make_release(parts[0]), *parts[1:])
    asked = ["membership.distance", "attribute.inference"]
    with pytest.raises(InputError, match="the release has one column"):
        evaluate(*given, attacks=asked, limits=SMALL)
    evaluation = evaluate(*given, attacks=asked, limits=SMALL, whole=False)
    assert [finding.attack for finding in evaluation.findings] == asked[:1]
    assert evaluation.left_out == {
        "attribute.inference": "the release has one column",
        "utility": "the target is the only column",
    }
    assert Evaluation.from_json(evaluation.to_json()) == evaluation
    with pytest.raises(InputError, match="unknown attack"):
        evaluate(*given, attacks=["membership.distanse"], whole=False)


def test_too_few_hold_outs_are_refused(make_people: Any, make_release: Any) -> None:
    with pytest.raises(InputError, match="too few to attack with"):
        evaluate(make_release(make_people(50, 1)), make_people(50, 2), make_people(10, 3))


# Two workers collect in different seconds, and must find the same tests.
SOME = Evaluation(created="2026-01-01T00:00:00+00:00").to_dict()


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        json.dumps({"sfumato_evaluation": 2}),
        json.dumps({"sfumato_evaluation": 1}),
        json.dumps({**SOME, "findings": [{}]}),
        json.dumps({**SOME, "seconds": "long"}),
    ],
)
def test_damaged_files_are_input_errors(text: str) -> None:
    with pytest.raises(InputError):
        Evaluation.from_json(text)


def test_parts_of_a_progress_add_up() -> None:
    told: list[tuple[int, int]] = []
    for index in range(3):
        inner = part(lambda done, total, _: told.append((done, total)), index, 3)
        inner(0, 4, "x")
        inner(4, 4, "x")
    assert told == [(0, 300), (100, 300), (100, 300), (200, 300), (200, 300), (300, 300)]
    silent(0, 0, "")


def test_large_tables_are_read_in_part_and_the_evaluation_says_so(
    make_people: Any, make_release: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation_module, "SAMPLE", 200)
    members = make_people(300, 1)
    release = make_release(members)  # the rows themselves, in their order: the worst release
    card = replace(release.card, plan={"aligned": True})
    release = replace(release, card=card)
    found = evaluate(release, members, make_people(150, 2), attacks=("linkage.nearest",))
    assert found.sampled == {"released": (200, 300), "members": (200, 300)}
    assert Evaluation.from_json(found.to_json()).sampled == found.sampled
    assert max(found.utility.records.values()) <= 200  # type: ignore[union-attr]
    # Both are sampled at the same rows: each released row still finds its original.
    assert found.findings[0].details["game"] == "rank-1"
    assert found.findings[0].value > 0.95
    said = _banner(False, found)["text"]
    assert "They are about a sample: 200 of 300 rows (released), 200 of 300 rows (members)." in said
    whole = evaluate(release, members.head(200), make_people(150, 2), attacks=())
    assert set(whole.sampled) == {"released"}


def test_rows_without_an_order_are_not_matched_by_number(
    make_people: Any, make_release: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = make_people(100, 1)
    release = make_release(members)
    release = replace(release, card=replace(release.card, plan={"aligned": True}))
    monkeypatch.setattr(members, "_shuffled", True)
    found = evaluate(release, members, make_people(100, 2), attacks=("linkage.nearest",))
    assert found.findings[0].details["game"] != "rank-1"
