"""A release or model audited with records that were and were not in it."""

from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.api.auditing.canaries import FEWEST, SHARES, is_swapped, judged
from sfumato.api.auditing.record import Audit, check_confidence, worst_case
from sfumato.api.auditing.units import Unit
from sfumato.attack import overlap, persons, targets
from sfumato.attack.evidence import Evidence
from sfumato.attack.loss import log_odds
from sfumato.errors import InputError
from sfumato.measure import audit as bounds
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

    Where the claim is of a record that is present or absent, records are taken at random whatever
    they were, for as many of either kind would be no coins of their own: knowing all the others
    one would know the last. Where it is of replaced records, a member and a non-member are put in a
    pair, by chance, and what is guessed is which of the two was in; both have one label, where
    labels are public.

    Args:
        release: What is audited.
        members: Records it was made from.
        non_members: Records it was not made from.
        confidence: Of the bounds together.
        seed: Of what is taken and paired.
        progress: Told how far it is.

    Raises:
        InputError: If the records do not fit, are too few, were surely not parted by fair coins
            where that is needed, or nothing that can be played for is claimed: whole records are,
            each of another person.
    """
    check_confidence(confidence)
    started = time.perf_counter()
    swapped = is_swapped(release.card.proven)
    unit = worst_case(release.card.proven).unit
    if any(fact.name == "unit" for fact in release.card.facts):
        raise InputError(
            f"the guarantee is of one {unit}, and this game is of one record",
            "Audit a release whose unit is the record.",
        )
    covered = Unit.of(release.card.proven, release.card.plan, release.card.facts)
    if covered.pixels is not None:
        raise InputError(
            f"the guarantee is of one {unit}, and this game is of whole images",
            "Audit the method, by runs or by canaries: those change no more than the part.",
        )
    if covered.copied:
        raise InputError(
            f"{', '.join(covered.copied)}: published as they are, outside of the guarantee",
            "They tell who was in. Audit the method, by runs or by canaries.",
        )
    evidence = Evidence(members, non_members)
    targets.check(release, evidence)
    for side in (members, non_members):
        # Their records come and go together, which the claim of one record does not bound.
        if persons.count(side) < features.size(side):
            raise InputError(
                "the guarantee is of one record, and some persons have several",
                "Audit a release that is made of one record of each.",
            )
    for side, other in ((members, non_members), (non_members, members)):
        if (found := overlap.repeated(side, other)) is not None:
            raise InputError(
                f"{found[0]} of {found[1]} records of a side that were compared equal another of "
                "it in every value, more than in two parts of one source: copies came and went "
                "together, and the claim is of one record",
                "Give each once, of a release that has each once.",
            )
    rng = np.random.default_rng(seed)
    sides = members, non_members
    partner = None
    if swapped:
        inside, outside = (_labels(side, covered) for side in sides)
        chosen, partner = _pairs(inside, outside, rng)
    else:
        chosen = _by_coins((features.size(members), features.size(non_members)), rng)
    progress(0, 1, "scoring records")
    scores = _scores(release, sides, chosen, rng)
    if partner is not None:
        each = len(chosen[0])
        first = rng.random(each) < 0.5
        lead = scores[0] - scores[1][partner]
        guessed, coins = np.where(first, lead, -lead), first
        game = f"{each} pairs of a member and a non-member"
        game += "" if covered.labels else " of the same label"
    else:
        guessed = np.concatenate(scores)
        coins = np.repeat([True, False], [len(part) for part in scores])
        game = f"{len(scores[0])} members and {len(scores[1])} non-members"
    _tell_exchanged(guessed, coins, np.random.default_rng(seed))
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


def _tell_exchanged(
    scores: NDArray[np.float64], coins: NDArray[np.bool_], rng: np.random.Generator
) -> None:
    """Warns of guesses that are wrong more often than by luck: the bound is 0, and no comfort."""
    from scipy.stats import binom

    for guesses, right in bounds.guessed(scores, coins, SHARES, rng):
        if binom.cdf(right, guesses, 0.5) < _UNLIKELY:
            logging.getLogger("sfumato").warning(
                f"of {guesses} guesses who was a member {right} are right, fewer than by luck: if "
                "members and non-members were exchanged, this is a leak that the bound misses"
            )
            return


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
    if sizes[0] == sizes[1]:
        often = binom.pmf(sizes[0], total, 0.5)
        logging.getLogger("sfumato").warning(
            f"as many members as non-members ({sizes[0]}): fair coins give that once in "
            f"{round(1 / often)} times; of records that were split into equal halves the bound is "
            "worthless under add-remove"
        )
    taken = np.sort(rng.permutation(total)[:MOST])
    inside = taken < sizes[0]
    return [taken[inside], taken[~inside] - sizes[0]]


def _pairs(
    inside: NDArray[np.int64], outside: NDArray[np.int64], rng: np.random.Generator
) -> tuple[list[NDArray[np.int64]], NDArray[np.int64]]:
    """Members and as many non-members with the same labels, put together by chance.

    Args:
        inside: Labels of the members.
        outside: Labels of the non-members.
        rng: Decides who is taken, and with whom.

    Returns:
        Row numbers on either side, in rising order; and for each of the members, where among
        those non-members its partner is.

    Raises:
        InputError: If they are too few.
    """
    pairs = [np.zeros((0, 2), np.int64)]
    for label in np.unique(inside):
        sides = [rng.permutation(np.flatnonzero(labels == label)) for labels in (inside, outside)]
        each = min(map(len, sides))
        pairs.append(np.stack([side[:each] for side in sides], axis=1))
    found = rng.permutation(np.concatenate(pairs))[: MOST // 2]
    if 2 * len(found) < FEWEST:
        raise InputError(
            f"{len(found)} members and as many non-members are too few",
            f"Give {FEWEST // 2} of each; of the same labels, where these are public.",
        )
    found = found[np.argsort(found[:, 0])]
    others = np.sort(found[:, 1])
    return [found[:, 0], others], np.searchsorted(others, found[:, 1])


def _labels(side: Any, covered: Unit) -> NDArray[np.int64]:
    """(n,) what both records of a pair must have in common."""
    if covered.labels:
        return np.zeros(features.size(side), np.int64)
    return np.asarray(side.labels, np.int64)


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
