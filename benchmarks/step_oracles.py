"""Whether the clipped sums of the models that :mod:`step` times are right.

Against a loop over the examples, one backward pass each, and against Opacus, both in float64;
and the float32 sums that are timed against the float64 loop. Figures are norms of differences over
the norm of the sum, of all parameters together.
"""

from __future__ import annotations

from importlib.util import find_spec

import torch
from step_ways import build, losses
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


def clipped(found: list[Sums], norms: Tensor, bound: float) -> Sums:
    """Their clipped sum."""
    factors = Flat(bound).factors(norms[None])[0]
    return {
        name: torch.stack([f * one[name] for f, one in zip(factors, found, strict=True)]).sum(0)
        for name in found[0]
    }


def opacus(module: nn.Module, inputs: Tensor, targets: Tensor, bound: float) -> Sums:
    """The clipped sum of Opacus's per-example gradients, under our names."""
    from opacus import GradSampleModule

    wrapped = GradSampleModule(module, loss_reduction="sum")
    losses(wrapped(inputs), targets).sum().backward()
    samples = {k.removeprefix("_module."): p.grad_sample for k, p in wrapped.named_parameters()}
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
    exact = clipped(found, norms, bound)
    ours = Engine(module, losses, Flat(bound)).clipped_sum(exact_inputs, targets)
    result = {"loop_float64": distance(ours.gradients, exact)}
    # Opacus clips attention only in its own form, which (1.6, batch first) gives other outputs.
    if find_spec("opacus") and model != "transformer":
        theirs = opacus(module, exact_inputs, targets, bound)
        result["opacus_float64"] = distance(ours.gradients, theirs)
    module = build(model, n, "cpu")[0]
    single = Engine(module, losses, Flat(bound)).clipped_sum(inputs, targets)
    result["float32"] = distance(single.gradients, exact)
    if inputs.ndim == 4:
        last = torch.channels_last
        module = module.to(memory_format=last)
        single = Engine(module, losses, Flat(bound)).clipped_sum(
            inputs.contiguous(memory_format=last), targets
        )
        result["float32_channels_last"] = distance(single.gradients, exact)
    return {name: float(f"{value:.2g}") for name, value in result.items()}
