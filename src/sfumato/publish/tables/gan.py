"""``tables.gan``: a conditional GAN of rows whose critic is trained by DP-SGD.

CTGAN's heads (a softmax for every column, one of public bins for a number) on the critic and the
contest of ``generators.dpgan``. The class of a generated row is drawn from noisy counts, which are
paid for, and so are the columns' distributions given the class, which the generator begins at. What
CTGAN does beside is not here: conditions sampled by the private frequencies of every level, modes
of numbers fitted to the rows, packs of ten rows that the critic judges together (one row is then in
ten gradients' company, and the clip of a pack bounds no row), batch normalisation of private rows.

Source: Xu et al., NeurIPS 2019 (arXiv 1907.00503), with a critic by DP-SGD (Abadi et al. 2016);
generative.md 3.1 and 4.6.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.publish import checks, memory, room
from sfumato.publish.tables.gradient_trained import RowWork, TrainedRows, classes_drawn
from sfumato.registry import method

if TYPE_CHECKING:
    from sfumato.publish.room import Part
    from sfumato.publish.tables.heads import Heads
    from sfumato.publish.tables.row_networks import Generator, Made
    from sfumato.publish.tables.start import Start

_ROWS = 1 << 13  # rows whose logits are in memory at a time


@method("tables.gan")
@dataclass(frozen=True)
class TableGan(TrainedRows):
    """A generator of rows by class, trained against a private critic.

    Args:
        latent: Normal variables a row is made from.
        critic_rate: Learning rate of the critic.
        generator_rate: Learning rate of the generator.
        critic_steps: Private steps of the critic before each turn of the generator; many, because
            a critic under noise learns slowly.
        generator_steps: Steps of the generator in a turn; they are free.
        batch: Generated rows a step.
        temperature: Of the softmax that stands in for the gradient of a drawn level.

    The other settings are :class:`TrainedRows`'s.

    Guaranteed: ``Central``, (epsilon, delta) for adding or removing one record.
    """

    epochs: float = 1
    latent: int = 16
    critic_rate: float = 1e-3
    generator_rate: float = 1e-3
    critic_steps: int = 10
    generator_steps: int = 10
    batch: int = 500
    temperature: float = 0.5

    source: ClassVar[str] = "Xu et al. 2019 (arXiv 1907.00503), by DP-SGD (Abadi et al. 2016)"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("critic_rate", "generator_rate", "temperature"):
            checks.number(name, getattr(self, name), 0, closed=False)
        for name in ("latent", "critic_steps", "generator_steps"):
            checks.whole(name, getattr(self, name), 1)
        checks.whole("batch", self.batch, 2)

    def certain(self, heads: Heads, classes: int) -> Iterator[Part]:
        """Generator, critic, and the generated rows of a step."""
        from sfumato.publish.tables.row_networks import Critic, Generator
        from sfumato.publish.tables.start import Start

        start = Start.uniform(classes, heads.sizes)
        yield room.network(
            "the generator's weights",
            ("latent", "hidden"),
            lambda: Generator(heads, start, self.latent, self.hidden),
            2,
        )
        critic = lambda: Critic(heads, classes, self.hidden)  # noqa: E731
        yield room.network("the critic's weights", ("hidden",), critic, room.TRAINED)
        drawn = self.batch * (heads.width + self.latent) * memory.FLOAT
        yield room.Part("the generated rows of a step", ("batch", "latent"), drawn)

    def train(self, work: RowWork) -> GeneratedRows:
        """The generator, trained against the critic."""
        import torch

        from sfumato.publish.generators.adversarial import Adversarial, Contest
        from sfumato.publish.generators.fitting import fit
        from sfumato.publish.tables.row_networks import Critic, Generator, Made

        made = Made(work.heads, self.temperature)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(work.seeds["weights"])
            critic = Critic(work.heads, len(work.start.prior), self.hidden)
            generator = Generator(work.heads, work.start, self.latent, self.hidden)
        contest = Contest(
            self.critic_rate,
            self.generator_rate,
            self.critic_steps,
            self.generator_steps,
            self.batch,
            self.averaging,
        )
        inner = work.within(made)
        sides = Adversarial(critic, generator, contest, inner)
        fit(sides, inner)
        trained: Any = sides.finish()
        return GeneratedRows(trained, made, work.start)


@dataclass(frozen=True)
class GeneratedRows:
    """Rows of a trained generator.

    Args:
        module: In evaluation mode, on the CPU.
        made: What it makes.
        start: Whose prior the classes follow.
    """

    module: Generator
    made: Made
    start: Start

    def sample(
        self, rows: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
        """(rows,) classes, and (rows,) cells of each feature."""
        import torch

        generator = torch.Generator().manual_seed(int(rng.integers(1 << 62)))
        labels = classes_drawn(self.start, rows, rng)
        parts = []
        with torch.no_grad():
            for at in range(0, rows, _ROWS):
                some = torch.from_numpy(labels[at : at + _ROWS])
                logits = self.made.logits(self.module, some, generator)
                parts.append(self.made.heads.draw(logits, generator).numpy())
        return labels, list(np.concatenate(parts).T)
