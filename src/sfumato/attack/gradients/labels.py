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


def counts_of_bias(gradients: Tensor, scores: Tensor, batch: int) -> Tensor:
    """How many examples of each class a batch held, from its mean gradient of the last bias.

    The mean gradient is ``(P^T - I) n / batch``, where row k of P are the scores that the model
    gives to examples of class k; the attacker knows P from records of his own. The counts are the
    least squares solution that is not negative, rounded to sum to the batch.

    Args:
        gradients: (m, classes), the mean gradient of a batch each.
        scores: (classes, classes) P, rows sum to 1.
        batch: Examples of a batch, known to the attacker.

    Returns:
        (m, classes) int64, rows sum to ``batch``.

    Source: after Wainakh et al., PoPETs 2022 (LLG), with all classes' equations solved at once.
    """
    import numpy as np
    import torch
    from scipy.optimize import nnls

    _check(gradients, 2, "(m, classes)")
    classes = gradients.shape[1]
    # P^T - I is singular (its columns sum to 0); that shares sum to 1 makes the system whole.
    system = np.vstack([scores.double().numpy().T - np.eye(classes), np.ones((1, classes))])
    counts = np.zeros((len(gradients), classes), np.int64)
    for row, seen in enumerate(gradients.double().numpy()):
        share = nnls(system, np.append(seen, 1.0))[0]
        wanted = batch * share / max(share.sum(), 1e-30)
        counts[row] = np.floor(wanted)
        left = batch - counts[row].sum()
        counts[row, np.argsort(counts[row] - wanted, kind="stable")[:left]] += 1
    return torch.from_numpy(counts)


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
