from __future__ import annotations

import math
import re

import dp_accounting
import pytest
from dp_accounting.pld import PLDAccountant
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sfumato.errors import BudgetError
from sfumato.privacy import events as ev
from sfumato.privacy.budget import Budget
from sfumato.privacy.guarantee import Central, Empirical, Guarantee, Local, Metric
from sfumato.privacy.ledger.totals import PROVEN, Spending, Total, admit, left
from sfumato.privacy.neighbours import Neighbours

ADD_REMOVE, REPLACE_ONE = Neighbours.ADD_REMOVE, Neighbours.REPLACE_ONE


def pure(epsilon: float, unit: str = "record", relation: Neighbours = ADD_REMOVE) -> Central:
    return Central(ev.PureDpEvent(epsilon, relation.value), 0.0, unit, relation)


def gaussian(multiplier: float, delta: float = 1e-6, unit: str = "record") -> Central:
    return Central(ev.GaussianDpEvent(multiplier), delta, unit)


def response(unit: str = "row") -> Local:
    return Local(ev.RandomizedResponseDpEvent(0.5, 2), 0.0, unit)


def totals(*paid: Guarantee, delta: float | None = None) -> list[Total]:
    return Spending(one.to_dict() for one in paid).totals(delta)


def refused(ceiling: Budget, paid: list[Guarantee], asked: Guarantee) -> str:
    with pytest.raises(BudgetError) as caught:
        admit(ceiling, [one.to_dict() for one in paid], asked)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_nothing_paid_comes_to_nothing() -> None:
    assert totals() == []


def test_events_are_composed_and_epsilons_are_not_added() -> None:
    accountant = PLDAccountant(dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE)
    accountant.compose(dp_accounting.GaussianDpEvent(5.0), 10)
    accountant.compose(dp_accounting.LaplaceDpEvent(4.0), 3)
    laplace = Central(ev.LaplaceDpEvent(4.0), 0.0)
    [total] = totals(*[gaussian(5.0)] * 10, *[laplace] * 3, delta=1e-6)
    assert total.releases == 13
    assert total.neighbours is ADD_REMOVE
    assert total.epsilon == pytest.approx(accountant.get_epsilon(1e-6), rel=2e-3)
    added = 10 * gaussian(5.0).epsilon(1e-6) + 3 * laplace.epsilon(1e-6)
    assert added > 1.5 * total.epsilon, "a total that adds epsilons would be caught here"


def test_the_order_and_the_grouping_of_releases_do_not_matter() -> None:
    paid = [gaussian(3.0), pure(0.25), gaussian(3.0), response(), pure(0.5), gaussian(7.0)]
    [one], [other] = totals(*paid), totals(*reversed(paid))
    assert one == other


def test_each_release_counts_however_many_are_equal() -> None:
    for many in (1, 2, 3, 50):
        [total] = totals(*[pure(0.5)] * many)
        assert total.epsilon == pytest.approx(0.5 * many)


def test_without_a_delta_the_largest_one_of_the_unit_is_taken() -> None:
    paid = [gaussian(3.0, 1e-9), gaussian(3.0, 1e-5), gaussian(3.0, 1e-2, "patient")]
    assert [total.delta for total in totals(*paid)] == [1e-2, 1e-5]
    assert [total.delta for total in totals(*paid, delta=1e-7)] == [1e-7, 1e-7]


def test_mixed_relations_are_evaluated_under_replace_one() -> None:
    discrete = Central(ev.DiscreteLaplaceDpEvent(0.5, 1), 0.0)  # 0.5, or 1.0 when replaced
    local = response()
    alone = local.epsilon()
    assert totals(discrete)[0].epsilon == pytest.approx(0.5)
    assert totals(local)[0].epsilon == pytest.approx(alone)
    [mixed] = totals(discrete, local)
    assert mixed.neighbours is REPLACE_ONE
    assert mixed.epsilon == pytest.approx(1.0 + alone)
    assert mixed.epsilon > 0.5 + alone + 0.4, "adding figures of two relations is caught here"


def test_a_row_and_a_whole_image_are_a_record_and_a_patient_is_not() -> None:
    paid = [pure(1.0), response("row"), response("whole image"), pure(1.0, "patient")]
    found = totals(*paid)
    assert [(total.unit, total.releases) for total in found] == [("patient", 1), ("record", 3)]


def test_unproven_releases_are_listed_apart_without_a_figure() -> None:
    found = totals(Metric(1.0, "pixels"), Empirical(()), pure(1.0), Empirical(("a",)))
    assert [(one.kind, one.releases) for one in found] == [
        (PROVEN, 1), ("empirical", 2), ("metric", 1),
    ]  # fmt: skip
    assert found[0].epsilon == 1.0
    assert all(math.isinf(one.epsilon) and one.neighbours is None for one in found[1:])
    assert found[1].to_dict()["epsilon"] is None
    assert found[1].describe().startswith("2 releases (empirical): no finite total")


def test_a_total_says_what_it_holds_for() -> None:
    [total] = totals(gaussian(3.0))
    assert re.fullmatch(
        r"1 release: ε = 1\.4\d* at δ = 1e-06 for each record \(add-remove\)", total.describe()
    )
    assert total.to_dict()["epsilon"] == total.epsilon
    assert total.to_dict()["neighbours"] == "add-remove"
    assert totals(pure(1.0))[0].describe() == "1 release: ε = 1 for each record (add-remove)"


def test_what_cannot_be_accounted_under_the_relation_has_an_infinite_total_with_its_reason() -> (
    None
):
    odd = Central(ev.RandomizedResponseDpEvent(0.5, 2), 0.0, neighbours=ADD_REMOVE)
    [total] = totals(odd)
    assert math.isinf(total.epsilon)
    assert "cannot be accounted" in total.describe()
    assert "cannot be accounted" in refused(Budget(5.0, 1e-6), [], odd)


def test_without_a_ceiling_everything_is_admitted() -> None:
    for asked in (pure(100.0), Empirical(()), Metric(1.0, "pixels"), pure(1.0, "patient")):
        admit(None, [pure(1.0).to_dict()], asked)


def test_a_ceiling_is_reached_and_not_passed() -> None:
    ceiling = Budget(1.0)
    admit(ceiling, [], pure(1.0))
    admit(ceiling, [pure(0.1).to_dict()] * 9, pure(0.1))  # 0.1 has no exact double
    assert "nothing is left" in refused(ceiling, [pure(0.1)] * 10, pure(0.001))
    assert "asks for ε = 1.01" in refused(ceiling, [], pure(1.01))


def test_a_refusal_names_what_was_asked_and_what_is_left() -> None:
    message = refused(Budget(2.0, 1e-6), [pure(0.75)], pure(1.5))
    assert message == (
        "this release asks for ε = 1.5, which brings the total to ε = 2.25, over the ceiling of "
        "ε = 2, δ = 1e-06 (add-remove); ε = 1.25 is left. Ask for at most ε = 1.25, or raise the "
        "ceiling."
    )


def test_a_gaussian_under_a_pure_ceiling_is_refused_with_the_reason() -> None:
    message = refused(Budget(2.0), [pure(0.5)], gaussian(10.0))
    assert "no finite total at the ceiling's δ = 0" in message
    assert "or set a ceiling with a δ above 0" in message
    assert "ε = 1.5 is left" in message


def test_a_pure_ceiling_set_after_a_gaussian_leaves_nothing() -> None:
    message = refused(Budget(2.0), [gaussian(10.0)], pure(0.5))
    assert "nothing is left" in message
    assert "Set a ceiling with a δ above 0" in message


def test_what_is_left_is_stated_under_the_relation_that_the_release_brings() -> None:
    local = Local(ev.PureDpEvent(1.0, "replace-one"), 0.0)
    message = refused(Budget(1.5), [pure(0.6)], local)  # 0.6 with a record added is 1.2 replaced
    assert "total to ε = 2.2, over the ceiling of ε = 1.5 (replace-one); ε = 0.3 is left" in message
    admit(Budget(1.5), [pure(0.6).to_dict()], pure(0.9))


@pytest.mark.parametrize("event", [ev.GaussianDpEvent(3.0), ev.NoOpDpEvent()])
def test_a_release_whose_own_epsilon_is_no_budget_is_refused_like_any_other(event) -> None:
    refused(Budget(1.0, 1e-6), [pure(2.0)], Central(event, 0.0))


def test_delta_is_the_ceilings_own_and_not_that_of_the_release() -> None:
    # Read off at the release's delta of 1e-2 this would fit under the ceiling.
    careless = gaussian(4.0, delta=1e-2)
    assert careless.epsilon() < 0.7 < careless.epsilon(1e-6)
    refused(Budget(0.7, 1e-6), [], careless)


def test_other_units_are_refused_under_a_ceiling() -> None:
    message = refused(Budget(5.0, 1e-6), [pure(0.1)], pure(0.1, "patient"))
    assert "protects each patient" in message
    assert "counts for each record" in message
    admit(Budget(5.0, 1e-6), [pure(0.1).to_dict()], response("whole image"))


@pytest.mark.parametrize("unproven", [Metric(1.0, "pixels", {"typical": 2.0}), Empirical(("a",))])
def test_a_guarantee_without_epsilon_is_refused_under_a_ceiling(unproven: Guarantee) -> None:
    assert unproven.kind in refused(Budget(5.0, 1e-6), [], unproven)
    # and one that was published before the ceiling was set leaves nothing under it
    assert "without a differential privacy guarantee" in refused(
        Budget(5.0, 1e-6), [unproven], pure(0.1)
    )
    assert left(Budget(5.0, 1e-6), Spending([unproven.to_dict()])) == 0


def test_a_metric_guarantee_counts_with_its_worst_case() -> None:
    near = Metric(0.5, "angle", worst_case=pure(1.0, relation=REPLACE_ONE))
    found = totals(near, near, pure(0.5, relation=REPLACE_ONE))
    assert [(one.kind, one.neighbours, one.releases) for one in found] == [(PROVEN, REPLACE_ONE, 3)]
    assert found[0].epsilon == pytest.approx(2.5)
    admit(Budget(2.5), [near.to_dict(), pure(0.5, relation=REPLACE_ONE).to_dict()], near)
    assert "asks for ε = 1," in refused(Budget(1.5), [near], near)
    # With a record added or removed nothing is proven of it: the total is under replace-one.
    assert totals(near, pure(0.5))[0].epsilon == pytest.approx(2.0)
    assert left(Budget(3.0), Spending([near.to_dict()])) == pytest.approx(2.0)


def test_mixed_units_from_before_the_ceiling_leave_nothing_under_it() -> None:
    paid = [pure(0.1), pure(0.1, "patient")]
    assert left(Budget(5.0), Spending(one.to_dict() for one in paid)) == 0
    refused(Budget(5.0), paid, pure(0.1))


MULTIPLIERS = st.sampled_from([2.0, 5.0, 9.0, 20.0])
GUARANTEES = st.one_of(
    st.sampled_from([0.05, 0.3, 0.7]).map(pure),
    st.sampled_from([0.05, 0.3]).map(lambda e: pure(e, relation=REPLACE_ONE)),
    MULTIPLIERS.map(gaussian),
    st.just(response()),
)


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(st.lists(GUARANTEES, min_size=1, max_size=6), st.sampled_from([0.0, 1e-6]))
def test_what_is_left_still_fits_and_the_ceiling_holds(
    asked: list[Guarantee], delta: float
) -> None:
    ceiling, paid = Budget(1.5, delta), []
    for one in asked:
        try:
            admit(ceiling, [p.to_dict() for p in paid], one)
        except BudgetError as error:
            printed = re.search(r"\((\S+)\); ε = ([0-9.e-]+) is left", str(error))
            if printed:
                fits = pure(float(printed.group(2)), relation=Neighbours(printed.group(1)))
                admit(ceiling, [p.to_dict() for p in paid], fits)
        else:
            paid.append(one)
    spending = Spending(p.to_dict() for p in paid)
    reached = spending.totals(delta)
    assert all(total.epsilon <= ceiling.epsilon * (1 + 1e-9) for total in reached)
    rest = left(ceiling, spending)
    if rest:
        relation = reached[0].neighbours if reached else ADD_REMOVE
        admit(ceiling, [p.to_dict() for p in paid], pure(rest, relation=relation))
