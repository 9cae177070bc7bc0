"""Convolutions and transposed convolutions in one, two and three dimensions."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.learn.engine.contributions import Direct, wide
from sfumato.learn.engine.convolutions import Geometry, bias_of, convolution
from sfumato.learn.engine.registry import layer
from sfumato.learn.engine.tape import Tape, unmodified

_CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d)
_TRANSPOSED = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)


@layer(nn.Conv1d, nn.Conv2d, nn.Conv3d)
def convolve(module: nn.Conv1d | nn.Conv2d | nn.Conv3d, tape: Tape, input: Tensor) -> Tensor:
    """input: (n, channels, *space)."""
    dimensions = len(module.kernel_size)
    tape.check_rank(input, dimensions + 2, tape.place(module))
    padding = _padding(module)
    if module.padding_mode != "zeros":
        input = F.pad(input, module._reversed_padding_repeated_twice, mode=module.padding_mode)
        padding = (0,) * dimensions
    elif padding is None:  # "same" with an even kernel: more on one side than on the other
        input = F.pad(input, module._reversed_padding_repeated_twice)
        padding = (0,) * dimensions
    geometry = Geometry(
        weight=tuple(module.weight.shape),
        stride=tuple(module.stride),
        padding=padding,
        dilation=tuple(module.dilation),
        groups=module.groups,
    )
    output = _CONVOLUTIONS[dimensions - 1](
        input,
        tape.value(module.weight),
        None if module.bias is None else tape.value(module.bias),
        geometry.stride,
        geometry.padding,
        geometry.dilation,
        geometry.groups,
    )
    return _record(module, tape, input, output, geometry)


@layer(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
def convolve_transposed(
    module: nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d,
    tape: Tape,
    input: Tensor,
    output_size: list[int] | None = None,
) -> Tensor:
    """input: (n, channels, *space)."""
    dimensions = len(module.kernel_size)
    tape.check_rank(input, dimensions + 2, tape.place(module))
    assert isinstance(module.padding, tuple)
    extra = module._output_padding(
        input,
        output_size,
        list(module.stride),
        list(module.padding),
        list(module.kernel_size),
        dimensions,
        list(module.dilation),
    )
    geometry = Geometry(
        weight=tuple(module.weight.shape),
        stride=tuple(module.stride),
        padding=tuple(module.padding),
        dilation=tuple(module.dilation),
        groups=module.groups,
        transposed=True,
        output_padding=tuple(extra),
    )
    output = _TRANSPOSED[dimensions - 1](
        input,
        tape.value(module.weight),
        None if module.bias is None else tape.value(module.bias),
        geometry.stride,
        geometry.padding,
        geometry.output_padding,
        geometry.groups,
        geometry.dilation,
    )
    return _record(module, tape, input, output, geometry)


def _padding(module: nn.Conv1d | nn.Conv2d | nn.Conv3d) -> tuple[int, ...] | None:
    """Padding by dimension; None where the two sides differ."""
    if not isinstance(module.padding, str):
        return tuple(module.padding)
    totals = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
    if module.padding == "valid":
        return (0,) * len(totals)
    return None if any(total % 2 for total in totals) else tuple(total // 2 for total in totals)


def _record(
    module: nn.Module, tape: Tape, input: Tensor, output: Tensor, geometry: Geometry
) -> Tensor:
    weight, bias = module.weight, module.bias
    assert isinstance(weight, Tensor)
    wants_weight = tape.wants(weight)
    wants_bias = isinstance(bias, Tensor) and tape.wants(bias)
    if not wants_weight and not wants_bias:
        return output
    version, place = input._version, tape.place(module)

    def record(gradient: Tensor) -> None:
        gradient = wide(gradient)
        shifts: Direct | None
        if wants_weight:
            unmodified(input, version, place)
            values = wide(input.detach())
            part, shifts = convolution(values, gradient, geometry, tape.pool, bias=wants_bias)
            tape.add(weight, part)
        else:
            shifts = bias_of(gradient)
        if shifts is not None:
            assert isinstance(bias, Tensor)
            tape.add(bias, shifts)

    return tape.watch(output, record)
