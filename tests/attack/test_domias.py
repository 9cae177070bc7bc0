"""Density of the release against that of the population."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import binom

from sfumato.attack import Evidence
from sfumato.attack.density import best_width, log_density, log_mass
from sfumato.attack.domias import Domias
from sfumato.attack.targets import Records, read
from sfumato.data import Categorical, Numeric, Ordinal
from sfumato.errors import InputError


def test_members_of_their_own_release_are_told_apart(make_people: Any, make_release: Any) -> None:
    members, others = make_people(400, 1), make_people(800, 2)
    finding = Domias()(make_release(members), Evidence(members, others))
    assert finding.breaks_guarantee
    assert finding.details["reference_is"] == "non-members"
    assert finding.details["targets"] == 400
    assert finding.records is not None
    assert len(finding.records.members) == 400


def test_pictures_are_told_apart_too(make_pictures: Any, make_release: Any) -> None:
    members, others = make_pictures(80, 1), make_pictures(80, 2)
    leaky = Domias()(make_release(members), Evidence(members, others, make_pictures(100, 4)))
    assert leaky.value > 0.95
    assert leaky.details["reference_is"] == "auxiliary records"
    clean = Domias(confidence=0.999)(
        make_release(make_pictures(80, 3)), Evidence(members, others, make_pictures(100, 4))
    )
    assert not clean.better_than_chance


def test_nothing_is_found_by_luck_more_often_than_stated(
    make_people: Any, make_release: Any
) -> None:
    runs, alarms = 60, 0
    for run in range(runs):
        base = 30_000 + 3 * run
        evidence = Evidence(make_people(60, base), make_people(90, base + 1))
        finding = Domias()(make_release(make_people(60, base + 2)), evidence, seed=run)
        alarms += finding.better_than_chance
    assert alarms <= binom.isf(1e-6, runs, 0.025)


def test_the_reference_is_never_attacked(make_people: Any) -> None:
    evidence = Evidence(make_people(60, 1), make_people(100, 2))
    reference, left = Domias()._reference(evidence, np.random.default_rng(0))
    assert len(reference) + len(left) == 100
    attacked = read(evidence.non_members, left)
    rows = {tuple(row) for row in attacked.values.tolist()}
    assert not rows & {tuple(row) for row in reference.values.tolist()}


def test_too_few_to_compare_with_are_refused(make_people: Any, make_release: Any) -> None:
    few = Evidence(make_people(30, 1), make_people(20, 2))
    assert Domias()(make_release(make_people(30, 3)), few).details["targets"] == 10
    with pytest.raises(InputError, match="max_reference is 3"):
        Domias(max_reference=3)


COLUMNS = (
    Numeric("n", 0, 4, 1, missing=True),
    Categorical("c", ("a", "b", "c")),
    Ordinal("o", ("low", "middle", "high")),
)


def every_record() -> Records:
    grid = np.array([[n, c, o] for n in range(6) for c in range(3) for o in range(3)], np.int32)
    return Records(grid, COLUMNS)


@pytest.mark.parametrize("width", [0.1, 0.7, 3.0])
def test_densities_sum_to_one_over_all_records(width: float) -> None:
    """Averaged over where kernels stand, as the mass of a kernel near an end is."""
    everyone = every_record()
    kept = everyone.values[everyone.values[:, 0] < 5]  # centres with a known number
    centres = Records(kept, COLUMNS)
    logs = log_density(everyone, centres, width)
    assert logsumexp(logs) == pytest.approx(log_mass(centres, width), abs=0.02)


def test_an_estimate_without_the_point_itself_is_that_of_the_others() -> None:
    rng = np.random.default_rng(0)
    some = Records(rng.integers(0, [6, 3, 3], (300, 3)).astype(np.int32), COLUMNS)
    left_out = log_density(some[np.arange(5)], some, 0.5, without_self=True)
    for i in range(5):
        others = some[np.delete(np.arange(300), i)]
        alone = log_density(some[np.array([i])], others, 0.5)
        assert left_out[i] == pytest.approx(alone[0], abs=1e-5)


def test_the_width_follows_how_close_records_lie() -> None:
    rng = np.random.default_rng(0)
    number = (Numeric("x", 0, 1, 1e-6),)

    def spread(scale: float) -> Records:
        values = np.clip(500_000 + 400_000 * scale * rng.normal(size=(400, 1)), 0, 1_000_000)
        return Records(values.astype(np.int32), number)

    assert best_width(spread(0.02), rng) < best_width(spread(0.5), rng)
    pixels = Records(rng.random((200, 12), dtype=np.float32))
    assert best_width(pixels, rng) > 0
