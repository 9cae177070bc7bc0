"""``generators.diffusion``: a diffusion model trained by DP-SGD, from a paid warm start.

What is guaranteed, and by what: central images and a random-feature embedding are measured once on
all images, then Poisson-sampled steps on clipped gradients train the model; all of it, with the
counts of the classes where these are not declared, is one event. An example's gradient is the mean
over several noise levels, taken before its clip. Levels and noise are a public function of the
example itself (decision 010). No layer mixes examples.

Source: Dockhorn, Cao, Vahdat, Kreis 2023 (DPDM, arXiv 2210.09929); warm-up after FETA-Pro (arXiv
2601.06368); generative.md 5.3, 5.4.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from sfumato.errors import InputError
from sfumato.publish import checks, disk, memory, rehearsal, room
from sfumato.publish.generators.embedding import BATCH
from sfumato.publish.generators.gradient_trained import StepTrained, publish_generator
from sfumato.publish.generators.sampling import DrawsAgain
from sfumato.publish.generators.work import Work
from sfumato.registry import method
from sfumato.release.release import Artefact

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sfumato.data import ImageSchema
    from sfumato.learn.clipping import Clipping
    from sfumato.learn.records import Inputs
    from sfumato.privacy.budget import Budget
    from sfumato.publish.generators.denoiser import Denoiser
    from sfumato.publish.generators.warming import Measured, Warming
    from sfumato.publish.room import Part

_WHOLE = {
    "samples": 1,
    "width": 1,
    "levels": 1,
    "parts": 1,
    "features": 2,
    "warm_steps": 0,
    "warm_batch": 1,
    "warm_pictures": 1,
    "generator_steps": 1,
    "sampling_steps": 1,
}


_FEW = 100  # images that are drawn to see how long that takes


@method("generators.diffusion")
@dataclass(frozen=True)
class Diffusion(DrawsAgain, StepTrained):
    """A class-conditional diffusion model.

    Args:
        samples: How many images to publish at first; each takes ``sampling_steps`` evaluations.
        width: Channels of the U-Net's large maps.
        levels: Noise levels of an example, averaged before its gradient is clipped.
        learning_rate: Of Adam on the noisy mean gradient.
        averaging: Decay of the average of the weights that is published.
        centre_share: The share of the budget's mu that central images cost; 0 for none.
        parts: Central images of a class.
        embedding_share: The share of the budget's mu that the random-feature embedding costs; 0
            for none.
        features: How many random features it has.
        warm_steps: Steps on images drawn from the embedding; a quarter as many, rounded up, on
            central ones come before.
        warm_batch: Images of such a step.
        warm_rate: Learning rate of these steps.
        warm_pictures: Images that are drawn from the embedding's generator.
        generator_steps: That train it.
        label_dropout: Share of examples whose class is kept from the model in a step, without which
            there is no guidance.
        sampling_steps: Evaluations of the network for an image.
        churn: Noise put back in while sampling, as a part of what there is; 0 is deterministic.
        guidance: How far images are pushed from what the model draws without a class.

    The other settings are :class:`StepTrained`'s. ``max_minutes`` is for the warm-up, the private
    steps and the drawing of the images together; the first draws come beside it. A warm-up that
    would take more than half of what is left beside drawing, and more than the steps leave, is
    shortened (``warm_up_part`` on the card). Where nothing is left for steps, one is taken, the
    whole budget is spent all the same, and the card says so (``out_of_time``).

    Presets: ``quick`` for a first look, ``large`` for hours or a GPU.

    Raises:
        InputError: If a value is unknown or out of its range.

    Guaranteed: ``Central``, (epsilon, delta) for adding or removing one record.
    """

    epochs: float = 3
    expected_batch_size: int | None = None
    max_grad_norm: float = 0.1
    samples: int = 20_000
    width: int = 32
    levels: int = 4
    learning_rate: float = 5e-4
    averaging: float = 0.98
    centre_share: float = 0.1
    parts: int = 5
    embedding_share: float = 0.6
    features: int = 10_000
    warm_steps: int = 2000
    warm_batch: int = 128
    warm_rate: float = 3e-3
    warm_pictures: int = 20_000
    generator_steps: int = 2000
    label_dropout: float = 0.1
    sampling_steps: int = 12
    churn: float = 0.0
    guidance: float = 0.0

    source: ClassVar[str] = "Dockhorn, Cao, Vahdat, Kreis, TMLR 2023 (arXiv 2210.09929)"
    chosen_on: ClassVar[tuple[str, ...]] = ("MNIST",)
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "epochs": 1,
            "samples": 5_000,
            "width": 16,
            "levels": 2,
            "warm_steps": 500,
            "generator_steps": 1000,
        },
        "large": {
            "epochs": 150,
            "samples": 60_000,
            "width": 64,
            "levels": 32,
            "averaging": 0.999,
            "warm_steps": 20_000,
            "warm_pictures": 60_000,
            "sampling_steps": 18,
        },
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in _WHOLE.items():
            checks.whole(name, getattr(self, name), least)
        for name in ("learning_rate", "warm_rate"):
            checks.number(name, getattr(self, name), 0, closed=False)
        for name in ("averaging", "centre_share", "embedding_share", "label_dropout"):
            checks.number(name, getattr(self, name), 0, 1 - 1e-9)
        for name in ("churn", "guidance"):
            checks.number(name, getattr(self, name), 0)
        if self.features % 2:
            raise InputError(
                f"features is {self.features}", "Give an even number: each cosine has its sine."
            )
        if self.centre_share**2 + self.embedding_share**2 >= 0.99:
            raise InputError("nothing is left for the steps", "Lower embedding_share.")
        if self.guidance and not self.label_dropout:
            raise InputError(
                "guidance needs a model that also draws without a class",
                "Give label_dropout, say 0.1.",
            )
        self._check_warmth()

    def _check_warmth(self) -> None:
        """Refuses settings of a warm start that is not made, and draws that nothing is made of."""
        if not self.centre_share:
            checks.idle(self, ("parts",), "there are no central images (centre_share is 0)")
        if not self.embedding_share:
            of_it = ("features", "warm_pictures", "generator_steps")
            checks.idle(self, of_it, "there is no embedding (embedding_share is 0)")
        if not (self.centre_share or self.embedding_share):
            if self.warm_steps:
                checks.idle(self, ("warm_steps",), "there is nothing to warm up on")
            checks.idle(self, ("warm_batch", "warm_rate"), "there is nothing to warm up on")
        elif not self.warm_steps:
            raise InputError(
                "warm_steps is 0, and centre_share or embedding_share is paid for it",
                "Set both shares to 0, or give warm_steps.",
            )

    @property
    def clipping(self) -> Clipping:
        """Every gradient to about the bound: the scale of the loss does not matter."""
        from sfumato.learn.clipping import Automatic

        return Automatic(self.max_grad_norm)

    def architecture(self, facts: ImageSchema) -> Denoiser:
        """Of the model."""
        from sfumato.publish.generators.denoiser import Denoiser

        return Denoiser(
            facts.shape,
            len(facts.classes),
            self.width,
            self.sampling_steps,
            self.churn,
            self.guidance,
        )

    def holds(self, facts: ImageSchema) -> Mapping[str, int]:
        """A batch of the warm-up in all layers, and one of images at all random features."""
        warm = self.warm_batch * self.width if self.warm_steps else 0
        features = 3 * BATCH * self.features if self.embedding_share else 0
        return {
            "warm-up": 16 * warm * math.prod(facts.shape) * memory.FLOAT,
            "embedding": features * memory.FLOAT,
        }

    def stores(self, facts: ImageSchema, records: int, prepared: Any) -> disk.Stored:
        """Beside the model, what is measured first and the pictures that it learns from."""
        classes, pixels = len(facts.classes), math.prod(facts.shape)
        measured = pictures = 0
        if self.centre_share:
            measured += self.parts * classes * pixels
        if self.embedding_share:
            measured += classes * (self.features + 1)
            pictures = self.warm_pictures * (pixels + 8)
        weights = disk.weights(self.architecture(facts).build)
        return disk.stored(self.samples, facts, weights=weights, kept=pictures, noted=measured)

    def certain(self, facts: ImageSchema) -> Iterator[Part]:
        """The model, what it learns from first, and what it draws."""
        made = self.architecture(facts)
        yield room.network("the model's weights", ("width",), made.build, room.TRAINED)
        yield from room.released(self.samples, facts)
        of_one = ("levels",)
        yield room.images("the noisy versions of one image", of_one, self.levels, facts)
        if self.centre_share:
            count = self.parts * len(facts.classes)
            yield room.images("the central images", ("parts",), count, facts)
        if self.embedding_share:
            waves = math.prod(facts.shape) * self.features // 2 * 8
            yield room.Part("the random features' frequencies", ("features",), waves)
            if self.warm_steps:
                of_it = ("warm_pictures",)
                yield room.images("the images of the warm-up", of_it, self.warm_pictures, facts)
        if self.warm_steps and (self.centre_share or self.embedding_share):
            yield room.images("the images of a step", ("warm_batch",), self.warm_batch, facts)

    def first_draws(self, budget: Budget, facts: ImageSchema, records: int) -> Measured | None:
        """Central images and embedding."""
        from sfumato.privacy import calibration
        from sfumato.publish.generators.warming import Measured

        return Measured.calibrate(
            facts,
            records,
            calibration.analytic_gaussian_mu(budget),
            centre_share=self.centre_share,
            parts=self.parts,
            embedding_share=self.embedding_share,
            features=self.features,
        )

    def warm_up(self, drawn: Any, work: Work) -> nn.Module:
        """The model as it has learnt from the first draws."""
        from sfumato.publish.generators.warming import Measured, warmed

        first = work.steps.first
        assert isinstance(first, Measured)
        module = _built(work)
        warmed(module, first, drawn, self._warming.shortened(work.part), work)
        return module

    def beside(self, work: Work) -> tuple[float, float]:
        """A few steps of each kind, and a few images."""
        import torch

        from sfumato.publish.generators.warming import Measured, rehearsed

        first, module = work.steps.first, _built(work)
        few = torch.arange(min(self.samples, _FEW)) % work.architecture.classes
        draws = torch.Generator().manual_seed(work.seeds["drawing"])
        with torch.no_grad():
            drawn = rehearsal.taken(lambda: work.architecture.images(module, few, draws))
        warm = 0.0
        if first is not None:
            assert isinstance(first, Measured)
            warm = rehearsed(module, first, self._warming, work)
        return warm, drawn * self.samples / len(few)

    @property
    def _warming(self) -> Warming:
        from sfumato.publish.generators.warming import Warming

        return Warming(
            self.warm_steps,
            self.warm_batch,
            self.warm_rate,
            self.warm_pictures,
            self.generator_steps,
            self.label_dropout,
            0.99,
        )

    def train(self, work: Work) -> nn.Module:
        """The model, by private steps from where it was warmed up to."""
        import torch
        from torch.nn import functional

        from sfumato.learn import own_noise
        from sfumato.learn.multiplicity import MultiplicityEngine
        from sfumato.learn.trainer import PrivateTrainer
        from sfumato.publish.generators.fitting import fit
        from sfumato.publish.generators.versions import Versions

        module = _built(work) if work.start is None else work.start
        versions = Versions(
            work.architecture, self.levels, self.label_dropout, work.seeds["training"]
        )

        def noised(inputs: Inputs, targets: Tensor) -> tuple[Inputs, Tensor]:
            return versions(inputs, trainer.steps_taken)

        classes = functional.one_hot(work.labels, work.architecture.classes).float()
        trainer = PrivateTrainer(
            module,
            lambda found, target: (found - target).square().flatten(1).mean(dim=1),
            torch.optim.Adam(module.parameters(), self.learning_rate, betas=(0.9, 0.99)),
            work.steps.mechanism,
            ((work.images, classes, own_noise.keys_of(work.images)), work.labels),
            averaging=self.averaging,
            augment=noised,
            physical_batch_size=256,
            source=work.source,
            engine=MultiplicityEngine,
        )
        fit(trainer, work)
        assert trainer.average is not None
        trainer.average.copy_to(module)
        return module.eval().cpu()

    def publish(self, trained: nn.Module, work: Work, facts: ImageSchema) -> Artefact:
        """Its weights and a first sample."""
        return publish_generator(trained, work, facts, self.samples)


def _built(work: Work) -> nn.Module:
    """The model with public first weights."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(work.seeds["weights"])
        module: nn.Module = work.architecture.build()
    return module.to(work.device)
