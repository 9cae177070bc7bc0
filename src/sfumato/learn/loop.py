"""Private gradients, one logical batch at a time, with checkpoints.

Each round is one *logical* batch, drawn by the mechanism; memory is bounded by
``physical_batch_size`` records, whatever the size of the sample, unless the engine needs all of it
at once. The module stays unwrapped.
"""

from __future__ import annotations

import math
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from sfumato.errors import InputError
from sfumato.learn import checkpoint, kept, payment, rehearsal, sharded
from sfumato.learn.accounted import Mechanism
from sfumato.learn.added import added
from sfumato.learn.augmented import check_augment
from sfumato.learn.contracts import Augment, EngineMaker, Loss, default_engine
from sfumato.learn.guard import Guard
from sfumato.learn.mechanism import Summed
from sfumato.learn.parameters import check, laid
from sfumato.learn.progress import Progress
from sfumato.learn.ranks import Alone, Ranks, present
from sfumato.learn.records import Data, records_of

if TYPE_CHECKING:
    from sfumato.privacy.ledger import Ledger
    from sfumato.privacy.noise import NoiseSource

_KEPT: dict[str, tuple[type, ...]] = {
    "run": (str,),
    "mechanism": (dict,),
    "rows": (int,),
    "taken": (int,),
    "clip_norm": (float, NoneType),
    "ledger": (dict, NoneType),
    "optimizer": (dict,),
    "values": (dict,),
}
"""What a checkpoint of such a loop holds."""
_REHEARSED = 16
"""Records that are tried before anything is paid, at most."""


class PrivateLoop:
    """Sets ``p.grad`` of a module's trainable parameters to noisy mean gradients, step by step.

    One device a process. Where torch's process group has several processes they train as one (see
    :mod:`sfumato.learn.distributed`): each makes its own loop, of the same arguments, and all call
    the same methods in the same order; one of them draws, pays and writes checkpoints. The module
    may be sharded over them by ``fully_shard``.

    Args:
        module: Trained in place; not wrapped.
        optimizer: Of the module's parameters; the caller steps it.
        loss: See :data:`Loss`.
        data: ``(inputs, targets)`` tensors, a map-style data set of such pairs, or a loader, of
            which only the data set and the collate function are used.
        mechanism: What is accounted.
        physical_batch_size: Records fetched at a time; it changes memory and nothing else. An
            engine that says it is ``whole`` is given the whole sample, whatever this is.
        augment: See :data:`Augment`.
        ledger: Debited for all steps before the first draw; none if whoever calls has done so.
        label: A name for the ledger.
        source: Sampling and noise; anything but the default is for tests.
        engine: Gives clipped sums.
        ranks: The processes that train; all of torch's process group by default.

    Raises:
        InputError: If the data cannot be sampled from, the optimiser holds other parameters,
            another process was given something else, or several processes were given an engine
            that takes no parts of a sample.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: Optimizer,
        loss: Loss,
        data: Data,
        mechanism: Mechanism,
        *,
        physical_batch_size: int = 1024,
        augment: Augment | None = None,
        ledger: Ledger | None = None,
        label: str = "",
        source: NoiseSource | None = None,
        engine: EngineMaker | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        if not (isinstance(physical_batch_size, int) and physical_batch_size >= 1):
            raise InputError(f"physical_batch_size is {physical_batch_size!r}", "Give at least 1.")
        if not isinstance(mechanism, Mechanism):
            raise InputError(
                f"the mechanism is a {type(mechanism).__name__}",  # which may be the data
                "Calibrate one, such as DpSgd.calibrate(budget, ...), or use make_private.",
            )
        if isinstance(ledger, str | Path):
            raise InputError(f"the ledger is {str(ledger)!r}", "Give Ledger.open(path).")
        check(module, optimizer)
        if not callable(loss):
            raise InputError(
                f"the loss is a {type(loss).__name__}",
                "Give a function: loss(outputs, targets), one an example.",
            )
        self._records, drawn_by_loader = records_of(data)
        expected = mechanism.sampling.expected_batch_size
        if drawn_by_loader is not None:
            warnings.warn(
                f"the loader's batches of {drawn_by_loader} are not used: each step draws a sample "
                f"of {expected:g} records on average, as accounted",
                stacklevel=3,
            )
        self.module = module
        self.optimizer = optimizer
        self._ranks = present() if ranks is None else ranks
        self.run = self._ranks.run(mechanism, len(self._records), source)
        self._engine = (engine or default_engine())(module, loss, self.run.clipping)
        # Each part of a sample could move a stack by its whole bound: they are no parts of a sum.
        self._whole = bool(getattr(self._engine, "whole", False))
        if self._whole and not self.is_alone:
            raise InputError(
                "this engine takes a sample as a whole, and several processes would share it",
                "Train in one process, or give ranks=Alone().",
            )
        self._ranks.align(module, optimizer, mechanism, self._records)
        run = self.run
        self._guard = Guard(self, optimizer, lambda: not run.left)
        # Who pays is the leader's to say: all rehearse, or none.
        self._pays = self._ranks.once("ledger", lambda: ledger is not None)
        self._physical = physical_batch_size
        self._augment = augment
        self._looked = False  # whether the augmentation was seen to keep examples apart
        self._payment = None if ledger is None else payment.Payment(ledger, label)
        self._id = uuid.uuid4().hex
        self._entry: dict[str, Any] | None = None
        self._settled = False  # whether the ledger was asked
        self._counter: checkpoint.StepCounter | None = None
        self._began: tuple[float, int] | None = None

    @property
    def mechanism(self) -> Mechanism:
        """What is accounted."""
        return self.run.mechanism

    @property
    def pays(self) -> bool:
        """Whether a ledger is debited, by whichever process pays for all."""
        return self._pays

    @property
    def is_alone(self) -> bool:
        """Whether one process trains."""
        return isinstance(self._ranks, Alone)

    def backward(self) -> None:
        """One step: sets ``p.grad`` to the noisy mean gradient, of frozen parameters to None.

        Until the next one, the optimiser refuses (with an ``InputError``) to step with what a
        ``backward()`` of the caller's own put into ``p.grad``: no noise would be on it.

        Raises:
            BudgetError: If all steps have been taken, or the ledger refuses.
            InputError: If ``torch.inference_mode`` is on. Nothing is paid or drawn.
        """
        if torch.is_inference_mode_enabled():
            raise InputError(
                "torch.inference_mode is on, in which there are no gradients",
                "Train outside of it.",
            )
        if self._began is None:
            self._began = time.monotonic(), self.run.taken
        self._debit()
        begun = self._counter.begun if self._counter else None
        with sharded.gathered(self.module):
            gradients = self.run.step(self._clipped_sum, begun=begun)
        for name, parameter in self.module.named_parameters():
            found = gradients.get(name)  # a gradient from elsewhere would not be private
            parameter.grad = None if found is None else laid(found, parameter)
        self._guard.laid(self.module.parameters())

    def __iter__(self) -> Iterator[Progress]:
        """Takes the steps that are left; between two of them the caller steps the optimiser."""
        while self.run.left:
            self.backward()
            yield self.progress()

    def progress(self) -> Progress:
        """Where the training stands."""
        began, before = self._began or (time.monotonic(), self.run.taken)
        seconds, done = time.monotonic() - began, self.run.taken - before
        left = seconds / done * self.run.left if done else math.nan
        return Progress(self.run.taken, self.mechanism.steps, seconds, left, self.mechanism)

    def save(
        self,
        folder: Path | str,
        *,
        tensors: Mapping[str, Tensor] | None = None,
        values: Mapping[str, Any] | None = None,
    ) -> None:
        """Writes a checkpoint; from now on every step is noted in its folder before it is taken.

        Call it after ``optimizer.step()``.

        Args:
            folder: See :mod:`sfumato.learn.checkpoint`.
            tensors: Further tensors to keep.
            values: Further JSON values to keep.

        Raises:
            InputError: If the folder cannot be written to or belongs to another training, or the
                optimiser cannot be kept. Where nothing was paid yet, nothing is.
            BudgetError: If the ledger refuses.
        """
        folder = Path(folder)
        # What can be refused for good reason is, before anything is paid.
        settings, flat = kept.packed(self.module, self.optimizer, tensors or {})
        fresh = self._counter is None
        self._ranks.once("hold", lambda: self._hold(folder))
        try:
            self._debit()
        except BaseException:
            if fresh and self._counter is not None:
                self._counter.discard()
                self._counter = None
            raise
        state = {
            "run": self._id,
            "mechanism": self.mechanism.to_dict(),
            "rows": self.run.rows,
            "taken": self.run.taken,
            "clip_norm": self.run.clip_norm,
            "noise": {"source": self.run.source.name, "secure": self.run.source.secure},
            "ledger": self._entry,
            "optimizer": settings,
            "values": dict(values or {}),
        }

        self._ranks.once("save", lambda: checkpoint.save(folder, state, flat))

    def resume(self, folder: Path | str) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Continues from a checkpoint: weights, optimiser, steps taken.

        Steps begun after the checkpoint count as taken, because someone may have seen them.

        Returns:
            The further values and tensors that were saved.

        Raises:
            InputError: If the checkpoint is damaged, or of another mechanism, data or module.
            LedgerError: If the ledger does not hold the entry that paid for this training, or none
                is given.
        """
        if self.run.taken:
            raise InputError("this training has begun", "Resume before the first step.")
        flat: dict[str, Tensor] = {}

        def read() -> dict[str, Any]:
            state, tensors = self._open(Path(folder))
            flat.update(tensors)
            assert self._counter is not None
            return {"state": state, "taken": self._counter.count}

        found = self._ranks.once("resume", read)
        state, taken = found["state"], found["taken"]
        try:
            more = kept.unpacked(
                self.module, self.optimizer, state["optimizer"], self._ranks.share(flat)
            )
            self.run.restore(taken, state["clip_norm"])
        except BaseException:
            self.close()
            raise
        self._id, self._entry = state["run"], state["ledger"]
        if (lost := taken - state["taken"]) and self._ranks.leads:
            warnings.warn(
                f"{lost} steps were begun after the checkpoint; they are lost, and counted",
                stacklevel=2,
            )
        return state["values"], more

    def _open(self, folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Reads a checkpoint of this training, and holds its folder."""
        state, flat = checkpoint.load(folder, _KEPT)
        if state["mechanism"] != self.mechanism.to_dict() or state["rows"] != self.run.rows:
            raise InputError(
                f"the checkpoint in {folder} is of another mechanism or another number of records",
                "Continue with the settings that it was begun with, or start anew.",
            )
        checkpoint.check_steps(folder, state["taken"], self.mechanism.steps)
        entry = state["ledger"]
        if entry is not None:
            payment.check(self._payment, folder, entry)
        self._counter = checkpoint.StepCounter(
            folder,
            state["run"],
            state["taken"],
            resumed=True,
            begun=None if entry is None else payment.begun(self._payment, state["run"]),
        )
        return state, flat

    def close(self) -> None:
        """Lets go of the checkpoint's folder, so that another training may continue from it."""
        if self._counter is not None:
            self._counter.close()
            self._counter = None

    def _clipped_sum(self, rows: NDArray[np.int64]) -> Summed:
        """The sum over these rows, fetched and clipped part by part."""
        if len(rows) and (self._whole or len(rows) <= self._physical):
            return self._sum_of_part(rows)
        starts = range(0, len(rows), self._physical)
        parts = (self._sum_of_part(rows[start : start + self._physical]) for start in starts)
        trainable = {n: p for n, p in self.module.named_parameters() if p.requires_grad}
        return added(parts, trainable, max(self.run.clipping.groups(list(trainable))) + 1)

    def _sum_of_part(self, rows: NDArray[np.int64]) -> Summed:
        if not self._settled:  # it is a rehearsal, which looks closer
            return self._sum_of(rows)
        with rehearsal.explained(self.module, self._records, rows, self._sum_of):
            return self._sum_of(rows)

    def _sum_of(self, rows: NDArray[np.int64]) -> Summed:
        inputs, targets = self._records.fetch(rows, next(self.module.parameters()).device)
        if self._augment is not None:
            if not self._looked and len(rows) > 1:
                self._looked = check_augment(self._augment, inputs, targets)
            inputs, targets = self._augment(inputs, targets)
        return self._engine.clipped_sum(inputs, targets)

    def _hold(self, folder: Path) -> None:
        """From now on every step is noted in this folder."""
        if self._counter is None:
            begun = payment.begun(self._payment, self._id)
            self._counter = checkpoint.StepCounter(folder, self._id, self.run.taken, begun=begun)
        elif self._counter.folder != folder.resolve():
            raise InputError(
                f"the checkpoints of this training are in {self._counter.folder}",
                "A training has one such folder.",
            )

    def _debit(self) -> None:
        if self._settled:
            return
        if self._pays and self._entry is None:
            self._ranks.once("rehearse", lambda: None)
            with sharded.gathered(self.module):
                self._ranks.all_or_none(self._rehearse, "the rehearsal")
        self._entry = self._ranks.once("pay", self._pay)
        self._settled = True

    def _rehearse(self) -> None:
        """A few records' gradients, thrown away: module, loss and data fit, or nothing is paid.

        They are taken from all over: equal neighbours would not show what mixes examples. Then
        those at which a module or a loss fails if it does at any.
        """
        cuda = [p.device.index for p in self.module.parameters() if p.device.type == "cuda"]
        count = max(4, min(_REHEARSED, self._physical))  # one alone shows nothing
        rows = np.unique(np.linspace(0, max(0, len(self._records) - 1), count).astype(np.int64))
        with torch.random.fork_rng(sorted(set(cuda))):
            if len(self._records):
                rehearsal.check(self._records, rows, self._sum_of_part)

    def _pay(self) -> dict[str, Any] | None:
        if self._payment is None or self._entry is not None:
            return self._entry
        return self._payment.debit(self.mechanism.guarantee(), self._id)
