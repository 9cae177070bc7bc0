"""Many canaries in one game: each is in, or is not, by a fair coin of its own."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.api.auditing import looks
from sfumato.api.auditing.methods import Source, calibrated, named, once
from sfumato.api.auditing.neighbours import PICTURES
from sfumato.api.auditing.record import (
    Audit,
    Claim,
    check_confidence,
    gaussian_epsilon,
    worst_case,
)
from sfumato.api.auditing.units import Unit
from sfumato.data import Categorical, ImageSchema, ImageSet, Schema, Table
from sfumato.errors import InputError
from sfumato.measure import audit as bounds
from sfumato.measure.features import Design, pixels
from sfumato.privacy.neighbours import Neighbours
from sfumato.publish.method import Progress, settings
from sfumato.versions import versions

if TYPE_CHECKING:
    from sfumato.privacy.budget import Budget
    from sfumato.privacy.guarantee import Guarantee
    from sfumato.release.release import Release

FEWEST = 40
DELTA = 1e-9
"""Where epsilon is read off: the bound is of no use unless canaries times delta is tiny."""

SHARES = (0.1, 0.3, 1.0)
_OWN = 4
"""Pixels of a canary: so many that its gradient is as long as clipping allows."""
_ALIKE = 10
"""Canaries of a label, from which on their mean is no matter of one of them."""


def one_run(
    method: Any,
    budget: Budget,
    facts: Any,
    *,
    canaries: int,
    confidence: float,
    seed: int,
    source: Source | None,
    progress: Progress,
) -> Audit:
    """Runs a method once on made-up canaries and bounds its epsilon from guessing which were in.

    A second run, without the canaries, tells what a release looks like anyway; it is not judged.

    Args:
        method: Configured.
        budget: What it is calibrated to.
        facts: Public facts; None for a table on which every canary has a value of its own.
        canaries: How many.
        confidence: Of the bounds together.
        seed: Of canaries and coins; never of privacy noise.
        source: The noise; None for the method's own.
        progress: Told how far it is.

    Raises:
        InputError: If the method or a number is refused.
    """
    check_confidence(confidence)
    if isinstance(canaries, bool) or not isinstance(canaries, int) or canaries < FEWEST:
        raise InputError(f"canaries is {canaries!r}", f"Give a whole number from {FEWEST}.")
    started = time.perf_counter()
    rng = np.random.default_rng(seed)
    included = rng.random(canaries) < 0.5
    trains = getattr(method, "gives", "") == "model"
    if facts is None and "images" in method.kinds:
        facts = _squares(canaries) if trains else PICTURES
    probe = calibrated(method, budget, facts or _wide(canaries), canaries)
    swapped = is_swapped(probe.guarantee)
    facts = facts or (_small() if swapped else _wide(canaries))
    unit = Unit.of(probe.guarantee, probe.plan, probe.public)
    aligned = probe.plan.get("aligned") is True
    sides = _canaries(facts, canaries, rng, trains, unit, aligned)
    made = calibrated(method, budget, facts, canaries)
    progress(0, 2, f"{method.name}: one run with canaries")
    release = once(made, _mixed(sides, included, swapped), 0, source)
    progress(1, 2, f"{method.name}: one run without them")
    others = _canaries(facts, canaries, rng, trains, unit, aligned)[0]
    reference = once(made, _without(others), 1, source)
    scores = _scores(release, reference, sides, swapped)
    progress(2, 2, "audited")
    return judged(
        method.name,
        made.guarantee,
        scores,
        included,
        confidence,
        rng,
        assumption="Each canary was in or out by a fair coin that the method does not know.",
        noise=release.card.noise,
        settings=settings(method),
        facts=f"{canaries} canaries, {named(facts)}{unit}",
        started=started,
    )


def is_swapped(guarantee: Guarantee) -> bool:
    """Whether a coin is over two values of a record, and not over its presence.

    Raises:
        InputError: If the relation is one that no coins are known for.
    """
    neighbours = worst_case(guarantee).neighbours
    if neighbours is Neighbours.ZERO_OUT:
        raise InputError(
            "the guarantee is under zero-out, and no canaries are known for that",
            "Audit under add-remove or replace-one.",
        )
    return neighbours is Neighbours.REPLACE_ONE


def judged(
    subject: str,
    guarantee: Guarantee,
    scores: NDArray[np.float64],
    included: NDArray[np.bool_],
    confidence: float,
    rng: np.random.Generator,
    *,
    assumption: str,
    noise: Mapping[str, Any],
    settings: Mapping[str, Any],
    facts: str,
    started: float,
) -> Audit:
    """The bounds that the guesses at some coins give."""
    from sfumato.api.auditing.methods import plain

    proven = worst_case(guarantee)
    claim = Claim.of(guarantee, min(proven.delta, DELTA))
    if claim.epsilon is None:  # of one that is stated at its own delta, and nothing at smaller ones
        claim = Claim.of(guarantee)
    m = len(scores)
    guesses = bounds.guessed(scores, included, SHARES, rng)
    # Three statements for each share of guesses; the alarm is divided between them.
    level = (1 - confidence) / (3 * len(guesses))
    curve = bounds.Tabulated.of(proven.advantage_ceiling)
    epsilon = max(bounds.one_run_bound(m, r, v, claim.delta, level) for r, v in guesses)
    mu = max(bounds.one_run_mu(m, r, v, level) for r, v in guesses)
    best = max(
        guesses, key=lambda guess: bounds.one_run_bound(m, guess[0], guess[1], claim.delta, level)
    )
    return Audit(
        subject=subject,
        game="one run",
        claim=claim,
        epsilon=epsilon,
        mu=mu,
        gaussian_epsilon=gaussian_epsilon(mu, claim),
        refuted=any(bounds.refutes(m, r, v, curve, level) for r, v in guesses),
        confidence=confidence,
        most=max(bounds.one_run_bound(m, r, r, claim.delta, level) for r, _ in guesses),
        counts={
            "canaries": m,
            "included": int(included.sum()),
            "guesses": best[0],
            "right": best[1],
        },
        assumption=assumption,
        noise={"source": noise["source"], "secure": noise["secure"]},
        settings=plain(settings),
        facts=facts,
        seconds=time.perf_counter() - started,
        versions=versions(),
    )


def _wide(canaries: int) -> Schema:
    """A table on which every canary is alone in a class of its own."""
    names = tuple(f"v{i}" for i in range(canaries))
    return Schema((Categorical("c", ("a", "b")), Categorical("who", names)), target="who")


def _small() -> Schema:
    return Schema(
        (
            Categorical("c", tuple("abcd")),
            Categorical("d", tuple("abcd")),
            Categorical("t", ("x", "y")),
        ),
        target="t",
    )


def _squares(canaries: int) -> ImageSchema:
    """Pictures in which every canary has :data:`_OWN` pixels of its own."""
    side = math.isqrt(_OWN * canaries - 1) + 1
    return ImageSchema(1, side, side, ("a", "b"))


def _canaries(
    facts: Any, count: int, rng: np.random.Generator, trains: bool, unit: Unit, aligned: bool
) -> list[Any]:
    """Two values for every canary: the one that is in, and the one that is there in its place."""
    if isinstance(facts, ImageSchema):
        k, pixels = len(facts.classes), math.prod(facts.shape)
        images = rng.integers(0, 2, (2, count, *facts.shape)).astype(np.float32)
        if trains and pixels >= count:
            # Pixels that no other canary has pull at weights that no other one pulls at.
            owner = np.arange(pixels) // (pixels // count)
            lit = (owner == np.arange(count)[:, None]).astype(np.float32)
            images = np.stack([lit.reshape(count, *facts.shape)] * 2)
        if aligned or unit.pixels is not None or not unit.labels:
            apart = unit.apart(facts.shape)
            images[1] = images[0]
            images[0][:, apart], images[1][:, apart] = 1.0, 0.0
        first = rng.integers(0, k, count)
        labels = [first, (first + 1) % k if unit.labels else first]
        return [ImageSet.from_arrays(images[i], labels[i], facts.classes) for i in (0, 1)]
    if facts.target == "who":
        codes = {"c": np.ones(count, np.int64), "who": np.arange(count)}
        return [Table.from_codes(codes, facts)] * 2
    low = {c.name: rng.integers(0, max(1, c.size // 2), count) for c in facts}
    high = {c.name: c.size - 1 - low[c.name] for c in facts}
    high |= {name: low[name] for name in unit.copied}
    return [Table.from_codes(values, facts) for values in (high, low)]


def _without(side: Any) -> Any:
    """As many records that tell nothing of the canaries."""
    if isinstance(side, ImageSet):
        blank = np.zeros_like(side.images)
        return ImageSet.from_arrays(blank, side.labels, side.schema.classes)
    return side


def _mixed(sides: list[Any], included: NDArray[np.bool_], swapped: bool) -> Any:
    """The data that the method is run on."""
    inside, instead = sides
    if isinstance(inside, ImageSet):
        if not swapped:
            return inside.select(np.flatnonzero(included))
        shown = included[:, None, None, None]
        images = np.where(shown, inside.images, instead.images)
        labels = np.where(included, inside.labels, instead.labels)
        return ImageSet.from_arrays(images, labels, inside.schema.classes)
    own, other = inside.codes(), instead.codes()
    if not swapped:
        return Table.from_codes({n: c[included] for n, c in own.items()}, inside.schema)
    mixed = {n: np.where(included, own[n], other[n]) for n in own}
    return Table.from_codes(mixed, inside.schema)


def _scores(
    release: Release, reference: Release, sides: list[Any], swapped: bool
) -> NDArray[np.float64]:
    """For each canary, how much the release speaks for it."""
    score = [_score(release, reference, side) for side in (sides if swapped else sides[:1])]
    found = score[0] - score[1] if swapped else score[0]
    if release.artefact.kind == "model":
        found = _apart(found, sides[0])
    return found


def _apart(scores: NDArray[np.float64], side: Any) -> NDArray[np.float64]:
    """Scores without what all canaries of a label have in common, which tells nothing of any."""
    labels = side.labels if isinstance(side, ImageSet) else side.codes()[side.schema.target]
    _, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if counts.min() < _ALIKE:
        return scores
    return np.asarray(scores - (np.bincount(codes, scores) / counts)[codes], np.float64)


def _score(release: Release, reference: Release, side: Any) -> NDArray[np.float64]:
    kind = release.artefact.kind
    content: Any = release.artefact.content
    if kind == "model":
        moved = looks.weights(release.model) - looks.weights(reference.model)
        pulls = (looks.gradient(reference.model, side, i) for i in range(len(side)))
        return np.array([float(moved @ pull) for pull in pulls])
    aligned = release.card.plan.get("aligned") is True  # each has a place of its own
    if kind == "images" and aligned:
        own = np.einsum("ij,ij->i", pixels(side), pixels(content))
        return np.asarray(own + (side.labels == content.labels), np.float64)
    if kind == "images":
        shown, seen = pixels(side), pixels(content)
        return np.asarray((shown @ seen.T).max(axis=1), np.float64)
    codes, released = side.codes(), content.codes()
    if aligned:
        return np.asarray(sum((codes[n] == released[n]) * 1.0 for n in codes), np.float64)
    columns = tuple(side.schema.columns)
    design = Design(columns)

    def matrix(values: Any) -> Any:
        return design.matrix(np.stack([values[c.name] for c in columns], axis=1).astype(np.int32))

    # How many released rows share each value; where values are a canary's own, it is a count.
    totals = np.asarray(matrix(released).sum(axis=0)).ravel()
    return np.asarray(matrix(codes) @ totals, np.float64).ravel()
