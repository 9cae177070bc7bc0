"""The parameters that a loop trains with an optimiser, and private gradients laid onto them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sfumato.errors import InputError
from sfumato.learn import sharded


def check(module: nn.Module, optimizer: Optimizer) -> None:
    """Refuses what no private gradient can be laid onto.

    Raises:
        InputError: If nothing is trainable, or lies on several devices, or the optimiser takes no
            dense gradients, or holds parameters of others.
    """
    if not isinstance(module, nn.Module):
        raise InputError(f"the module is a {type(module).__name__}", "Give a torch.nn.Module.")
    if not isinstance(optimizer, Optimizer):
        raise InputError(
            f"the optimiser is a {type(optimizer).__name__}",
            "Give one of torch.optim, of the module's parameters.",
        )
    trainable = [p for p in module.parameters() if p.requires_grad]
    if not trainable:
        raise InputError("the module has no trainable parameter", "Unfreeze one.")
    if len({p.device for p in trainable}) > 1:
        raise InputError("the module lies on several devices", "Move it to one.")
    if isinstance(optimizer, torch.optim.SparseAdam | torch.optim.LBFGS):
        raise InputError(
            f"the optimiser is {type(optimizer).__name__}, which cannot take noisy gradients: they "
            "are dense, and there is one a step",
            "Use SGD, Adam or another one of torch.optim.",
        )
    ours = {id(p) for p in module.parameters()}
    held = [p for group in optimizer.param_groups for p in group["params"]]
    if any(id(p) not in ours for p in held):
        raise InputError(
            "the optimiser holds parameters that are not the module's",
            "Give it this module's parameters: gradients of others would not be private.",
        )


def laid(gradient: Tensor, parameter: Tensor) -> Tensor:
    """The gradient in the parameter's type and memory format, and the part of it that is here."""
    gradient = sharded.part(gradient, parameter)
    if gradient.dtype == parameter.dtype and gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)
