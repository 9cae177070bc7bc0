"""Accounting: published figures, relations, exact cases, and what must be refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from dp_accounting import UnsupportedDpEvent
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from sfumato.errors import InputError
from sfumato.privacy import accounting
from sfumato.privacy import events as ev
from sfumato.privacy.accounting import gaussian
from sfumato.privacy.neighbours import Neighbours

AR, RO, ZO = Neighbours.ADD_REMOVE, Neighbours.REPLACE_ONE, Neighbours.ZERO_OUT
Account = Callable[[ev.DpEvent, float, Neighbours], float]


def sgd(rate: float, noise: float, steps: int) -> ev.DpEvent:
    return ev.repeat(ev.PoissonSampledDpEvent(rate, ev.GaussianDpEvent(noise)), steps)


# (sigma, steps, PLD, RDP, replace-one PLD), rate 0.01, delta 1e-5: the re-accounted examples of
# Abadi et al. 2016, computed with dp_accounting alone.
ABADI = [
    (8.0, 1_000, 0.125, 0.139, 0.264),
    (8.0, 10_000, 0.437, 0.481, 0.926),
    (4.0, 1_000, 0.272, 0.301, 0.561),
    (4.0, 10_000, 0.947, 1.035, 1.993),
    (2.0, 1_000, 0.622, 0.686, 1.205),
    (2.0, 10_000, 2.163, 2.353, 4.396),
]


@pytest.mark.parametrize(("noise", "steps", "pld", "rdp", "replace"), ABADI)
def test_the_moments_accountant_examples_are_reproduced(
    noise: float, steps: int, pld: float, rdp: float, replace: float
) -> None:
    event = sgd(0.01, noise, steps)
    assert accounting.epsilon(event, 1e-5, AR) == pytest.approx(pld, rel=0.005, abs=6e-4)
    assert accounting.epsilon(event, 1e-5, ZO) == accounting.epsilon(event, 1e-5, AR)
    assert accounting.epsilon(event, 1e-5, RO) == pytest.approx(replace, rel=0.005)
    assert accounting.rdp_epsilon(event, 1e-5, AR) == pytest.approx(rdp, rel=0.01)


@pytest.mark.parametrize(("noise", "mu"), [(4.0, 0.256), (8.0, 0.126), (2.0, 0.537)])
def test_gdp_mu_of_the_hundred_epoch_examples(noise: float, mu: float) -> None:
    assert accounting.gdp_mu(sgd(0.01, noise, 10_000), AR) == pytest.approx(mu, rel=0.01)


# perturbation.md 0.2: epsilon, mu at delta = 1e-5.
@pytest.mark.parametrize(
    ("epsilon", "mu"),
    [(0.5, 0.142), (1, 0.268), (2, 0.502), (4, 0.925), (8, 1.666), (16, 2.906)],
)
def test_a_clipped_vector_has_the_epsilon_of_its_mu(epsilon: float, mu: float) -> None:
    noise = 2 / mu  # of a vector of norm at most 1, at the diameter
    event = ev.GaussianDpEvent(noise)
    assert accounting.epsilon(event, 1e-5, RO) == pytest.approx(epsilon, rel=0.005)
    assert accounting.gdp_mu(event, RO) == pytest.approx(mu)


@given(st.floats(0, 30), st.floats(0.01, 30))
def test_the_gaussian_closed_form_is_the_textbook_formula(epsilon: float, mu: float) -> None:
    plain = ndtr(-epsilon / mu + mu / 2) - math.exp(epsilon) * ndtr(-epsilon / mu - mu / 2)
    stable = accounting.delta(ev.GaussianDpEvent(1 / mu), epsilon, AR)
    assert stable == pytest.approx(plain, rel=1e-9, abs=1e-13 * math.exp(epsilon))
    assert 0 <= stable <= 1


@given(st.floats(1e-3, 30), st.floats(-290, -0.01))
def test_gaussian_epsilon_and_mu_invert_delta_from_the_safe_side(mu: float, log10: float) -> None:
    delta = 10**log10
    epsilon = gaussian.epsilon(delta, mu)
    assert gaussian.delta(epsilon, mu) <= delta * (1 + 1e-12)
    if epsilon > 0:
        assert gaussian.delta(epsilon * (1 - 1e-9), mu) > delta * (1 - 1e-6)
        largest = gaussian.mu(epsilon, delta)
        assert gaussian.delta(epsilon, largest) <= delta * (1 + 1e-12)
        assert largest == pytest.approx(mu, rel=1e-6)


def test_a_gaussian_delta_far_below_machine_precision_keeps_its_digits() -> None:
    # The leading term of the tail: delta(eps) ~ phi(a) mu / a^2 with a = eps/mu - mu/2.
    event = ev.GaussianDpEvent(1.0)
    a = 30.0 - 0.5
    leading = math.exp(-(a**2) / 2) / math.sqrt(2 * math.pi) / a**2
    assert accounting.delta(event, 30.0, AR) == pytest.approx(leading, rel=0.04)


@pytest.mark.parametrize("relation", list(Neighbours))
def test_gaussians_compose_by_adding_mu_squared(relation: Neighbours) -> None:
    parts = ev.compose(ev.GaussianDpEvent(3.0), ev.repeat(ev.GaussianDpEvent(4.0), 2))
    mu = math.sqrt(1 / 9 + 2 / 16)
    one = ev.GaussianDpEvent(1 / mu)
    assert accounting.gdp_mu(parts, relation) == pytest.approx(accounting.gdp_mu(one, relation))
    assert accounting.epsilon(parts, 1e-6, relation) == pytest.approx(
        accounting.epsilon(one, 1e-6, relation), rel=1e-12
    )


PURE = [
    (ev.LaplaceDpEvent(2.0), 0.5, 1.0, 0.5),
    (ev.DiscreteLaplaceDpEvent(0.25, 3), 0.75, 1.5, 0.75),
    (ev.PureDpEvent(0.3, "add-remove"), 0.3, 0.6, 0.3),
    (ev.PoissonSampledDpEvent(0.1, ev.LaplaceDpEvent(1.0)), math.log1p(0.1 * math.expm1(1)), 0, 0),
    (ev.RandomizedResponseDpEvent(0.5, 2), 0, math.log(3), math.log(2)),
]


@pytest.mark.parametrize(("event", "add_remove", "replace", "zero"), PURE)
@pytest.mark.parametrize("count", [1, 7])
def test_pure_mechanisms_have_their_exact_epsilon_at_delta_zero(
    event: ev.DpEvent, add_remove: float, replace: float, zero: float, count: int
) -> None:
    whole = ev.repeat(event, count)
    for relation, expected in ((AR, add_remove), (RO, replace), (ZO, zero)):
        if expected:
            assert accounting.epsilon(whole, 0.0, relation) == pytest.approx(
                count * expected, rel=1e-12
            )
            assert accounting.epsilon(whole, 1e-300, relation) <= count * expected * (1 + 1e-12)
            assert accounting.delta(whole, count * expected + 1e-9, relation) == 0


def test_noise_that_is_not_pure_has_no_epsilon_at_delta_zero() -> None:
    for event in (
        ev.GaussianDpEvent(100.0),
        sgd(0.01, 100.0, 1),
        ev.DiscreteGaussianDpEvent(100.0, 1, "cell"),
        ev.ApproximateDpEvent(0.1, 1e-9, "add-remove"),
        ev.compose(ev.LaplaceDpEvent(1.0), ev.GaussianDpEvent(100.0)),
    ):
        assert accounting.epsilon(event, 0.0, AR) == math.inf
        assert accounting.delta(event, 1e9, AR) < 1e-8


def test_concentrated_bounds_without_a_slope_are_pure() -> None:
    event = ev.repeat(ev.ZCDpEvent(0.0, 0.25), 4)
    assert accounting.epsilon(event, 0.0, AR) == pytest.approx(1.0)
    assert accounting.epsilon(event, 1e-6, AR) <= 1.0
    assert accounting.delta(event, 0.5, AR) > 0.1
    assert accounting.rdp_epsilon(event, 1e-6, RO) == pytest.approx(3.0)


def test_no_distance_and_no_delta_are_the_ends_of_the_gaussian_curve() -> None:
    assert gaussian.delta(1.0, 0.0) == 0
    assert gaussian.epsilon(0.0, 1.0) == math.inf
    assert gaussian.epsilon(1e-6, 0.0) == 0
    assert gaussian.delta(700.0, 0.5) == 0


def test_a_delta_above_the_total_variation_costs_nothing() -> None:
    assert accounting.epsilon(ev.GaussianDpEvent(100.0), 0.1, AR) == 0
    assert accounting.epsilon(ev.DiscreteGaussianDpEvent(100.0, 1, "cell"), 0.1, AR) == 0


def test_what_has_no_privacy_impact_costs_nothing() -> None:
    for event in (
        ev.NoOpDpEvent(),
        ev.ComposedDpEvent([]),
        ev.SelfComposedDpEvent(ev.NonPrivateDpEvent(), 0),
        ev.PoissonSampledDpEvent(0.0, ev.GaussianDpEvent(1.0)),
        ev.PoissonSampledDpEvent(0.5, ev.NoOpDpEvent()),
        ev.TruncatedSubsampledGaussianDpEvent(10, 0.0, 5, 1.0),
        ev.PureDpEvent(0.0, "add-remove"),
    ):
        assert accounting.epsilon(event, 0.0, AR) == 0
        assert accounting.epsilon(event, 1e-6, AR) == 0
        assert accounting.rdp_epsilon(event, 1e-6, AR) == 0
        assert accounting.delta(event, 0.0, AR) == 0
        assert accounting.gdp_mu(event, AR) == pytest.approx(0, abs=1e-12)
        assert accounting.max_tpr(event, 0.2, AR) == pytest.approx(0.2)
    same = ev.RandomizedResponseDpEvent(0.0, 1), ev.RandomizedResponseDpEvent(1.0, 9)
    tiny = ev.DiscreteGaussianDpEvent(1.0, 0.5, "scalar")  # no integer but 0 is that small
    assert accounting.epsilon(ev.compose(*same), 0.0, RO) == 0
    assert accounting.epsilon(tiny, 0.0, AR) == 0


def test_what_is_released_unprotected_costs_everything() -> None:
    for event in (
        ev.NonPrivateDpEvent(),
        ev.GaussianDpEvent(0.0),
        ev.LaplaceDpEvent(0.0),
        ev.DiscreteLaplaceDpEvent(0.0, 1),
        ev.DiscreteGaussianDpEvent(0.0),
        ev.RandomizedResponseDpEvent(0.0, 2),
        ev.ApproximateDpEvent(1.0, 1.0, "replace-one"),
        ev.PoissonSampledDpEvent(0.5, ev.GaussianDpEvent(0.0)),
        ev.PoissonSampledDpEvent(1.0, ev.GaussianDpEvent(0.0)),
        ev.TruncatedSubsampledGaussianDpEvent(10, 0.5, 5, 0.0),
    ):
        both = ev.compose(ev.GaussianDpEvent(10.0), event)
        assert accounting.epsilon(both, 0.9, RO) == math.inf
        assert accounting.rdp_epsilon(both, 0.9, RO) == math.inf
        assert accounting.delta(both, 1e9, RO) == 1
        assert accounting.gdp_mu(both, RO) is None
        assert accounting.gdp_regret(both, RO) is None
        assert accounting.max_tpr(both, 0.0, RO) == 1


# --- relations -----------------------------------------------------------------------------------


def check_replace_one_is_the_diameter(account: Account) -> None:
    """Under replace-one, noise must cover twice a contribution (radius for diameter is caught)."""
    assert account(ev.GaussianDpEvent(2.0), 1e-5, RO) == pytest.approx(gaussian.epsilon(1e-5, 1.0))
    assert account(ev.LaplaceDpEvent(2.0), 0.0, RO) == pytest.approx(1.0)
    assert account(ev.DiscreteLaplaceDpEvent(0.5, 1), 0.0, RO) == pytest.approx(1.0)
    assert account(ev.PureDpEvent(0.5, "add-remove"), 0.0, RO) == pytest.approx(1.0)
    twice = account(ev.DiscreteGaussianDpEvent(2.0, 2, "scalar"), 1e-5, AR)
    assert account(ev.DiscreteGaussianDpEvent(2.0, 1, "scalar"), 1e-5, RO) == pytest.approx(twice)
    vector = account(ev.DiscreteGaussianDpEvent(2.0, 2.0), 1e-5, AR)
    assert account(ev.DiscreteGaussianDpEvent(2.0, 1.0), 1e-5, RO) == pytest.approx(vector)
    cells = account(ev.repeat(ev.DiscreteGaussianDpEvent(2.0, 1, "cell"), 2), 1e-5, AR)
    assert account(ev.DiscreteGaussianDpEvent(2.0, 1, "cell"), 1e-5, RO) == pytest.approx(cells)
    abadi = account(sgd(0.01, 4.0, 10_000), 1e-5, RO)
    assert abadi == pytest.approx(1.993, rel=0.01)


def test_replace_one_is_the_diameter_not_the_radius() -> None:
    check_replace_one_is_the_diameter(accounting.epsilon)
    check_replace_one_is_the_diameter_for_renyi()


def check_replace_one_is_the_diameter_for_renyi() -> None:
    for event, wide in (
        (ev.GaussianDpEvent(2.0), ev.GaussianDpEvent(1.0)),
        (ev.LaplaceDpEvent(2.0), ev.LaplaceDpEvent(1.0)),
        (ev.ZCDpEvent(0.1), ev.ZCDpEvent(0.4)),
        (ev.ZCDpEvent(0.1, 0.02), ev.ZCDpEvent(0.4, 0.06)),
        (ev.DiscreteGaussianDpEvent(2.0, 1.0), ev.DiscreteGaussianDpEvent(1.0, 1.0)),
    ):
        assert accounting.rdp_epsilon(event, 1e-5, RO) == pytest.approx(
            accounting.rdp_epsilon(wide, 1e-5, AR)
        )


def test_an_accountant_that_takes_replace_one_for_add_remove_is_caught() -> None:
    with pytest.raises(AssertionError):
        check_replace_one_is_the_diameter(lambda e, d, n: accounting.epsilon(e, d, AR))


def test_bounds_stated_under_a_relation_travel_only_where_group_privacy_leads() -> None:
    def pure(stated: Neighbours) -> ev.DpEvent:
        return ev.PureDpEvent(0.5, stated.value)

    for stated in Neighbours:
        assert accounting.epsilon(pure(stated), 0.0, stated) == 0.5
    assert accounting.epsilon(pure(AR), 0.0, ZO) == 0.5
    assert accounting.epsilon(pure(AR), 0.0, RO) == 1.0
    assert accounting.epsilon(pure(ZO), 0.0, RO) == 1.0
    for stated, asked in ((RO, AR), (RO, ZO), (ZO, AR)):
        with pytest.raises(InputError, match=f"PureDpEvent.*{asked.value}.*{stated.value}"):
            accounting.epsilon(pure(stated), 0.0, asked)


def test_group_privacy_of_an_approximate_bound_multiplies_its_delta() -> None:
    event = ev.ApproximateDpEvent(0.5, 1e-6, "add-remove")
    delta = 1e-6 * (1 + math.exp(0.5))
    assert accounting.epsilon(event, 1e-6, AR) == pytest.approx(0.5, abs=1e-9)
    assert accounting.epsilon(event, delta * 1.0001, RO) == pytest.approx(1.0, abs=1e-3)
    assert accounting.epsilon(event, delta * 0.9999, RO) == math.inf
    assert accounting.rdp_epsilon(event, 0.5e-6, AR) == math.inf


@pytest.mark.parametrize(
    ("event", "relation", "words"),
    [
        (ev.RandomizedResponseDpEvent(0.5, 2), AR, "RandomizedResponseDpEvent.*add-remove"),
        (
            ev.PoissonSampledDpEvent(0.1, ev.LaplaceDpEvent(1.0)),
            RO,
            "PoissonSampledDpEvent.*replace-one",
        ),
        (
            ev.PoissonSampledDpEvent(
                0.1, ev.compose(ev.LaplaceDpEvent(1.0), ev.GaussianDpEvent(1.0))
            ),
            AR,
            "PoissonSampledDpEvent.*add-remove.*one sample",
        ),
        (
            ev.PoissonSampledDpEvent(0.1, ev.PureDpEvent(1.0, "replace-one")),
            AR,
            "PureDpEvent.*add-remove",
        ),
        (UnsupportedDpEvent(), ZO, "UnsupportedDpEvent.*zero-out"),
    ],
)
def test_what_has_no_sound_bound_is_refused_by_event_and_relation(
    event: ev.DpEvent, relation: Neighbours, words: str
) -> None:
    for question in (
        lambda: accounting.epsilon(event, 1e-5, relation),
        lambda: accounting.delta(event, 1.0, relation),
        lambda: accounting.gdp_mu(event, relation),
        lambda: accounting.max_tpr(event, 0.1, relation),
    ):
        with pytest.raises(InputError, match=words):
            question()


@pytest.mark.parametrize("delta", [-1e-9, 1.0, 2.0, math.nan, "1e-5", None])
def test_a_delta_out_of_range_is_refused(delta: Any) -> None:
    for ask in (accounting.epsilon, accounting.rdp_epsilon):
        with pytest.raises(InputError, match="delta is"):
            ask(ev.GaussianDpEvent(1.0), delta, AR)


@pytest.mark.parametrize("epsilon", [-0.1, math.nan, "1"])
def test_an_epsilon_out_of_range_is_refused(epsilon: Any) -> None:
    with pytest.raises(InputError, match="epsilon is"):
        accounting.delta(ev.GaussianDpEvent(1.0), epsilon, AR)


@pytest.mark.parametrize("relation", ["add-remove", None, AR.relation])
def test_a_relation_has_to_be_said(relation: Any) -> None:
    with pytest.raises(InputError, match="Say which neighbours"):
        accounting.epsilon(sgd(0.1, 1.0, 10), 1e-5, relation)


# --- composition ---------------------------------------------------------------------------------

PARTS = [
    ev.GaussianDpEvent(2.0),
    ev.LaplaceDpEvent(2.0),
    ev.DiscreteLaplaceDpEvent(0.5, 1),
    ev.DiscreteGaussianDpEvent(2.0, 1, "cell"),
    ev.DiscreteGaussianDpEvent(2.0, 1.0),
    ev.RandomizedResponseDpEvent(0.6, 4),
    ev.PureDpEvent(0.5, "replace-one"),
    ev.ApproximateDpEvent(0.5, 1e-7, "replace-one"),
    ev.ZCDpEvent(0.1),
    ev.PoissonSampledDpEvent(0.2, ev.GaussianDpEvent(1.0)),
]


def check_every_part_counts(account: Account) -> None:
    """Leaving out any part, or one of its repetitions, must lower epsilon."""
    whole = account(ev.compose(*PARTS, *PARTS), 1e-5, RO)
    twice = account(ev.ComposedDpEvent([ev.SelfComposedDpEvent(p, 2) for p in PARTS]), 1e-5, RO)
    assert twice == pytest.approx(whole, rel=1e-9)
    for left_out in range(len(PARTS)):
        once = ev.compose(*PARTS, *PARTS[:left_out], *PARTS[left_out + 1 :])
        assert account(once, 1e-5, RO) < whole - 1e-3, PARTS[left_out]


coarse = partial(accounting.epsilon, interval=1e-3)


def test_every_part_of_a_composition_counts_as_often_as_it_ran() -> None:
    check_every_part_counts(coarse)


def _once(event: ev.DpEvent) -> ev.DpEvent:
    return event.event if isinstance(event, ev.SelfComposedDpEvent) else event


@pytest.mark.parametrize("kind", sorted({type(part) for part in PARTS}, key=lambda k: k.__name__))
def test_an_accountant_that_ignores_a_kind_of_event_is_caught(kind: type) -> None:
    def blind(event: ev.DpEvent, delta: float, relation: Neighbours) -> float:
        parts = event.events  # type: ignore[attr-defined]
        kept = [p for p in parts if not isinstance(p, kind) and not isinstance(_once(p), kind)]
        return coarse(ev.ComposedDpEvent(kept), delta, relation)

    with pytest.raises(AssertionError):
        check_every_part_counts(blind)


def test_an_accountant_that_counts_repetitions_once_is_caught() -> None:
    def hasty(event: ev.DpEvent, delta: float, relation: Neighbours) -> float:
        seen = {repr(_once(part)): _once(part) for part in event.events}  # type: ignore[attr-defined]
        return coarse(ev.ComposedDpEvent(list(seen.values())), delta, relation)

    with pytest.raises(AssertionError):
        check_every_part_counts(hasty)


def test_a_full_sample_is_no_sample() -> None:
    for inner in (ev.GaussianDpEvent(2.0), ev.LaplaceDpEvent(2.0)):
        for relation in Neighbours:
            assert accounting.epsilon(
                ev.PoissonSampledDpEvent(1.0, inner), 1e-5, relation
            ) == accounting.epsilon(inner, 1e-5, relation)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(PARTS), st.integers(1, 40), st.floats(-9, -1), st.floats(0.01, 0.99))
def test_epsilon_falls_with_delta_and_delta_inverts_it(
    part: ev.DpEvent, count: int, log10: float, factor: float
) -> None:
    event = ev.repeat(part, count)
    delta = 10**log10
    epsilon = accounting.epsilon(event, delta, RO)
    assert accounting.epsilon(event, delta * factor, RO) >= epsilon
    if math.isfinite(epsilon):
        assert accounting.delta(event, epsilon, RO) <= delta * (1 + 1e-6) + 1e-13


PARALLEL = ev.ParallelDpEvent(
    (
        ev.compose(ev.repeat(ev.GaussianDpEvent(40.0), 30), ev.LaplaceDpEvent(8.0)),
        ev.PureDpEvent(1.0, "replace-one"),
    )
)


@pytest.mark.parametrize("delta", [0.0, 1e-9, 1e-6, 1e-3])
def test_parts_apart_cost_as_much_as_the_dearest(delta: float) -> None:
    each = [accounting.epsilon(part, delta, RO) for part in PARALLEL.events]
    assert accounting.epsilon(PARALLEL, delta, RO) == max(each)


@pytest.mark.parametrize("fpr", [1e-4, 0.01, 0.3])
def test_no_test_does_better_than_against_the_worse_part(fpr: float) -> None:
    assert accounting.max_tpr(PARALLEL, fpr, RO) == max(
        accounting.max_tpr(part, fpr, RO) for part in PARALLEL.events
    )


@pytest.mark.parametrize("delta", [1e-6, 1e-3])
def test_parts_apart_composed_lie_between_the_dearest_and_everything(delta: float) -> None:
    """The profile that bounds both parts is no less than each, and much less than their sum."""
    other = ev.GaussianDpEvent(10.0)
    whole = accounting.epsilon(ev.compose(PARALLEL, other), delta, RO)
    each = [accounting.epsilon(ev.compose(part, other), delta, RO) for part in PARALLEL.events]
    everything = accounting.epsilon(ev.compose(*PARALLEL.events, other), delta, RO)
    assert max(each) - 2e-4 <= whole <= max(each) * 1.25
    assert whole < 0.85 * everything


def test_one_part_in_many_ways_is_that_part() -> None:
    part = ev.LaplaceDpEvent(3.0)
    once = ev.compose(ev.ParallelDpEvent((part, part, ev.NoOpDpEvent())), part)
    twice = accounting.epsilon(ev.repeat(part, 2), 1e-6, RO)
    assert accounting.epsilon(once, 1e-6, RO) == pytest.approx(twice, abs=5e-4)


@pytest.mark.parametrize("size", [2, 3])
def test_a_group_whose_records_are_in_several_parts_is_covered(size: int) -> None:
    """However a person's records fall into the parts, the group's claim holds for it."""
    claimed = accounting.epsilon(ev.GroupDpEvent(PARALLEL, size), 1e-6, RO)
    first, second = PARALLEL.events
    for inside in range(size + 1):
        mixed = [ev.repeat(ev.GroupDpEvent(first, inside), 1)] if inside else []
        mixed += [ev.repeat(second, size - inside)] if inside < size else []
        assert accounting.epsilon(ev.compose(*mixed), 1e-6, RO) <= claimed * (1 + 1e-6)


def test_parts_are_not_known_where_a_record_may_be_gone() -> None:
    with pytest.raises(InputError, match="add-remove"):
        accounting.epsilon(PARALLEL, 1e-6, AR)
    assert (
        accounting.epsilon(
            ev.ParallelDpEvent((ev.GaussianDpEvent(3.0), ev.NonPrivateDpEvent())), 1e-6, ZO
        )
        == math.inf
    )


def test_parts_survive_a_card() -> None:
    assert ev.from_dict(ev.to_dict(PARALLEL)) == PARALLEL
    with pytest.raises(InputError):
        ev.from_dict({"type": "ParallelDpEvent", "events": []})
