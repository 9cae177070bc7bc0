"""A generator against a private critic.

The critic alone sees private images: its gradients on them are clipped example by example and
noised, and everything that follows from the noisy critic is free. On generated images its gradients
are clipped alike, so that neither side of the contest is scaled down, and not noised, because they
contain nothing private. The generator may therefore be trained as often as it helps. A noisy critic
lets it make one picture a class: two generated ones of a class may therefore be kept apart, free.

Source: generative.md 3.1 (b); Bie, Kamath, Zhang 2023 (arXiv 2302.02936) for many critic steps;
Mao et al. 2019 (arXiv 1903.05628) for generated pictures that seek different modes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from sfumato.learn.averaging import Averaging
from sfumato.learn.engine import Engine
from sfumato.learn.loop import PrivateLoop
from sfumato.publish.generators.keeping import Kept

if TYPE_CHECKING:
    from sfumato.publish.generators.work import Work

_BETAS = (0.0, 0.99)
_FAR = 0.1
"""Mean absolute difference of pixels beyond which two pictures of a class need not differ more."""


@dataclass(frozen=True)
class Contest:
    """How the two sides are trained; none of it matters to privacy.

    Args:
        critic_rate: Learning rate of the critic's Adam.
        generator_rate: Learning rate of the generator's Adam.
        critic_steps: Private steps of the critic before each turn of the generator.
        generator_steps: Steps of the generator in a turn.
        batch: Generated images a step, of the critic and of the generator.
        averaging: Decay of the average of the generator's weights that is kept.
        diversity: Weight of the distance between two generated examples of one class in the
            generator's loss; 0: none.
    """

    critic_rate: float
    generator_rate: float
    critic_steps: int
    generator_steps: int
    batch: int
    averaging: float
    diversity: float = 0.0


class Adversarial:
    """Takes private steps of a critic, and the generator's free ones between them.

    Args:
        critic: ``critic(images, labels)``; it must mix no examples.
        generator: As the architecture of ``work`` builds it; it may mix examples.
        contest: See :class:`Contest`.
        work: Private images, mechanism, seeds and noise.
    """

    def __init__(self, critic: nn.Module, generator: nn.Module, contest: Contest, work: Work):
        self.generator = generator.to(work.device).train()
        self._critic = critic.to(work.device)
        self._contest, self._work = contest, work
        self._sharpen = torch.optim.Adam(critic.parameters(), contest.critic_rate, betas=_BETAS)
        self._adapt = torch.optim.Adam(generator.parameters(), contest.generator_rate, betas=_BETAS)
        self._average = Averaging(generator, contest.averaging)
        self._draws = torch.Generator().manual_seed(work.seeds["training"])
        self._kept = Kept(self.generator, self._adapt, self._average, self._draws)
        self._loop = PrivateLoop(
            critic,
            self._sharpen,
            _real,
            ((work.images, work.labels), work.labels),
            work.steps.mechanism,
            source=work.source,
        )
        self._on_fakes = Engine(critic, _fake, self._loop.run.clipping)
        self._turns = 0

    @property
    def steps_taken(self) -> int:
        """Private steps begun."""
        return self._loop.run.taken

    def step(self) -> None:
        """One private step of the critic; then a turn of the generator, if it is due."""
        self._loop.backward()
        with torch.no_grad():
            made, classes = self._fakes()
        free = self._on_fakes.clipped_sum((made, classes), classes).gradients
        for name, parameter in self._critic.named_parameters():
            if parameter.grad is not None:
                parameter.grad.add_(free[name], alpha=1 / self._contest.batch)
        self._sharpen.step()
        if self.steps_taken % self._contest.critic_steps == 0:
            for _ in range(self._contest.generator_steps):
                self._turn()

    def finish(self) -> nn.Module:
        """The generator with its averaged weights, in evaluation mode, on the CPU."""
        self._average.copy_to(self.generator)
        return self.generator.eval().cpu()

    def save(self, folder: Path | str) -> None:
        """Writes a checkpoint of both sides."""
        settings, flat = self._kept.packed()
        self._loop.save(folder, tensors=flat, values={"adam": settings, "turns": self._turns})

    def resume(self, folder: Path | str) -> None:
        """Continues from a checkpoint, before the first step."""
        values, flat = self._loop.resume(folder)
        self._kept.unpack(values["adam"], flat)
        self._turns = values["turns"]

    def close(self) -> None:
        """Lets go of the checkpoint's folder."""
        self._loop.close()

    def _turn(self) -> None:
        diversity = self._contest.diversity
        made, classes = self._fakes(in_pairs=diversity > 0)
        loss = functional.softplus(-self._critic(made, classes)).mean()
        if diversity:
            loss = loss - diversity * _apart(made)
        self._adapt.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._adapt.step()
        self._turns += 1
        self._average.update(self.generator, self._turns)

    def _fakes(self, *, in_pairs: bool = False) -> tuple[Tensor, Tensor]:
        """Generated examples; in pairs, the second half has the classes of the first."""
        work = self._work
        drawn = torch.multinomial(
            work.prior, self._contest.batch, replacement=True, generator=self._draws
        )
        if in_pairs:
            drawn = drawn[: (len(drawn) + 1) // 2].repeat(2)[: len(drawn)]
        made = work.architecture.images(self.generator, drawn, self._draws)
        return made, drawn.to(work.device)


def _apart(made: Tensor) -> Tensor:
    """Mean distance between the two of each pair, not counted beyond what is far enough."""
    pairs = len(made) // 2
    second = (len(made) + 1) // 2
    distance = (made[:pairs] - made[second : second + pairs]).abs().flatten(1).mean(dim=1)
    return distance.clamp(max=_FAR).mean()


def _real(scores: Tensor, _: Tensor) -> Tensor:
    return functional.softplus(-scores)


def _fake(scores: Tensor, _: Tensor) -> Tensor:
    return functional.softplus(scores)
