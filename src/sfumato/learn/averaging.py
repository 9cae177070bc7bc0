"""Averages of the weights along the way, which are free: they only see noisy steps.

Source: De et al. 2022, "Unlocking High-Accuracy Differentially Private Image Classification
through Scale" (exponential average with a warm-up).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sfumato.errors import InputError
from sfumato.learn import sharded


class Averaging:
    """Keeps ``average <- d average + (1 - d) weights`` with ``d = min(decay, (1 + t) / (10 + t))``.

    Args:
        module: Whose floating-point parameters are averaged.
        decay: In ``[0, 1)``.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise InputError(f"the decay of the average is {decay!r}", "Give a number in [0, 1).")
        self.decay = decay
        self.weights = {name: p.detach().clone() for name, p in module.named_parameters()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Takes in the weights after ``step`` steps."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, parameter in module.named_parameters():
            self.weights[name].lerp_(parameter.detach(), 1 - decay)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Sets the parameters of ``module`` to the average."""
        for name, parameter in module.named_parameters():
            parameter.copy_(self.weights[name])

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Continues from these averages.

        Raises:
            InputError: If there are none, or they are those of another module.
        """
        if not weights:
            raise InputError(
                "no average of the weights was kept in the checkpoint",
                "Go on without averaging, as it was begun.",
            )
        if set(weights) != set(self.weights):
            raise InputError("the averaged weights are of another module", "Check the checkpoint.")
        for name, average in self.weights.items():
            average.copy_(sharded.part(weights[name], average))


class LastMean:
    """The plain mean of the weights after each of the last steps.

    Args:
        module: Whose parameters are averaged.
        begins: How many steps are left out.

    Attributes:
        weights: The mean so far, by name; zeros before there is one.
        count: Of how many steps it is the mean.
    """

    def __init__(self, module: nn.Module, begins: int) -> None:
        self.begins = begins
        self.count = 0
        self.weights = {name: torch.zeros_like(p) for name, p in module.named_parameters()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Takes in the weights after ``step`` steps, if they are among the last."""
        if step <= self.begins:
            return
        self.count += 1
        for name, parameter in module.named_parameters():
            self.weights[name].lerp_(parameter.detach(), 1 / self.count)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Sets the parameters of ``module`` to the mean; leaves them where there is none."""
        for name, parameter in module.named_parameters():
            if self.count:
                parameter.copy_(self.weights[name])

    def load(self, weights: Mapping[str, Tensor], count: int) -> None:
        """Continues from the mean of so many steps."""
        self.count = count
        for name, mean in self.weights.items():
            mean.copy_(weights[name])
