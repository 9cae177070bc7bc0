"""Where in a module's gradient the layers lie that give labels and inputs away."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor, nn


class Linear(NamedTuple):
    """A linear layer's part of gradients (n, d) of all trainable parameters in order.

    Attributes:
        weight: Its weight's columns.
        bias: Its bias's columns; None without one.
        shape: (out, in).
    """

    weight: slice
    bias: slice | None
    shape: tuple[int, int]

    def weights(self, gradients: Tensor) -> Tensor:
        """(n, out, in) of (n, d)."""
        return gradients[:, self.weight].reshape(-1, *self.shape)

    def biases(self, gradients: Tensor) -> Tensor | None:
        """(n, out) of (n, d)."""
        return None if self.bias is None else gradients[:, self.bias]


def parts(module: nn.Module) -> dict[str, slice]:
    """The columns of each trainable parameter in gradients of all of them in order."""
    found, start = {}, 0
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            found[name] = slice(start, start + parameter.numel())
            start += parameter.numel()
    return found


def _linear(module: nn.Module, name: str, columns: dict[str, slice]) -> Linear | None:
    from torch import nn

    layer = module.get_submodule(name)
    weight = columns.get(f"{name}.weight" if name else "weight")
    if not isinstance(layer, nn.Linear) or weight is None:
        return None
    bias = columns.get(f"{name}.bias" if name else "bias")
    return Linear(weight, bias, (layer.out_features, layer.in_features))


def _with_weights(module: nn.Module) -> list[str]:
    return [
        name
        for name, layer in module.named_modules()
        if any(True for _ in layer.parameters(recurse=False))
    ]


def last_linear(module: nn.Module, classes: int) -> Linear | None:
    """The layer that gives the scores, if the last one is linear and trainable."""
    named = _with_weights(module)
    found = _linear(module, named[-1], parts(module)) if named else None
    return found if found is not None and found.shape[0] == classes else None


def first_linear(module: nn.Module, width: int) -> Linear | None:
    """The layer that takes the pixels, if the first one is linear, biased and trainable."""
    named = _with_weights(module)
    found = _linear(module, named[0], parts(module)) if named else None
    if found is None or found.bias is None or found.shape[1] != width:
        return None
    return found
