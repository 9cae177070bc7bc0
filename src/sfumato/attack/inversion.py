"""Model inversion by gradient ascent: what a model takes for each of its classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from sfumato.attack import auxiliary, targets
from sfumato.attack.representatives import Judge, asked_classes, own_scores
from sfumato.attack.settings import Settings, flag, number, whole
from sfumato.registry import attack

if TYPE_CHECKING:
    from sfumato.attack.evidence import Evidence
    from sfumato.attack.finding import Finding
    from sfumato.release.release import Release


@attack("inversion.ascent")
@dataclass(frozen=True)
class Ascent(Settings):
    """Climbs from grey noise to the picture that a model is surest of, for each class.

    The attacker has the weights and no picture. An independent classifier, trained on non-members,
    says whether the pictures show the class asked for; whether they show people in the data is said
    by how near members and non-members are to them.

    Args:
        each: Pictures of each class, from as many starts.
        iterations: Steps of Adam.
        rate: Of Adam, in units of the pixel range.
        tv: Weight of the total variation.
        blur: Standard deviation, in pixels, of the smoothing after every tenth step; 0 for none.
        reveal: Adds the first pictures to the finding.

    Source: Fredrikson, Jha, Ristenpart, CCS 2015 (MI-Face, with the smoothing of its "process").
    """

    kinds: ClassVar[tuple[str, ...]] = ("model",)
    source: ClassVar[str] = "Fredrikson, Jha, Ristenpart. Model inversion attacks. CCS 2015"
    costly: ClassVar[bool] = True

    each: int = 5
    iterations: int = 200
    rate: float = 0.05
    tv: float = 1.0
    blur: float = 0.5
    reveal: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        flag(self.reveal, "reveal")
        whole(self.each, "each", 1)
        whole(self.iterations, "iterations", 1)
        number(self.rate, "rate", 0, above=True)
        number(self.tv, "tv", 0)
        number(self.blur, "blur", 0)

    def __call__(self, release: Release, evidence: Evidence, *, seed: int = 0) -> Finding:
        """The share of pictures that show the class asked for."""
        import torch
        from scipy.ndimage import gaussian_filter
        from torch.nn import functional

        from sfumato.attack.gradients.inversion import total_variation

        targets.check(release, evidence)
        model = release.model
        auxiliary.pictures_only(model, "inversion.ascent")
        rng = np.random.default_rng(seed)
        members = auxiliary.labelled(model, evidence.members, self.max_targets, rng)
        others = auxiliary.labelled(model, evidence.non_members, self.max_targets, rng)
        asked = asked_classes(len(model.classes), self.each)
        wanted = torch.from_numpy(asked)
        start = 0.5 + 0.1 * rng.standard_normal((len(asked), *members.x.shape[1:]))
        blind = np.clip(start, 0, 1).astype(np.float32)
        pictures = torch.from_numpy(blind.copy()).requires_grad_()
        optimizer = torch.optim.Adam([pictures], lr=self.rate)
        for step in range(self.iterations):
            losses = functional.cross_entropy(model.module(pictures), wanted, reduction="sum")
            (slope,) = torch.autograd.grad(
                losses + self.tv * total_variation(pictures).sum(), [pictures]
            )
            pictures.grad = slope
            optimizer.step()
            with torch.no_grad():
                if self.blur and step % 10 == 9 and step + 10 < self.iterations:
                    spread = (0, 0, self.blur, self.blur)
                    pictures.copy_(torch.from_numpy(gaussian_filter(pictures.numpy(), spread)))
                pictures.clamp_(0, 1)
        found = pictures.detach()
        judge = Judge(members, others, len(model.classes), self.confidence, seed)
        return judge.finding(
            "inversion.ascent",
            asked,
            found.numpy(),
            blind,
            own_scores(model.module, found, asked),
            self.reveal,
            "Climbing to what the model is surest of",
        )
