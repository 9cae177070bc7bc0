"""The slow loop that every engine test compares with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sfumato.learn.clipping import Clipping, Flat
from sfumato.learn.engine import Engine


def loop(
    module: nn.Module, loss: Callable[..., Tensor], clipping: Clipping, inputs: Any, targets: Any
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Clipped sum, (groups, n) norms and (n,) losses, one example and one backward at a time."""
    args = inputs if isinstance(inputs, tuple) else (inputs,)
    parameters = {k: p for k, p in module.named_parameters() if p.requires_grad}
    groups = clipping.groups(list(parameters))
    totals = {k: torch.zeros_like(p) for k, p in parameters.items()}
    norms, losses = [], []
    for i in range(len(targets)):
        one = loss(module(*(a[i : i + 1] for a in args)), targets[i : i + 1])
        found = torch.autograd.grad(one.sum(), list(parameters.values()), allow_unused=True)
        gradients = [
            torch.zeros_like(p) if g is None else g
            for p, g in zip(parameters.values(), found, strict=True)
        ]
        squares = one.new_zeros(max(groups) + 1, 1)
        for gradient, group in zip(gradients, groups, strict=True):
            squares[group] += gradient.square().sum()
        factors = clipping.factors(squares.sqrt())
        for name, gradient, group in zip(parameters, gradients, groups, strict=True):
            totals[name] += gradient * factors[group, 0]
        norms.append(squares.sqrt())
        losses.append(one.detach())
    if not norms:
        return totals, torch.zeros(max(groups) + 1, 0), torch.zeros(0)
    return totals, torch.cat(norms, 1), torch.cat(losses)


def any_loss(outputs: Any, targets: Tensor) -> Tensor:
    """A loss of whatever a module returns: curved, and different for every output and target."""
    leaves = torch.utils._pytree.tree_leaves(outputs)
    total = torch.zeros(len(targets), dtype=targets.dtype)
    for leaf in leaves:
        if isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.shape[0] == len(targets):
            flat = leaf.flatten(1)
            weights = torch.linspace(-1, 1, flat.shape[1], dtype=flat.dtype)
            total = total + ((flat + targets[:, None]).sin() * (1 + weights)).sum(1)
    return total


def agree(
    module: nn.Module,
    inputs: Any,
    targets: Any,
    *,
    loss: Callable[..., Tensor] = any_loss,
    clipping: Clipping | None = None,
    chunk: int | None = None,
    tolerance: float = 1e-9,
) -> Engine:
    """Asserts that the engine's sum, norms and losses are the loop's, relatively to tolerance.

    Without a clipping about half of the examples are clipped.
    """
    state = {k: v.clone() for k, v in module.state_dict().items()}
    if clipping is None:
        norms = loop(module, loss, Flat(1.0), inputs, targets)[1]
        clipping = Flat(float(norms.median()) if norms.numel() and norms.median() > 0 else 1.0)
    engine = Engine(module, loss, clipping, chunk=chunk)
    before = _fingerprint(module)
    ours = engine.clipped_sum(inputs, targets)
    assert _fingerprint(module) == before, "something was left on the module"
    totals, norms, losses = loop(module, loss, clipping, inputs, targets)
    assert list(ours.gradients) == list(totals)
    scale = max(float(sum(t.square().sum() for t in totals.values())) ** 0.5, 1e-30)
    off = float(sum((ours.gradients[k] - totals[k]).square().sum() for k in totals)) ** 0.5
    assert off <= tolerance * scale, f"the clipped sum is off by {off / scale:.2g}"
    assert ours.norms.shape == norms.shape
    torch.testing.assert_close(ours.norms, norms.to(ours.norms.dtype), rtol=tolerance, atol=1e-12)
    torch.testing.assert_close(
        ours.losses, losses.to(ours.losses.dtype), rtol=tolerance, atol=1e-12
    )
    for key, value in module.state_dict().items():
        assert torch.equal(value, state[key]), f"{key} was changed"
    return engine


def _fingerprint(module: nn.Module) -> list[Any]:
    """Everything that a step might leave on a module."""
    return [
        (
            name,
            sorted(part.__dict__),
            len(part._forward_hooks) + len(part._forward_pre_hooks) + len(part._backward_hooks),
            part.training,
            [
                (k, id(p), p.requires_grad, p.grad)
                for k, p in part._parameters.items()
                if p is not None
            ],
        )
        for name, part in module.named_modules()
    ]


@pytest.fixture(name="agree")
def _agree() -> Callable[..., Engine]:
    return agree


@pytest.fixture(name="loop")
def _loop() -> Callable[..., Any]:
    return loop


@pytest.fixture(name="any_loss")
def _any_loss() -> Callable[..., Tensor]:
    return any_loss
