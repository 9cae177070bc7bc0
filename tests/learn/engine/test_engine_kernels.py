"""The kernels in C give what torch gives, and the engine gives the loop's sums with and without."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sfumato.learn.clipping import Flat, per_layer
from sfumato.learn.engine import Engine, kernels
from sfumato.learn.engine.convolutions import Convolved, Formed, Geometry
from sfumato.learn.engine.kernels import fits
from sfumato.learn.engine.pool import Pool


@pytest.fixture(params=["compiled", "torch"])
def _kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "torch":
        monkeypatch.setattr(kernels, "convolution_examples", lambda: None)
        monkeypatch.setattr(kernels, "rows", lambda: None)
        monkeypatch.setattr(kernels, "affine_examples", lambda: None)
    elif kernels.rows() is None:
        pytest.skip("no C compiler")


@pytest.fixture(params=[1, 3])
def _threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def convolution_kernel() -> kernels.Kernel:
    kernel = kernels.convolution_examples()
    if kernel is None:
        pytest.skip("no C compiler")
    return kernel


def laid_out(values: Tensor, last: bool) -> Tensor:
    return values.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_the_kernel_forms_each_examples_gradient(data: st.DataObject) -> None:
    kernel = convolution_kernel()
    size = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
    n, c, p = size(1, 5), size(1, 40), size(1, 37)
    kernel_size, stride = (size(1, 4), size(1, 8)), (size(1, 3), size(1, 2))
    dilation, padding = (size(1, 2), size(1, 2)), (size(0, 2), size(0, 3))
    space = tuple(d * (k - 1) + size(1, 14) for d, k in zip(dilation, kernel_size, strict=True))
    geometry = Geometry((p, c, *kernel_size), stride, padding, dilation, 1)
    torch.manual_seed(data.draw(st.integers(0, 2**31)))
    inputs = laid_out(torch.randn(n, c, *space), data.draw(st.booleans()))
    weight = torch.randn(geometry.weight)
    outputs = F.conv2d(inputs, weight, None, stride, padding, dilation)
    gradients = laid_out(torch.randn_like(outputs), data.draw(st.booleans()))
    assert fits(inputs, gradients, geometry)
    pool = Pool()
    for _ in range(2):  # what an earlier chunk left in the memory must not matter
        found = kernel(inputs, gradients, geometry, True, pool)
        pool.release()
    exact = Convolved(inputs.double(), gradients.double(), geometry).per_example()
    scale = exact.flatten(1).norm(dim=1)
    formed = Formed(found.weight, found.squares)
    off = (formed.per_example() - exact).flatten(1).norm(dim=1)
    assert (off <= 1e-5 * scale).all()
    torch.testing.assert_close(found.squares.double(), scale.square(), rtol=1e-5, atol=0)
    assert found.bias is not None
    shifts = gradients.double().sum((2, 3))
    torch.testing.assert_close(found.bias.double(), shifts, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        found.bias_squares, found.bias.square().sum(1), rtol=1e-5, atol=1e-10
    )
    factors, total = torch.rand(n), torch.randn(geometry.weight)
    expected = total.double() + torch.einsum("n,n...->...", factors.double(), exact)
    formed.add_weighted(factors, total)
    assert (total - expected).norm() <= 1e-5 * expected.norm()


def test_what_the_kernel_cannot_do_is_left_to_torch() -> None:
    inputs, gradients = torch.ones(2, 4, 5, 5), torch.ones(2, 4, 5, 5)
    plain = Geometry((4, 4, 1, 1), (1, 1), (0, 0), (1, 1), 1)
    assert fits(inputs, gradients, plain)
    assert not fits(inputs.double(), gradients.double(), plain)
    assert not fits(inputs[:0], gradients[:0], plain)
    assert not fits(inputs, gradients, Geometry((4, 2, 1, 1), (1, 1), (0, 0), (1, 1), 2))
    assert not fits(inputs, gradients, Geometry((4, 4, 1), (1,), (0,), (1,), 1))
    turned = Geometry((4, 4, 1, 1), (1, 1), (0, 0), (1, 1), 1, transposed=True)
    assert not fits(inputs, gradients, turned)


@pytest.mark.usefixtures("_threads")
def test_rows_are_squared_and_summed_in_one_call() -> None:
    fast = kernels.rows()
    if fast is None:
        pytest.skip("no C compiler")
    torch.manual_seed(0)
    for n in (1, 3, 6, 67):
        tensors = [torch.randn(n, *shape) for shape in ((1,), (7, 3), (64,), (50, 101))]
        squares = fast.squared_norms([*tensors, tensors[1]])
        for tensor, found in zip([*tensors, tensors[1]], squares, strict=True):
            exact = tensor.double().flatten(1).square().sum(1)
            torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=0)
        asked, expected = [], []
        for tensor in tensors:
            factors, total = torch.rand(n), torch.randn(tensor.shape[1:])
            expected.append(total.double() + torch.einsum("n,n...->...", factors, tensor).double())
            asked.append((tensor, factors, total))
        fast.add_weighted(asked)
        for (_, _, total), exact in zip(asked, expected, strict=True):
            torch.testing.assert_close(total.double(), exact, rtol=1e-5, atol=1e-5)
    assert not fast.takes(torch.ones(3, 4).t())
    assert not fast.takes(torch.ones(3, 4).double())
    assert not fast.takes(torch.ones(0, 4))


def test_a_bad_row_stays_visible() -> None:
    fast = kernels.rows()
    if fast is None:
        pytest.skip("no C compiler")
    values = torch.ones(4, 70)
    values[1, 69], values[2, 3] = float("nan"), float("inf")
    (found,) = fast.squared_norms([values])
    assert found.isfinite().tolist() == [True, False, False, True]


@pytest.mark.usefixtures("_kernels", "_threads")
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("space", [(), (70,), (7, 19), (3, 4, 5)])
def test_a_group_norm_in_float32_gives_the_loops_sum(
    space: tuple[int, ...], last: bool, loop: Callable[..., Any], any_loss: Callable[..., Tensor]
) -> None:
    torch.manual_seed(0)
    module, inputs, targets = nn.GroupNorm(3, 12), torch.randn(5, 12, *space) + 3, torch.randn(5)
    clipping = Flat(5.0)
    exact, norms, _ = loop(module.double(), any_loss, clipping, inputs.double(), targets.double())
    if last and len(space) == 2:
        inputs = laid_out(inputs, last)
    ours = Engine(module.float(), any_loss, clipping).clipped_sum(inputs, targets)
    for name, gradient in ours.gradients.items():
        assert (gradient - exact[name]).norm() <= 1e-5 * exact[name].norm()
    torch.testing.assert_close(ours.norms.double(), norms, rtol=1e-5, atol=0)


def test_a_group_norm_of_more_channels_than_the_kernel_takes(loop: Callable[..., Any]) -> None:
    torch.manual_seed(0)
    module, inputs, targets = nn.GroupNorm(2, 2050), torch.randn(3, 2050, 2), torch.ones(3)

    def curved(outputs: Tensor, _: Tensor) -> Tensor:
        return outputs.sin().flatten(1).sum(1)

    exact, _, _ = loop(module, curved, Flat(1.0), inputs, targets)
    ours = Engine(module, curved, Flat(1.0)).clipped_sum(inputs, targets)
    for name, gradient in ours.gradients.items():
        assert (gradient - exact[name]).norm() <= 1e-5 * exact[name].norm()


def test_memory_of_a_long_chunk_serves_a_shorter_one() -> None:
    pool, like = Pool(), torch.ones(1)
    where = pool.take((5, 3), like).data_ptr()
    pool.release()
    pool.release()  # a second time changes nothing
    assert pool.take((4, 3), like).data_ptr() == where
    assert pool.take((4, 3), like).data_ptr() != where
    pool.release()
    assert pool.take((6, 3), like).shape == (6, 3)
    pool.scratch(10, like)[:] = 1
    assert pool.scratch(8, like).numel() == 10


class Net(nn.Module):
    """Convolutions with and without bias, one used twice, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 8, 2, padding=3)
        self.twice = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.last, self.head = nn.Conv2d(8, 12, (3, 2), (2, 1)), nn.Linear(12, 3)

    def forward(self, values: Tensor) -> Tensor:
        values = self.first(values).tanh()
        values = self.twice(self.twice(values).tanh()).tanh()
        return self.head(self.last(values).tanh().mean((2, 3)))


def data(n: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(n, 1, 20, 22), torch.randint(0, 3, (n,))


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="none")


@pytest.mark.usefixtures("_kernels", "_threads")
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("n", [0, 1, 7])
def test_in_float32_the_sum_is_the_loops_with_and_without_kernels(
    n: int, last: bool, loop: Callable[..., Any]
) -> None:
    torch.manual_seed(0)
    module = Net()
    inputs, targets = data(n)
    names = [name for name, _ in module.named_parameters()]
    for clipping in (Flat(0.2), per_layer(names, 0.3)):
        exact, norms, _ = loop(module.double(), loss, clipping, inputs.double(), targets)
        module.float()
        if last:
            module.to(memory_format=torch.channels_last)
        ours = Engine(module, loss, clipping, chunk=4).clipped_sum(laid_out(inputs, last), targets)
        off = sum((ours.gradients[k] - exact[k]).square().sum() for k in exact)
        assert off.sqrt() <= 1e-5 * sum(e.square().sum() for e in exact.values()).sqrt()
        torch.testing.assert_close(ours.norms.double(), norms.double(), rtol=1e-5, atol=1e-7)


@pytest.mark.usefixtures("_kernels")
def test_a_bad_example_contributes_zero_with_and_without_kernels() -> None:
    torch.manual_seed(0)
    module, (inputs, targets) = Net(), data(6)
    rest = Engine(module, loss, Flat(0.1)).clipped_sum(inputs[1:], targets[1:])
    inputs[0, 0, 3, 3] = float("nan")
    ours = Engine(module, loss, Flat(0.1)).clipped_sum(inputs, targets)
    for name, gradient in ours.gradients.items():
        torch.testing.assert_close(gradient, rest.gradients[name], rtol=1e-4, atol=1e-6)


def test_a_kernel_that_drops_a_channel_is_caught(
    monkeypatch: pytest.MonkeyPatch, loop: Callable[..., Any]
) -> None:
    kernel = convolution_kernel()

    def defective(*args: Any) -> kernels.Examples:
        found = kernel(*args)
        found.weight[..., -1] = 0
        return found

    torch.manual_seed(0)
    module, (inputs, targets) = Net(), data(5)
    exact, _, _ = loop(module, loss, Flat(0.2), inputs, targets)

    def off() -> float:
        ours = Engine(module, loss, Flat(0.2)).clipped_sum(inputs, targets).gradients
        distance = sum(((ours[k] - exact[k]).square().sum() for k in exact), torch.zeros(()))
        return float((distance / sum(e.square().sum() for e in exact.values())).sqrt())

    assert off() < 1e-5
    monkeypatch.setattr(kernels, "convolution_examples", lambda: defective)
    assert off() > 1e-3


def test_a_module_that_changes_is_looked_at_again() -> None:
    torch.manual_seed(0)
    module, (inputs, targets) = Net(), data(4)
    engine = Engine(module, loss, Flat(0.1))
    assert len(engine.clipped_sum(inputs, targets).gradients) == 7
    module.first.requires_grad_(False)
    assert len(engine.clipped_sum(inputs, targets).gradients) == 5
    module.head = nn.Linear(12, 3, bias=False)
    found = engine.clipped_sum(inputs, targets).gradients
    assert list(found) == ["twice.weight", "last.weight", "last.bias", "head.weight"]
    assert found["head.weight"].any()
