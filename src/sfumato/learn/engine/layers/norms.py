"""Normalisations within an example, and batch norm whose statistics are frozen.

``weight``'s gradient is the output gradient times the normalised input, summed over everything
but the example and the weight's own dimensions; ``bias``'s the output gradient, summed alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.learn.engine import kernels
from sfumato.learn.engine.contributions import Direct, wide
from sfumato.learn.engine.registry import layer
from sfumato.learn.engine.tape import Tape, unmodified


@layer(nn.LayerNorm)
def layer_norm(module: nn.LayerNorm, tape: Tape, input: Tensor) -> Tensor:
    """input: (n, ..., *normalized_shape)."""
    shape = module.normalized_shape

    def normalise(values: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        return F.layer_norm(values, shape, weight, bias, module.eps)

    return _affine(module, tape, input, normalise, range(1, input.ndim - len(shape)))


@layer(nn.RMSNorm)
def rms_norm(module: nn.RMSNorm, tape: Tape, input: Tensor) -> Tensor:
    """input: (n, ..., *normalized_shape)."""
    shape = list(module.normalized_shape)

    def normalise(values: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        return F.rms_norm(values, shape, weight, module.eps)

    return _affine(module, tape, input, normalise, range(1, input.ndim - len(shape)))


@layer(nn.GroupNorm)
def group_norm(module: nn.GroupNorm, tape: Tape, input: Tensor) -> Tensor:
    """input: (n, channels, ...)."""
    kernel = kernels.affine_examples()
    wanted = tape.wants(module.weight) and tape.wants(module.bias)
    if kernel is not None and wanted and input.dtype == module.weight.dtype == torch.float32:
        return _group_norm(module, tape, input, kernel)

    def normalise(values: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        return F.group_norm(values, module.num_groups, weight, bias, module.eps)

    return _affine(module, tape, input, normalise, range(2, input.ndim))


def _group_norm(module: nn.GroupNorm, tape: Tape, input: Tensor, kernel: kernels.Affine) -> Tensor:
    """With the mean and deviation of the forward pass kept, for the kernel."""
    place = tape.place(module)
    tape.check(input, place)
    last = input.ndim == 4 and input.is_contiguous(memory_format=torch.channels_last)
    order = torch.channels_last if last else torch.contiguous_format
    n, channels = input.shape[:2]
    output, mean, inverse = torch.native_group_norm(
        input.contiguous(memory_format=order),
        tape.value(module.weight),
        tape.value(module.bias),
        *(n, channels, math.prod(input.shape[2:]), module.num_groups, module.eps),
    )
    mean, inverse, version = mean.detach(), inverse.detach(), input._version

    def record(gradient: Tensor) -> None:
        unmodified(input, version, place)
        found = kernel(input.detach(), gradient, mean, inverse)
        if found is None:
            groups = mean.shape[1]
            shape = (tape.n, groups, -1)
            centred = input.detach().reshape(shape) - mean.unsqueeze(2)
            normal = (centred * inverse.unsqueeze(2)).view_as(gradient)
            positions = tuple(range(2, gradient.ndim))
            product = normal * gradient
            found = (
                product.sum(positions) if positions else product,
                gradient.sum(positions) if positions else gradient,
            )
        tape.add(module.weight, Direct(found[0]))
        tape.add(module.bias, Direct(found[1]))

    return tape.watch(output, record)


@layer(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
def instance_norm(
    module: nn.InstanceNorm1d | nn.InstanceNorm2d | nn.InstanceNorm3d, tape: Tape, input: Tensor
) -> Tensor:
    """input: (n, channels, ...); running statistics are frozen or not kept."""
    dimensions = {nn.InstanceNorm1d: 3, nn.InstanceNorm2d: 4, nn.InstanceNorm3d: 5}
    expected = next(count for kind, count in dimensions.items() if isinstance(module, kind))
    tape.check_rank(input, expected, tape.place(module))
    mean, variance = module.running_mean, module.running_var

    def normalise(values: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        live = mean is None
        return F.instance_norm(values, mean, variance, weight, bias, live, 0.0, module.eps)

    return _affine(module, tape, input, normalise, range(2, input.ndim))


@layer(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
def frozen_batch_norm(
    module: nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d, tape: Tape, input: Tensor
) -> Tensor:
    """input: (n, channels, ...); in eval mode only, which the engine has checked."""

    def normalise(values: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        mean, variance = module.running_mean, module.running_var
        return F.batch_norm(values, mean, variance, weight, bias, False, 0.0, module.eps)

    return _affine(module, tape, input, normalise, range(2, input.ndim))


def _affine(
    module: nn.Module,
    tape: Tape,
    input: Tensor,
    normalise: Callable[[Tensor, Tensor | None, Tensor | None], Tensor],
    positions: range,
) -> Tensor:
    place = tape.place(module)
    tape.check(input, place)
    weight: Tensor | None = getattr(module, "weight", None)
    bias: Tensor | None = getattr(module, "bias", None)
    output = normalise(
        input,
        None if weight is None else tape.value(weight),
        None if bias is None else tape.value(bias),
    )
    wants_weight, wants_bias = tape.wants(weight), tape.wants(bias)
    if not wants_weight and not wants_bias:
        return output
    version = input._version

    def record(gradient: Tensor) -> None:
        gradient = wide(gradient)
        if wants_bias:
            assert bias is not None
            tape.add(bias, Direct(gradient.sum(tuple(positions)) if positions else gradient))
        if wants_weight:
            assert weight is not None
            unmodified(input, version, place)
            # Again, not kept: normalising costs less than the memory of the normalised input.
            with torch.no_grad():
                normal = normalise(wide(input.detach()), None, None)
            product = normal.mul_(gradient)
            tape.add(weight, Direct(product.sum(tuple(positions)) if positions else product))

    return tape.watch(output, record)
