"""Linear layers with any leading dimensions."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from sfumato.learn.engine.registry import layer
from sfumato.learn.engine.tape import Tape


@layer(nn.Linear)
def linear(module: nn.Linear, tape: Tape, input: Tensor, **_: Any) -> Tensor:
    """input: (n, ..., in_features)."""
    return tape.linear(input, module.weight, module.bias, tape.place(module))
