"""Training under a guarantee for those without a loop of their own.

dp_sgd = DpSgd.calibrate(Budget(3.0, 1e-5), records=60_000, expected_batch_size=2048,
                         steps=600, clipping=Flat(0.1))
trainer = PrivateTrainer(module, loss, torch.optim.SGD(module.parameters(), 2.0), dp_sgd,
                         (images, labels), averaging=0.99)
trainer.fit()
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn
from torch.optim import Optimizer

from sfumato.errors import InputError
from sfumato.learn.accounted import Mechanism
from sfumato.learn.averaging import Averaging
from sfumato.learn.checkpoint import Due
from sfumato.learn.contracts import Augment, EngineMaker, Loss
from sfumato.learn.loop import PrivateLoop
from sfumato.learn.progress import Progress
from sfumato.learn.ranks import Ranks
from sfumato.learn.records import Data

if TYPE_CHECKING:
    from sfumato.privacy.guarantee import Central
    from sfumato.privacy.ledger import Ledger
    from sfumato.privacy.noise import NoiseSource

Schedule = Callable[[int], float]
"""The factor on the learning rate of a step, by the number of steps taken before it."""


class PrivateTrainer:
    """Takes the steps of a mechanism with an optimiser, and keeps an average of the weights.

    Args:
        module: Trained in place.
        loss: ``loss(outputs, targets) -> (n,)``: one loss for each example.
        optimizer: Of the module's parameters; any whose state is tensors and numbers.
        mechanism: What is accounted: any, as a plan of :mod:`sfumato.learn.plans` makes it of a
            budget.
        data: ``(inputs, targets)`` tensors, a map-style data set of such pairs, or a loader, of
            which only the data set is used.
        averaging: Decay of the exponential average of the weights; None for no average.
        schedule: See :data:`Schedule`; a function of the step alone, never of the data.
        physical_batch_size: Records fetched at a time; see :class:`PrivateLoop`.
        augment: Random changes to examples, one by one.
        ledger: Debited for all steps before the first draw.
        label: A name for the ledger.
        source: Sampling and noise; anything but the default is for tests.
        engine: Gives clipped sums.
        ranks: The processes that train as one; see :class:`PrivateLoop`. With several, each makes
            a trainer of its own and calls the same methods.

    Raises:
        InputError: If the data cannot be sampled from, or the optimiser holds other parameters.
    """

    def __init__(
        self,
        module: nn.Module,
        loss: Loss,
        optimizer: Optimizer,
        mechanism: Mechanism,
        data: Data,
        *,
        averaging: float | None = None,
        schedule: Schedule | None = None,
        physical_batch_size: int = 1024,
        augment: Augment | None = None,
        ledger: Ledger | None = None,
        label: str = "",
        source: NoiseSource | None = None,
        engine: EngineMaker | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        self.module = module
        self.optimizer = optimizer
        self._schedule = schedule
        self._loop = PrivateLoop(
            module,
            optimizer,
            loss,
            data,
            mechanism,
            physical_batch_size=physical_batch_size,
            augment=augment,
            ledger=ledger,
            label=label,
            source=source,
            engine=engine,
            ranks=ranks,
        )
        # Only now: several processes have begun with the same weights.
        self.average = None if averaging is None else Averaging(module, averaging)

    @property
    def steps_taken(self) -> int:
        """Steps begun so far, those before a resumption included."""
        return self._loop.run.taken

    @property
    def guarantee(self) -> Central:
        """What is proven of everything that the training releases: of all its steps."""
        return self._loop.mechanism.guarantee()

    def progress(self) -> Progress:
        """Where the training stands."""
        return self._loop.progress()

    def fit(
        self,
        steps: int | None = None,
        *,
        progress: Callable[[Progress], None] | None = None,
        checkpoint: Path | str | None = None,
        checkpoint_every: int = 100,
    ) -> nn.Module:
        """Takes steps: all that are left by default.

        In training mode, but for parts that were set to evaluation mode before in a module that was
        not, such as norms with frozen statistics. Modes are as they were afterwards.

        Args:
            steps: How many, at most what is left.
            progress: Told after each step.
            checkpoint: A folder to continue from if this ends early; see :meth:`resume`.
            checkpoint_every: Steps between two checkpoints; where one process trains there is one
                after 30 seconds, too.

        Returns:
            The module, whose weights are the last ones; ``average.copy_to(module)`` sets the
            averaged ones.

        Raises:
            BudgetError: If more steps are asked for than are left; the last of them is not taken.
            InputError: If an argument is out of its range, or a record cannot be taken; then what
                was trained so far is in the checkpoint (of several processes, up to its last one).
        """
        for name, value in (("steps", steps), ("checkpoint_every", checkpoint_every)):
            if value is not None and not (isinstance(value, Integral) and value >= 1):
                raise InputError(f"{name} is {value!r}", "Give a whole number of at least 1.")
        if checkpoint is not None:
            self.save(checkpoint)
        modes, due = (
            [(part, part.training) for part in self.module.modules()],
            Due(checkpoint_every),
        )
        if not self.module.training:
            self.module.train()
        try:
            for done in range(self._loop.run.left if steps is None else steps):
                try:
                    self.step()
                except InputError:  # of a record: what was trained so far is paid for
                    if checkpoint is not None and self._loop.is_alone:  # others may not have failed
                        self.save(checkpoint)
                    raise
                late = due.after_a_step() and self._loop.is_alone  # of several, clocks differ
                if checkpoint is not None and (late or (done + 1) % checkpoint_every == 0):
                    self.save(checkpoint)
                if progress is not None:
                    progress(self.progress())
        finally:
            for part, training in modes:
                part.training = training
        if checkpoint is not None:
            self.save(checkpoint)
        return self.module

    def step(self) -> None:
        """Takes one step.

        Raises:
            BudgetError: If all have been taken.
            InputError: If the schedule gives no finite number.
        """
        if self._schedule is not None:
            factor = self._schedule(self.steps_taken)
            if not math.isfinite(factor):
                raise InputError(
                    f"the schedule gives {factor!r} at step {self.steps_taken}",
                    "Let it give a finite factor on the learning rate. No step was taken.",
                )
            for group in self.optimizer.param_groups:
                group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor
        self._loop.backward()
        self.optimizer.step()
        if self.average is not None:
            self.average.update(self.module, self.steps_taken)

    def save(self, folder: Path | str) -> None:
        """Writes a checkpoint: weights, average, optimiser, steps taken, ledger entry."""
        averages = self.average.weights if self.average else {}
        self._loop.save(folder, tensors=averages)

    def resume(self, folder: Path | str) -> None:
        """Continues from a checkpoint, before the first step of this trainer.

        Steps begun after the checkpoint count as taken; noise and samples are fresh.

        Raises:
            InputError: If the checkpoint is damaged, or of another mechanism, data or module.
            LedgerError: If the ledger does not hold the entry that paid for the training.
        """
        _, averages = self._loop.resume(folder)
        if self.average is not None:
            try:
                self.average.load(averages)
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Lets go of the checkpoint's folder."""
        self._loop.close()
