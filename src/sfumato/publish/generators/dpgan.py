"""``generators.dpgan``: a conditional GAN whose critic is trained by DP-SGD.

The published code of the method's first paper clips no gradient, rests on a weight clip whose bound
it does not compute, normalises by batch in the critic and trains one GAN a class on counts nobody
paid for. None of that is here: the critic mixes no examples, each example's gradient is clipped,
steps are Poisson-sampled and accounted together.

Source: Xie et al. 2018 (arXiv 1802.06739) in the form of Abadi et al.; generative.md 3.1 (b).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from sfumato.publish import checks, room
from sfumato.publish.generators.gradient_trained import GradientTrained
from sfumato.publish.generators.work import Work
from sfumato.registry import method

if TYPE_CHECKING:
    from torch import nn

    from sfumato.data import ImageSchema
    from sfumato.publish.room import Part


@method("generators.dpgan")
@dataclass(frozen=True)
class DpGan(GradientTrained):
    """A generator of labelled images, trained against a private critic.

    Args:
        critic_rate: Learning rate of the critic.
        generator_rate: Learning rate of the generator.
        critic_steps: Private steps of the critic before each turn of the generator; many, because
            a critic under noise learns slowly.
        generator_steps: Steps of the generator in a turn; they are free.
        batch: Generated images a step.
        diversity: Weight in the generator's loss of how far apart two generated images of a class
            are, which a noisy critic does not see to; 0: none. Free.
        critic_width: Channels of the critic's first map.
        critic_hidden: Numbers that the critic's score is read from.
        max_grad_norm: Bound on one record's gradient; small, because the gradients of pictures that
            the critic is sure of are, and the noise is not.

    The other settings are :class:`GradientTrained`'s.

    Guaranteed: ``Central``, (epsilon, delta) for adding or removing one record.
    """

    max_grad_norm: float = 0.1
    critic_rate: float = 1e-3
    generator_rate: float = 1e-3
    critic_steps: int = 5
    generator_steps: int = 10
    batch: int = 128
    diversity: float = 3.0
    critic_width: int = 8
    critic_hidden: int = 64

    source: ClassVar[str] = "Xie et al. 2018 (arXiv 1802.06739), by DP-SGD (Abadi et al. 2016)"
    chosen_on: ClassVar[tuple[str, ...]] = ("MNIST", "Fashion-MNIST")
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("critic_rate", "generator_rate"):
            checks.number(name, getattr(self, name), 0, closed=False)
        for name in ("critic_steps", "generator_steps", "critic_width", "critic_hidden"):
            checks.whole(name, getattr(self, name), 1)
        checks.whole("batch", self.batch, 2)
        checks.number("diversity", self.diversity, 0)

    def certain(self, facts: ImageSchema) -> Iterator[Part]:
        """Generator, critic, and the generated images of a step."""
        from sfumato.publish.generators import critics

        yield from super().certain(facts)
        yield room.network(
            "the critic's weights",
            ("critic_width", "critic_hidden"),
            lambda: critics.build(
                facts.shape, len(facts.classes), self.critic_width, self.critic_hidden, 0
            ),
            room.TRAINED,
        )
        yield room.images("the generated images of a step", ("batch",), self.batch, facts)

    def train(self, work: Work) -> nn.Module:
        """The generator, trained against the critic."""
        import torch

        from sfumato.publish.generators import critics
        from sfumato.publish.generators.adversarial import Adversarial, Contest
        from sfumato.publish.generators.fitting import fit

        critic = critics.build(
            work.architecture.shape,
            work.architecture.classes,
            self.critic_width,
            self.critic_hidden,
            work.seeds["weights"],
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(work.seeds["weights"])
            generator = work.architecture.build()
        contest = Contest(
            self.critic_rate,
            self.generator_rate,
            self.critic_steps,
            self.generator_steps,
            self.batch,
            self.averaging,
            self.diversity,
        )
        sides = Adversarial(critic, generator, contest, work)
        fit(sides, work)
        return sides.finish()
