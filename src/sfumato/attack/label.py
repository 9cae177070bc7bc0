"""Label inference from gradients and from updates: the first two of the three label games.

The third, from what is released at the end, is :mod:`sfumato.attack.label_posterior`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.attack import auxiliary, margin, targets
from sfumato.attack.ceilings import rounded_up
from sfumato.attack.finding import Finding
from sfumato.attack.gradient import inferred
from sfumato.attack.gradients import exposure, layers
from sfumato.attack.gradients.exposure import AS_TRAINED, RELEASED, Exposure
from sfumato.attack.gradients.labels import counts_of_bias
from sfumato.attack.settings import Settings, number, whole
from sfumato.errors import InputError
from sfumato.measure import intervals
from sfumato.registry import attack

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sfumato.attack.evidence import Evidence
    from sfumato.measure.task import Part
    from sfumato.release.release import Release


def score(rate: float, classes: int) -> float:
    """A success rate on the scale of the games: 0 for guessing among K, 1 for always right."""
    return (rate - 1 / classes) / (1 - 1 / classes)


@attack("label.gradient")
@dataclass(frozen=True)
class Gradient(Settings):
    """Reads labels off gradients: of single members, or of batches of them.

    A single gradient's last bias is negative at the label and nowhere else. From the mean gradient
    of a batch the attacker solves for how often each class is in it, with what the model answers
    to non-members that he holds; a label then counts as recovered as often as it is among those
    that he names. Without the gradient he names the commonest class of the non-members, for a
    batch the classes in proportion.

    Args:
        max_targets: Members, one a gradient; with ``batch``, all that are put into batches.
        batch: Examples of a gradient.
        gradient: ``"as trained"``, or ``"bare"``: without clipping and noise. Batches are bare.
        weights: ``"released"``, or ``"fresh"``: drawn again, as at the start of a training.
    """

    kinds: ClassVar[tuple[str, ...]] = ("model",)
    source: ClassVar[str] = "Zhao, Mopuri, Bilen. iDLG. 2020. arXiv:2001.02610"
    costly: ClassVar[bool] = True

    batch: int = 1
    gradient: str = AS_TRAINED
    weights: str = RELEASED

    def __post_init__(self) -> None:
        super().__post_init__()
        whole(self.batch, "batch", 1)

    def __call__(self, release: Release, evidence: Evidence, *, seed: int = 0) -> Finding:
        """The share of labels recovered beyond guessing among the classes."""
        import torch

        seen_as = Exposure.of_plan(release.card.plan, self.gradient)
        if self.batch > 1 and seen_as.max_grad_norm is not None:
            raise InputError(
                f"batch is {self.batch}, but training clipped and noised its gradients",
                "Attack single gradients (batch=1), or give gradient='bare'.",
            )
        game = _Game.of(self, release, evidence, self.weights, seed)
        x, y = torch.from_numpy(game.members.x), torch.from_numpy(game.members.y)
        if self.batch > len(y):
            raise InputError(f"batch is {self.batch}", f"There are {len(y)} members to put in it.")
        each = exposure.gradients_each(game.module, x, y)
        if self.batch == 1:
            guessed = inferred(game.module, seen_as(each, seed), game.classes)
            if guessed is None:
                raise _no_last_layer()
            right = (guessed.numpy() == game.members.y).astype(float)
            blind = (game.members.y == game.commonest).astype(float)
        else:
            right, blind = self._batches(game, each)
        found = "gradient of one record" if self.batch == 1 else f"mean of {self.batch} gradients"
        return game.finding(
            "label.gradient", self, right, blind, seen_as, f"the {found}", single=self.batch == 1
        )

    def _batches(self, game: _Game, each: Tensor) -> tuple[NDArray[Any], NDArray[Any]]:
        """For each label in a whole batch, whether it was named; with the gradient and without."""
        import torch

        last = layers.last_linear(game.module, game.classes)
        if last is None or last.bias is None:
            raise _no_last_layer()
        whole_ones = len(each) // self.batch * self.batch
        mean = each[:whole_ones, last.bias].reshape(-1, self.batch, game.classes).mean(dim=1)
        held = torch.from_numpy(game.others.x)
        with torch.no_grad():
            answers = game.module(held).softmax(dim=1)
        scores = torch.full((game.classes, game.classes), 1 / game.classes)
        for label in range(game.classes):
            own = torch.from_numpy(game.others.y == label)
            if own.any():
                scores[label] = answers[own].mean(dim=0)
        counts = counts_of_bias(mean, scores, self.batch).numpy()
        shares = np.bincount(game.others.y, minlength=game.classes) / len(game.others.y)
        prior = counts_of_bias(
            torch.from_numpy(-shares)[None], torch.zeros_like(scores), self.batch
        )
        right: list[float] = []
        blind: list[float] = []
        for at, named in enumerate(counts):
            labels = game.members.y[at * self.batch : (at + 1) * self.batch]
            true = np.bincount(labels, minlength=game.classes)
            for into, guess in ((right, named), (blind, prior.numpy()[0])):
                into.append(float(np.minimum(true, guess).sum()) / self.batch)
        return np.array(right), np.array(blind)


@attack("label.update")
@dataclass(frozen=True)
class Update(Settings):
    """Infers one record's label from how a model's answers change by a step on that record.

    The attacker asks the model before and after the step, never sees its weights, and asks with
    non-members. He names the class whose log odds rose most on average: those of a class that an
    answer is sure of move as far as others', which their logarithms do not.

    Args:
        max_targets: Members, each of which takes a step of its own.
        probes: Non-members that both models are asked about.
        learning_rate: Of the step.
        gradient: ``"as trained"``, or ``"bare"``: without clipping and noise.
        weights: ``"released"``, or ``"fresh"``: drawn again, as at the start of a training.
    """

    kinds: ClassVar[tuple[str, ...]] = ("model",)
    source: ClassVar[str] = "Salem et al. Updates-Leak. USENIX Security 2020. arXiv:1904.01067"
    costly: ClassVar[bool] = True

    max_targets: int = 200
    probes: int = 100
    learning_rate: float = 0.1
    gradient: str = AS_TRAINED
    weights: str = RELEASED

    def __post_init__(self) -> None:
        super().__post_init__()
        whole(self.probes, "probes", 1)
        number(self.learning_rate, "learning_rate", 0, above=True)

    def __call__(self, release: Release, evidence: Evidence, *, seed: int = 0) -> Finding:
        """The share of labels recovered beyond guessing among the classes."""
        import torch

        seen_as = Exposure.of_plan(release.card.plan, self.gradient)
        game = _Game.of(self, release, evidence, self.weights, seed)
        x, y = torch.from_numpy(game.members.x), torch.from_numpy(game.members.y)
        probes = torch.from_numpy(game.others.x[: self.probes])
        module = game.module
        if probes.is_floating_point():  # small changes of scores drown in single precision
            module, probes, x = module.double(), probes.double(), x.double()
        parameters = [p for p in module.parameters() if p.requires_grad]
        before = [p.detach().clone() for p in parameters]
        guessed = np.empty(len(y), np.int64)
        with torch.no_grad():
            asked = _log_odds(module(probes))
        for at in range(len(y)):
            bare = exposure.gradients_each(module, x[at : at + 1], y[at : at + 1])
            step = seen_as(bare, (seed, at))[0]
            start = 0
            with torch.no_grad():
                for parameter, old in zip(parameters, before, strict=True):
                    part = step[start : start + old.numel()].view_as(old)
                    parameter.copy_(old - self.learning_rate * part)
                    start += old.numel()
                rise = (_log_odds(module(probes)) - asked).mean(dim=0)
                for parameter, old in zip(parameters, before, strict=True):
                    parameter.copy_(old)
            guessed[at] = int(rise.argmax())
        right = (guessed == game.members.y).astype(float)
        blind = (game.members.y == game.commonest).astype(float)
        how = "the model's answers before and after a step on one record"
        return game.finding("label.update", self, right, blind, seen_as, how, single=True)


def _log_odds(scores: Tensor) -> Tensor:
    """(n, K) log odds of each class, which its probabilities tell, from unnormalised scores."""
    import torch

    total = scores.logsumexp(dim=1, keepdim=True)
    rest = total + torch.log1p(-(scores - total).exp().clamp(max=0.5))
    # What is left beside a class that is all but sure is summed, not taken from 1.
    first = scores.argmax(dim=1, keepdim=True)
    left = scores.scatter(1, first, -torch.inf).logsumexp(dim=1, keepdim=True)
    return scores - rest.scatter(1, first, left)


@dataclass(frozen=True)
class _Game:
    """What the two games share: members to attack, and non-members to ask with."""

    module: nn.Module
    members: Part
    others: Part
    classes: int

    @classmethod
    def of(
        cls, settings: Settings, release: Release, evidence: Evidence, weights: str, seed: int
    ) -> _Game:
        targets.check(release, evidence)
        rng = np.random.default_rng(seed)
        model = release.model
        members = auxiliary.labelled(model, evidence.members, settings.max_targets, rng)
        order = rng.permutation(len(members.y))  # files are often sorted by their class
        members = replace(members, x=members.x[order], y=members.y[order])
        others = auxiliary.labelled(model, evidence.non_members, settings.max_targets, rng)
        module = exposure.weights_of(model.module, weights, seed)
        return cls(module, members, others, len(model.classes))

    @property
    def commonest(self) -> int:
        return int(np.bincount(self.others.y, minlength=self.classes).argmax())

    def finding(
        self,
        name: str,
        settings: Settings,
        right: NDArray[Any],
        blind: NDArray[Any],
        seen_as: Exposure,
        how: str,
        *,
        single: bool,
    ) -> Finding:
        """The game's figures.

        Args:
            name: Registered.
            settings: Of the attack.
            right: (n,) for each gradient the share of its labels that is told.
            blind: The same without the gradients.
            seen_as: How they were protected.
            how: The attack in words.
            single: Whether each gradient is of one label, told or not.
        """
        n, rate = len(right), float(right.mean())
        # Of batches there are shares in between: no coin's interval, even if none was seen.
        low, high = (
            intervals.clopper_pearson(float(right.sum()), n, settings.confidence)
            if single
            else intervals.bounded_mean(rate, n, settings.confidence)
        )
        limit, ceiling = seen_as.ceiling, None
        if limit is not None:
            known = intervals.clopper_pearson(float(blind.sum()), n, settings.confidence)[1]
            ceiling = score(max(known, limit.at(known)), self.classes)
        beaten = (
            margin.of_same(right > 0.5, blind > 0.5, settings.confidence)
            if single
            else margin.of_shares(right, blind, settings.confidence, "gradients")
        )
        finding = Finding(
            attack=name,
            metric="labels recovered beyond guessing (0 guessing, 1 all)",
            value=score(rate, self.classes),
            interval=(score(low, self.classes), score(high, self.classes)),
            confidence=settings.confidence,
            chance=0.0,
            baseline=score(float(blind.mean()), self.classes),
            margin=beaten.scaled(1 / (1 - 1 / self.classes)),
            ceiling=ceiling,
            details={
                "gradients": n,
                "classes": self.classes,
                "success_rate": rate,
                "success_rate_interval": [low, high],
                "commonest_class_rate": float(blind.mean()),
                "exposure": seen_as.to_dict(),
            },
        )
        how_sent = "as in training" if seen_as.max_grad_norm is not None else "unprotected"
        limited = (
            "" if ceiling is None else f", one step's noise allows {rounded_up(ceiling, 2):.2f}"
        )
        summary = (
            f"From {how}, {how_sent}, the attack tells {rate:.1%} of the labels (naming the "
            f"commonest: {blind.mean():.1%}; on the scale of 0 guessing to 1 all: "
            f"{finding.value:.2f}{limited}): {finding.verdict}."
        )
        return replace(finding, summary=summary)


def _no_last_layer() -> InputError:
    return InputError(
        "the model's last layer is not a linear one whose gradient names labels",
        "Use label.update, which asks for answers only.",
    )
