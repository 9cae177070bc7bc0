"""The steps of a training by directions, with checkpoints; :mod:`sfumato.learn.directional`."""

from __future__ import annotations

import uuid
import warnings
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.optim import Optimizer

from sfumato.errors import BudgetError, InputError
from sfumato.learn import checkpoint, kept
from sfumato.learn.guard import Guard
from sfumato.learn.noise import STREAM
from sfumato.learn.per_example import PerExample
from sfumato.learn.records import Data, records_of
from sfumato.learn.single import Single
from sfumato.privacy.neighbours import Neighbours

if TYPE_CHECKING:
    from sfumato.learn.contracts import Loss
    from sfumato.learn.directional import Directional
    from sfumato.privacy.noise import NoiseSource


_KEPT: dict[str, tuple[type, ...]] = {
    "run": (str,),
    "mechanism": (dict,),
    "rows": (int,),
    "taken": (int,),
    "optimizer": (dict,),
}
"""What a checkpoint of such a loop holds."""


class DirectionalLoop(Single):
    """Sets ``p.grad`` of a module's trainable parameters to noisy mean directions, step by step.

    One process, one device. Whoever calls has paid; :class:`Directional` says for what.

    Args:
        module: Trained in place.
        optimizer: Of the module's parameters; the caller steps it.
        loss: ``loss(outputs, targets)``, one for each example.
        data: ``(inputs, targets)`` tensors or a map-style data set of such pairs.
        mechanism: What is accounted.
        block: Gradients in memory at a time; chosen from their size if None.
        source: Sampling and noise; anything but the default is for tests.

    Raises:
        InputError: If the number of rows is not the public one, a layer mixes examples, or the
            optimiser holds parameters of something else, or several processes would train.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: Optimizer,
        loss: Loss,
        data: Data,
        mechanism: Directional,
        *,
        block: int | None = None,
        source: NoiseSource | None = None,
    ) -> None:
        from sfumato.learn.ranks import only_one

        super().__init__()
        only_one("training by directions")
        self._records, _ = records_of(data)
        mechanism.sampling.check(Neighbours.REPLACE_ONE, len(self._records))
        ours = {id(p) for p in module.parameters()}
        if any(id(p) not in ours for group in optimizer.param_groups for p in group["params"]):
            raise InputError(
                "the optimiser holds parameters that are not the module's",
                "Give it this module's parameters: gradients of others would not be private.",
            )
        self._gradients = PerExample(module, loss, block=block)
        if self._gradients.size != mechanism.size:
            raise InputError(
                f"the module has {self._gradients.size} trainable parameters, but directions of "
                f"{mechanism.size} coordinates were accounted",
                "Calibrate for this module.",
            )
        self.module, self.optimizer, self.mechanism = module, optimizer, mechanism
        self._source = STREAM if source is None else source
        self._id = uuid.uuid4().hex
        self._counter: checkpoint.StepCounter | None = None
        self.taken = 0
        me = weakref.ref(self)  # so that the guard keeps nobody alive
        self._guard = Guard(self, optimizer, lambda: not ((own := me()) and own._left))

    def backward(self) -> None:
        """One step: draws a sample, and sets ``p.grad``; of frozen parameters to None.

        Until the next one, optimisers refuse what a ``backward()`` of others put there.

        Raises:
            BudgetError: If all steps have been taken. Nothing was drawn.
            InputError: If the training was forked.
        """
        with self.a_step():
            self._step()

    def _step(self) -> None:
        mechanism = self.mechanism
        if self.taken >= mechanism.steps:
            raise BudgetError(
                f"all {mechanism.steps} steps of this training have been taken",
                "Calibrate for more steps; each then gets a smaller kappa.",
            )
        self.taken += 1
        if self._counter is not None:
            self._counter.begun(self.taken)
        rows = mechanism.sampling.draw(len(self._records), self._source)
        device = next(self.module.parameters()).device
        inputs, targets = self._records.fetch(rows, device)
        blocks = self._gradients.blocks(inputs, targets)
        mean = mechanism.noisy_mean(blocks, self._source)
        found = self._gradients.named(mean)
        for name, parameter in self.module.named_parameters():
            gradient = found.get(name)
            parameter.grad = (
                None if gradient is None else gradient.to(parameter.device, parameter.dtype)
            )
        self._guard.laid(self.module.parameters())

    def __iter__(self) -> Iterator[int]:
        """Takes the steps that are left; between two of them the caller steps the optimiser."""
        while self.taken < self.mechanism.steps:
            self.backward()
            yield self.taken

    def save(self, folder: Path, *, tensors: Mapping[str, Tensor] | None = None) -> None:
        """Writes a checkpoint; from now on every step is noted in its folder before it is taken.

        Call it after ``optimizer.step()``, and before the first step.

        Args:
            folder: See :mod:`sfumato.learn.checkpoint`; a training has one.
            tensors: Further tensors to keep.
        """
        if self._counter is None:
            self._counter = checkpoint.StepCounter(folder, self._id, self.taken)
        settings, flat = kept.packed(self.module, self.optimizer, tensors or {})
        state = {
            "run": self._id,
            "mechanism": self._identity,
            "rows": len(self._records),
            "taken": self.taken,
            "optimizer": settings,
        }
        checkpoint.save(folder, state, flat)

    def resume(self, folder: Path) -> dict[str, Tensor]:
        """Continues from a checkpoint: weights, optimiser, steps taken.

        Steps begun after the checkpoint count as taken, because someone may have seen them.

        Returns:
            The further tensors that were saved.

        Raises:
            InputError: If the checkpoint is damaged, or of another mechanism, data or module.
        """
        state, flat = checkpoint.load(folder, _KEPT)
        if state["mechanism"] != self._identity or state["rows"] != len(self._records):
            raise InputError(
                f"the checkpoint in {folder} is of another mechanism or another number of records",
                "Continue with the settings that it was begun with, or start anew.",
            )
        checkpoint.check_steps(folder, state["taken"], self.mechanism.steps)
        self._counter = checkpoint.StepCounter(folder, state["run"], state["taken"], resumed=True)
        try:
            more = kept.unpacked(self.module, self.optimizer, state["optimizer"], flat)
        except BaseException:
            self.close()
            raise
        self._id, self.taken = state["run"], self._counter.count
        if lost := self.taken - state["taken"]:
            warnings.warn(
                f"{lost} steps were begun after the checkpoint; they are lost, and counted",
                stacklevel=2,
            )
        return more

    def close(self) -> None:
        """Lets go of the checkpoint's folder, so that another training may continue from it."""
        if self._counter is not None:
            self._counter.close()
            self._counter = None

    @property
    def _left(self) -> int:
        return self.mechanism.steps - self.taken

    @property
    def _identity(self) -> dict[str, Any]:
        return {**self.mechanism.to_dict(), "delta": self.mechanism.delta}
