"""Re-identification: whether a released picture and a known one are of the same person."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.attack import ceilings, targets
from sfumato.attack.finding import Finding
from sfumato.attack.inversion_learned import halves, paired
from sfumato.attack.settings import Settings, whole
from sfumato.errors import InputError
from sfumato.measure import intervals
from sfumato.registry import attack

if TYPE_CHECKING:
    from torch import nn

    from sfumato.attack.evidence import Evidence
    from sfumato.release.release import Release

Pictures = NDArray[np.float32]
_BATCH = 64
_RATE = 1e-3


@attack("reidentification.siamese")
@dataclass(frozen=True)
class Siamese(Settings):
    """Tells pairs of a released picture and its person's from pairs of different people.

    Where it is known whom pictures show, a pair of the same person is a released picture and
    another picture of whoever it was made of; else it is a released picture and its original. The
    other pairs are of different people of the same class, so that the class gives nothing away;
    the stranger is drawn by person. Persons count equally, however many pictures they have.
    Picture i of the release must be picture i of the members (the card's plan says ``aligned``).

    The attacker knows half of the people. The adaptive one learns from their released pictures,
    and is what counts: a static one, trained on pairs of originals, is fooled by changes that
    hide nothing. Both are Siamese networks, the mean of a few.

    Args:
        max_targets: Released pictures that are attacked.
        steps: Of each network's training.
        networks: How many are trained and averaged.

    Source: Packhäuser et al., Scientific Reports 12 (2022); Packhäuser et al., PriCheXy-Net,
    MICCAI 2023 (static and adaptive attackers).
    """

    kinds: ClassVar[tuple[str, ...]] = ("images",)
    source: ClassVar[str] = "Packhäuser et al. PriCheXy-Net. MICCAI 2023. arXiv:2306.13000"
    costly: ClassVar[bool] = True

    steps: int = 600
    networks: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        whole(self.steps, "steps", 1)
        whole(self.networks, "networks", 1)

    def __call__(self, release: Release, evidence: Evidence, *, seed: int = 0) -> Finding:
        """The area under the adaptive attacker's ROC curve, with its interval over people."""
        targets.check(release, evidence)
        rng = np.random.default_rng(seed)
        released, members = paired(release, evidence, "reidentification.siamese")
        known, attacked = halves(members, rng)
        learnt, judged = (
            _People.of(released, members, known),
            _People.of(released, members, np.sort(attacked[: self.max_targets])),
        )
        test = judged.pairs(np.random.default_rng(seed + 1))
        persons = judged.persons[test.left]
        intervals.numbered(persons)  # refuses too few of them before anything is trained
        scored = {
            name: self._scores(learnt, judged, test, released_too, seed)
            for name, released_too in (("adaptive", True), ("static", False))
        }
        areas = {
            name: intervals.auc_of_persons(same, other, persons, self.confidence)
            for name, (same, other) in scored.items()
        }
        local = release.card.guarantee.get("kind") == "local"
        ceiling = ceilings.of(release.card) if local else None
        value, interval = areas["adaptive"]
        finding = Finding(
            attack="reidentification.siamese",
            metric="AUC of telling the same person from another of the same class",
            value=value,
            interval=interval,
            confidence=self.confidence,
            chance=0.5,
            baseline=0.5,
            ceiling=None if ceiling is None else ceiling.auc,
            details={
                "pairs_of": "two pictures of a person"
                if judged.several
                else "original and release",
                "persons_known": len(np.unique(learnt.persons)),
                "persons_attacked": len(np.unique(persons)),
                "targets": len(test.left),
                "networks": self.networks,
                "static": [areas["static"][0], *areas["static"][1]],
            },
        )
        low, high = finding.interval
        limit = "" if finding.ceiling is None else f", the guarantee allows {finding.ceiling:.1%}"
        summary = (
            f"Shown a released picture, somebody's own and a stranger's of the same class, an "
            f"attacker trained on released pictures tells which is theirs in {value:.1%} of cases "
            f"(interval {low:.1%} to {high:.1%}, guessing 50 %{limit}; one who never saw released "
            f"pictures {areas['static'][0]:.1%}): {finding.verdict}."
        )
        return replace(finding, summary=summary)

    def _scores(
        self, learnt: _People, judged: _People, test: _Pairs, released_too: bool, seed: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Of the judged pairs of the same and of different people, by the mean of the networks."""
        left = learnt.released if released_too else learnt.originals
        both = np.zeros((2, len(test.left)))
        for network in range(self.networks):
            score = train(learnt, left, self.steps, seed + 100 * network)
            shown = judged.released[test.left]
            both[0] += score(shown, judged.originals[test.same])
            both[1] += score(shown, judged.originals[test.other])
        return both[0], both[1]


@dataclass(frozen=True)
class _Pairs:
    """Row numbers of pictures, of one of the same person each, and of one of another person."""

    left: NDArray[np.int64]
    same: NDArray[np.int64]
    other: NDArray[np.int64]


@dataclass(frozen=True)
class _People:
    """Pictures with their released versions, classes and persons.

    Args:
        released: (n, c, h, w).
        originals: (n, c, h, w).
        labels: (n,).
        persons: (n,) numbers of persons.
        several: Whether persons are known, and have several pictures.
    """

    released: Pictures
    originals: Pictures
    labels: NDArray[np.int64]
    persons: NDArray[np.int64]
    several: bool

    @classmethod
    def of(cls, released: Any, members: Any, rows: NDArray[np.int64]) -> _People:
        rows = np.sort(rows)
        chosen = members.select(rows)
        several = chosen.identity is not None
        names = chosen.identity if several else np.arange(len(rows))
        persons = np.unique(names, return_inverse=True)[1].astype(np.int64)
        if several and len(persons) == len(np.unique(persons)):
            several = False
        pictures = released.select(rows).images
        return cls(pictures, chosen.images, np.asarray(chosen.labels), persons, several)

    def pairs(self, rng: np.random.Generator) -> _Pairs:
        """One pair of each kind for every picture that has one.

        Raises:
            InputError: If there are none.
        """
        left, same, other = [], [], []
        by_class = {
            label: _by_person(self.persons, np.flatnonzero(self.labels == label))
            for label in np.unique(self.labels)
        }
        everybody = np.arange(len(self.persons))
        own = dict(zip(*_by_person(self.persons, everybody), strict=True))
        for row in range(len(self.persons)):
            mine = own[self.persons[row]]
            partners = mine[mine != row] if self.several else mine
            people, rows = by_class[self.labels[row]]
            strangers = np.flatnonzero(people != self.persons[row])
            if len(partners) and len(strangers):
                left.append(row)
                same.append(int(rng.choice(partners)))
                theirs = rows[rng.choice(strangers)]
                other.append(int(theirs[0] if len(theirs) == 1 else rng.choice(theirs)))
        if len(left) < 2:
            raise InputError(
                "no person has another picture, or nobody shares a class with somebody else",
                "Give pictures of more people.",
            )
        return _Pairs(np.array(left), np.array(same), np.array(other))


def _by_person(
    persons: NDArray[np.int64], rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """Who has some of the rows, and which each of them has."""
    people, at = np.unique(persons[rows], return_inverse=True)
    order = np.argsort(at, kind="stable")
    return people, np.split(rows[order], np.cumsum(np.bincount(at))[:-1])


def train(
    people: _People, left: Pictures, steps: int, seed: int
) -> Callable[[Pictures, Pictures], NDArray[np.float64]]:
    """A network that scores pairs: higher where the same person is likelier.

    Args:
        people: Whom the attacker knows.
        left: (n, c, h, w) what the pair's first picture is taken from, in the order of people.
        steps: Of Adam on batches of 64 pairs, half of them of the same person.
        seed: Of weights, pairs and small shifts.
    """
    import torch
    from torch.nn import functional

    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _network(left.shape[1:])
    optimizer = torch.optim.Adam(network.parameters(), _RATE)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    pairs = people.pairs(rng)
    for step in range(steps):
        if step % 20 == 19:
            pairs = people.pairs(rng)
        at = rng.integers(0, len(pairs.left), _BATCH // 2)
        first = left[pairs.left[at]]
        same, other = people.originals[pairs.same[at]], people.originals[pairs.other[at]]
        if left is people.originals and not people.several:
            same = _shifted(same, rng)  # a picture and itself would teach nothing
        x = torch.from_numpy(np.concatenate([first, first]))
        y = torch.from_numpy(np.concatenate([same, other]).astype(np.float32))
        wanted = torch.cat([torch.ones(len(at)), torch.zeros(len(at))])
        loss = functional.binary_cross_entropy_with_logits(network(x, y), wanted)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        decay.step()
    network.eval()

    def score(first: Pictures, second: Pictures) -> NDArray[np.float64]:
        with torch.no_grad():
            found = network(torch.from_numpy(first), torch.from_numpy(second))
        return np.asarray(found.numpy(), np.float64)

    return score


def _shifted(pictures: Pictures, rng: np.random.Generator) -> Pictures:
    """The same pictures, a pixel aside and a little noisy."""
    down, across = rng.integers(-1, 2, 2)
    moved = np.roll(pictures, (down, across), (2, 3))
    return np.clip(moved + 0.1 * rng.standard_normal(moved.shape), 0, 1).astype(np.float32)


def _network(shape: tuple[int, ...]) -> nn.Module:
    """Two copies of one encoder, and a linear score of how far apart their features are."""
    import torch
    from torch import nn

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            channels, height, width = shape
            size = 32 * -(-height // 4) * -(-width // 4)
            self.encoder = nn.Sequential(
                nn.Conv2d(channels, 16, 3, stride=2, padding=1),
                nn.ReLU(),
                nn.Conv2d(16, 32, 3, stride=2, padding=1),
                nn.ReLU(),
                nn.Flatten(),
                nn.Linear(size, 64),
            )
            self.head = nn.Linear(128, 1)

        def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
            """first, second: (n, c, h, w) to (n,) logits."""
            one, two = self.encoder(first), self.encoder(second)
            apart = torch.cat([(one - two).abs(), one * two], dim=1)
            found: torch.Tensor = self.head(apart).squeeze(1)
            return found

    return Network()
