"""Whoever has no release is judged on few people too: margins over him, and what is said of them.

Random-guess runs are at 99 %, half a percent a side: more than ``MOST`` of 1,000 have probability
1e-6 where an interval covers as stated, and ``MOST`` is below 2 %.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from sfumato.attack import Evidence, blind, margin, targets
from sfumato.attack.attribute import Inference
from sfumato.attack.finding import Finding
from sfumato.attack.margin import Margin
from sfumato.data import Categorical, Schema, Table
from sfumato.measure import intervals

RUNS, SURE = 1000, 0.99
MOST = int(binom.isf(1e-6, RUNS, 0.005))
Rng = np.random.Generator


def rates(rng: Rng, n: int, attack: float, without: float, alike: float) -> list[Any]:
    """Two attackers that are right at given rates; a share of people is easy or hard for both."""
    draw, own = rng.random(n), rng.random((2, n))
    same = rng.random(n) < alike
    return [np.where(same, draw, each) < p for each, p in zip(own, (attack, without), strict=True)]


def same(rng: Rng, gain: float) -> Margin:
    return margin.of_same(*rates(rng, 30, 0.5 + gain, 0.5, 0.5), SURE)


def sides(rng: Rng, gain: float) -> Margin:
    inside, outside = (rates(rng, 40, 0.6 + more, 0.6, 0.3) for more in (gain, 0.0))
    return margin.of_sides((inside[0], inside[1]), (outside[0], outside[1]), SURE)


def shares(rng: Rng, gain: float) -> Margin:
    one, other = (np.clip(rng.random(120) + more, 0, 1) for more in (gain, 0.0))
    return margin.of_shares(one, other, SURE)


def groups(rng: Rng, gain: float) -> Margin:
    right, fair = (int(rng.binomial(30, 0.5 + more)) for more in (gain, 0.0))
    return margin.of_groups((right, 30), (fair, 30), SURE)


def areas(rng: Rng, gain: float, shift: float = 0.5, alike: float = 0.7) -> Margin:
    """Members differ from others by themselves, and the attack sees no more unless it gains."""
    own = shift * alike + shift * (1 - alike**2) ** 0.5
    known = [rng.normal(0, 1, 40) for _ in range(2)]
    found = []
    for more in (gain, 0.0):
        noise = [rng.normal(0, 1, 40) for _ in range(2)]
        scores = [alike * k + (1 - alike**2) ** 0.5 * e for k, e in zip(known, noise, strict=True)]
        found.append((scores[0] + own + more, scores[1]))
    return margin.of_areas(*found[0], judged(*found[1], rng), SURE)


def judged(inside: Any, outside: Any, rng: Rng, rounds: int = blind.ROUNDS) -> blind.Blind:
    """Scores that are known beforehand, judged by halves as those of a classifier are."""
    found = []
    for _ in range(rounds):
        parts = blind.halves(len(inside), len(outside), rng)
        rows = parts[0][1], parts[1][1]
        found.append(blind.Round(inside[rows[0]], outside[rows[1]], rows))
    return blind.Blind(tuple(found), (len(inside), len(outside)))


def best(rng: Rng, gain: float) -> Margin:
    """One of the two without the release is as good as the attack, the other guesses."""
    draws = [rates(rng, 40, 0.7 + gain, other, 0.5) for other in (0.7, 0.5)]
    told = draws[0][0]

    def beaten(confidence: float) -> list[Margin]:
        return [margin.of_same(told, one[1], confidence) for one in draws]

    return margin.least(beaten, SURE)


CASES: dict[str, tuple[Callable[[Rng, float], Margin], float]] = {
    "the same people": (same, 0.45),
    "two sides": (sides, 0.4),
    "shares": (shares, 0.7),
    "other people": (groups, 0.45),
    "areas": (areas, 5.0),
    "the best of two": (best, 0.3),
}


@pytest.mark.parametrize("case", CASES)
def test_who_knows_no_more_beats_nobody_without_the_release(case: str) -> None:
    make, gain = CASES[case]
    rng = np.random.default_rng(0)
    found = [make(rng, 0.0) for _ in range(RUNS)]
    assert sum(one.interval[0] > 0 for one in found) <= MOST < 20
    assert sum(one.interval[1] < 0 for one in found) <= MOST
    # Planted defect: what the other scored is taken for exact.
    careless = sum(one.value > 0 for one in found)
    assert careless > MOST
    # And whoever knows much more is found.
    assert sum(make(rng, gain).interval[0] > 0 for _ in range(50)) > 25


def test_areas_that_are_seen_in_the_same_people_are_compared_in_them() -> None:
    """Where both go by the same difference, less is needed to tell them apart."""
    rng = np.random.default_rng(1)
    apart, close = (
        np.mean([np.ptp(areas(rng, 0.0, 1.0, alike).interval) for _ in range(100)])
        for alike in (0.0, 0.95)
    )
    assert close < 0.8 * apart


def test_what_is_learnt_without_the_release_is_as_sure_as_it_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing to learn: half is missed at most 20 % of the time, and by less sure ones more often.

    More than the bound of 1,000 have probability 1e-6 where the interval covers as stated. The
    classifier is one that is quickly fitted.
    """

    def quick(members: Any, others: Any, parts: Any) -> Any:
        (learnt, mine), (known, strange) = parts
        way = members[learnt].mean(axis=0) - others[known].mean(axis=0)
        return members[mine] @ way, others[strange] @ way

    monkeypatch.setattr(blind, "split_scores", quick)
    rng, each = np.random.default_rng(4), 30
    missed = np.zeros(2, int)
    widths = []
    for _ in range(RUNS):
        x = rng.normal(size=(2, each, 8))
        many = blind.scores(*(targets.Records(side) for side in x), rng)
        one = blind.scores(*(targets.Records(side) for side in x), rng, rounds=1)
        # Planted defect: halves that change roles, counted as if each were judged by itself.
        parts = blind.halves(each, each, rng)
        turned = ((parts[0][1], parts[0][0]), (parts[1][1], parts[1][0]))
        both = [intervals.auc(*quick(*x, half))[0] for half in (parts, turned)]
        halved = intervals.of_area(float(np.mean(both)), one.variance / 2, each, each, 0.8)
        around = many.interval(0.8)
        missed += [not low <= 0.5 <= high for low, high in (around, halved)]
        widths.append([np.ptp(around), np.ptp(one.interval(0.8))])
    most = binom.isf(1e-6, RUNS, 0.2)
    assert missed[0] <= most < missed[1]
    wide, wider = np.mean(widths, axis=0)
    assert wide < 0.8 * wider


def test_every_record_is_judged_and_a_difference_is_seen() -> None:
    rng = np.random.default_rng(5)
    members, others = rng.normal(0.8, 1, (60, 3)), rng.normal(0, 1, (40, 3))
    sides = [targets.Records(side.astype(np.float32)) for side in (members, others)]
    found = blind.scores(*sides, rng)
    assert [len(one) for one in found.standing] == [60, 40]
    assert not any(np.isnan(one).any() for one in found.standing)
    assert found.interval(0.99)[0] > 0.6
    share, tried = found.pointed(0.2, rng)
    assert share > 0.85
    assert tried == pytest.approx(0.2 * 50 / found.lessened)
    everyone, _ = found.pointed(1.0, rng)
    assert everyone == pytest.approx(0.6)


def test_the_least_margin_is_over_the_best_of_the_others() -> None:
    told = np.ones(50, np.bool_)
    weak, strong = np.zeros(50, np.bool_), np.arange(50) < 30

    def beaten(confidence: float) -> list[Margin]:
        return [margin.of_same(told, other, confidence) for other in (weak, strong)]

    found = margin.least(beaten, 0.95)
    assert found.value == pytest.approx(0.4)
    assert found.interval[0] == beaten(0.95)[1].interval[0]
    assert found.interval[1] == beaten(0.975)[1].interval[1]
    assert found.to_dict() == Margin.from_dict(found.to_dict()).to_dict()


def test_few_people_are_said_to_be_few_and_not_to_leak_nothing() -> None:
    """Members are guessed better than others, and imputation has half of the gap, by luck or not.

    Taken for exact, a baseline of 0.2 made this "no better", and one of 0.05 a leak.
    """
    finding = Finding(
        attack="attribute.inference",
        metric="accuracy",
        value=0.45,
        interval=(0.1, 0.7),
        confidence=0.95,
        chance=0.0,
        baseline=0.2,
        margin=Margin(0.25, (-0.1, 0.55), 40),
    )
    assert finding.undecided
    assert not finding.better_than_chance
    assert "40 people cannot tell whether better than" in finding.verdict
    assert "no better" not in finding.verdict


@pytest.mark.slow
def test_chance_gaps_of_imputation_neither_hide_leaks_nor_make_them(make_release: Any) -> None:
    """Forty people whose secret follows from nothing, in a release of noisy copies or of others.

    No finding of the copies is put down to imputation, whatever luck that had on them.
    """
    schema = Schema(
        (Categorical("town", tuple(f"t{i}" for i in range(40))), Categorical("ill", ("n", "y")))
    )

    def rows(rng: Rng) -> Table:
        return Table.from_codes({"town": np.arange(40), "ill": rng.integers(0, 2, 40)}, schema)

    alarms, hidden, lucky = 0, 0, 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        evidence = Evidence(rows(rng), rows(rng))
        codes = evidence.members.codes()
        flipped = codes["ill"] ^ (rng.random(40) < 0.2)
        copies = Table.from_codes({**codes, "ill": flipped}, schema)
        leaky, clean = (
            Inference(secrets=("ill",))(make_release(data), evidence, seed=seed)
            for data in (copies, rows(rng))
        )
        alarms += clean.better_than_chance
        hidden += leaky.verdict == "no better than an attacker without the release"
        lucky += leaky.chance < leaky.interval[0] <= leaky.baseline
    assert alarms <= binom.isf(1e-6, 20, 0.025)
    assert hidden == 0
    assert lucky > 0  # these were called no better than without the release


def test_a_verdict_follows_from_both_intervals() -> None:
    def found(low: float, beaten: tuple[float, float]) -> Finding:
        middle = sum(beaten) / 2
        return Finding(
            attack="x", metric="m", value=low + 0.1, interval=(low, low + 0.2), confidence=0.95,
            chance=0.5, baseline=0.5, margin=Margin(middle, beaten, 60),
        )  # fmt: skip

    leak, none, guess = found(0.6, (0.02, 0.2)), found(0.6, (-0.2, -0.01)), found(0.45, (0.1, 0.2))
    assert leak.better_than_chance
    assert not leak.undecided
    assert none.verdict == "no better than an attacker without the release"
    assert not none.undecided
    assert guess.verdict == "no better than guessing"
    assert not guess.better_than_chance
    again = Finding.from_dict(leak.to_dict())
    assert again == leak
    before = {k: v for k, v in leak.to_dict().items() if k != "margin"}  # of an older evaluation
    assert Finding.from_dict(before).margin is None
    with pytest.raises(ValueError, match="over no baseline"):
        Finding("x", "m", 0.5, (0.4, 0.6), 0.95, 0.5, margin=Margin(0.0, (0.0, 0.0), 1))
    with pytest.raises(ValueError, match="not finite"):
        found(0.6, (float("nan"), 1.0))


def test_people_who_differ_by_themselves_are_no_leak_and_not_said_to_be_one(
    make_people: Any, make_release: Any
) -> None:
    """Members are older than non-members: every attack sees that, and so does one without it."""
    from sfumato import registry

    def aged(table: Table, by: int) -> Table:
        codes = dict(table.codes())
        return Table.from_codes(
            {**codes, "age": np.minimum(codes["age"] // 2 + by, 99)}, table.schema
        )

    others = aged(make_people(150, 2), 0)
    members, more = (aged(make_people(150, seed), 45) for seed in (1, 3))
    for name in ("membership.distance", "privacy_loss", "linkage.nearest"):
        finding = registry.build("attack", name, {"confidence": 0.999})(
            make_release(more), Evidence(members, others)
        )
        assert finding.interval[0] > finding.chance
        assert not finding.better_than_chance
        leaky = registry.build("attack", name, {})(make_release(members), Evidence(members, others))
        if name == "membership.distance":
            assert leaky.margin.value > finding.margin.value


def test_intervals_of_paired_rates_are_covered_as_stated() -> None:
    """1,000 draws each, one-sided 0.5 %: above MOST with probability below 1e-6."""
    rng = np.random.default_rng(3)
    for n in (20, 60):
        for shares in ((0.5, 0.1, 0.1, 0.3), (0.1, 0.4, 0.4, 0.1), (0.3, 0.3, 0.1, 0.3)):
            true, low, high = shares[1] - shares[2], 0, 0
            for counts in rng.multinomial(n, shares, RUNS):
                ends = intervals.paired_difference(*(int(c) for c in counts), SURE)
                low += ends[0] > true + 1e-12
                high += ends[1] < true - 1e-12
            assert max(low, high) <= MOST


def test_paired_rates_keep_a_width_where_both_are_always_right() -> None:
    low, high = intervals.paired_difference(20, 0, 0, 0)
    assert low < -0.1 < 0.1 < high
    alone = intervals.difference(18, 20, 12, 20)
    assert intervals.paired_difference(12, 6, 0, 2)[0] > alone[0]  # the same records: less is luck


def test_who_is_without_the_release_knows_the_labels_of_pictures() -> None:
    """An attack on a model goes by them: classes that are common on one side are no leak."""
    rng = np.random.default_rng(0)
    sides = [
        targets.Records(
            rng.random((200, 64), dtype=np.float32), labels=(rng.random(200) < share).astype(int)
        )
        for share in (0.2, 0.8)
    ]
    found = blind.scores(sides[0], sides[1], rng)
    assert found.interval(0.99)[0] > 0.65
    scores = [1.0 - side.labels for side in sides]  # what any model that likes class 0 gives
    assert margin.of_areas(scores[0], scores[1], found, 0.99).interval[0] < 0
