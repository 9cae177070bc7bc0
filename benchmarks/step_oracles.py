"""Whether the clipped sums of the models that :mod:`step` times are right.

Against a loop over the examples, one backward pass each, and against Opacus (of the transformer
with its attention spelled out), both in float64; and the float32 sums that are timed against the
float64 loop. Beside these stands what float32 alone does: the plain gradient of the losses, each
times its factor, which is the clipped sum, by one ordinary backward pass over the batch
(``plain_float32``), and how far ours is from it (``float32_from_plain``). Figures are norms of
differences over the norm of the sum, of all parameters together.
"""

from __future__ import annotations

from importlib.util import find_spec

import torch
from step_ways import build, losses, spelled_out
from torch import Tensor, nn

from sfumato.learn.clipping import Flat
from sfumato.learn.engine import Engine

Sums = dict[str, Tensor]


def loop(module: nn.Module, inputs: Tensor, targets: Tensor) -> tuple[list[Sums], Tensor]:
    """Each example's gradients, and their (n,) norms."""
    parameters = dict(module.named_parameters())
    found = []
    for i in range(len(targets)):
        loss = losses(module(inputs[i : i + 1]), targets[i : i + 1]).sum()
        gradients = torch.autograd.grad(loss, list(parameters.values()))
        found.append(dict(zip(parameters, gradients, strict=True)))
    norms = [torch.stack([g.square().sum() for g in one.values()]).sum().sqrt() for one in found]
    return found, torch.stack(norms)


def clipped(found: list[Sums], factors: Tensor) -> Sums:
    """Their clipped sum."""
    return {
        name: torch.stack([f * one[name] for f, one in zip(factors, found, strict=True)]).sum(0)
        for name in found[0]
    }


def plain(module: nn.Module, inputs: Tensor, targets: Tensor, factors: Tensor) -> Sums:
    """The same sum as the gradient of one batch's losses, each times its factor."""
    parameters = dict(module.named_parameters())
    values = losses(module(inputs), targets)
    total = (values * factors.to(values.dtype)).sum()
    return dict(zip(parameters, torch.autograd.grad(total, list(parameters.values())), strict=True))


def opacus(module: nn.Module, inputs: Tensor, targets: Tensor, bound: float) -> Sums:
    """The clipped sum of Opacus's per-example gradients, under our names."""
    from opacus import GradSampleModule

    wrapped = GradSampleModule(spelled_out(module), loss_reduction="sum")
    losses(wrapped(inputs), targets).sum().backward()
    samples = {
        k.removeprefix("_module.").replace("inward.", "in_proj_"): p.grad_sample
        for k, p in wrapped.named_parameters()
    }
    norms = torch.stack([s.flatten(1).square().sum(1) for s in samples.values()]).sum(0).sqrt()
    factors = Flat(bound).factors(norms[None])[0]
    return {k: torch.einsum("n,n...->...", factors, s) for k, s in samples.items()}


def distance(sums: Sums, exact: Sums) -> float:
    """Relative, over all parameters."""
    if set(sums) != set(exact):
        raise ValueError(f"different parameters: {sorted(set(sums) ^ set(exact))}")
    off = sum(float((sums[k].double() - exact[k]).square().sum()) for k in exact)
    return float((off / sum(float(e.square().sum()) for e in exact.values())) ** 0.5)


def differences(model: str, n: int) -> dict[str, float]:
    """How far the engine's sums are from the oracles' for n examples, half of them clipped."""
    module, inputs, targets = build(model, n, "cpu")
    module.double()
    exact_inputs = inputs.double() if inputs.is_floating_point() else inputs
    found, norms = loop(module, exact_inputs, targets)
    bound = float(norms.median())
    factors = Flat(bound).factors(norms[None])[0]
    exact = clipped(found, factors)
    ours = Engine(module, losses, Flat(bound)).clipped_sum(exact_inputs, targets)
    result = {"loop_float64": distance(ours.gradients, exact)}
    if find_spec("opacus"):
        theirs = opacus(module, exact_inputs, targets, bound)
        result["opacus_float64"] = distance(ours.gradients, theirs)
    layouts = {"": torch.contiguous_format}
    if inputs.ndim == 4:
        layouts["_channels_last"] = torch.channels_last
    for suffix, layout in layouts.items():
        module = build(model, n, "cpu")[0].to(memory_format=layout)
        laid_out = inputs.contiguous(memory_format=layout)
        single = Engine(module, losses, Flat(bound)).clipped_sum(laid_out, targets).gradients
        batch = plain(module, laid_out, targets, factors)
        result["float32" + suffix] = distance(single, exact)
        result["plain_float32" + suffix] = distance(batch, exact)
        result["float32_from_plain" + suffix] = distance(single, batch)
    return {name: float(f"{value:.2g}") for name, value in result.items()}
