"""Layers under which no example has a gradient of its own."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from sfumato.errors import InputError

_WEIGHTS = ("weight", "bias", "in_proj", "q_proj", "k_proj", "v_proj")
"""What layers call the parameters that they read."""


def may_mix(part: nn.Module) -> bool:
    """Whether a part is of a kind that mixes examples in some of its modes."""
    kinds = (_NormBase, nn.Embedding, nn.EmbeddingBag)
    return isinstance(part, kinds) or _mixing(part) is not None


def refuse(place: str, part: nn.Module) -> None:
    """Refuses a part in which one example's output depends on other examples.

    Args:
        place: What it is called in the model.
        part: Itself, without what is below it.

    Raises:
        InputError: Naming the layer and the fix.
    """
    reason = _mixing(part)
    if reason is not None:
        problem, remedy = reason
        raise InputError(f"{type(part).__name__} {place!r} {problem}", remedy)


def refuse_mixing(module: nn.Module) -> None:
    """Refuses a module of which any part mixes examples.

    Raises:
        InputError: Naming the layer and the fix.
    """
    for place, part in module.named_modules():
        refuse(place, part)


def refuse_parts(parameters: Mapping[str, nn.Parameter]) -> None:
    """Refuses parameters of which other processes hold the rest: no layer is seen to use them.

    Raises:
        InputError: Naming the first.
    """
    for name, parameter in parameters.items():
        if hasattr(parameter, "device_mesh"):
            raise InputError(
                f"the parameter {name!r} is one process's part of it",
                "Train with PrivateLoop or PrivateTrainer, which gather a sharded module",
            )


def refuse_hooks(parameters: Mapping[str, nn.Parameter]) -> None:
    """Refuses hooks on the gradients of parameters: no gradient runs through them.

    Raises:
        InputError: Naming the first.
    """
    for name, parameter in parameters.items():
        if parameter._backward_hooks:
            raise InputError(
                f"the parameter {name!r} has a hook on its gradient, which would not be called",
                "Remove it, and change p.grad between backward() and the optimiser's step",
            )


def refuse_complex(parameters: Mapping[str, nn.Parameter]) -> None:
    """Refuses complex parameters: norms and noise are of real numbers.

    Raises:
        InputError: Naming the first.
    """
    for name, parameter in parameters.items():
        if parameter.is_complex():
            raise InputError(
                f"the parameter {name!r} is complex",
                "Make it real, with one more dimension of 2, and use torch.view_as_complex of it",
            )


def _mixing(part: nn.Module) -> tuple[str, str] | None:
    for hook in part._forward_pre_hooks.values():
        # It computes the weight before the forward: its parameters would never be trained.
        if isinstance(hook, WeightNorm | SpectralNorm):
            name = "weight_norm" if isinstance(hook, WeightNorm) else "spectral_norm"
            return (
                f"is normalised by torch.nn.utils.{name}, in a hook before its forward",
                f"Use torch.nn.utils.parametrizations.{name}",
            )
        if isinstance(hook, BasePruningMethod):
            return (
                "is pruned by torch.nn.utils.prune, in a hook before its forward",
                "Make it for good by prune.remove, or use torch.nn.utils.parametrize",
            )
    for name, value in vars(part).items():
        if name.startswith(_WEIGHTS) and isinstance(value, Tensor) and value.requires_grad:
            return (
                f"keeps {name!r}, a tensor that was computed before its forward",
                "Compute it in the forward, or use torch.nn.utils.parametrize",
            )
    if any(
        isinstance(value, UninitializedParameter | UninitializedBuffer)
        for value in part._parameters.values()
    ):
        return "has no shape yet", "Run the model once before training it"
    if isinstance(part, _BatchNorm):
        if part.training or part.running_mean is None:
            return (
                "mixes the examples of a batch",
                "Replace it by GroupNorm, or freeze its (public) statistics with .eval()",
            )
        return None
    if isinstance(part, _NormBase):  # the instance norms
        if part.training and part.track_running_stats:
            return (
                "keeps running statistics of private examples",
                "Build it with track_running_stats=False, or freeze them with .eval()",
            )
        return None
    if isinstance(part, nn.Embedding | nn.EmbeddingBag):
        if part.scale_grad_by_freq:
            return (
                "scales gradients by how often an index occurs in the batch",
                "Build it with scale_grad_by_freq=False",
            )
        if part.max_norm is not None:
            return (
                "rewrites the rows that private examples look up",
                "Build it with max_norm=None",
            )
    return None
