"""Elections: what is drawn is what is paid for. False alarm of statistics <= 1e-6."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import beta, chi2, norm

from sfumato.errors import InputError
from sfumato.learn.pate import voting
from sfumato.learn.pate.voting import Answers, ConfidentGnMax, GnMax, LnMax, Votes, Voting
from sfumato.privacy import accounting, events
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import NoiseSource, SeededSource

ALARM = 1e-6
ADD = Neighbours.ADD_REMOVE
RUNS = 60_000


class OneScalar(GnMax):
    """Planted: one draw for all classes of a query, as a published toolkit adds it."""

    def answer(self, votes: Votes, neighbours: Neighbours, source: NoiseSource) -> Answers:
        found = GnMax(self.stddev, self.queries).answer(votes[:, :1], neighbours, source)
        noise = found.counts - votes[:, :1]
        return replace(found, counts=votes + noise)


class HalfLaplace(LnMax):
    """Planted: Laplace noise for a histogram that moves by 1 in L1, where it moves by 2."""

    def answer(self, votes: Votes, neighbours: Neighbours, source: NoiseSource) -> Answers:
        return LnMax(self.scale / 2, self.queries).answer(votes, neighbours, source)


class FreeTest(ConfidentGnMax):
    """Planted: the threshold test is not in the event."""

    def event(self, neighbours: Neighbours) -> Any:
        return GnMax(self.stddev, self.answers).event(neighbours)


class OneStep(GnMax):
    """Planted: the L2 distance of two histograms taken to be 1."""

    def event(self, neighbours: Neighbours) -> Any:
        far = 2 if neighbours is Neighbours.REPLACE_ONE else 1
        return events.repeat(events.GaussianDpEvent(self.stddev * far), self.queries)


Audit = Callable[[Any, Any], tuple[float, float, float]]


def counts_of(made: Any) -> tuple[Any, Any]:
    """The counts of classes 0 and 1, (runs, 2), on two neighbours: one teacher says 1, not 0.

    The queries of one election are as many runs of one query.
    """
    many, source = replace(made, queries=RUNS), SeededSource(3)
    outside, inside = (
        many.answer(np.tile(votes, (RUNS, 1)), ADD, source).counts[:, :2]
        for votes in ([6, 5, 1], [5, 6, 1])
    )
    return outside, inside


def audited(audit: Audit, made: Any) -> float:
    """The mu that one query proves."""
    outside, inside = counts_of(made)
    return audit(inside[:, 1] - inside[:, 0], outside[:, 1] - outside[:, 0])[2]


def pure(made: LnMax) -> float:
    """The epsilon at delta 0 that one query proves: both counts lie as only one side likes it."""
    outside, inside = (int(((c[:, 0] <= 5) & (c[:, 1] >= 6)).sum()) for c in counts_of(made))
    low = beta.ppf(ALARM / 2, inside, RUNS - inside + 1)
    return math.log(low / beta.isf(ALARM / 2, outside + 1, RUNS - outside))


def claimed_mu(made: Voting) -> float:
    mu = accounting.gdp_mu(made.event(ADD), ADD)
    assert mu is not None
    return mu


def claimed_epsilon(made: LnMax) -> float:
    return accounting.epsilon(made.event(ADD), 0.0, ADD)


def test_an_audit_finds_no_more_than_is_claimed(canary_audit: Audit) -> None:
    gauss, laplace = GnMax(1.5, 1), LnMax(2.0, 1)
    assert 0.9 * claimed_mu(gauss) < audited(canary_audit, gauss) <= claimed_mu(gauss)
    assert 0.9 * claimed_epsilon(laplace) < pure(laplace) <= claimed_epsilon(laplace)


def test_planted_half_scale_is_caught() -> None:
    made = HalfLaplace(2.0, 1)
    assert pure(made) > claimed_epsilon(made)


def test_planted_distance_of_one_is_caught(canary_audit: Audit) -> None:
    made = OneStep(1.5, 1)
    assert audited(canary_audit, made) > claimed_mu(made)


def pattern(audit: Audit, kind: type[ConfidentGnMax]) -> tuple[float, float]:
    """The mu that the pattern of answers proves, and the one that is claimed of one query."""
    made = kind(20.0, 0.4, 5.5, RUNS, RUNS)
    source = SeededSource(3)
    answered = []
    for votes in ([6, 5, 1], [5, 5, 2]):
        whether = np.zeros(RUNS)
        whether[made.answer(np.tile(votes, (RUNS, 1)), ADD, source).queries] = 1
        answered.append(whether)
    return audit(*answered)[2], claimed_mu(kind(20.0, 0.4, 5.5, 1, 1))


def test_an_audit_of_the_test_finds_no_more_than_is_claimed(canary_audit: Audit) -> None:
    found, claim = pattern(canary_audit, ConfidentGnMax)
    assert 0.9 * claim < found <= claim


def test_planted_free_test_is_caught(canary_audit: Audit) -> None:
    found, claim = pattern(canary_audit, FreeTest)
    assert found > claim


def dependence(made: GnMax) -> float:
    """The largest correlation between the noise of two counts, in standard errors."""
    votes = np.zeros((4000, 4), np.int64)
    noise = made.answer(votes, ADD, SeededSource(5)).counts
    return float(np.abs(np.triu(np.corrcoef(noise.T), 1)).max() * math.sqrt(4000))


def test_every_count_of_every_query_has_its_own_noise() -> None:
    assert dependence(GnMax(3.0, 4000)) < norm.isf(ALARM / 12)


def test_planted_scalar_noise_is_caught() -> None:
    assert dependence(OneScalar(3.0, 4000)) > norm.isf(ALARM / 12)


def test_no_budget_leaves_no_accuracy() -> None:
    """With next to no budget a label is a guess; one scalar for all classes never errs."""
    votes = np.tile(np.array([[240, 5, 3, 2]]), (4000, 1))
    right = (GnMax(1e7, 4000).answer(votes, ADD, SeededSource(1)).labels == 0).sum()
    assert abs(right - 1000) < norm.isf(ALARM / 2) * math.sqrt(4000 * 0.25 * 0.75)
    planted = OneScalar(1e7, 4000).answer(votes, ADD, SeededSource(1))
    assert (planted.labels == 0).all()


@pytest.mark.parametrize("stddev", [0.7, 40.0, 1e13])
def test_noise_has_the_stated_spread(stddev: float) -> None:
    votes = np.full((5000, 4), 100)
    noise = (GnMax(stddev, 5000).answer(votes, ADD, SeededSource(2)).counts - 100) / stddev
    square = float((noise**2).sum())
    assert chi2.isf(1 - ALARM / 2, 20_000) < square < chi2.isf(ALARM / 2, 20_000)


@pytest.mark.parametrize("neighbours", list(Neighbours))
def test_gaussian_elections_cost_what_their_distances_say(neighbours: Neighbours) -> None:
    """By hand: mu^2 = queries (1 / s1)^2 + answers (sqrt(2) / s2)^2, under every relation."""
    made = ConfidentGnMax(40.0, 150.0, 200.0, 600, 286)
    mu = math.sqrt(600 / 150**2 + 286 * 2 / 40**2)
    assert accounting.gdp_mu(made.event(neighbours), neighbours) == pytest.approx(mu, rel=1e-12)
    mu = math.sqrt(286 * 2) / 40
    event = GnMax(40.0, 286).event(neighbours)
    assert accounting.gdp_mu(event, neighbours) == pytest.approx(mu, rel=1e-12)


@pytest.mark.parametrize("neighbours", list(Neighbours))
def test_laplace_elections_cost_two_over_the_scale_a_query(neighbours: Neighbours) -> None:
    event = LnMax(20.0, 100).event(neighbours)
    assert accounting.epsilon(event, 0.0, neighbours) == pytest.approx(10.0)
    assert accounting.epsilon(event, 1e-5, neighbours) == pytest.approx(2.919, abs=2e-3)


def test_the_event_does_not_look_at_the_votes() -> None:
    made = ConfidentGnMax(4.0, 4.0, 8.0, 50, 10)
    before = made.event(ADD)
    made.answer(np.full((50, 3), 100), ADD, SeededSource(1))
    assert made.event(ADD) == before


def test_confident_stops_at_the_last_answer_that_is_paid_for() -> None:
    made = ConfidentGnMax(1.0, 1.0, 50.0, 40, 7)
    votes = np.array([[0, 0], [100, 0]] * 20)
    found = made.answer(votes, ADD, SeededSource(1))
    assert found.queries.tolist() == [1, 3, 5, 7, 9, 11, 13]
    assert found.asked == 14
    assert (found.labels == 0).all()


def test_confident_may_answer_nothing() -> None:
    found = ConfidentGnMax(1.0, 1.0, 50.0, 40, 7).answer(
        np.zeros((40, 2), int), ADD, SeededSource(1)
    )
    assert found.counts.shape == (0, 2)
    assert found.asked == 40


@pytest.mark.parametrize(
    "made", [GnMax(4.0, 3), LnMax(4.0, 3), ConfidentGnMax(4.0, 4.0, 1.0, 3, 2)]
)
def test_more_queries_than_are_paid_for_are_refused(made: Any) -> None:
    with pytest.raises(InputError, match="queries"):
        made.answer(np.zeros((4, 2), np.int64), ADD, SeededSource(1))


@pytest.mark.parametrize(
    "make",
    [
        lambda: GnMax(0.0, 3),
        lambda: LnMax(math.inf, 3),
        lambda: GnMax(1.0, 0),
        lambda: ConfidentGnMax(1.0, 1.0, 1.0, 3, 4),
        lambda: ConfidentGnMax(1.0, 0.0, 1.0, 3, 2),
        lambda: ConfidentGnMax(1.0, 1.0, math.nan, 3, 2),
    ],
)
def test_impossible_elections_are_refused(make: Callable[[], Any]) -> None:
    with pytest.raises(InputError):
        make()


def test_protocol_is_kept() -> None:
    kinds: list[type[voting.Voting]] = [LnMax, GnMax, ConfidentGnMax]
    assert all(hasattr(kind, "event") and hasattr(kind, "answer") for kind in kinds)
