"""A release or model audited with records that were and were not in it."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.api.auditing.canaries import FEWEST, judged
from sfumato.api.auditing.record import Audit, check_confidence, worst_case
from sfumato.attack import targets
from sfumato.attack.evidence import Evidence
from sfumato.attack.loss import log_odds
from sfumato.errors import InputError
from sfumato.measure.task import task_of
from sfumato.privacy.neighbours import Neighbours
from sfumato.publish.method import Progress
from sfumato.release.release import Release

MOST = 20_000
_RELEASED = 200_000

ASSUMPTION = (
    "Which records were members was decided at random, for each by a coin of its own. Members and "
    "non-members that were parted in any other way make the bound worthless."
)


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

    As many members as non-members are taken at random, so that each was in by a fair coin. Where
    the claim is of replaced records, a member and a non-member are put in a pair, by chance, and
    what is guessed is which of the two was in.

    Args:
        release: What is audited.
        members: Records it was made from.
        non_members: Records it was not made from.
        confidence: Of the bounds together.
        seed: Of what is taken and paired.
        progress: Told how far it is.

    Raises:
        InputError: If the records do not fit, are too few, or nothing is claimed.
    """
    check_confidence(confidence)
    started = time.perf_counter()
    proven = worst_case(release.card.proven)
    unit = str(release.card.guarantee.get("unit", "record"))
    if any(fact.name == "unit" for fact in release.card.facts):
        raise InputError(
            f"the guarantee is of one {unit}, and this game is of one record",
            "Audit a release whose unit is the record.",
        )
    evidence = Evidence(members, non_members)
    targets.check(release, evidence)
    rng = np.random.default_rng(seed)
    chosen = list(targets.balanced(evidence, MOST // 2, rng))
    each = len(chosen[0])
    if 2 * each < FEWEST:
        raise InputError(
            f"{each} members and as many non-members are too few", f"Give {FEWEST // 2} of each."
        )
    progress(0, 1, "scoring records")
    scores = _scores(release, (members, non_members), chosen, rng)
    if proven.neighbours is Neighbours.REPLACE_ONE:
        order = rng.permutation(each)
        swapped = rng.random(each) < 0.5
        lead = scores[0] - scores[1][order]
        guessed, coins = np.where(swapped, -lead, lead), ~swapped
        game = f"{each} pairs of a member and a non-member"
    else:
        guessed = np.concatenate(scores)
        coins = np.repeat([True, False], each)
        game = f"{each} members and {each} non-members"
    progress(1, 1, "audited")
    return judged(
        f"{release.card.method['name']} (release {release.card.release_id[:12]})",
        release.card.proven,
        guessed,
        coins,
        confidence,
        assumption=ASSUMPTION,
        noise=release.card.noise,
        settings={},
        facts=game,
        started=started,
    )


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
