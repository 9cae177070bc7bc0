"""Gradient inversion: the picture behind one example's gradient."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.attack import auxiliary, margin, reveal, targets
from sfumato.attack.ceilings import rounded_up
from sfumato.attack.finding import Finding
from sfumato.attack.gradients import exposure, layers
from sfumato.attack.gradients.exposure import AS_TRAINED, RELEASED, Exposure
from sfumato.attack.gradients.labels import input_of_layer, label_of_bias, label_of_weight
from sfumato.attack.gradients.likeness import psnr, radius_for, ssim
from sfumato.attack.margin import Margin
from sfumato.attack.settings import Settings, flag, number, whole
from sfumato.errors import InputError
from sfumato.measure import intervals
from sfumato.registry import attack

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sfumato.attack.evidence import Evidence
    from sfumato.release.release import Release

AUTO, ANALYTIC, COSINE, DEEP, DEEP_KNOWN = "auto", "analytic", "cosine", "dlg", "idlg"
WAYS = (AUTO, ANALYTIC, COSINE, DEEP, DEEP_KNOWN)


@attack("gradient.inversion")
@dataclass(frozen=True)
class Inversion(Settings):
    """Rebuilds members' pictures from one gradient each, as somebody who trains with them sees it.

    Each member takes one step of training at the released model's weights. The attacker sees the
    gradient as the card says that steps were protected (clipped, with the noise of one step), or
    bare; he infers the label from it first. A picture counts as recovered where its structural
    similarity to the member's reaches ``success``. The attacker without a gradient shows the same
    picture for everybody: the best of the non-members'.

    Args:
        max_targets: Members that are attacked.
        way: ``"cosine"`` (inverting gradients), ``"dlg"``, ``"idlg"``, ``"analytic"`` (exact, where
            the first layer is linear with a bias), or ``"auto"``: analytic where that is possible.
        gradient: ``"as trained"``, or ``"bare"``: without clipping and noise.
        weights: ``"released"``, or ``"fresh"``: drawn again, as at the start of a training.
        iterations: Steps of the search.
        tv: Weight of the total variation, of ``"cosine"``.
        restarts: First guesses of ``"cosine"``; the one that fits the gradient best is kept.
        success: SSIM from which a picture is recovered.
        reveal: Adds the pictures that were found to the finding.

    Source: Geiping et al., NeurIPS 2020; Zhu et al., NeurIPS 2019 (DLG); Zhao et al.,
    arXiv 2001.02610 (iDLG); Phong et al., IEEE TIFS 2018 (analytic).
    """

    kinds: ClassVar[tuple[str, ...]] = ("model",)
    source: ClassVar[str] = "Geiping et al. Inverting gradients. NeurIPS 2020. arXiv:2003.14053"
    costly: ClassVar[bool] = True

    max_targets: int = 20
    way: str = AUTO
    gradient: str = AS_TRAINED
    weights: str = RELEASED
    iterations: int = 400
    tv: float = 0.1
    restarts: int = 1
    success: float = 0.5
    reveal: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        flag(self.reveal, "reveal")
        whole(self.iterations, "iterations", 1)
        whole(self.restarts, "restarts", 1)
        if self.way not in WAYS:
            raise InputError(f"way is {self.way!r}", f"Use one of {', '.join(WAYS)}.")
        number(self.success, "success", 0, 1, above=True)
        number(self.tv, "tv", 0)

    def __call__(self, release: Release, evidence: Evidence, *, seed: int = 0) -> Finding:
        """The share of members whose picture is recovered."""
        import torch

        targets.check(release, evidence)
        model = release.model
        auxiliary.pictures_only(model, "gradient.inversion")
        rng = np.random.default_rng(seed)
        seen_as = Exposure.of_plan(release.card.plan, self.gradient)
        members = auxiliary.labelled(model, evidence.members, self.max_targets, rng)
        others = auxiliary.labelled(model, evidence.non_members, 500, rng)
        module = exposure.weights_of(model.module, self.weights, seed)
        pictures = torch.from_numpy(np.ascontiguousarray(members.x))
        labels = torch.from_numpy(members.y)
        bare = exposure.gradients_each(module, pictures, labels)
        found, guessed, way = self._search(module, seen_as(bare, seed), pictures, labels, seed)

        radius = radius_for(members.x.shape[1:])
        alike = ssim(found, members.x, radius)
        guesses = _blind(others.x, members.x, radius)
        hits, n = int(np.sum(alike >= self.success)), len(alike)
        best = int(np.max(np.sum(guesses >= self.success, axis=1)))

        def beaten(confidence: float) -> list[Margin]:
            told = alike >= self.success
            return [margin.of_same(told, one >= self.success, confidence) for one in guesses]

        limit = seen_as.ceiling
        if limit is not None:
            # The prior's success is itself estimated, so its upper limit is what is bounded.
            known = intervals.clopper_pearson(best, n, self.confidence)[1]
            ceiling = max(limit.at(known), known)
        finding = Finding(
            attack="gradient.inversion",
            metric=f"share of pictures recovered (SSIM of at least {self.success:g})",
            value=hits / n,
            interval=intervals.clopper_pearson(hits, n, self.confidence),
            confidence=self.confidence,
            chance=0.0,
            baseline=best / n,
            margin=margin.least(beaten, self.confidence),
            ceiling=None if limit is None else ceiling,
            details={
                "way": way,
                "weights": self.weights,
                "exposure": seen_as.to_dict(),
                "targets": n,
                "recovered": hits,
                "ssim": _spread(alike),
                "psnr": _spread(psnr(found, members.x)),
                "ssim_of_the_best_guess": float(guesses.mean(axis=1).max()),
                "ssim_to_another_member": float(
                    ssim(found, np.roll(members.x, 1, 0), radius).mean()
                ),
                "label_accuracy": float(np.mean(guessed == members.y)),
                "ssim_window": 2 * radius + 1,
                **reveal.pictures(self.reveal, found),
            },
        )
        how = "as training would send it" if seen_as.max_grad_norm is not None else "unprotected"
        limited = "" if limit is None else f", one step's noise allows {rounded_up(ceiling, 2):.0%}"
        summary = (
            f"From the gradient of one picture, {how}, the attack rebuilds {hits} of {n} people's "
            f"pictures (mean SSIM {alike.mean():.2f}{limited}; the best guess without a gradient "
            f"gets {best}) and {finding.details['label_accuracy']:.0%} of the labels: "
            f"{finding.verdict}."
        )
        return replace(finding, summary=summary)

    def _search(
        self, module: nn.Module, seen: Tensor, pictures: Tensor, labels: Tensor, seed: int
    ) -> tuple[NDArray[Any], NDArray[Any], str]:
        """Pictures, labels, and how they were found; the true ones serve for shapes only."""
        import torch

        from sfumato.attack.gradients.inversion import DeepLeakage, InvertingGradients

        channels, height, width = pictures.shape[1:]
        shape = (channels, height, width)
        first = layers.first_linear(module, int(np.prod(shape)))
        way = (ANALYTIC if first is not None else COSINE) if self.way == AUTO else self.way
        classes = _classes(module, pictures)
        guessed = inferred(module, seen, classes)
        if guessed is None and way != DEEP:
            raise InputError(
                "the model's last layer is not linear, so that its gradient names no label",
                f"Use way={DEEP!r}, which searches for the label as well.",
            )
        if way == ANALYTIC:
            if first is None:
                raise InputError(
                    "the model's first layer is not a linear one with a bias", f"Use {COSINE!r}."
                )
            bias = first.biases(seen)
            assert bias is not None
            got = input_of_layer(first.weights(seen), bias).reshape(-1, *shape).clamp(0, 1)
            named = guessed
        elif way == COSINE:
            assert guessed is not None
            attacker = InvertingGradients(self.iterations, tv=self.tv)
            tried = [
                attacker(module, cross_entropy, seen, guessed, shape, seed=seed + more)
                for more in range(self.restarts)
            ]
            nearest = torch.stack([one.objective for one in tried]).argmin(dim=0)
            every = torch.stack([one.pictures for one in tried])
            got, named = every[nearest, torch.arange(len(seen))], guessed
        else:
            known = guessed if way == DEEP_KNOWN else None
            deep = DeepLeakage(self.iterations)
            got, named, _, _ = deep(
                module, cross_entropy, seen, known, shape, classes=classes, seed=seed
            )
        assert named is not None
        return got.numpy(), named.numpy(), way


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """(n,) losses of class numbers or of soft labels."""
    from torch.nn import functional

    return functional.cross_entropy(outputs, targets, reduction="none")


def inferred(module: nn.Module, seen: Tensor, classes: int) -> Tensor | None:
    """The label of each gradient (n, d), or None where the last layer is not linear."""
    last = layers.last_linear(module, classes)
    if last is None:
        return None
    bias = last.biases(seen)
    return label_of_weight(last.weights(seen)) if bias is None else label_of_bias(bias)


def _classes(module: nn.Module, pictures: Tensor) -> int:
    import torch

    with torch.no_grad():
        return int(module(pictures[:1]).shape[1])


def _blind(
    held: NDArray[np.float32], truth: NDArray[np.float32], radius: int, most: int = 50
) -> NDArray[np.float64]:
    """(g, n) likeness of each of g fixed guesses to all the targets: the mean, and pictures."""
    guesses = np.concatenate([held.mean(axis=0, keepdims=True), held[:most]])
    return np.stack([ssim(np.broadcast_to(g, truth.shape), truth, radius) for g in guesses])


def _spread(values: NDArray[Any]) -> dict[str, float]:
    return {"mean": float(values.mean()), "least": float(values.min()), "most": float(values.max())}
