"""A convolution's weight: per-example gradients, Gram norms of pixels, weighted sums.

The patches are never unfolded for the Gram norm: with K the Gram matrix of the *pixels* (inner
dimension: channels), the Gram matrix of the patches is the sum over the kernel's offsets of K
shifted along both of its pixels, a sum that separates over the dimensions.

Source: Rochette et al. 2019 (per-example gradients by grouped convolution); the pixel Gram is
the ghost norm of Bu et al. 2022 without its unfold.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from sfumato.learn.engine import kernels
from sfumato.learn.engine.contributions import (
    Contribution,
    Direct,
    _squares,
    careful,
    doubled,
    gram_product,
    scaled,
    zeroed,
)
from sfumato.learn.engine.pool import Pool

# Measured: a per-example weight gradient reaches a fraction of the batched one's speed, and its
# result is written and read once more; a Gram pair must stay well below to pay.
_GRAM_SHARE = 0.5
# Channels of one grouped convolution: with more of them a slow path is taken (measured, oneDNN).
_GROUPED_CHANNELS = 1024


@dataclass(frozen=True)
class Geometry:
    """Everything about a convolution that is not data. ``weight``: the weight's shape."""

    weight: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    transposed: bool = False
    output_padding: tuple[int, ...] = ()

    @property
    def kernel(self) -> tuple[int, ...]:
        """Its size."""
        return self.weight[2:]

    def weight_gradient(self, inputs: Tensor, gradients: Tensor, copies: int = 1) -> Tensor:
        """The ordinary weight gradient; with ``copies``, of as many groups of channels."""
        # Only the shape of the weight matters to its own gradient.
        weight = inputs.new_empty((self.weight[0] * copies, *self.weight[1:]))
        gradient: Tensor = torch.ops.aten.convolution_backward(
            gradients,
            inputs,
            weight,
            None,
            self.stride,
            self.padding,
            self.dilation,
            self.transposed,
            self.output_padding or (0,) * len(self.kernel),
            self.groups * copies,
            (False, True, False),
        )[1]
        return gradient


@dataclass(frozen=True)
class Convolved:
    """One use of a convolution's weight, its factors kept.

    Args:
        inputs: (n, channels, *space).
        gradients: (n, out_channels, *out_space).
    """

    inputs: Tensor
    gradients: Tensor
    geometry: Geometry

    def squared_norms(self) -> Tensor:
        """See :meth:`Contribution.squared_norms`."""
        if prefer_gram(self.inputs.shape, self.gradients.shape, self.geometry):
            values, slopes, geometry = self.inputs, self.gradients, self.geometry
            return careful(
                *gram_norms(values, slopes, geometry),
                lambda which: gram_norms(doubled(values, which), doubled(slopes, which), geometry),
            )
        return _squares(self.per_example())

    def add_weighted(self, factors: Tensor, total: Tensor) -> None:
        """See :meth:`Contribution.add_weighted`."""
        weighted = scaled(self.gradients, factors.to(self.gradients.dtype))
        total += self.geometry.weight_gradient(self.inputs, weighted)

    def per_example(self) -> Tensor:
        """See :meth:`Contribution.per_example`."""
        shape = (len(self.inputs), *self.geometry.weight)
        return self.write(self.inputs.new_empty(shape))

    def write(self, formed: Tensor) -> Tensor:
        """The examples' gradients, formed in the memory given: (n, *shape), contiguous."""
        n = self.inputs.shape[0]
        inputs, gradients = self.inputs.contiguous(), self.gradients.contiguous()
        at_once = max(1, _GROUPED_CHANNELS // max(inputs.shape[1], gradients.shape[1]))
        for start in range(0, n, at_once):
            rows = slice(start, min(n, start + at_once))
            copies = rows.stop - start
            part = self.geometry.weight_gradient(
                inputs[rows].view(1, -1, *inputs.shape[2:]),
                gradients[rows].view(1, -1, *gradients.shape[2:]),
                copies,
            )
            formed[rows] = part.view(copies, *self.geometry.weight)
        return formed

    def kept(self, good: Tensor) -> Convolved:
        """See :meth:`Contribution.kept`."""
        return Convolved(zeroed(self.inputs, good), zeroed(self.gradients, good), self.geometry)


@dataclass(frozen=True)
class Formed:
    """Per-example gradients of a weight that are there already, channels last.

    Args:
        gradients: (n, p, kh, kw, c). The weight is (p, c, kh, kw).
        squares: (n,) their squared norms.
    """

    gradients: Tensor
    squares: Tensor

    def squared_norms(self) -> Tensor:
        """See :meth:`Contribution.squared_norms`."""
        return self.squares

    def add_weighted(self, factors: Tensor, total: Tensor) -> None:
        """See :meth:`Contribution.add_weighted`."""
        Direct(self.gradients).add_weighted(factors, total.permute(0, 2, 3, 1))

    def per_example(self) -> Tensor:
        """See :meth:`Contribution.per_example`."""
        return self.gradients.permute(0, 1, 4, 2, 3)

    def kept(self, good: Tensor) -> Formed:
        """See :meth:`Contribution.kept`."""
        return Formed(zeroed(self.gradients, good), self.squares)


def convolution(
    inputs: Tensor, gradients: Tensor, geometry: Geometry, pool: Pool, *, bias: bool
) -> tuple[Contribution, Direct | None]:
    """One use of a convolution's weight, in the form that is cheapest for its shape.

    With ``bias`` that of the bias as well.
    """
    gram = prefer_gram(inputs.shape, gradients.shape, geometry)
    kernel = None if gram else kernels.convolution_examples()
    if kernel is not None and kernels.fits(inputs, gradients, geometry):
        found = kernel(inputs, gradients, geometry, bias, pool)
        shifts = None if found.bias is None else Direct(found.bias, found.bias_squares)
        return Formed(found.weight, found.squares), shifts
    shifts = bias_of(gradients) if bias else None
    part = Convolved(inputs, gradients, geometry)
    if gram:
        return part, shifts
    return Direct(part.write(pool.take((len(inputs), *geometry.weight), inputs))), shifts


def bias_of(gradients: Tensor) -> Direct:
    """What a bias adds; gradients: (n, p, *space)."""
    return Direct(gradients.flatten(2).sum(2))


def prefer_gram(inputs: torch.Size, gradients: torch.Size, geometry: Geometry) -> bool:
    """Whether the two Gram matrices cost less than forming each example's gradient."""
    if geometry.transposed or geometry.groups != 1:
        return False
    padded = [size + 2 * pad for size, pad in zip(inputs[2:], geometry.padding, strict=True)]
    positions = prod(gradients[2:])
    gram = positions**2 * (gradients[1] + sum(geometry.kernel)) + prod(padded) ** 2 * inputs[1]
    return gram < _GRAM_SHARE * positions * prod(geometry.weight)


def gram_norms(inputs: Tensor, gradients: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor]:
    """Squared norms, (n,), of the examples' weight gradients, by pixel Gram matrices.

    And the reach of their terms; see :func:`careful`.
    """
    n = inputs.shape[0]
    pad = [size for size in reversed(geometry.padding) for _ in (0, 1)]
    padded = F.pad(inputs, pad) if any(pad) else inputs
    pixels = padded.flatten(2)
    space, count = tuple(padded.shape[2:]), len(geometry.kernel)
    patches = torch.bmm(pixels.transpose(1, 2), pixels).view(n, *space, *space)
    outputs = gradients.shape[2:]
    for dimension in range(count):
        step, dilation = geometry.stride[dimension], geometry.dilation[dimension]
        span = step * (outputs[dimension] - 1) + 1
        total: Tensor | None = None
        for offset in range(geometry.kernel[dimension]):
            window = slice(offset * dilation, offset * dilation + span, step)
            index = [slice(None)] * patches.ndim
            index[1 + dimension] = index[1 + count + dimension] = window
            shifted = patches[tuple(index)]
            total = shifted.clone() if total is None else total.add_(shifted)
        assert total is not None
        patches = total
    flat = gradients.flatten(2)
    other = torch.bmm(flat.transpose(1, 2), flat)
    terms = (inputs.shape[1] * prod(geometry.kernel), gradients.shape[1])
    return gram_product(patches.reshape(other.shape), other, terms)
