"""Embeddings: the gradient touches the rows that were looked up."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.learn.engine.contributions import Lookup, scaled, wide
from sfumato.learn.engine.registry import layer
from sfumato.learn.engine.tape import Tape


@layer(nn.Embedding)
def embedding(module: nn.Embedding, tape: Tape, input: Tensor) -> Tensor:
    """input: (n, ...) integers; or positions, which are nobody's: (1, ...) of them for all."""
    if input.ndim > 1 and len(input) == 1:
        input = input.expand(tape.n, *input.shape[1:])  # each example looks them up
    elif input.ndim == 0 or len(input) != tape.n:
        if not tape.wants(module.weight):
            return F.embedding(input, tape.value(module.weight))
        return tape.aside(module.weight, F.embedding(input, module.weight))
    output = F.embedding(input, tape.value(module.weight))
    if not tape.wants(module.weight):
        return output
    padding = module.padding_idx

    def record(gradient: Tensor) -> None:
        gradient = wide(gradient).reshape(tape.n, -1, gradient.shape[-1])
        indices = input.reshape(tape.n, gradient.shape[1]).long()
        if padding is not None:
            real = (indices != padding).flatten()
            gradient = scaled(gradient.flatten(0, 1), real.to(gradient.dtype)).view_as(gradient)
        tape.add(module.weight, Lookup(indices, gradient, module.num_embeddings))

    return tape.watch(output, record)
