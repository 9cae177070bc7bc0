"""Multi-head attention, computed from recorded projections.

The module is one layer: its output projection is a child that its forward reads weights from
without calling it. Sequence-first modules are turned batch-first inside.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.errors import InputError
from sfumato.learn.engine.registry import layer
from sfumato.learn.engine.tape import Tape


@layer(nn.MultiheadAttention)
def attention(
    module: nn.MultiheadAttention,
    tape: Tape,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """query: (n, L, embed_dim), key and value: (n, S, ...); (L, n, ...) if not batch_first."""
    place = tape.place(module)
    if query.ndim != 3:
        raise InputError(
            f"{place} got a query of shape {tuple(query.shape)}", "Give it a batch of sequences"
        )
    if is_causal and attn_mask is None:
        raise InputError(f"{place} got is_causal without attn_mask", "Give it the mask as well")
    same = query is key and key is value
    if not module.batch_first:
        query, key, value = (tensor.transpose(0, 1) for tensor in (query, key, value))
    q, k, v = _project(module, tape, query, key, value, same)
    heads, width = module.num_heads, module.head_dim
    masks = [_additive(attn_mask, query), _additive(key_padding_mask, query)]
    if masks[0] is not None and masks[0].ndim == 3:
        masks[0] = masks[0].view(tape.n, heads, *masks[0].shape[1:])
    if masks[1] is not None:
        masks[1] = masks[1].view(tape.n, 1, 1, -1)
    extra = 0
    if module.bias_k is not None and module.bias_v is not None:
        k = torch.cat([k, tape.expand(module.bias_k)[:, 0]], 1)
        v = torch.cat([v, tape.expand(module.bias_v)[:, 0]], 1)
        extra += 1
    if module.add_zero_attn:
        k, v = (F.pad(tensor, (0, 0, 0, 1)) for tensor in (k, v))
        extra += 1
    present = [F.pad(mask, (0, extra)) for mask in masks if mask is not None]
    mask = None if not present else present[0] if len(present) == 1 else present[0] + present[1]
    q, k, v = (t.view(tape.n, -1, heads, width).transpose(1, 2) for t in (q, k, v))
    dropout = module.dropout if module.training else 0.0
    weights: Tensor | None = None
    if need_weights:
        scores = (q / math.sqrt(width)) @ k.transpose(-2, -1)
        weights = (scores if mask is None else scores + mask).softmax(-1)
        weights = F.dropout(weights, dropout) if dropout else weights
        mixed = weights @ v
        weights = weights.mean(1) if average_attn_weights else weights
    else:
        mixed = F.scaled_dot_product_attention(q, k, v, mask, dropout)
    mixed = mixed.transpose(1, 2).flatten(2)
    output = tape.linear(mixed, module.out_proj.weight, module.out_proj.bias, place)
    return (output if module.batch_first else output.transpose(0, 1)), weights


def _project(
    module: nn.MultiheadAttention, tape: Tape, query: Tensor, key: Tensor, value: Tensor, same: bool
) -> tuple[Tensor, Tensor, Tensor]:
    place, weight, bias = tape.place(module), module.in_proj_weight, module.in_proj_bias
    if weight is not None and same:
        q, k, v = tape.linear(query, weight, bias, place).chunk(3, -1)
        return q, k, v
    if weight is not None:
        q, k, v = tape.stacked((query, key, value), weight, bias, place)
        return q, k, v
    maps = (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
    outputs = [
        tape.linear(tensor, part, None, place)
        for tensor, part in zip((query, key, value), maps, strict=True)
    ]
    if bias is None:
        return outputs[0], outputs[1], outputs[2]
    shifts = tape.expand(bias).unsqueeze(1).chunk(3, -1)
    q, k, v = (output + shift for output, shift in zip(outputs, shifts, strict=True))
    return q, k, v


def _additive(mask: Tensor | None, like: Tensor) -> Tensor | None:
    if mask is None:
        return None
    if mask.dtype == torch.bool:
        return torch.zeros_like(mask, dtype=like.dtype).masked_fill_(mask, -math.inf)
    return mask.to(like.dtype)
