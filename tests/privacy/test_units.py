"""Several records at once: group privacy against exact worst cases, and read backwards."""

from __future__ import annotations

import math

import pytest
from scipy.stats import binom

from sfumato.errors import InputError
from sfumato.privacy import accounting
from sfumato.privacy import events as ev
from sfumato.privacy.budget import Budget
from sfumato.privacy.guarantee import Central, Empirical, Local, Metric
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.units import for_unit, noun, of_one_record

ADD = Neighbours.ADD_REMOVE
TRAINING = ev.repeat(ev.PoissonSampledDpEvent(0.01, ev.GaussianDpEvent(2.0)), 500)
EVENTS = {
    "gaussian": ev.GaussianDpEvent(5.0),
    "laplace": ev.LaplaceDpEvent(5.0),
    "histogram": ev.DiscreteGaussianDpEvent(9.0, 1, "cell"),
    "training": TRAINING,
    "bound and gaussian": ev.compose(ev.PureDpEvent(0.3, "add-remove"), ev.GaussianDpEvent(5.0)),
}


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_a_group_of_one_is_one_record(event: ev.DpEvent) -> None:
    group = ev.GroupDpEvent(event, 1)
    assert accounting.epsilon(group, 1e-5, ADD) == accounting.epsilon(event, 1e-5, ADD)


@pytest.mark.parametrize("size", [2, 3, 7])
@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_a_group_is_never_worse_than_the_chain_of_its_members(event: ev.DpEvent, size: int) -> None:
    asked = Budget(size * accounting.epsilon(event, 1e-7, ADD), 0.0)
    chain = math.fsum(math.exp(i * asked.epsilon / size) for i in range(size))
    group = accounting.epsilon(ev.GroupDpEvent(event, size), 1e-7 * chain, ADD)
    assert group <= asked.epsilon * (1 + 1e-6)
    assert group > accounting.epsilon(event, 1e-7 * chain, ADD)


@pytest.mark.parametrize("size", [2, pytest.param(5, marks=pytest.mark.slow)])
def test_a_group_in_training_costs_at_least_the_exact_mixture(size: int) -> None:
    # Of k records each step samples Binomial(k, rate): the exact worst case is a mixture.
    from dp_accounting.pld import privacy_loss_distribution as pld

    shares = [float(binom.pmf(i, size, 0.01)) for i in range(size + 1)]
    step = pld.from_mixture_gaussian_mechanism(
        2.0, list(range(size + 1)), shares, value_discretization_interval=1e-4
    )
    exact = step.self_compose(500).get_epsilon_for_delta(1e-5)
    ours = accounting.epsilon(ev.GroupDpEvent(TRAINING, size), 1e-5, ADD)
    assert exact * (1 - 1e-3) <= ours <= 1.05 * exact


@pytest.mark.parametrize("size", [2, 4])
def test_shifts_of_added_noise_are_exact(size: int) -> None:
    for one, many in (
        (ev.GaussianDpEvent(4.0), ev.GaussianDpEvent(4.0 / size)),
        (ev.LaplaceDpEvent(4.0), ev.LaplaceDpEvent(4.0 / size)),
        (ev.DiscreteLaplaceDpEvent(0.2, 1), ev.DiscreteLaplaceDpEvent(0.2, size)),
    ):
        group = accounting.epsilon(ev.GroupDpEvent(one, size), 1e-5, ADD)
        assert group == pytest.approx(accounting.epsilon(many, 1e-5, ADD), rel=1e-9)


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_epsilon_and_delta_of_a_group_agree(event: ev.DpEvent) -> None:
    group = ev.GroupDpEvent(event, 3)
    epsilon = accounting.epsilon(group, 1e-6, ADD)
    assert accounting.delta(group, epsilon, ADD) <= 1e-6 * (1 + 1e-6)
    assert accounting.delta(group, 0.9 * epsilon, ADD) > 1e-6


def test_two_releases_of_a_group_compose_to_more_than_one() -> None:
    group = ev.GroupDpEvent(TRAINING, 3)
    one, two = (accounting.epsilon(ev.repeat(group, n), 1e-5, ADD) for n in (1, 2))
    # As one event of twice the steps, grouped: the same law, accounted the other way round.
    whole = accounting.epsilon(ev.GroupDpEvent(ev.repeat(TRAINING, 2), 3), 1e-5, ADD)
    assert one < two <= 2 * one
    assert two == pytest.approx(whole, rel=0.05)


def test_a_groups_ceiling_on_attacks_is_above_that_of_its_member() -> None:
    one = accounting.max_tpr(TRAINING, 0.01, ADD)
    assert accounting.max_tpr(ev.GroupDpEvent(TRAINING, 3), 0.01, ADD) > one


def test_sampling_that_is_stated_for_one_size_has_no_group() -> None:
    truncated = ev.TruncatedSubsampledGaussianDpEvent(100, 0.1, 20, 1.0)
    with pytest.raises(InputError, match="one number of records"):
        accounting.epsilon(ev.GroupDpEvent(truncated, 2), 1e-5, ADD)


@pytest.mark.parametrize("size", [0, -1, 1.5, True])
def test_a_group_has_a_whole_size(size: object) -> None:
    with pytest.raises(InputError, match="size"):
        ev.GroupDpEvent(ev.GaussianDpEvent(1.0), size)


@pytest.mark.parametrize("rows", [1, 2, 10])
@pytest.mark.parametrize("epsilon", [0.1, 1.0, 8.0])
def test_what_one_record_may_cost_sums_to_the_budget(rows: int, epsilon: float) -> None:
    one = of_one_record(Budget(epsilon, 1e-5), rows)
    assert rows * one.epsilon == pytest.approx(epsilon)
    chain = math.expm1(epsilon) / math.expm1(one.epsilon)
    assert one.delta * chain == pytest.approx(1e-5)


def test_a_person_is_charged_for_all_their_records() -> None:
    event = ev.GaussianDpEvent(5.0)
    person = for_unit(Central(event, 1e-7), "patient", 3, 1e-5)
    assert isinstance(person, Central)
    assert (person.unit, person.delta) == ("patient", 1e-5)
    assert person.epsilon() == pytest.approx(
        accounting.epsilon(ev.GaussianDpEvent(5.0 / 3), 1e-5, ADD)
    )
    assert "one patient" in person.describe()


def test_the_reports_of_one_person_are_composed() -> None:
    event = ev.GaussianDpEvent(10.0)
    person = for_unit(Local(event, 1e-7), "patient", 4, 1e-5)
    assert isinstance(person, Local)
    # Four independent reports: sqrt(4) times the mu, where a chain of neighbours has 4 times.
    assert person.gdp_mu() == pytest.approx(2 * Local(event, 1e-7).gdp_mu())


def test_a_guarantee_by_distance_is_for_one_record() -> None:
    worst = Central(ev.PureDpEvent(1.0, "replace-one"), 0.0, neighbours=Neighbours.REPLACE_ONE)
    metric = Metric(0.5, "angle", worst_case=worst)
    one = for_unit(metric, "patient", 1, 0.0)
    assert isinstance(one, Metric)
    assert one.worst_case is not None
    assert one.worst_case.unit == "patient"
    with pytest.raises(InputError, match="not for 2 of a patient"):
        for_unit(metric, "patient", 2, 0.0)
    assert for_unit(Empirical(), "patient", 2, 0.0) == Empirical()


@pytest.mark.parametrize(
    ("column", "word"),
    [
        ("patient_id", "patient"),
        ("CustomerID", "customer"),
        ("Kunden-Nr", "kunden"),
        ("id", "person"),
        ("pid", "person"),
        ("UID", "person"),
        ("record_id", "person"),
        ("user", "user"),
    ],
)
def test_a_unit_is_named_after_its_column(column: str, word: str) -> None:
    assert noun(column) == word
