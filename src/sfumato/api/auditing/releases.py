"""A release or model audited with records that were and were not in it."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.api.auditing.canaries import FEWEST, is_swapped, judged
from sfumato.api.auditing.record import Audit, check_confidence
from sfumato.attack import persons, targets
from sfumato.attack.evidence import Evidence
from sfumato.attack.loss import log_odds
from sfumato.errors import InputError
from sfumato.measure import features
from sfumato.measure.task import task_of
from sfumato.publish.method import Progress
from sfumato.release.release import Release

MOST = 20_000
_RELEASED = 200_000

ASSUMPTION = (
    "Which records were members was decided at random, for each by a fair coin of its own, and all "
    "of them were given. Members and non-members that were parted in any other way make the bound "
    "worthless."
)
PAIRED = (
    "Which records were members was decided at random. Members and non-members that were parted in "
    "any other way make the bound worthless."
)
_UNLIKELY = 1e-7
"""So rarely do fair coins part records as unevenly as those that are refused."""


def audit_release(
    release: Release,
    members: Any,
    non_members: Any,
    *,
    confidence: float,
    seed: int,
    progress: Progress,
) -> Audit:
    """A lower bound on a release's epsilon from how well membership can be guessed.

    One record of each person is played with, where persons are known. Where the claim is of a
    record that is present or absent, records are taken at random whatever
    they were, for as many of either kind would be no coins of their own: knowing all the others
    one would know the last. Where it is of replaced records, a member and a non-member are put in a
    pair, by chance, and what is guessed is which of the two was in.

    Args:
        release: What is audited.
        members: Records it was made from.
        non_members: Records it was not made from.
        confidence: Of the bounds together.
        seed: Of what is taken and paired.
        progress: Told how far it is.

    Raises:
        InputError: If the records do not fit, are too few, were surely not parted by fair coins
            where that is needed, or nothing that can be played for is claimed.
    """
    check_confidence(confidence)
    started = time.perf_counter()
    swapped = is_swapped(release.card.proven)
    unit = str(release.card.guarantee.get("unit", "record"))
    if any(fact.name == "unit" for fact in release.card.facts):
        raise InputError(
            f"the guarantee is of one {unit}, and this game is of one record",
            "Audit a release whose unit is the record.",
        )
    evidence = Evidence(members, non_members)
    targets.check(release, evidence)
    rng = np.random.default_rng(seed)
    own = [persons.one_each(side, rng) for side in (members, non_members)]
    drawn = (_for_pairs if swapped else _by_coins)((len(own[0]), len(own[1])), rng)
    chosen = [rows[some] for rows, some in zip(own, drawn, strict=True)]
    progress(0, 1, "scoring records")
    scores = _scores(release, (members, non_members), chosen, rng)
    if swapped:
        each = len(chosen[0])
        first = rng.random(each) < 0.5
        lead = scores[0] - scores[1][rng.permutation(each)]
        guessed, coins = np.where(first, lead, -lead), first
        game = f"{each} pairs of a member and a non-member"
    else:
        guessed = np.concatenate(scores)
        coins = np.repeat([True, False], [len(part) for part in scores])
        game = f"{len(scores[0])} members and {len(scores[1])} non-members"
    progress(1, 1, "audited")
    return judged(
        f"{release.card.method['name']} (release {release.card.release_id[:12]})",
        release.card.proven,
        guessed,
        coins,
        confidence,
        rng,
        assumption=PAIRED if swapped else ASSUMPTION,
        noise=release.card.noise,
        settings={},
        facts=game,
        started=started,
    )


def _by_coins(sizes: tuple[int, int], rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Which members and which non-members are in the game, drawn from all of them together.

    Raises:
        InputError: If they are too few, or so unevenly many that no fair coins parted them.
    """
    from scipy.stats import binom

    total = sum(sizes)
    if total < FEWEST:
        raise InputError(f"{total} records are too few", f"Give {FEWEST}.")
    if binom.cdf(min(sizes), total, 0.5) < _UNLIKELY:
        raise InputError(
            f"{sizes[0]} members and {sizes[1]} non-members were not parted by fair coins",
            "Toss one for each record before publishing, and give all records of either side; or "
            "audit a release under replace-one.",
        )
    taken = np.sort(rng.permutation(total)[:MOST])
    inside = taken < sizes[0]
    return [taken[inside], taken[~inside] - sizes[0]]


def _for_pairs(sizes: tuple[int, int], rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """As many members as non-members.

    Raises:
        InputError: If they are too few.
    """
    each = min(MOST // 2, *sizes)
    if 2 * each < FEWEST:
        raise InputError(
            f"{each} members and as many non-members are too few", f"Give {FEWEST // 2} of each."
        )
    return [features.choose(size, each, rng) for size in sizes]


def _scores(
    release: Release,
    sides: tuple[Any, Any],
    chosen: list[NDArray[np.int64]],
    rng: np.random.Generator,
) -> list[NDArray[np.float64]]:
    """How much the release speaks for each record: by loss, or by distance to what is released."""
    if release.artefact.kind == "model":
        model = release.model
        _, read = task_of(model.schema, model.takes, 0, 1)
        records = [read(side, rows) for side, rows in zip(sides, chosen, strict=True)]
        return [log_odds(model, part.x, part.y)[0] for part in records]
    published = targets.released(release, _RELEASED, rng)
    return [
        -targets.read(side, rows).nearest(published)[0].astype(np.float64)
        for side, rows in zip(sides, chosen, strict=True)
    ]
