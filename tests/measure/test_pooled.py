"""The kernel of a convolution with pooling and ReLU gives what torch gives, gradients included."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from sfumato.measure import cnn, pooled
from sfumato.measure.pooled import Pooled, convolve, fused

_LEVELS = ("DEFAULT", "AVX2", "AVX512")  # each has what those before it have
_ABLE = torch.backends.cpu.get_cpu_capability()


@pytest.fixture(params=[*_LEVELS, "torch"], name="way")
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    way = str(request.param)
    if way == "torch":
        monkeypatch.setenv("SFUMATO_COMPILE", "0")
    elif _ABLE not in _LEVELS or _LEVELS.index(way) > _LEVELS.index(_ABLE):
        pytest.skip("not this processor")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: way)
    pooled._kernels.cache_clear()
    if pooled._kernels() is None and way != "torch":
        pytest.skip("no C compiler")
    yield way
    pooled._kernels.cache_clear()


def plain(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    made = F.conv2d(inputs, weight, bias, padding=1)
    return F.relu(F.max_pool2d(made, 2, ceil_mode=True))


def tensors(n: int, c: int, h: int, w: int, p: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    source = torch.Generator().manual_seed(seed)
    shapes = ((n, c, h, w), (p, c, 3, 3), (p,))
    inputs, weight, bias = (torch.randn(shape, generator=source) for shape in shapes)
    return inputs, weight, bias


def checked(inputs: Tensor, weight: Tensor, bias: Tensor, seed: int = 0) -> None:
    """Outputs and gradients against torch's in double precision."""
    given = [weight, bias] if inputs.shape[1] % 16 else [weight, bias, inputs]
    for tensor in given:
        tensor.requires_grad_()
    found = convolve(inputs, weight, bias)
    exact = [tensor.detach().double().requires_grad_() for tensor in (inputs, weight, bias)]
    wanted = plain(*exact)
    assert found.shape == wanted.shape
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)
    towards = torch.randn(found.shape, generator=torch.Generator().manual_seed(seed))
    ours = torch.autograd.grad(found, given, towards)
    theirs = torch.autograd.grad(wanted, [*exact[1:], exact[0]], towards.double())
    for a, b in zip(ours, theirs, strict=False):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-4)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_outputs_and_gradients_are_torchs(data: st.DataObject) -> None:
    size = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
    c = data.draw(st.sampled_from([1, 2, 3, 4, 7, 16, 32, 48]))
    p = data.draw(st.sampled_from([16, 32, 48]))
    checked(*tensors(size(1, 3), c, size(1, 17), size(1, 31), p, size(0, 2**31)))


@pytest.mark.parametrize("shape", [(2, 1, 28, 28, 16), (2, 3, 9, 7, 32), (2, 16, 14, 15, 32)])
def test_every_kind_of_processor_gives_the_same(way: str, shape: Any) -> None:
    checked(*tensors(*shape, seed=1))
    inputs, weight, bias = tensors(*shape, seed=2)
    last = inputs.contiguous(memory_format=torch.channels_last)
    assert torch.equal(convolve(inputs, weight, bias), convolve(last, weight, bias))


def test_of_equal_positions_the_first_has_the_gradient_as_in_torch(way: str) -> None:
    inputs, weight, bias = (t.round() for t in tensors(3, 16, 8, 7, 16, seed=3))
    checked(inputs.clamp(-1, 1), weight.clamp(-1, 1), bias.clamp(-1, 1))


def test_not_a_number_is_not_hidden(way: str) -> None:
    weight, bias = tensors(4, 1, 6, 6, 16, seed=4)[1:]
    inputs = tensors(4, 1, 6, 6, 16, seed=5)[0]
    for i in range(4):  # each of a window's four positions is the only one once
        inputs[i, 0, 2 + i // 2, 2 + i % 2] = torch.nan
    assert torch.equal(convolve(inputs, weight, bias).isnan(), plain(inputs, weight, bias).isnan())
    assert convolve(inputs, weight * torch.nan, bias).isnan().all()


def test_what_the_kernel_does_not_take_is_torchs() -> None:
    inputs, weight, bias = tensors(2, 3, 6, 6, 16, seed=5)
    wanting = inputs.clone().requires_grad_()
    for some in (
        (inputs.double(), weight.double(), bias.double()),
        (inputs, weight[:10], bias[:10]),
        (wanting, weight, bias),
    ):
        torch.testing.assert_close(convolve(*some), plain(*some))
    ours, theirs = (
        torch.autograd.grad(made(wanting, weight, bias).sum(), wanting)[0]
        for made in (convolve, plain)
    )
    torch.testing.assert_close(ours, theirs)


def test_second_derivatives_are_refused_not_wrong(way: str) -> None:
    inputs, weight, bias = tensors(1, 1, 4, 4, 16, seed=6)
    (first,) = torch.autograd.grad(
        convolve(inputs, weight.requires_grad_(), bias).square().sum(), weight, create_graph=True
    )
    if way == "torch":
        first.sum().backward()
    else:
        with pytest.raises(RuntimeError, match="once_differentiable"):
            first.sum().backward()


def test_a_fused_network_has_the_parameters_of_the_plain_one() -> None:
    made = cnn.build(cnn.CONVOLUTIONAL, (1, 11, 10), 4)
    found = fused(made)
    assert [type(layer) for layer in found][:2] == [Pooled, Pooled]
    assert len(found) == len(made) - 4
    for (name, one), (other, two) in zip(
        made.named_parameters(), found.named_parameters(), strict=True
    ):
        assert name == other
        assert one is two
    images = torch.rand(5, 1, 11, 10)
    torch.testing.assert_close(found(images), made(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "layers",
    [
        (nn.Conv2d(1, 16, 3), nn.MaxPool2d(2, ceil_mode=True), nn.ReLU()),
        (nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.MaxPool2d(2, ceil_mode=True), nn.ReLU()),
        (nn.Conv2d(16, 16, 3, padding=1, groups=2), nn.MaxPool2d(2, ceil_mode=True), nn.ReLU()),
        (
            nn.Conv2d(1, 16, 3, padding=1, padding_mode="circular"),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.ReLU(),
        ),
        (nn.Conv2d(1, 16, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()),
        (nn.Conv2d(1, 16, 3, padding=1), nn.MaxPool2d(2, stride=1, ceil_mode=True), nn.ReLU()),
        (nn.Conv2d(1, 16, 3, padding=1), nn.MaxPool2d(2, ceil_mode=True), nn.Tanh()),
        (nn.Conv2d(1, 16, 3, padding=1), nn.MaxPool2d(2, ceil_mode=True)),
    ],
)
def test_layers_that_only_look_alike_stay_as_they_are(layers: Any) -> None:
    made = nn.Sequential(*layers)
    assert [type(layer) for layer in fused(made)] == [type(layer) for layer in made]
    images = torch.rand(2, layers[0].in_channels, 7, 7)
    assert torch.equal(fused(made)(images), made(images))
