"""Released pictures that reproduce training pictures."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from sfumato.attack import Evidence
from sfumato.attack.memorisation import Memorisation, Neighbours
from sfumato.data import ImageSet
from sfumato.errors import InputError

CLASSES = ("left", "middle", "right")


def mixed(copies: ImageSet, fresh: ImageSet, share: float, noise: float) -> ImageSet:
    """Fresh pictures with some noisy copies among them."""
    count = int(share * len(copies))
    rng = np.random.default_rng(0)
    near = np.clip(copies.images[:count] + rng.normal(0, noise, copies.images[:count].shape), 0, 1)
    images = np.concatenate([near, fresh.images[count:]]).astype(np.float32)
    labels = np.concatenate([copies.labels[:count], fresh.labels[count:]])
    return ImageSet.from_arrays(images, labels, CLASSES)


def test_copies_among_fresh_pictures_are_counted(make_pictures: Any, make_release: Any) -> None:
    members, others = make_pictures(200, 1), make_pictures(200, 2)
    release = make_release(mixed(members, make_pictures(200, 3), 0.1, 0.02))
    finding = Memorisation()(release, Evidence(members, others))
    assert finding.details["released"]["memorised"] == 20
    assert finding.details["reproduced"] == {"training": 20, "held_out": 0}
    assert finding.value == pytest.approx(0.1)
    assert finding.better_than_chance
    closest = [one["released"] for one in finding.details["closest"]]
    assert set(closest) <= set(range(20))
    assert finding.details["closest"][0]["training"] < finding.details["closest"][0]["held_out"]


def test_fresh_pictures_reproduce_nobody(make_pictures: Any, make_release: Any) -> None:
    evidence = Evidence(make_pictures(200, 1), make_pictures(200, 2))
    finding = Memorisation()(make_release(make_pictures(200, 3)), evidence)
    assert finding.value == 0
    assert not finding.better_than_chance
    assert finding.details["quotients"]["0.5"] == pytest.approx(1, abs=0.2)


def test_copies_of_held_out_pictures_are_the_controls(
    make_pictures: Any, make_release: Any
) -> None:
    members, others = make_pictures(100, 1), make_pictures(100, 2)
    finding = Memorisation()(make_release(others), Evidence(members, others))
    assert finding.value == -1
    assert finding.details["released"]["control"] == 1


def test_one_picture_counts_once_however_often_it_is_released(
    make_pictures: Any, make_release: Any
) -> None:
    members, others = make_pictures(100, 1), make_pictures(100, 2)
    same = members.select(np.zeros(60, np.int64))
    finding = Memorisation()(make_release(same), Evidence(members, others))
    assert finding.details["released"]["memorised"] == 60
    assert finding.details["reproduced"]["training"] == 1
    assert not finding.better_than_chance  # one in a hundred may be luck


def test_nothing_is_found_by_luck_more_often_than_stated(
    make_pictures: Any, make_release: Any
) -> None:
    runs, alarms = 60, 0
    for run in range(runs):
        base = 40_000 + 3 * run
        evidence = Evidence(make_pictures(30, base), make_pictures(30, base + 1))
        release = make_release(make_pictures(30, base + 2))
        alarms += Memorisation(ratio=0.97)(release, evidence, seed=run).better_than_chance
    assert alarms <= binom.isf(1e-6, runs, 0.025)


def test_what_is_equally_far_from_both_is_nobodys() -> None:
    zero, one = np.zeros(1, np.float32), np.ones(1, np.float32)
    rows = np.zeros(1, np.int64)
    both = Neighbours(rows, zero, zero, rows, rows, (rows, rows))
    assert both.quotient.tolist() == [1]
    assert not both.reproduced(0.5)[0].any()
    copy = Neighbours(rows, zero, one, rows, rows, (rows, rows))
    assert copy.quotient.tolist() == [0]
    assert copy.reproduced(0.5)[0].all()


def test_no_picture_is_in_the_finding(make_pictures: Any, make_release: Any) -> None:
    members = make_pictures(60, 1)
    finding = Memorisation()(make_release(members), Evidence(members, make_pictures(60, 2)))
    assert len(json.dumps(finding.to_dict())) < 4000
    assert set(finding.details["closest"][0]) == {"released", "quotient", "training", "held_out"}


@pytest.mark.parametrize("ratio", [0, 1, -0.5, True, "half"])
def test_a_ratio_that_is_none_is_refused(ratio: Any) -> None:
    with pytest.raises(InputError, match="ratio is"):
        Memorisation(ratio=ratio)


def test_rows_are_refused(make_people: Any, make_release: Any) -> None:
    people = make_people(40, 1)
    with pytest.raises(InputError, match="only pictures"):
        Memorisation()(make_release(people), Evidence(people, people))
