"""Every form of a contribution against the per-example gradients it stands for."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sfumato.learn.clipping import Automatic, Flat
from sfumato.learn.engine import kernels, together
from sfumato.learn.engine.contributions import (
    Contribution,
    Direct,
    Lookup,
    Outer,
    Tied,
    merge,
    prefer_outer_product,
)
from sfumato.learn.engine.convolutions import Convolved, Geometry, gram_norms, prefer_gram


def _normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def _lookup(n: int, positions: int, rows: int, width: int) -> Lookup:
    indices = torch.randint(0, rows, (n, positions))
    return Lookup(indices, _normal(n, positions, width), rows)


def _convolved(n: int, stride: int, dilation: int, padding: int, kernel: int) -> Convolved:
    geometry = Geometry((5, 3, kernel, 2), (stride, 1), (padding, 0), (dilation, 1), 1)
    inputs = _normal(n, 3, 7, 5)
    outputs = F.conv2d(
        inputs, _normal(5, 3, kernel, 2), None, (stride, 1), (padding, 0), (dilation, 1)
    )
    return Convolved(inputs, torch.randn_like(outputs), geometry)


FORMS: dict[str, Any] = {
    "direct": lambda n: Direct(_normal(n, 4, 3)),
    "one_position": lambda n: Outer(_normal(n, 1, 5), _normal(n, 1, 4)),
    "gram": lambda n: Outer(_normal(n, 3, 50), _normal(n, 3, 60)),
    "lookup": lambda n: _lookup(n, 5, 4, 3),
    "lookup_once": lambda n: _lookup(n, 1, 4, 3),
    "long_lookup": lambda n: _lookup(n, 300, 40, 3),
    "tied": lambda n: Tied(_lookup(n, 5, 6, 3), Outer(_normal(n, 4, 3), _normal(n, 4, 6))),
    "convolved": lambda n: _convolved(n, 2, 2, 1, 3),
}


@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize("form", list(FORMS))
def test_a_form_is_the_gradients_it_stands_for(form: str, n: int) -> None:
    torch.manual_seed(0)
    part: Contribution = FORMS[form](n)
    gradients = part.per_example()
    torch.testing.assert_close(part.squared_norms(), gradients.flatten(1).square().sum(1))
    factors, total = torch.rand(n).double(), _normal(*gradients.shape[1:])
    expected = total + torch.einsum("n,n...->...", factors, gradients)
    part.add_weighted(factors, total)
    torch.testing.assert_close(total, expected)


@pytest.mark.parametrize("form", list(FORMS))
def test_a_bad_example_is_zero_whatever_stood_there(form: str) -> None:
    part: Contribution = FORMS[form](3)
    held = next(
        value
        for value in (*vars(part).values(), *vars(getattr(part, "outer", part)).values())
        if isinstance(value, Tensor) and value.is_floating_point()
    )
    held[1] = float("nan")
    assert part.squared_norms().isnan().tolist() == [False, True, False]
    kept = part.kept(torch.tensor([True, False, True])).per_example()
    assert kept.isfinite().all()
    assert not kept[1].any()
    torch.testing.assert_close(kept[[0, 2]], part.per_example()[[0, 2]])


def _cancelling(form: str, size: float) -> Contribution:
    """Two positions of this size for each example, of opposite sign but for a norm of about 10."""
    generator = torch.Generator().manual_seed(0)

    def pair(*shape: int) -> Tensor:
        large = torch.randn(3, 1, *shape, generator=generator) * size / math.prod(shape) ** 0.5
        small = torch.randn(3, 1, *shape, generator=generator) * 10 / math.prod(shape) ** 0.5
        return torch.cat([large + small, -large], 1)

    one = torch.full((3, 2, 300), 300**-0.5)
    token = torch.zeros(3, 2, dtype=torch.long)
    if form == "outer":
        return Outer(pair(300), one)
    if form == "lookup":
        return Lookup(token, pair(300), 7)
    if form == "long_lookup":
        zeros = torch.zeros(3, 300, 300)
        return Lookup(token.repeat(1, 151), torch.cat([pair(300), zeros], 1), 7)
    if form == "tied":
        hit = torch.zeros(3, 1, 7)
        hit[:, :, 0] = 1
        values = pair(300)
        return Tied(Lookup(token[:, :1], values[:, :1], 7), Outer(values[:, 1:], hit))
    geometry = Geometry((300, 300, 1, 1), (1, 1), (0, 0), (1, 1), 1)
    values = pair(300).transpose(1, 2).reshape(3, 300, 2, 1)
    part = Convolved(values, one.transpose(1, 2).reshape(3, 300, 2, 1), geometry)
    assert prefer_gram(part.inputs.shape, part.gradients.shape, geometry)
    return part


@pytest.mark.parametrize("size", [1e3, 1e5, 1e7])
@pytest.mark.parametrize("form", ["outer", "lookup", "long_lookup", "tied", "convolved"])
def test_positions_that_cancel_never_make_a_norm_too_small(form: str, size: float) -> None:
    """A Gram norm in float32 keeps none of a norm of 10 beside terms of 1e5: it was 0."""
    part = _cancelling(form, size)
    norms = part.squared_norms().sqrt().double()
    total = torch.zeros_like(part.per_example()[0])
    for example in range(3):
        factors = torch.zeros(3)
        factors[example] = 1 / norms[example]
        part.add_weighted(factors, total.zero_())
        assert float(total.norm()) <= 1 + 1e-5
    if size == 1e3:
        exact = torch.linalg.vector_norm(part.per_example().double().flatten(1), dim=1)
        torch.testing.assert_close(norms, exact, rtol=2e-2, atol=0.0)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    padding=st.integers(0, 2),
    kernel=st.integers(1, 3),
)
def test_the_gram_of_pixels_gives_the_norms_of_convolutions(
    stride: int, dilation: int, padding: int, kernel: int
) -> None:
    part = _convolved(3, stride, dilation, padding, kernel)
    norms, _ = gram_norms(part.inputs, part.gradients, part.geometry)
    torch.testing.assert_close(norms, part.per_example().flatten(1).square().sum(1))


def test_uses_of_one_parameter_are_merged_with_their_cross_terms() -> None:
    torch.manual_seed(0)
    outers = [Outer(_normal(2, 1, 30), _normal(2, 1, 30)) for _ in range(3)]
    lookup = Lookup(torch.randint(0, 30, (2, 4)), _normal(2, 4, 30), 30)
    for parts in (outers, [*outers, lookup], [lookup, outers[0], Direct(_normal(2, 30, 30))]):
        whole = merge(parts)
        expected = torch.stack([part.per_example() for part in parts]).sum(0)
        torch.testing.assert_close(whole.per_example(), expected)
        torch.testing.assert_close(whole.squared_norms(), expected.flatten(1).square().sum(1))
    assert isinstance(merge([*outers, lookup]), Tied)


def test_the_form_is_chosen_by_shape() -> None:
    assert not prefer_outer_product(torch.Size((8, 1, 512)), torch.Size((8, 1, 256)))
    assert not prefer_outer_product(torch.Size((8, 10, 512)), torch.Size((8, 10, 512)))
    assert prefer_outer_product(torch.Size((8, 128, 256)), torch.Size((8, 128, 256)))
    deep = Geometry((256, 256, 3, 3), (1, 1), (1, 1), (1, 1), 1)
    assert prefer_gram(torch.Size((8, 256, 8, 8)), torch.Size((8, 256, 8, 8)), deep)
    wide = Geometry((64, 64, 3, 3), (1, 1), (1, 1), (1, 1), 1)
    assert not prefer_gram(torch.Size((8, 64, 32, 32)), torch.Size((8, 64, 32, 32)), wide)


@pytest.mark.parametrize("n", [127, 128, 200])
def test_a_large_layers_sum_in_parts_is_the_sum(n: int) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(n, 1, 300, generator=generator).double()
    gradients = torch.randn(n, 1, 260, generator=generator).double()
    factors = torch.rand(n, generator=generator).double()
    part = Outer(inputs, gradients)
    expected = torch.einsum("n,npd->pd", factors, part.per_example())
    torch.testing.assert_close(part.weighted(factors), expected)
    total = torch.ones(260, 300).double()
    part.add_weighted(factors, total)
    torch.testing.assert_close(total, expected + 1)


def _tiny(form: str) -> Contribution:
    """Of two examples whose output gradients have no square in float32, and whose inputs do."""
    wide, positions = 4096, 1 if form == "outer product" else 3
    inputs = torch.full((2, positions, 64), 2.0**58)
    gradients = torch.full((2, positions, wide), 2.0**-76)
    if form == "convolution":
        geometry = Geometry((wide, 64, 1), (1,), (0,), (1,), 1)
        return Convolved(inputs.transpose(1, 2), gradients.transpose(1, 2), geometry)
    return Outer(inputs, gradients)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("form", ["outer product", "Gram", "convolution"])
def test_squares_below_all_numbers_never_make_a_norm_too_small(
    form: str, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The defect: a norm of 0 for a gradient of 0.002 or more, which no bound below that clipped.
    if not compiled:
        monkeypatch.setattr(kernels, "rows", lambda: None)
    part = _tiny(form)
    if isinstance(part, Convolved):
        assert prefer_gram(part.inputs.shape, part.gradients.shape, part.geometry)
    (norms,) = together.squared_norms({"weight": part}).values()
    true = part.per_example().double().flatten(1).norm(dim=1)
    assert bool((true > 1e-3).all())
    assert bool((norms.sqrt() >= true).all())
    for bound in (1e-6, 1e-4, 1.0):
        for clipping in (Flat(bound), Automatic(bound, gamma=1e-6)):
            factors = clipping.factors(norms.sqrt()[None])[0]
            assert bool((true * factors <= bound).all())


@pytest.mark.parametrize("positions", [3, 300])
def test_a_lookups_norm_is_never_too_small(positions: int) -> None:
    gradients = torch.full((2, positions, 8), 1e-24)
    part = Lookup(torch.arange(2 * positions).reshape(2, positions), gradients, 2 * positions)
    true = part.per_example().double().flatten(1).norm(dim=1)
    assert bool((part.squared_norms().sqrt() >= true).all())
