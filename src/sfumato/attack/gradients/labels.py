"""What can be read off one example's gradient without any search.

For cross-entropy the gradient of the last bias is ``p - y``: negative at the label and nowhere
else. The gradient of a linear layer is ``delta x^T`` for its weight and ``delta`` for its bias:
each row of one over the entry of the other is the layer's input.

Sources: Zhao, Mopuri, Bilen, iDLG, arXiv 2001.02610 (labels); Phong et al., IEEE TIFS 13 (2018)
(inputs of a biased layer).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sfumato.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


def label_of_bias(gradients: Tensor) -> Tensor:
    """The label of each example, from the gradient of the last layer's bias.

    Exact for cross-entropy and the gradient of a single example; with noise, the likeliest label
    under noise that is equal in all coordinates.

    Args:
        gradients: (n, classes), one example each.

    Returns:
        (n,) int64.
    """
    _check(gradients, 2, "(n, classes)")
    return gradients.argmin(dim=1)


def label_of_weight(gradients: Tensor) -> Tensor:
    """The label of each example, from the gradient of the last layer's weight alone.

    Rows are ``(p_k - y_k) x``: the label's points against all others, so the sum of its inner
    products with them is the only negative one, or the smallest where others are negative by noise.

    Args:
        gradients: (n, classes, d), one example each.

    Returns:
        (n,) int64.
    """
    _check(gradients, 3, "(n, classes, d)")
    others = gradients.sum(dim=1, keepdim=True) - gradients
    return (gradients * others).sum(dim=2).argmin(dim=1)


def input_of_layer(weight: Tensor, bias: Tensor) -> Tensor:
    """The input of a biased linear layer, from the gradients of one example each.

    Rows are weighted by how much of the gradient they hold, which is least squares under noise that
    is equal in all coordinates of ``weight``. Where the bias has no gradient the input is zeros:
    nothing passed through.

    Args:
        weight: (n, out, d).
        bias: (n, out).

    Returns:
        (n, d).
    """
    _check(weight, 3, "(n, out, d)")
    _check(bias, 2, "(n, out)")
    power = bias.square().sum(dim=1, keepdim=True)
    found = (bias[:, :, None] * weight).sum(dim=1)
    return found / power.clamp(min=1e-30)


def _check(values: Tensor, rank: int, shape: str) -> None:
    if values.ndim != rank:
        raise InputError(f"gradients have shape {tuple(values.shape)}", f"Give {shape}.")
