"""Memorised pictures on a page: released ones always, private ones only where revealed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sfumato.errors import InputError
from sfumato.report import page
from sfumato.report.memorised import ATTACK, Revealed, memorised

DETAILS = {
    "ratio": 0.5,
    "targets": 200,
    "reproduced": {"training": 3, "held_out": 0},
    "released": {
        "compared": 240,
        "memorised": 4,
        "share": 4 / 240,
        "interval": [0.005, 0.042],
        "control": 0.0,
    },
    "closest": [
        {"released": 3, "quotient": 0.1, "training": 0.02, "held_out": 0.2},
        {"released": 7, "quotient": 0.31, "training": 0.07, "held_out": 0.21},
    ],
}


@pytest.fixture
def found(make_finding: Any) -> Any:
    return make_finding(
        ATTACK, value=0.015, interval=(0.001, 0.04), chance=0.0, baseline=None, details=DETAILS
    )


def test_released_pictures_are_drawn_with_their_distances(found: Any, make_release: Any) -> None:
    seen = memorised([found], make_release("images"), None)
    assert seen is not None
    assert [one.label for one in seen["closest"]] == ["0.10", "0.31"]
    assert seen["closest"][0].note == "0.020 to training, 0.200 to held-out"
    assert seen["rows"][0]["value"] == "4 of 240"
    assert seen["rows"][0]["share"] == "1.67%"


def test_private_pictures_stand_beside_them_where_they_are_revealed(
    found: Any, make_release: Any, make_evaluation: Any
) -> None:
    private = np.full((2, 1, 6, 5), 0.5, np.float32)
    release = make_release("images")
    plain = memorised([found], release, None)
    shown = memorised([found], release, Revealed(private, private))
    assert plain is not None
    assert shown is not None
    assert shown["closest"][0].width > 2.5 * plain["closest"][0].width
    evaluation = make_evaluation(release, findings=(found,))
    html = page(release, evaluation, revealed=Revealed(private, private))
    assert "The last two are private" in html
    assert "--reveal" in page(release, evaluation)


def test_a_page_without_such_a_finding_has_no_such_part(
    make_finding: Any, make_release: Any, make_evaluation: Any
) -> None:
    release = make_release("images")
    assert memorised([make_finding()], release, None) is None
    assert "Memorised pictures" not in page(release, make_evaluation(release))
    private = np.zeros((2, 1, 6, 5), np.float32)
    with pytest.raises(InputError, match="none were compared"):
        memorised([make_finding()], release, Revealed(private, private))


def test_other_pictures_than_those_found_are_refused(found: Any, make_release: Any) -> None:
    one = np.zeros((1, 1, 6, 5), np.float32)
    with pytest.raises(InputError, match="other pictures were revealed"):
        memorised([found], make_release("images"), Revealed(one, one))


def test_what_is_disclosed_points_at_no_single_picture(
    found: Any, make_release: Any, make_evaluation: Any
) -> None:
    release = make_release("images")
    evaluation = make_evaluation(release, findings=(found,))
    assert "Nearest to a training picture" in page(release, evaluation)
    html = page(release, evaluation, disclosed=True)
    assert "Nearest to a training picture" not in html
    assert "0.020 to training" not in html
    assert "4 of 240" in html  # of all pictures
    assert "closest" not in evaluation.of_all().to_json()
    assert evaluation.of_all().findings[0].details["released"] == DETAILS["released"]
