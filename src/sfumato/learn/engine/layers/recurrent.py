"""LSTM, GRU and simple recurrent layers, unrolled over time from recorded linear maps.

The T uses of the recurrent weight become one linear map with T positions, so that its norm is
that of the sum over time.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from sfumato.errors import InputError
from sfumato.learn.engine.registry import layer
from sfumato.learn.engine.tape import Tape

State = tuple[Tensor, ...]


@layer(nn.LSTM, nn.GRU, nn.RNN)
def recurrent(
    module: nn.LSTM | nn.GRU | nn.RNN, tape: Tape, input: Tensor, hx: Any = None
) -> tuple[Tensor, Any]:
    """input: (n, T, d), or (T, n, d) if not batch_first; the state as in torch."""
    place = tape.place(module)
    if isinstance(input, PackedSequence):
        raise InputError(f"{place} got a packed sequence", "Pad the sequences and mask the loss")
    if input.ndim != 3:
        raise InputError(f"{place} got an input of shape {tuple(input.shape)}", "Give it a batch")
    is_lstm = isinstance(module, nn.LSTM)
    values = input if module.batch_first else input.transpose(0, 1)
    tape.check(values, place)
    directions = 2 if module.bidirectional else 1
    given: list[State | None] = [None] * (module.num_layers * directions)
    if hx is not None:
        parts = hx if is_lstm else (hx,)
        given = [tuple(part[i] for part in parts) for i in range(len(given))]
    finals: list[State] = []
    for depth in range(module.num_layers):
        outputs = []
        for direction in range(directions):
            start = given[depth * directions + direction]
            suffix = f"_l{depth}" + ("_reverse" if direction else "")
            output, final = _scan(module, tape, values, suffix, start, backwards=direction == 1)
            outputs.append(output)
            finals.append(final)
        values = outputs[0] if directions == 1 else torch.cat(outputs, -1)
        if module.dropout and module.training and depth + 1 < module.num_layers:
            values = F.dropout(values, module.dropout)
    state = tuple(torch.stack(part) for part in zip(*finals, strict=True))
    output = values if module.batch_first else values.transpose(0, 1)
    return output, (state if is_lstm else state[0])


@layer(nn.LSTMCell, nn.GRUCell, nn.RNNCell)
def cell(
    module: nn.LSTMCell | nn.GRUCell | nn.RNNCell, tape: Tape, input: Tensor, hx: Any = None
) -> Any:
    """input: (n, d); one step."""
    place = tape.place(module)
    tape.check_rank(input, 2, place)
    is_lstm = isinstance(module, nn.LSTMCell)
    state: State = () if hx is None else tuple(hx) if is_lstm else (hx,)
    if hx is None:
        state = (input.new_zeros(tape.n, module.hidden_size),) * (2 if is_lstm else 1)
    moved = tape.linear(input, module.weight_ih, module.bias_ih, place)
    kept = tape.linear(state[0], module.weight_hh, module.bias_hh, place)
    state = _step(_kind(module), moved, kept, state)
    return state if is_lstm else state[0]


def _scan(
    module: nn.LSTM | nn.GRU | nn.RNN,
    tape: Tape,
    values: Tensor,
    suffix: str,
    start: State | None,
    *,
    backwards: bool,
) -> tuple[Tensor, State]:
    place, kind = tape.place(module), _kind(module)
    weight, recurrent_weight = (getattr(module, f"weight_{w}{suffix}") for w in ("ih", "hh"))
    bias = getattr(module, f"bias_ih{suffix}", None)
    recurrent_bias = getattr(module, f"bias_hh{suffix}", None)
    projection = getattr(module, f"weight_hr{suffix}", None)
    moved = tape.linear(values, weight, bias, place)
    if start is None:
        width = recurrent_weight.shape[1]
        start = (moved.new_zeros(tape.n, width),)
        if kind == "lstm":
            start = (*start, moved.new_zeros(tape.n, module.hidden_size))
    state, outputs = start, []
    times = range(values.shape[1])
    for time in reversed(times) if backwards else times:
        kept = tape.linear(state[0], recurrent_weight, recurrent_bias, place)
        state = _step(kind, moved[:, time], kept, state)
        if projection is not None:
            state = (tape.linear(state[0], projection, None, place), *state[1:])
        outputs.append(state[0])
    if backwards:
        outputs.reverse()
    return torch.stack(outputs, 1), state


def _kind(module: nn.Module) -> str:
    if isinstance(module, nn.LSTM | nn.LSTMCell):
        return "lstm"
    if isinstance(module, nn.GRU | nn.GRUCell):
        return "gru"
    return str(module.nonlinearity)


def _step(kind: str, moved: Tensor, kept: Tensor, state: State) -> State:
    """One step of torch's equations. moved: from the input; kept: from the hidden state."""
    if kind == "lstm":
        enter, forget, cell_input, leave = (moved + kept).chunk(4, 1)
        memory = forget.sigmoid() * state[1] + enter.sigmoid() * cell_input.tanh()
        return leave.sigmoid() * memory.tanh(), memory
    if kind == "gru":
        (reset, update, new), (reset_h, update_h, new_h) = moved.chunk(3, 1), kept.chunk(3, 1)
        update = (update + update_h).sigmoid()
        candidate = (new + (reset + reset_h).sigmoid() * new_h).tanh()
        return (candidate + update * (state[0] - candidate),)
    return ((moved + kept).tanh() if kind == "tanh" else (moved + kept).relu(),)
