from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato.errors import InputError
from sfumato.learn.adaptive import AdaptiveQuantile
from sfumato.learn.bounds import check_joint
from sfumato.learn.clipping import (
    Automatic,
    Clipping,
    Flat,
    PerGroup,
    layer_budgets,
    per_layer,
)
from sfumato.learn.mechanism import DpSgd, Run
from sfumato.learn.sampling import PoissonSampling
from sfumato.privacy import accounting, events
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SeededSource

NAMES = ["conv.weight", "conv.bias", "norm.weight", "head.weight", "head.bias"]
bounds = st.floats(1e-4, 1e4)


@st.composite
def clippings(draw: st.DrawFn) -> tuple[Clipping, list[float]]:
    """A clipping and the bound of each of its groups."""
    kind = draw(st.sampled_from(["flat", "automatic", "global", "shares"]))
    if kind == "flat":
        bound = draw(bounds)
        return Flat(bound), [bound]
    if kind == "automatic":
        bound = draw(bounds)
        return Automatic(bound, draw(st.floats(1e-3, 1.0))), [bound]
    norms = draw(st.lists(bounds, min_size=1, max_size=6))
    members = tuple((f"layer{k}",) for k in range(len(norms)))
    if kind == "global":
        return PerGroup(members, tuple(norms)), norms
    weights = draw(st.lists(st.floats(0.05, 1), min_size=len(norms), max_size=len(norms)))
    shares = tuple(w / math.fsum(weights) for w in weights)
    return PerGroup(members, tuple(norms), shares), norms


@given(clippings(), st.lists(st.floats(0, 1e30), min_size=1, max_size=9), st.booleans())
@settings(max_examples=200, deadline=None)
def test_no_clipped_norm_is_above_its_bound(
    made: tuple[Clipping, list[float]], lengths: list[float], double: bool
) -> None:
    clipping, limits = made
    dtype = torch.float64 if double else torch.float32
    norms = torch.tensor([lengths] * len(limits), dtype=dtype)
    factors = clipping.factors(norms)
    assert factors.shape == norms.shape
    reached = (norms.double() * factors.double()).amax(dim=1)
    assert (reached <= torch.tensor(limits, dtype=torch.float64)).all()
    assert (factors >= 0).all()


@given(clippings())
@settings(max_examples=30, deadline=None)
def test_an_example_without_a_finite_norm_gets_factor_zero_in_every_group(
    made: tuple[Clipping, list[float]],
) -> None:
    clipping, limits = made
    norms = torch.full((len(limits), 4), 0.5)
    norms[0, 1], norms[-1, 2] = math.nan, math.inf
    factors = clipping.factors(norms)
    assert (factors[:, 1:3] == 0).all()
    assert (factors[:, [0, 3]] > 0).all()


def test_short_gradients_are_left_as_they_are() -> None:
    assert Flat(2.0).factors(torch.tensor([[0.0, 0.5, 1.999]])).tolist() == [[1.0, 1.0, 1.0]]
    assert Flat(2.0).factors(torch.tensor([[4.0]])).item() == pytest.approx(0.5, rel=1e-6)
    assert Automatic(2.0, 0.01).factors(torch.tensor([[1.0]])).item() == pytest.approx(2 / 1.01)


def test_no_examples_give_no_factors() -> None:
    assert Flat(1.0).factors(torch.zeros(1, 0)).shape == (1, 0)
    assert per_layer(NAMES, 1.0).factors(torch.zeros(3, 0)).shape == (3, 0)


@given(clippings(), st.floats(0.1, 100))
@settings(max_examples=200, deadline=None)
def test_noise_of_all_groups_together_is_the_multiplier(
    made: tuple[Clipping, list[float]], multiplier: float
) -> None:
    clipping, limits = made
    stddevs = clipping.noise_stddevs(multiplier)
    joint = math.fsum((c / s) ** 2 for c, s in zip(limits, stddevs, strict=True))
    assert joint <= (1 + 1e-9) / multiplier**2
    assert joint >= (1 - 1e-6) / multiplier**2  # and no noise is wasted
    check_joint(clipping, multiplier)


@given(clippings())
@settings(max_examples=50, deadline=None)
def test_sensitivity_is_joint_and_doubles_where_a_record_is_replaced(
    made: tuple[Clipping, list[float]],
) -> None:
    clipping, limits = made
    assert clipping.sensitivity(Neighbours.ADD_REMOVE) == pytest.approx(math.hypot(*limits))
    assert clipping.sensitivity(Neighbours.ZERO_OUT) == pytest.approx(math.hypot(*limits))
    assert clipping.sensitivity(Neighbours.REPLACE_ONE) == pytest.approx(2 * math.hypot(*limits))


def test_layer_budgets_divide_one_step() -> None:
    clipping = layer_budgets(NAMES, {"conv": 1.0, "norm": 1.0, "head": 2.0}, 3.0)
    sigma = 5.0
    bound = 3.0 / math.sqrt(3)
    alone = [s / bound for s in clipping.noise_stddevs(sigma)]
    assert alone == pytest.approx([sigma / math.sqrt(w) for w in (0.25, 0.25, 0.5)])
    assert math.fsum(a**-2 for a in alone) == pytest.approx(sigma**-2)


def test_both_noise_rules_of_equal_bounds_are_one() -> None:
    whole, equal = (per_layer(NAMES, 3.0, equal_shares=e) for e in (False, True))
    assert whole.noise_stddevs(2.0) == pytest.approx(equal.noise_stddevs(2.0))
    given_norms = {"conv": 1.0, "norm": 2.0, "head": 2.0}
    assert per_layer(NAMES, given_norms).noise_stddevs(2.0) == pytest.approx([6.0] * 3)
    weighted = per_layer(NAMES, given_norms, equal_shares=True)
    assert weighted.noise_stddevs(2.0) == pytest.approx([2 * math.sqrt(3) * c for c in (1, 2, 2)])


@dataclass(frozen=True)
class LayersAtFullPrice(PerGroup):
    """Planted: noise ``sigma C_k`` in each layer while ``sigma`` is accounted (Fed-CDP)."""

    def noise_stddevs(self, noise_multiplier: float) -> list[float]:
        return [noise_multiplier * norm for norm in self.max_grad_norms]


@pytest.mark.parametrize(("layers", "true_epsilon"), [(1, 0.60), (3, 1.12), (6, 1.68)])
def test_wrong_noise_per_layer_is_refused_with_its_true_multiplier(
    layers: int, true_epsilon: float
) -> None:
    members = tuple((f"l{k}",) for k in range(layers))
    wrong = LayersAtFullPrice(members, (4.0,) * layers)
    sampling = PoissonSampling(60_000, 0.01)
    if layers == 1:
        check_joint(wrong, 6.0)
    else:
        with pytest.raises(InputError, match=rf"multiplier of {6 / math.sqrt(layers):.3f}"):
            Run(DpSgd(sampling, wrong, 6.0, 10_000, 1e-5), 60_000)
    # What it would really have cost (training_attacks.md A2).
    event = events.repeat(sampling.event(6.0 / math.sqrt(layers)), 10_000)
    assert accounting.epsilon(event, 1e-5, Neighbours.ADD_REMOVE) == pytest.approx(
        true_epsilon, abs=0.01
    )


def test_the_longest_prefix_names_the_group() -> None:
    clipping = PerGroup((("attn",), ("attn.out_proj", "head"), ("",)), (1.0, 1.0, 1.0))
    names = ["attn.in_proj_weight", "attn.out_proj.weight", "head.bias", "attnx", "scale"]
    assert clipping.groups(names) == [0, 1, 1, 2, 2]
    assert per_layer(NAMES, 1.0).groups(NAMES) == [0, 0, 1, 2, 2]
    assert Flat(1.0).groups(NAMES) == [0] * 5


def bad_groups() -> Sequence[tuple[object, str]]:
    return [
        (lambda: Flat(0.0), "max_grad_norm is 0.0"),
        (lambda: Flat(math.nan), "max_grad_norm is nan"),
        (lambda: Automatic(1.0, 0.0), "gamma is 0.0"),
        (lambda: PerGroup((("a",), ("a",)), (1.0, 1.0)), "groups of parameters"),
        (lambda: PerGroup((("a",), ("b",)), (1.0,)), "1 clip norms for 2 groups"),
        (lambda: PerGroup((("a",),), (1.0,), (0.9,)), "shares of the groups"),
        (lambda: PerGroup((("a",), ("b",)), (1.0, 1.0), (1.0, 0.0)), "share of a group is 0.0"),
        (lambda: PerGroup((("a",),), (1.0,)).groups(["b.weight"]), "'b.weight' is in no group"),
        (lambda: PerGroup((("a",), ("b",)), (1.0, 1.0)).groups(["a.w"]), "no trainable parameter"),
        (lambda: per_layer([], 1.0), "no trainable parameter"),
        (lambda: per_layer(NAMES, {"conv": 1.0}), "layer 'head' has no clip norm"),
        (lambda: layer_budgets(NAMES, {"conv": 1, "norm": 1, "head": -1}, 1.0), "weight of a"),
        (lambda: per_layer(NAMES, 1.0).factors(torch.ones(2, 4)), "norms of 2 groups"),
        (lambda: AdaptiveQuantile(initial=0.0), "initial is 0.0"),
        (lambda: AdaptiveQuantile(quantile=1.5), "quantile is 1.5"),
    ]


@pytest.mark.parametrize(("make", "problem"), bad_groups())
def test_settings_that_make_no_sense_are_refused(make: object, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        make()  # type: ignore[operator]


@given(st.floats(0.3, 10), st.floats(200, 5000))
@settings(max_examples=50, deadline=None)
def test_gradients_and_count_together_cost_the_accounted_multiplier(
    multiplier: float, expected: float
) -> None:
    adaptive = AdaptiveQuantile()
    for_gradients = adaptive.gradient_multiplier(multiplier, expected)
    for_count = adaptive.noise_on_count(expected) / 0.5  # a record moves the count by 1/2
    assert for_gradients**-2 + for_count**-2 == pytest.approx(multiplier**-2)
    assert for_gradients > multiplier


def test_adaptive_clipping_is_accounted_as_plain_dp_sgd_and_never_by_its_own_noise() -> None:
    sampling = PoissonSampling(10_000, 0.02)
    plain = DpSgd(sampling, Flat(1.0), 2.0, 1000, 1e-5)
    adaptive = DpSgd(sampling, AdaptiveQuantile(count_stddev=2.0), 2.0, 1000, 1e-5)
    assert adaptive.event == plain.event
    assert adaptive.epsilon() == plain.epsilon()
    # Planted (Opacus up to 1.5.4): the accountant reads the gradients' larger multiplier.
    drawn = adaptive.gradient_multiplier()
    assert drawn == pytest.approx((2.0**-2 - 4.0**-2) ** -0.5)
    assert DpSgd(sampling, Flat(1.0), drawn, 1000, 1e-5).epsilon() < 0.9 * adaptive.epsilon()


def test_too_little_noise_on_the_count_is_refused() -> None:
    with pytest.raises(InputError, match="too little beside a noise multiplier of 4"):
        DpSgd(PoissonSampling(1000, 0.02), AdaptiveQuantile(), 4.0, 10, 1e-5)


def test_the_clip_norm_finds_the_quantile() -> None:
    generator = np.random.default_rng(0)
    source = SeededSource(1)
    adaptive = AdaptiveQuantile(initial=100.0, quantile=0.25, count_stddev=5.0)
    bound = adaptive.initial
    for _ in range(200):
        norms = torch.tensor(generator.lognormal(0.0, 1.0, (1, 500)), dtype=torch.float32)
        bound = adaptive.update(bound, norms, 500, source)
    # The share fluctuates by 0.02 a step, the bound by under 2 % around exp(-0.674).
    assert bound == pytest.approx(math.exp(-0.6745), rel=0.15)


def test_the_count_ignores_the_realised_batch_size_and_examples_without_a_norm() -> None:
    adaptive = AdaptiveQuantile(initial=1.0, quantile=0.5, count_stddev=1e-9)
    few = torch.full((1, 10), 0.5)
    moved = adaptive.update(1.0, few, 100, SeededSource(0))
    # 10 short ones add 5 to a hundred expected records: a share of 0.55, never of 10/10.
    assert moved == pytest.approx(math.exp(-0.2 * 0.05))
    realised = math.exp(-0.2 * 0.5)  # planted: dividing by the ten that were there
    assert moved != pytest.approx(realised, rel=1e-3)
    broken = torch.cat([few, torch.tensor([[math.nan, math.inf]])], dim=1)
    assert adaptive.update(1.0, broken, 100, SeededSource(0)) == pytest.approx(moved)
    nobody = adaptive.update(1.0, torch.zeros(1, 0), 100, SeededSource(0))
    assert nobody == pytest.approx(1.0, abs=1e-9)


def test_the_clip_norm_stays_a_number_whatever_the_noise() -> None:
    adaptive = AdaptiveQuantile(initial=1.0, learning_rate=1e3, count_stddev=1e6)
    bound = 1.0
    for seed in range(20):
        bound = adaptive.update(bound, torch.zeros(1, 0), 10, SeededSource(seed))
        assert 1e-7 < bound < 1e7
