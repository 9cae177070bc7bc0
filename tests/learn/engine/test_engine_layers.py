"""Every registered layer against the slow loop, with shapes from hypothesis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sfumato.learn.engine.registry import kinds

Draw = Callable[[st.SearchStrategy[Any]], Any]
Made = tuple[nn.Module, tuple[Tensor, ...]]


def _normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def _size(draw: Draw, low: int = 1, high: int = 6) -> int:
    return int(draw(st.integers(low, high)))


def _linear(draw: Draw, n: int) -> Made:
    d, lead = _size(draw), [_size(draw, 1, 12) for _ in range(_size(draw, 0, 2))]
    return nn.Linear(d, _size(draw), bias=draw(st.booleans())), (_normal(n, *lead, d),)


def _embedding(draw: Draw, n: int) -> Made:
    rows, shape = _size(draw, 2, 7), [_size(draw) for _ in range(_size(draw, 0, 2))]
    padding = draw(st.sampled_from([None, 0, 1, -1]))
    return nn.Embedding(rows, _size(draw), padding), (torch.randint(0, rows, (n, *shape)),)


def _convolution(count: int) -> Callable[[Draw, int], Made]:
    def make(draw: Draw, n: int) -> Made:
        groups = _size(draw, 1, 2)
        c, p = groups * _size(draw, 1, 4), groups * _size(draw, 1, 4)
        kernel = [_size(draw, 1, 3) for _ in range(count)]
        dilation = [_size(draw, 1, 2) for _ in range(count)]
        space = [d * (k - 1) + 1 + _size(draw, 1, 3) for d, k in zip(dilation, kernel, strict=True)]
        padding: Any = draw(st.sampled_from(["same", "valid", "numbers"]))
        stride = [1] * count if padding == "same" else [_size(draw, 1, 2) for _ in range(count)]
        if padding == "numbers":
            padding = [_size(draw, 0, 2) for _ in range(count)]
        kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[count - 1]
        # torch pads with a mode in at most the dimensions' own size
        mode = draw(st.sampled_from(["zeros", "circular", "replicate"]))
        module = kind(
            c, p, kernel, stride, padding, dilation, groups, draw(st.booleans()), padding_mode=mode
        )
        return module, (_normal(n, c, *space),)

    return make


def _transposed(count: int) -> Callable[[Draw, int], Made]:
    def make(draw: Draw, n: int) -> Made:
        groups = _size(draw, 1, 2)
        c, p = groups * _size(draw, 1, 3), groups * _size(draw, 1, 3)
        kernel = [_size(draw, 2, 3) for _ in range(count)]
        stride = [_size(draw, 1, 2) for _ in range(count)]
        dilation = [_size(draw, 1, 2) for _ in range(count)]
        extra = [draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)]
        kind = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[count - 1]
        module = kind(
            c, p, kernel, stride, [_size(draw, 0, 1)] * count, extra, groups, True, dilation
        )
        return module, (_normal(n, c, *(_size(draw, 3, 5) for _ in range(count))),)

    return make


def _layer_norm(kind: type[nn.Module]) -> Callable[[Draw, int], Made]:
    def make(draw: Draw, n: int) -> Made:
        own = [_size(draw, 2, 5) for _ in range(_size(draw, 1, 2))]
        lead = [_size(draw) for _ in range(_size(draw, 0, 2))]
        return _shaken(kind(own)), (_normal(n, *lead, *own),)

    return make


def _group_norm(draw: Draw, n: int) -> Made:
    groups = _size(draw, 1, 3)
    c = groups * _size(draw, 2, 3)
    space = [_size(draw, 2, 4) for _ in range(_size(draw, 0, 3))]
    return _shaken(nn.GroupNorm(groups, c)), (_normal(n, c, *space),)


def _channel_norm(kind: Any, count: int, frozen: bool) -> Callable[[Draw, int], Made]:
    def make(draw: Draw, n: int) -> Made:
        c, space = _size(draw), [_size(draw, 2, 4) for _ in range(count)]
        module = kind(c, affine=True, track_running_stats=frozen)
        return _shaken(module).train(not frozen), (_normal(n, c, *space),)

    return make


def _shaken(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter))
    return module


def _attention(draw: Draw, n: int) -> Made:
    heads = _size(draw, 1, 3)
    width, long, short = heads * _size(draw, 1, 3), _size(draw, 2, 5), _size(draw, 2, 5)
    other = draw(st.booleans())
    module = nn.MultiheadAttention(
        width,
        heads,
        bias=draw(st.booleans()),
        add_bias_kv=draw(st.booleans()),
        add_zero_attn=draw(st.booleans()),
        kdim=5 if other else None,
        vdim=4 if other else None,
        batch_first=True,
    )
    query = _normal(n, long, width)
    if not other and draw(st.booleans()):
        return _shaken(_SelfAttention(module)), (query,)
    key, value = _normal(n, short, 5 if other else width), _normal(n, short, 4 if other else width)
    return _shaken(module), (query, key, value)


class _SelfAttention(nn.Module):
    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, values: Tensor) -> Any:
        mask = torch.ones(values.shape[1], values.shape[1], dtype=torch.bool).triu(1)
        return self.attention(values, values, values, attn_mask=mask, need_weights=False)[0]


def _recurrent(kind: Any) -> Callable[[Draw, int], Made]:
    def make(draw: Draw, n: int) -> Made:
        d, hidden = _size(draw, 1, 4), _size(draw, 2, 4)
        more: dict[str, Any] = {}
        if kind is nn.LSTM:
            more["proj_size"] = draw(st.integers(0, hidden - 1))
        if kind is nn.RNN:
            more["nonlinearity"] = draw(st.sampled_from(["tanh", "relu"]))
        module = kind(
            d,
            hidden,
            draw(st.integers(1, 2)),
            bias=draw(st.booleans()),
            batch_first=True,
            bidirectional=draw(st.booleans()),
            **more,
        )
        return _Recurrent(module), (_normal(n, _size(draw, 1, 5), d),)

    return make


class _Recurrent(nn.Module):
    """Brings the examples of the last states into dimension 0."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, values: Tensor) -> Any:
        output, state = self.inner(values)
        states = state if isinstance(state, tuple) else (state,)
        return output, [part.transpose(0, 1) for part in states]


def _cell(kind: Any) -> Callable[[Draw, int], Made]:
    def make(draw: Draw, n: int) -> Made:
        d = _size(draw, 1, 4)
        return kind(d, _size(draw, 1, 4), bias=draw(st.booleans())), (_normal(n, d),)

    return make


CASES: dict[type[nn.Module], Callable[[Draw, int], Made]] = {
    nn.Linear: _linear,
    nn.Embedding: _embedding,
    nn.Conv1d: _convolution(1),
    nn.Conv2d: _convolution(2),
    nn.Conv3d: _convolution(3),
    nn.ConvTranspose1d: _transposed(1),
    nn.ConvTranspose2d: _transposed(2),
    nn.ConvTranspose3d: _transposed(3),
    nn.LayerNorm: _layer_norm(nn.LayerNorm),
    nn.RMSNorm: _layer_norm(nn.RMSNorm),
    nn.GroupNorm: _group_norm,
    nn.InstanceNorm1d: _channel_norm(nn.InstanceNorm1d, 1, frozen=False),
    nn.InstanceNorm2d: _channel_norm(nn.InstanceNorm2d, 2, frozen=False),
    nn.InstanceNorm3d: _channel_norm(nn.InstanceNorm3d, 3, frozen=False),
    nn.BatchNorm1d: _channel_norm(nn.BatchNorm1d, 1, frozen=True),
    nn.BatchNorm2d: _channel_norm(nn.BatchNorm2d, 2, frozen=True),
    nn.BatchNorm3d: _channel_norm(nn.BatchNorm3d, 3, frozen=True),
    nn.MultiheadAttention: _attention,
    nn.LSTM: _recurrent(nn.LSTM),
    nn.GRU: _recurrent(nn.GRU),
    nn.RNN: _recurrent(nn.RNN),
    nn.LSTMCell: _cell(nn.LSTMCell),
    nn.GRUCell: _cell(nn.GRUCell),
    nn.RNNCell: _cell(nn.RNNCell),
}


def test_every_registered_kind_is_in_the_table() -> None:
    assert set(kinds()) == set(CASES)


@pytest.mark.parametrize("kind", list(CASES), ids=lambda kind: kind.__name__)
@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_a_layer_gives_the_loops_sum(
    kind: type[nn.Module], agree: Callable[..., Any], data: st.DataObject
) -> None:
    n = data.draw(st.sampled_from([0, 1, 2, 3, 5]))
    torch.manual_seed(data.draw(st.integers(0, 2**31)))
    module, inputs = CASES[kind](data.draw, n)
    module = module.double()
    targets = _normal(n)
    agree(module, inputs, targets, chunk=data.draw(st.sampled_from([None, 1, 2])))


@pytest.mark.parametrize("kind", list(CASES), ids=lambda kind: kind.__name__)
@settings(
    max_examples=3,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_a_layer_used_twice_counts_the_sum_of_its_uses(
    kind: type[nn.Module], agree: Callable[..., Any], data: st.DataObject
) -> None:
    torch.manual_seed(data.draw(st.integers(0, 2**31)))
    module, inputs = CASES[kind](data.draw, 3)
    agree(_Twice(module).double(), (*inputs, *inputs), _normal(3))


class _Twice(nn.Module):
    """Two uses with different inputs; the second sees them changed."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *inputs: Tensor) -> Any:
        half = len(inputs) // 2
        changed = [x * 0.5 + 1 if x.is_floating_point() else (x == 0).long() for x in inputs[half:]]
        return self.inner(*inputs[:half]), self.inner(*changed)
