"""Private selection: what it costs is what comes of it, and planted shortcuts are refuted."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
from scipy.special import ndtr

from sfumato.data import ImageSet
from sfumato.errors import InputError
from sfumato.privacy import accounting, events
from sfumato.privacy.budget import Budget
from sfumato.privacy.guarantee import Central
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.mechanisms import Gaussian
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SecureSource, SeededSource
from sfumato.publish.method import Calibrated, silent
from sfumato.publish.selection import NothingSelectedError, Selection, as_picked
from sfumato.release.release import Artefact

RECORDS = 200
BUDGET = Budget(4.0, 1e-3)


@dataclass(frozen=True)
class Count:
    """Publishes the noisy number of bright pictures: the most that Gaussian noise can show."""

    tag: str = ""
    relation: ClassVar[str] = "central"
    kinds: ClassVar[tuple[str, ...]] = ("images",)
    gives: ClassVar[str] = "images"
    name: ClassVar[str] = "count"
    source: ClassVar[str] = "none"
    neighbours: ClassVar[Neighbours] = Neighbours.ADD_REMOVE

    def calibrate(self, budget: Budget, facts: Any) -> Calibrated:
        noise = Gaussian.calibrate(budget, 1.0, self.neighbours)

        def run(data: ImageSet, source: Any, progress: Any) -> Artefact:
            bright = (data.images.reshape(len(data), -1).mean(axis=1) > 0.5).sum()
            return Artefact(
                data.head(1), notes={"count": float(noise.release([bright], source)[0])}
            )

        guarantee = Central(noise.event, budget.delta, "record", self.neighbours)
        return Calibrated(self, budget, facts, guarantee, {"tag": self.tag}, run)


@dataclass
class Fixed:
    """Gives members one value and those set aside another; remembers what it was shown."""

    values: tuple[float, float] = (0.5, 0.5)
    label: str = "fixed"

    def __call__(self, content: Any, sides: Sequence[Any], seed: int) -> list[Any]:
        self.sides = sides
        return [np.full(len(side), value) for side, value in zip(sides, self.values, strict=True)]


def pictures() -> ImageSet:
    images = np.zeros((RECORDS, 1, 1, 1), np.float32)
    return ImageSet.from_arrays(images, np.zeros(len(images), np.int64), ("a",))


def selection(*tags: str, judge: Any = None, **more: Any) -> Selection:
    chosen = {"limit": 0.3, "trials": 4.0, "held_out": 0.5, **more}
    return Selection(tuple(Count(tag) for tag in tags), judge or Fixed(), **chosen)


def calibrated(made: Selection, budget: Budget = BUDGET) -> Calibrated:
    return made.calibrate(budget, pictures().schema.with_records(RECORDS))


def test_all_trials_together_meet_the_budget_and_use_most_of_it() -> None:
    made = calibrated(selection("a", "b"))
    assert 0.97 * BUDGET.epsilon < made.guarantee.epsilon() <= BUDGET.epsilon
    said = made.plan["selected"]
    assert said["trial_epsilon"] < BUDGET.epsilon
    assert [one["settings"]["tag"] for one in said["among"]] == ["a", "b"]


def test_the_plan_says_what_all_trials_cost_in_trials_and_what_a_list_would() -> None:
    """Of the accountant, at the run's own delta: no figure is for every budget."""
    found = []
    for budget, trials in ((BUDGET, 4.0), (Budget(4.0, 1e-7), 4.0), (BUDGET, 4.5)):
        made = calibrated(selection("a", limit=1.0, trials=trials), budget)
        trial = made.guarantee.event.events[0]
        each, listed = (
            accounting.epsilon(events.repeat(trial, n), budget.delta, Neighbours.ADD_REMOVE)
            for n in (1, 5 if trials > 4 else 4)
        )
        said = made.plan["selected"]
        assert said["times_a_trial"] == pytest.approx(made.guarantee.epsilon() / each)
        assert said["times_a_trial_in_a_list"] == pytest.approx(listed / each)
        found.append(said["times_a_trial"])
    assert found[1] < found[0] < found[2]


def test_the_most_wanted_candidate_that_passes_is_released_under_its_own_name() -> None:
    chosen = selection("a", "b", trials=30.0)
    data, ledger = pictures(), Ledger.in_memory()
    made = calibrated(chosen)
    release = as_picked(made(data, ledger=ledger, source=SeededSource(1)), made)
    assert release.card.method["settings"]["tag"] == "b"  # 30 trials: the last had its chance
    assert release.card.plan["tag"] == "b"
    assert release.card.plan["selected"]["difference"] < 0.3
    assert release.card.proven == made.guarantee
    assert not release.card.verify()
    assert len(list(ledger.entries())) == 1
    said = " ".join(release.card.caveats)
    assert "must not be told" in said
    assert "one of several noisy comparisons" in said


def test_members_and_those_set_aside_are_all_records_parted_by_coins() -> None:
    judge = Fixed()
    made = calibrated(selection("a", judge=judge, held_out=0.3))
    made(pictures(), ledger=Ledger.in_memory())
    inside, outside = map(len, judge.sides)
    assert inside + outside == RECORDS
    assert 20 < outside < 100


def test_where_records_are_replaced_exactly_as_many_are_used_as_were_declared() -> None:
    judge = Fixed()
    chosen = selection("a", judge=judge, held_out=0.3, limit=1.0)
    made = calibrated(replace(chosen, candidates=(Replaced(),)))
    for _ in range(3):
        made.run(pictures(), SeededSource(4), silent)
        assert list(map(len, judge.sides)) == [140, 60]


@pytest.mark.parametrize("value", [np.nan, np.inf, -7.0, 1e9])
def test_whatever_a_judge_gives_a_record_adds_no_more_than_was_accounted(value: float) -> None:
    made = calibrated(selection("a", judge=Fixed((value, value)), limit=1.0, trials=1.0))
    found = made.run(pictures(), SeededSource(0), silent).notes["difference"]
    assert abs(found) < 1


def test_a_card_does_not_say_how_long_the_trials_took() -> None:
    """It says when they were paid for, to the second; planted: the time of writing."""

    class Slow(Fixed):
        def __call__(self, *given: Any) -> list[Any]:
            time.sleep(1.1)
            return super().__call__(*given)

    made = calibrated(selection("a", judge=Slow(), trials=1.0))
    ledger = Ledger.in_memory()
    release = made(pictures(), ledger=ledger)
    paid = next(iter(ledger.entries())).time
    assert release.card.created[:19] == paid[:19]


def test_where_no_trial_passes_nothing_is_released_and_that_is_paid_for() -> None:
    ledger = Ledger.in_memory()
    made = calibrated(selection("a", judge=Fixed((1.0, 0.0))))
    with pytest.raises(NothingSelectedError, match="the budget is spent"):
        made(pictures(), ledger=ledger)
    assert len(list(ledger.entries())) == 1


def test_the_number_of_trials_is_geometric() -> None:
    numbers: list[int] = []
    source = SeededSource(0)

    class Counting(Fixed):
        def __call__(self, *given: Any) -> list[Any]:
            numbers[-1] += 1
            return super().__call__(*given)

    made = calibrated(selection("a", judge=Counting(), trials=4.0))
    for _ in range(400):
        numbers.append(0)
        made.run(pictures(), source, silent)
    found = np.bincount(numbers, minlength=4)[1:4] / len(numbers)
    assert np.abs(found - np.array([1 / 4, 3 / 16, 9 / 64])).max() < 0.07
    assert min(numbers) == 1


@pytest.mark.parametrize(
    ("changed", "budget", "said"),
    [
        ({"trials": 0.5}, BUDGET, "trials is 0.5"),
        ({"limit": 0.0}, BUDGET, "limit is 0.0"),
        ({"held_out": 1.5}, BUDGET, "held_out is 1.5"),
        ({"held_out": 1.0}, BUDGET, "held_out is 1.0"),
        ({"score_share": 1.0}, BUDGET, "score_share is 1.0"),
        ({"held_out": 0.01}, BUDGET, "held_out is 0.01 of 200"),
        ({"limit": 0.01}, BUDGET, "the comparison has noise of"),
        ({}, Budget(4.0, 0.0), "delta is 0"),
        ({"trials": 1000.0}, Budget(1e-4, 1e-9), "no trial is small enough"),
    ],
)
def test_what_cannot_be_is_refused(changed: dict[str, Any], budget: Budget, said: str) -> None:
    with pytest.raises(InputError, match=said):
        calibrated(selection("a", **changed), budget)


def test_candidates_must_go_together() -> None:
    with pytest.raises(InputError, match="there are no candidates"):
        selection()

    for none in (object(), Count, "generators.merf"):
        with pytest.raises(InputError, match="is no configured method"):
            replace(selection("a"), candidates=(Count(), none))

    class Local(Count):
        relation = "local"

    class Rows(Count):
        kinds = ("table",)

    both = replace(selection("a"), candidates=(Count(), Replaced()))
    with pytest.raises(InputError, match="add-remove, replace-one"):
        calibrated(both)
    with pytest.raises(InputError, match="gives a local guarantee"):
        replace(selection("a"), candidates=(Local(),))
    with pytest.raises(InputError, match="publishes no pictures, or takes none"):
        replace(selection("a"), candidates=(Count(), Rows()))


def test_the_noise_is_the_candidates_own_where_none_is_given() -> None:
    class Stream(SecureSource):
        name = "a stream"

    class Streamed(Count):
        def calibrate(self, budget: Budget, facts: Any) -> Calibrated:
            return replace(super().calibrate(budget, facts), source=Stream())

    for candidates, name in (((Count(), Streamed("b")), "a stream"), ((Count(),), "os-entropy")):
        made = calibrated(replace(selection("a", limit=1.0), candidates=candidates))
        release = made(pictures(), ledger=Ledger.in_memory())
        assert release.card.noise == {"source": name, "secure": True}


class Replaced(Count):
    neighbours = Neighbours.REPLACE_ONE


class Brightness(Fixed):
    """Gives each record its own brightness."""

    def __call__(self, content: Any, sides: Sequence[Any], seed: int) -> list[Any]:
        return [side.images.reshape(len(side), -1).mean(axis=1) for side in sides]


def furthest(
    made: Any,
    pair: tuple[ImageSet, ImageSet],
    monkeypatch: pytest.MonkeyPatch,
    seed_of: Callable[[int, ImageSet], int],
) -> float:
    """How far apart what is noised of two data sets is at most, over 40 outcomes of the coins."""
    seen: list[Any] = []

    def watched(noise: Gaussian, values: Any, source: Any) -> Any:
        seen.append(np.array(values))
        return values

    with monkeypatch.context() as patched:
        patched.setattr(Gaussian, "release", watched)
        distances = []
        for number in range(40):
            sums = []
            for data in pair:
                made.run._one(0, data, SeededSource(seed_of(number, data)), silent)
                sums.append(seen[-1])
            distances.append(float(np.linalg.norm(sums[0] - sums[1])))
    return max(distances)


def neighbours(relation: Neighbours) -> tuple[ImageSet, ImageSet]:
    """Two data sets that differ in their last record, as much as they can."""
    images = np.random.default_rng(0).integers(0, 2, (RECORDS, 1, 1, 1)).astype(np.float32)
    images[-1] = 1.0
    dark = images.copy()
    dark[-1] = 0.0
    one, other = (
        ImageSet.from_arrays(i, np.zeros(RECORDS, np.int64), ("a",)) for i in (images, dark)
    )
    return one, other if relation is Neighbours.REPLACE_ONE else one.head(RECORDS - 1)


@pytest.mark.parametrize("candidate", [Count(), Replaced()])
def test_what_is_noised_is_as_far_apart_as_is_accounted_and_no_further(
    candidate: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a record is replaced, its sum moves by 1 and nothing else moves.

    Planted: coins that hang on the records, by which others change sides.
    """
    chosen = replace(selection("a", limit=1.0), candidates=(candidate,), judge=Brightness())
    made: Any = calibrated(chosen)
    noise, pair = made.run.trial.comparison, neighbours(candidate.neighbours)
    accounted = noise.sensitivity(candidate.neighbours)
    found = furthest(made, pair, monkeypatch, lambda number, _: number)
    assert found == pytest.approx(accounted)
    assert accounted == pytest.approx(1 if isinstance(candidate, Replaced) else np.sqrt(2))
    hanging = furthest(made, pair, monkeypatch, lambda n, data: 999 * n + int(data.images.sum()))
    assert hanging > 2 * accounted


@pytest.mark.parametrize("candidate", [Count(), Replaced()])
def test_the_comparison_costs_what_gaussian_noise_at_that_distance_costs(candidate: Count) -> None:
    """The exact profile of two Gaussians (Balle, Wang 2018, Theorem 5), by the distance found."""
    made: Any = calibrated(replace(selection("a", limit=1.0), candidates=(candidate,)))
    noise, claimed = made.run.trial.comparison, made.plan["selected"]["comparison_stddev"]
    sides = [np.ones(RECORDS // 2), np.ones(RECORDS // 2)]
    found = [made.run.trial.difference(sides, SeededSource(i)) for i in range(300)]
    assert np.std(found) == pytest.approx(claimed, rel=0.15)
    epsilon = accounting.epsilon(noise.event, 1e-3, candidate.neighbours)
    mu = (1 if isinstance(candidate, Replaced) else np.sqrt(2)) / noise.stddev
    first, second = ndtr(mu / 2 - epsilon / mu), ndtr(-mu / 2 - epsilon / mu)
    assert first - np.exp(epsilon) * second == pytest.approx(1e-3, rel=1e-3)


def test_the_comparison_has_the_noise_that_its_event_claims() -> None:
    """Planted: an exact comparison; and one that forgets that a record is counted, too."""
    made: Any = calibrated(selection("a", judge=Fixed((1.0, 1.0)), limit=1.0))
    noise = made.run.trial.comparison

    def spread(run: Any) -> float:
        found = [run(pictures(), SeededSource(i), silent).notes["difference"] for i in range(300)]
        return float(np.std(found))

    def with_noise(stddev: float) -> Any:
        quieter = replace(made.run.trial, multiplier=stddev / noise.contribution)
        return replace(made.run, trial=quieter, selection=replace(made.run.selection, trials=1.0))

    # Values of 1 are the worst: sums and counts are then of one size.
    claimed = made.plan["selected"]["comparison_stddev"]
    assert spread(with_noise(noise.stddev)) == pytest.approx(claimed, rel=0.15)
    assert spread(with_noise(noise.stddev / 2)) < 0.7 * claimed
    assert noise.contribution == pytest.approx(np.linalg.norm([1.0, 1.0]))
    trial = accounting.epsilon(made.guarantee.event.events[0], 1e-3, Neighbours.ADD_REMOVE)
    alone = accounting.epsilon(noise.event, 1e-3, Neighbours.ADD_REMOVE)
    assert 0 < alone < trial < made.guarantee.epsilon()
