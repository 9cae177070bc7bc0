"""``generators.psg``: a small set of labelled images, moved until its gradients match private ones.

What is published is the set itself: a few images a class, made for training a classifier and for
nothing else. No generator stands between, so there is nothing to draw more from.

What is guaranteed, and by what: one noisy mean image of each class, over its expected count, is
drawn first and composed with what follows; the set starts from it. Networks have public random
weights, or weights learnt from the set as it was published by the steps before. At each step every
private image's gradient is clipped, their Poisson-sampled sum is noised once, and the set moves
towards it: DP-SGD, whose accounting does not ask what the noisy gradient is used for. The set's
labels are declared or paid for.

Source: Chen, Kerkouche, Fritz 2022 (arXiv 2211.04446); generative.md 3.13.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sfumato.publish import checks, disk, memory, room
from sfumato.publish.generators.gradient_trained import StepTrained
from sfumato.publish.generators.work import Work
from sfumato.registry import method
from sfumato.release.release import Artefact

if TYPE_CHECKING:
    from torch import Tensor

    from sfumato.data import ImageSchema
    from sfumato.privacy.budget import Budget
    from sfumato.publish.generators.matching import Network
    from sfumato.publish.generators.warming import Measured
    from sfumato.publish.room import Part

_WHOLE = ("images_per_class", "width", "depth", "moves", "turn_steps", "turns")
_SET_IN_TRAINING = 8  # the set, its average and two moments, twice: see sfumato.publish.disk


@method("generators.psg")
@dataclass(frozen=True)
class Psg(StepTrained):
    """A fixed small set of labelled images, trained by matching noisy gradients.

    Args:
        images_per_class: How many images of a class are published, on average: classes have
            images by ``class_prior``, one at least.
        width: Channels of the networks whose gradients are matched. Noise grows with the number of
            weights: small networks tell more.
        depth: Their convolutions; fewer for images of a few pixels.
        rate: How far a pixel moves at a time, at first; falls to 0 as a cosine.
        moves: Times the set is moved after each noisy gradient; free.
        turn_steps: Noisy gradients at one network before it learns from the set.
        turns: Turns of a network before a new random one takes its place.
        network_steps: Steps that a network learns from the set between turns; free.
        network_rate: Learning rate of those.
        centre_share: The share of the budget's mu that a noisy mean image of each class costs,
            which the set starts from; 0 for none. About half its square is what the steps lose.
            Matching by itself hardly tells how bright images are, and leaves much of what it began
            with.

    The other settings are :class:`StepTrained`'s.

    Few steps: at a budget the noise beside a mean gradient grows as the root of their number, and
    a set that is moved by what is mostly noise loses what it began with.

    Preset: ``paper``, the published networks, batches and steps for 20 images a class. The set is
    moved by Adam and kept in [0, 1], there by heavy-ball without bounds.

    Guaranteed: ``Central``, (epsilon, delta) for adding or removing one record.
    """

    epochs: float = 1
    max_grad_norm: float = 0.1
    images_per_class: int = 20
    width: int = 16
    depth: int = 3
    rate: float = 0.001
    moves: int = 5
    turn_steps: int = 5
    turns: int = 2
    network_steps: int = 20
    network_rate: float = 0.01
    centre_share: float = 0.2

    gives: ClassVar[str] = "images"
    trains: ClassVar[str] = "classifier"
    source: ClassVar[str] = "Chen, Kerkouche, Fritz, NeurIPS 2022 (arXiv 2211.04446)"
    chosen_on: ClassVar[tuple[str, ...]] = ("MNIST",)
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {
            "epochs": 853,
            "expected_batch_size": 256,
            "class_prior": "uniform",
            "width": 128,
            "rate": 0.02,
            "moves": 1,
            "turn_steps": 10,
            "turns": 20,
            "network_steps": 25,
            "centre_share": 0.0,
        }
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in _WHOLE:
            checks.whole(name, getattr(self, name), 1)
        checks.whole("network_steps", self.network_steps, 0)
        checks.number("centre_share", self.centre_share, 0, 0.99)
        for name in ("rate", "network_rate"):
            checks.number(name, getattr(self, name), 0, closed=False)

    def architecture(self, facts: ImageSchema) -> Network:
        """Of the networks whose gradients are matched."""
        from sfumato.publish.generators.matching import Network

        return Network(facts.shape, len(facts.classes), self.width, self.depth)

    def holds(self, facts: ImageSchema) -> Mapping[str, int]:
        """What a network makes of the set, and of the gradient of its gradient."""
        numbers = self.images_per_class * len(facts.classes) * math.prod(facts.shape)
        return {"the set": 8 * numbers * self.width * memory.FLOAT}

    def certain(self, facts: ImageSchema) -> Iterator[Part]:
        """The set, and a network."""
        sizes = ("width", "depth")
        yield room.network("a network's weights", sizes, self.architecture(facts).build)
        count = self.images_per_class * len(facts.classes)
        yield room.images("the released images", ("images_per_class",), count, facts)

    def stores(self, facts: ImageSchema, records: int, prepared: Any) -> disk.Stored:
        """The set, as it is moved and as it is released, and what it starts from."""
        count = self.images_per_class * len(facts.classes)
        numbers = count * math.prod(facts.shape)
        network = disk.weights(self.architecture(facts).build)
        means = len(facts.classes) * math.prod(facts.shape) if self.centre_share else 0
        kept = _SET_IN_TRAINING * numbers * memory.FLOAT + 2 * network
        return disk.stored(count, facts, kept=kept, noted=means)

    def first_draws(self, budget: Budget, facts: ImageSchema, records: int) -> Measured | None:
        """A mean image of each class."""
        from sfumato.privacy import calibration
        from sfumato.publish.generators.warming import Measured

        return Measured.calibrate(
            facts,
            records,
            calibration.analytic_gaussian_mu(budget),
            centre_share=self.centre_share,
            parts=1,
            embedding_share=0.0,
            features=2,
        )

    def warm_up(self, drawn: Any, work: Work) -> Tensor:
        """(K, c, h, w) the noisy means."""
        import torch

        return torch.tensor(drawn["centres"])[0].clamp(0, 1)

    def train(self, work: Work) -> tuple[Tensor, Tensor]:
        """The set: images (m, c, h, w) in [0, 1] and their classes (m,)."""
        import torch

        from sfumato.publish.generators.fitting import fit
        from sfumato.publish.generators.matching import Matched, Matching

        labels = torch.from_numpy(labels_of(work.prior.numpy(), self.images_per_class))
        matching = Matching(
            self.rate,
            self.moves,
            self.turn_steps,
            self.turns,
            self.network_steps,
            self.network_rate,
        )
        matched = Matched(labels, matching, work)
        fit(matched, work)
        return matched.finish(), labels

    def publish(self, trained: tuple[Tensor, Tensor], work: Work, facts: ImageSchema) -> Artefact:
        """The set as it was left by the last step."""
        from sfumato.data import ImageSet

        images, labels = (part.numpy() for part in trained)
        pixels = np.rint(images * 255).astype(np.uint8)
        return Artefact(ImageSet.from_arrays(pixels, labels, facts.classes), seeds=dict(work.seeds))


def labels_of(prior: np.ndarray, each: int) -> np.ndarray:
    """(m,) classes of a set of ``each`` images a class on average, one at least of each.

    >>> labels_of(np.array([0.7, 0.3, 0.0]), 3).tolist()
    [0, 0, 0, 0, 0, 1, 1, 1, 2]
    """
    from sfumato.publish.generators.sampling import apportion

    classes = len(prior)
    counts = 1 + apportion(prior, classes * (each - 1))
    return np.repeat(np.arange(classes), counts)
