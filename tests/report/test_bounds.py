"""What a guarantee means, against closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import pytest

from sfumato.errors import InputError
from sfumato.privacy.events import ApproximateDpEvent, DpEvent, GaussianDpEvent, PureDpEvent
from sfumato.privacy.guarantee import Central, Local
from sfumato.privacy.neighbours import Neighbours
from sfumato.release.card import Card, figures_of
from sfumato.report import bounds as module
from sfumato.report.bounds import Bounds, bounds

Make = Callable[..., Any]


def card_of(make_release: Make, guarantee: Central | Local) -> Card:
    card: Card = make_release().card
    return replace(card, guarantee=guarantee.to_dict(), figures=figures_of(guarantee))


@pytest.mark.parametrize("multiplier", [0.7, 2.0, 8.0])
def test_the_best_guess_against_a_gaussian_is_its_closed_form(
    multiplier: float, make_release: Make
) -> None:
    found = bounds(card_of(make_release, Central(GaussianDpEvent(multiplier), 1e-6)))
    exact = NormalDist().cdf(1 / multiplier / 2)
    assert found.accuracy == pytest.approx(exact, abs=2e-4)
    assert found.accuracy >= exact - 1e-9
    assert found.per_hundred == math.ceil(100 * found.accuracy - 1e-9)
    for fpr, tpr in found.curve:
        best = (
            1.0
            if fpr >= 1
            else NormalDist().cdf(NormalDist().inv_cdf(max(fpr, 1e-300)) + 1 / multiplier)
        )
        assert tpr >= best - 1e-9
        assert tpr == pytest.approx(best, abs=1e-3)


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 3.0])
def test_the_best_guess_against_pure_privacy_is_its_closed_form(
    epsilon: float, make_release: Make
) -> None:
    pure = Local(PureDpEvent(epsilon, "replace-one"), 0.0)
    found = bounds(card_of(make_release, pure))
    assert found.accuracy == pytest.approx(1 / (1 + math.exp(-epsilon)), abs=1e-3)
    assert found.profile == ()  # epsilon does not depend on delta


def test_a_weaker_guarantee_is_told_from_a_stronger(make_release: Make) -> None:
    # The planted defect: a page that showed the same figures whatever the noise.
    grades = [
        bounds(card_of(make_release, Central(GaussianDpEvent(m), 1e-6))).grade
        for m in (8.0, 2.0, 0.8, 0.4, 0.1)
    ]
    assert grades == ["very strong", "strong", "moderate", "weak", "very weak"]


def test_the_ceiling_between_two_rates_is_the_next_one_above(make_release: Make) -> None:
    found = bounds(card_of(make_release, Central(GaussianDpEvent(2.0), 1e-6)))
    rates = dict(found.curve)
    assert found.at(0.01) == rates[0.01]
    assert found.at(0.011) > rates[0.01]
    assert found.at(1.0) == 1.0


def test_epsilon_is_read_off_at_other_deltas_and_under_the_other_relation(
    make_release: Make,
) -> None:
    guarantee = Central(GaussianDpEvent(4.0), 1e-6)
    found = bounds(card_of(make_release, guarantee))
    assert dict(found.profile)[1e-6] == pytest.approx(guarantee.epsilon())
    epsilons = [epsilon for _, epsilon in found.profile]
    assert epsilons == sorted(epsilons)
    assert found.other is Neighbours.REPLACE_ONE
    assert found.other_epsilon is not None
    assert found.other_epsilon > 1.8 * guarantee.epsilon()
    replaced = Central(GaussianDpEvent(4.0), 1e-6, "record", Neighbours.REPLACE_ONE)
    assert bounds(card_of(make_release, replaced)).other is Neighbours.ADD_REMOVE


def test_an_unknown_relation_gives_no_figure(
    make_release: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sfumato.privacy import accounting

    whole = accounting.epsilon

    def refuses(event: DpEvent, delta: float, neighbours: Neighbours) -> float:
        if neighbours is Neighbours.REPLACE_ONE:
            raise InputError("nothing sound is known")
        return whole(event, delta, neighbours)

    monkeypatch.setattr(accounting, "epsilon", refuses)
    found = bounds(card_of(make_release, Central(GaussianDpEvent(4.0), 1e-6)))
    assert found.other_epsilon is None


def test_a_delta_below_what_is_revealed_outright_has_no_epsilon(make_release: Make) -> None:
    event = ApproximateDpEvent(1.0, 1e-5, "add-remove")
    found = bounds(card_of(make_release, Central(event, 1e-4)))
    assert [delta for delta, _ in found.profile] == [1e-4, 1e-5]


def test_regret_is_small_for_a_gaussian_and_large_for_pure_privacy(make_release: Make) -> None:
    gaussian = bounds(card_of(make_release, Central(GaussianDpEvent(2.0), 1e-6)))
    pure = bounds(card_of(make_release, Local(PureDpEvent(1.0, "replace-one"), 0.0)))
    assert gaussian.regret is not None
    assert pure.regret is not None
    assert gaussian.regret < 2e-4 < 1e-2 < pure.regret


def test_no_mu_means_no_regret() -> None:
    assert module._regret(((0.0, 0.0), (1.0, 1.0)), None) is None
    assert module._regret(((0.0, 0.0), (1.0, 1.0)), math.inf) is None
    # A curve that ends before 1 stays at its last value.
    assert module._regret(((0.0, 0.0), (0.5, 0.5)), 0.5) is not None


@pytest.mark.parametrize("kind", ["metric", "empirical"])
def test_what_bounds_no_attack_has_no_figures(kind: str, make_release: Make) -> None:
    found = bounds(make_release(guarantee=kind).card)
    assert found == Bounds(False, 1.0, (), (), None, None, None)
