"""Model inversion with a public prior: the likeliest picture that a model takes for a class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from sfumato.attack import auxiliary, targets
from sfumato.attack.generative import fit_prior
from sfumato.attack.representatives import Judge, asked_classes, own_scores
from sfumato.attack.settings import Settings, flag, number, whole
from sfumato.registry import attack

if TYPE_CHECKING:
    from sfumato.attack.evidence import Evidence
    from sfumato.attack.finding import Finding
    from sfumato.release.release import Release


@attack("inversion.prior")
@dataclass(frozen=True)
class Prior(Settings):
    """Searches the code of a generator for pictures that a model takes for each class.

    The generator is fitted to auxiliary pictures without their labels, so that it knows what
    pictures look like, not what the classes are. Of a few starts the attacker keeps the one that
    the model is surest of. Without the model he shows pictures of the generator at random.

    A variational autoencoder stands for the paper's Wasserstein GAN: its prior on the code says
    what the critic says there, and it is fitted in seconds.

    Args:
        each: Pictures of each class.
        starts: Codes that are tried for each.
        iterations: Steps of Adam on the code.
        latent: Width of the code.
        steps: Of the generator's training.
        weight: Of the prior on the code against the model's loss.
        reveal: Adds the first pictures to the finding.

    Source: Zhang et al., The secret revealer, CVPR 2020 (GMI).
    """

    kinds: ClassVar[tuple[str, ...]] = ("model",)
    source: ClassVar[str] = "Zhang et al. The secret revealer. CVPR 2020. arXiv:1911.07135"
    costly: ClassVar[bool] = True

    each: int = 5
    starts: int = 5
    iterations: int = 150
    latent: int = 16
    steps: int = 1500
    weight: float = 0.03
    reveal: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        flag(self.reveal, "reveal")
        for name in ("each", "starts", "iterations", "latent", "steps"):
            whole(getattr(self, name), name, 1)
        number(self.weight, "weight", 0)

    def __call__(self, release: Release, evidence: Evidence, *, seed: int = 0) -> Finding:
        """The share of pictures that show the class asked for."""
        import torch
        from torch.nn import functional

        targets.check(release, evidence)
        model = release.model
        auxiliary.pictures_only(model, "inversion.prior")
        rng = np.random.default_rng(seed)
        judged, held = auxiliary.parted(evidence, seed)
        members = auxiliary.labelled(model, evidence.members, self.max_targets, rng)
        others = auxiliary.labelled(model, judged, self.max_targets, rng)
        public = auxiliary.labelled(model, held, self.max_released, rng).x
        prior = fit_prior(public, latent=self.latent, steps=self.steps, seed=seed)
        asked = asked_classes(len(model.classes), self.each)
        wanted = torch.from_numpy(np.repeat(asked, self.starts))
        random = torch.Generator().manual_seed(seed)
        codes = torch.randn(len(wanted), self.latent, generator=random)
        blind = prior.decode(codes[:: self.starts]).numpy()
        codes.requires_grad_()
        optimizer = torch.optim.Adam([codes], lr=0.05)
        for _ in range(self.iterations):
            wrong = functional.cross_entropy(
                model.module(prior.decode(codes)), wanted, reduction="none"
            )
            unlikely = codes.square().sum(dim=1) / 2
            (slope,) = torch.autograd.grad((wrong + self.weight * unlikely).sum(), [codes])
            codes.grad = slope
            optimizer.step()
        pictures = prior.decode(codes.detach())
        with torch.no_grad():
            left = functional.cross_entropy(model.module(pictures), wanted, reduction="none")
            left += self.weight * codes.square().sum(dim=1) / 2
        best = left.view(-1, self.starts).argmin(dim=1)
        found = pictures[torch.arange(len(asked)) * self.starts + best]
        judge = Judge(members, others, len(model.classes), self.confidence, seed)
        return judge.finding(
            "inversion.prior",
            asked,
            found.numpy(),
            blind,
            own_scores(model.module, found, asked),
            self.reveal,
            "Searching a public generator for what the model takes for a class",
        )
