"""A generator that follows teachers' noisy answers: the student.

In each round it makes a few images of every class. The teachers are asked where these should go;
what comes back is noisy and public. The images are moved there, and the generator is fitted to the
moved images, for free. It never meets a private image: neither its batch statistics nor its number
of steps can tell of one.
"""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sfumato.errors import BudgetError, InputError
from sfumato.learn import checkpoint
from sfumato.learn.averaging import Averaging
from sfumato.learn.frequencies import LowFrequencies
from sfumato.learn.pate.critics import crowding
from sfumato.publish.generators.keeping import Kept

if TYPE_CHECKING:
    from sfumato.publish.generators.networks import Architecture

Ask = Callable[[int, Tensor, Tensor, torch.Generator], Tensor]
"""``ask(class, asked (b, d), crowd (b, d), coins)``: (b, d), the noisy way images are to go."""

_BETAS = (0.5, 0.99)


@dataclass(frozen=True)
class Lessons:
    """How a student learns; none of it matters to privacy but ``batch``, which is accounted.

    Args:
        batch: Images of each class that teachers are asked about in a round.
        crowd: Further generated images of the class that the asked ones are kept away from.
        stride: How far the images are moved along the answer.
        repeats: Steps of the generator toward the moved images.
        learning_rate: Of its Adam.
        averaging: Decay of the average of its weights.
        bandwidth: Of the critics, in the units of coordinates.
    """

    batch: int
    crowd: int
    stride: float
    repeats: int
    learning_rate: float
    averaging: float
    bandwidth: float


class Student:
    """Takes rounds.

    Args:
        architecture: Of the generator.
        lessons: See there.
        basis: In which teachers are asked.
        ask: Draws the noisy answer of one class.
        seeds: ``"weights"`` and ``"training"``.
        device: As torch names it.
        rounds: How many are accounted; no more are taken.
        identity: What the rounds are: a checkpoint of others is refused.
    """

    def __init__(
        self,
        architecture: Architecture,
        lessons: Lessons,
        basis: LowFrequencies,
        ask: Ask,
        seeds: Any,
        device: str,
        rounds: int,
        identity: dict[str, Any],
    ) -> None:
        self._architecture, self._lessons, self._basis, self._ask = (
            architecture,
            lessons,
            basis,
            ask,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seeds["weights"])
            self.generator = architecture.build().to(device).train()
        self._adam = torch.optim.Adam(
            self.generator.parameters(), lessons.learning_rate, betas=_BETAS
        )
        self._average = Averaging(self.generator, lessons.averaging)
        self._draws = torch.Generator().manual_seed(seeds["training"])
        self._kept = Kept(self.generator, self._adam, self._average, self._draws)
        self._rounds, self._identity = rounds, identity
        self._id = uuid.uuid4().hex
        self._counter: checkpoint.StepCounter | None = None
        self._taken = 0
        classes, each = architecture.classes, lessons.batch + lessons.crowd
        self._labels = torch.arange(classes).repeat_interleave(each)
        self._asked = (torch.arange(each) < lessons.batch).repeat(classes)

    @property
    def steps_taken(self) -> int:
        """Rounds begun, those before a resumption included."""
        return self._taken

    def step(self) -> None:
        """One round: asks about every class, and follows the answers.

        Raises:
            BudgetError: If all rounds have been taken. Nothing was drawn.
        """
        if self._taken >= self._rounds:
            raise BudgetError(
                f"all {self._rounds} rounds that are accounted have been taken",
                "Calibrate with more rounds.",
            )
        self._taken += 1
        if self._counter is not None:
            self._counter.begun(self._taken)
        state = self._draws.get_state()
        made = self._made()
        coordinates = self._basis.coordinates(made.detach().cpu())
        goal = self._moved(coordinates)
        coming = self._draws.get_state()
        for _ in range(self._lessons.repeats):
            self._draws.set_state(state)  # the same latent variables as were asked about
            loss = (self._made()[self._asked] - goal).square().flatten(1).sum(dim=1).mean()
            self._adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self._adam.step()
        self._draws.set_state(coming)
        self._average.update(self.generator, self._taken)

    @torch.no_grad()
    def _moved(self, coordinates: Tensor) -> Tensor:
        """Where the asked images are to go; cut to [0, 1], noise would leave everything grey."""
        lessons = self._lessons
        goals = []
        for label, own in enumerate(coordinates.chunk(self._architecture.classes)):
            asked, others = own[: lessons.batch], own[lessons.batch :]
            crowd = (
                crowding(asked, others, lessons.bandwidth)
                if len(others)
                else torch.zeros_like(asked)
            )
            way = self._ask(label, asked, crowd, self._draws)
            goals.append(asked + lessons.stride * way.float())
        pictures = self._basis.pictures(torch.cat(goals))
        return pictures.to(next(self.generator.parameters()).device)

    def _made(self) -> Tensor:
        return self._architecture.images(self.generator, self._labels, self._draws)

    def finish(self) -> nn.Module:
        """The generator with its averaged weights, in evaluation mode, on the CPU."""
        self._average.copy_to(self.generator)
        return self.generator.eval().cpu()

    def save(self, folder: Path | str) -> None:
        """Writes a checkpoint; from now on every round is noted before it is begun."""
        folder = Path(folder)
        if self._counter is None:
            self._counter = checkpoint.StepCounter(folder, self._id, self._taken)
        settings, flat = self._kept.packed()
        state = {"run": self._id, "taken": self._taken, "rounds": self._identity, "adam": settings}
        checkpoint.save(folder, state, flat)

    def resume(self, folder: Path | str) -> None:
        """Continues from a checkpoint; rounds begun after it count as taken, and are lost.

        Raises:
            InputError: If it is of other rounds.
        """
        folder = Path(folder)
        state, flat = checkpoint.load(folder)
        if state["rounds"] != self._identity:
            raise InputError(
                f"{folder} holds the checkpoint of another training",
                "Resume it with the settings and data that it was begun with.",
            )
        self._kept.unpack(state["adam"], flat)
        self._id = state["run"]
        self._counter = checkpoint.StepCounter(folder, self._id, state["taken"], resumed=True)
        self._taken = self._counter.count
        if lost := self._taken - state["taken"]:
            warnings.warn(
                f"{lost} rounds were begun after the checkpoint; they are lost, and counted",
                stacklevel=2,
            )

    def close(self) -> None:
        """Lets go of the checkpoint's folder."""
        if self._counter is not None:
            self._counter.close()
            self._counter = None
