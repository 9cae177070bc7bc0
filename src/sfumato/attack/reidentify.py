"""Re-identification: whether a released picture and a known one are of the same person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.attack import ceilings, targets
from sfumato.attack.finding import Finding
from sfumato.attack.inversion_learned import halves, paired
from sfumato.attack.matching import Verifier, build, nearness, standing
from sfumato.attack.retrieval import Search, search
from sfumato.attack.settings import Settings, whole
from sfumato.errors import InputError
from sfumato.measure import intervals
from sfumato.registry import attack

if TYPE_CHECKING:
    from sfumato.attack.evidence import Evidence
    from sfumato.release.release import Release

Pictures = NDArray[np.float32]
NETWORK, DISTANCE, BOTH = "network", "distance", "both"
_BATCH = 64
_RATE = 1e-3
_TRIED = 5


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
    hide nothing. Both are Siamese networks, the mean of a few. The adaptive attacker also knows
    plain distance, as it stands among those to known people of the class, and takes whatever of
    the two, or their sum, tells best a fifth of the known people from whom nothing was learnt.

    Beside the area, each released picture searches a gallery: the pictures of its own person but
    its original (where nobody has several, the original), and all strangers' of its class. Rank-1
    is how often the first that is found is right, mAP the mean average precision.

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
        adaptive, way = self._adaptive(learnt, judged, test.left, seed)
        shown = judged.released[test.left], judged.originals
        static = _told(self._networks(learnt, learnt.originals, seed), *shown)
        areas, found = {}, {}
        for name, scores in (("adaptive", adaptive), ("static", static)):
            areas[name] = intervals.auc_of_persons(*test.scored(scores), persons, self.confidence)
            found[name] = judged.retrieved(scores, test, seed).told(self.confidence)
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
                "adaptive_goes_by": way,
                "static": [areas["static"][0], *areas["static"][1]],
                "retrieval": found,
            },
        )
        low, high = finding.interval
        limit = ceilings.allowed(finding.ceiling, percent=1)
        summary = (
            f"Shown a released picture with its person's own and one with a stranger's of the same "
            f"class, an attacker trained on released pictures tells which two are of one person "
            f"in {value:.1%} of cases (interval {low:.1%} to {high:.1%}, guessing 50 %{limit}; one "
            f"who never saw released pictures {areas['static'][0]:.1%}): {finding.verdict}. "
            f"{_searched(found['adaptive'])}"
        )
        return replace(finding, summary=summary)

    def _adaptive(
        self, known: _People, attacked: _People, rows: NDArray[np.int64], seed: int
    ) -> tuple[NDArray[np.float64], str]:
        """(q, n) scores of the attacked people's released pictures, and what they go by."""
        rng = np.random.default_rng([seed, 2])
        names = rng.permutation(np.unique(known.persons))
        held = np.isin(known.persons, names[: len(names) // _TRIED])
        learnt, tried = known.some(~held), known.some(held)
        networks = self._networks(learnt, learnt.released, seed)

        def ways(people: _People, rows: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
            first, labels = people.released[rows], people.labels[rows]
            told = {
                name: (score(first, people.originals), score(first, learnt.originals))
                for name, score in (
                    (NETWORK, lambda one, two: _told(networks, one, two)),
                    (DISTANCE, nearness),
                )
            }
            stands = {
                name: standing(own, of_known, labels, learnt.labels)
                for name, (own, of_known) in told.items()
            }
            both = stands[NETWORK] + stands[DISTANCE]
            return {NETWORK: told[NETWORK][0], DISTANCE: stands[DISTANCE], BOTH: both}

        try:
            test = tried.pairs(rng)
        except InputError:  # too few to choose by
            return ways(attacked, rows)[NETWORK], NETWORK
        areas = {
            name: intervals.auc(*test.scored(scores))[0]
            for name, scores in ways(tried, test.left).items()
        }
        best = max(areas, key=lambda name: areas[name])
        return ways(attacked, rows)[best], best

    def _networks(self, learnt: _People, left: Pictures, seed: int) -> list[Verifier]:
        return [
            train(learnt, left, self.steps, seed + 100 * network)
            for network in range(self.networks)
        ]


def _told(networks: list[Verifier], first: Pictures, second: Pictures) -> NDArray[np.float64]:
    """(q, g) sums of the networks' scores."""
    return np.asarray(np.sum([one.table(first, second) for one in networks], axis=0))


@dataclass(frozen=True)
class _Pairs:
    """Row numbers of pictures, of one of the same person each, and of one of another person."""

    left: NDArray[np.int64]
    same: NDArray[np.int64]
    other: NDArray[np.int64]

    def scored(
        self, scores: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(q,) scores of the pairs of one person, and of those of two, from (q, n) of all."""
        row = np.arange(len(self.left))
        return scores[row, self.same], scores[row, self.other]


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

    def some(self, rows: NDArray[np.bool_]) -> _People:
        """The pictures where it is true."""
        return _People(
            self.released[rows],
            self.originals[rows],
            self.labels[rows],
            self.persons[rows],
            self.several,
        )

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

    def retrieved(self, scores: NDArray[np.float64], test: _Pairs, seed: int) -> Search:
        """Each released picture of the pairs searches its person among strangers of its class.

        Args:
            scores: (q, n) of those pictures with all originals.
            test: As :meth:`pairs` makes them.
            seed: Of the order of equals.
        """
        own = self.persons[test.left][:, None] == self.persons
        if self.several:
            own[np.arange(len(own)), test.left] = False
        strangers = self.persons[test.left][:, None] != self.persons
        there = own | (strangers & (self.labels[test.left][:, None] == self.labels))
        rng = np.random.default_rng([seed, 1])
        return search(scores, own, there, self.persons[test.left], rng)


def _searched(found: Mapping[str, Any]) -> str:
    """The retrieval's figures in words."""
    first, (low, high) = found["rank_1"], found["rank_1"]["interval"]
    return (
        f"Among all strangers of the class, {first['value']:.1%} of searches find the person first "
        f"(interval {low:.1%} to {high:.1%}, guessing {first['chance']:.1%}; mean average "
        f"precision {found['map']['value']:.3f}, guessing {found['map']['chance']:.3f})."
    )


def _by_person(
    persons: NDArray[np.int64], rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """Who has some of the rows, and which each of them has."""
    people, at = np.unique(persons[rows], return_inverse=True)
    order = np.argsort(at, kind="stable")
    return people, np.split(rows[order], np.cumsum(np.bincount(at))[:-1])


def train(people: _People, left: Pictures, steps: int, seed: int) -> Verifier:
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
        network = build(left.shape[1:])
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
    return Verifier(network.eval())


def _shifted(pictures: Pictures, rng: np.random.Generator) -> Pictures:
    """The same pictures, a pixel aside and a little noisy."""
    down, across = rng.integers(-1, 2, 2)
    moved = np.roll(pictures, (down, across), (2, 3))
    return np.clip(moved + 0.1 * rng.standard_normal(moved.shape), 0, 1).astype(np.float32)
