"""A method audited by its runs: calibrate, run, look; many times on either of two data sets."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.api.auditing import looks, neighbours, transcripts
from sfumato.api.auditing.record import (
    FEWEST_RUNS,
    Audit,
    Claim,
    check_confidence,
    gaussian_epsilon,
    worst_case,
)
from sfumato.api.auditing.units import Unit
from sfumato.api.runs import Runs
from sfumato.errors import InputError
from sfumato.measure import audit as bounds
from sfumato.measure.audit.two_point import PILOT
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.transcript import Transcript, listening
from sfumato.publish import constraints
from sfumato.publish.method import Calibrated, Progress, settings
from sfumato.release.weights import load_weights, save_weights
from sfumato.versions import versions

if TYPE_CHECKING:
    from sfumato.privacy.budget import Budget
    from sfumato.privacy.noise import NoiseSource
    from sfumato.release.release import Release

Source = Callable[[int], "NoiseSource"]
"""The noise of the run of a number: for tests. Without one it is the method's own."""

_Look = Callable[["Release", Transcript], NDArray[np.float64]]

LEARNERS = (bounds.learn_linear, bounds.learn_ratio_of_levels, bounds.learn_column)
_HUGE = 1e30
"""In place of an infinity: learners square it and add."""
_SECONDS = 5.0
"""Of runs are lost at most when an audit with a folder is interrupted."""


def calibrated(method: Any, budget: Budget, facts: Any, records: int) -> Calibrated:
    """The run that is audited.

    Raises:
        InputError: If the facts name a unit, or the method refuses them.
    """
    if getattr(facts, "unit", None) is not None:
        raise InputError(
            "the facts name a unit, and an audit plays with one record",
            "Leave the unit out: the guarantee of a person follows from that of a record.",
        )
    if getattr(method, "seed", 0) is None:  # first weights that everybody knows tell more
        method = replace(method, seed=0)
    facts = facts.with_records(records if method.needs_records else None)
    return constraints.calibrate(method, budget, facts)


def two_points(
    method: Any,
    budget: Budget,
    facts: Any,
    *,
    runs: int,
    records: int,
    confidence: float,
    adversary: str,
    folder: Path | None,
    source: Source | None,
    progress: Progress,
) -> Audit:
    """Runs a method on two neighbouring data sets of its own making and bounds its epsilon.

    Args:
        method: Configured.
        budget: What it is calibrated to.
        facts: Public facts; of the data themselves nothing is read.
        runs: On each of the two.
        records: In the larger of the two.
        confidence: Of the bounds together.
        adversary: ``"release"`` looks at what is released; ``"transcript"`` at each noisy value
            that is drawn for it, too.
        folder: Where finished runs are kept; None keeps them in memory. Their number is fixed
            when the folder is begun.
        source: The noise; None for the method's own.
        progress: Told how far it is.

    Raises:
        InputError: If the method or a number is refused, or the folder holds something else.
    """
    check_confidence(confidence)
    if isinstance(runs, bool) or not isinstance(runs, int) or runs < FEWEST_RUNS:
        raise InputError(f"runs is {runs!r}", f"Give a whole number from {FEWEST_RUNS}.")
    started = time.perf_counter()
    made = calibrated(method, budget, facts, records)
    proven = worst_case(made.guarantee)
    claim = Claim.of(made.guarantee)
    transcripts.check_adversary(adversary, claim.kind)
    unit = Unit.of(made.guarantee, made.plan, made.public)
    pair = neighbours.pair(
        facts,
        proven.neighbours,
        records,
        to_train=getattr(method, "gives", "") == "model",
        unit=unit,
        aligned=made.plan.get("aligned") is True,
    )
    about = f"{named(facts)}{unit}"
    what = {
        "game": "two points",
        "method": method.name,
        "settings": plain(settings(method)),
        "budget": [budget.epsilon, budget.delta],
        "facts": about,
        "records": records,
        # Who looks, and adds runs until a bound is high enough, has more than one chance at it.
        "number of runs": runs,
        "adversary": adversary,
        "event": json.dumps(proven.to_dict(), sort_keys=True),
        "noise": "own" if source is None else "given",
    }
    with _kept(folder, what) as book:
        reference = _reference(made, pair, folder, source)
        look = _look_at(made, pair, reference, adversary)
        sides = _runs(made, pair, look, runs, book, source, progress)
        secure = reference.card.noise["secure"], reference.card.noise["source"]
    # Three statements are made of the same runs; the alarm is divided between them.
    alarm = (1 - confidence) / 3
    one, other = sides
    epsilon = bounds.two_point(one, other, proven.delta, alarm, LEARNERS)
    mu = bounds.two_point_mu(one, other, alarm, LEARNERS)
    over = bounds.excess(one, other, proven.advantage_ceiling, alarm, LEARNERS)
    progress(1, 1, "audited")
    return Audit(
        subject=method.name,
        game="two points",
        claim=claim,
        epsilon=epsilon,
        mu=mu,
        gaussian_epsilon=gaussian_epsilon(mu, claim),
        refuted=over > 0,
        confidence=confidence,
        most=_most(len(one), proven.delta, alarm),
        counts={
            "runs": 2 * runs,
            "judged": 2 * (runs - max(2, int(runs * PILOT))),
            "features": one.shape[1],
            "records": records,
        },
        assumption="The runs are independent. The two data sets are neighbours and were made up.",
        noise={"secure": secure[0], "source": secure[1]},
        adversary=adversary,
        settings=plain(settings(method)),
        facts=about,
        seconds=time.perf_counter() - started,
        versions=versions(),
    )


def _most(runs: int, delta: float, alarm: float) -> float:
    """The bound that runs give which are told apart without a mistake."""
    judged = runs - max(2, int(runs * PILOT))
    always, never = (bounds.limits(hits, judged, alarm / 2) for hits in (judged, 0))
    return bounds.Rates((always[0], 1.0, always[1]), (never[0], 0.0, never[1])).epsilon(delta)


def once(made: Calibrated, data: Any, number: int, source: Source | None) -> Release:
    """One run as a user makes it, on a ledger that is thrown away."""
    # Under add-remove the two data sets are not of one size; either is what was declared.
    if getattr(made.facts, "records", None) is not None:
        made = replace(made, facts=made.facts.with_records(len(data)))
    drawn = None if source is None else source(number)
    return made(data, ledger=Ledger.in_memory(), source=drawn)


def _look_at(made: Calibrated, pair: neighbours.Pair, reference: Release, adversary: str) -> _Look:
    """What an adversary makes of a run."""
    released = looks.look_at(pair.canaries, pair.at, reference, pair.one)
    if adversary == transcripts.RELEASE:
        return lambda release, transcript: released(release)
    pulls = transcripts.Pulls.of(pair, lambda data, noise: once(made, data, 0, lambda _: noise))
    if reference.card.plan.get("aligned") is True:  # a record's own report is in the release alone
        return lambda release, transcript: np.append(released(release), pulls(transcript))
    return lambda release, transcript: pulls(transcript)


def _runs(
    made: Calibrated,
    pair: neighbours.Pair,
    look: _Look,
    runs: int,
    book: Runs | None,
    source: Source | None,
    progress: Progress,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Features of ``runs`` runs on each side, those on disk among them."""
    found: list[list[Any]] = []  # a run on either side each time
    chunk = 0
    while book is not None and (kept := book.get(str(chunk))) is not None:
        features: Any = kept.get("features")
        if np.shape(_numbers(features))[1:2] != (2,):
            raise _damaged()
        found += features
        chunk += 1
    fresh: list[Any] = []
    last = time.monotonic()
    for number in range(len(found), runs):
        progress(number, runs, f"{made.method.name}: runs on either of two data sets")
        both = []
        for side, data in enumerate((pair.one, pair.other)):
            with listening() as transcript:
                release = once(made, data, 2 * number + side, source)
            both.append(look(release, transcript))
        fresh.append([[float(f"{value:.9g}") for value in side] for side in both])
        if book is not None and (time.monotonic() - last > _SECONDS or number + 1 == runs):
            book.add(str(chunk), {"features": fresh})
            found, fresh, chunk, last = found + fresh, [], chunk + 1, time.monotonic()
    array = _numbers((found + fresh)[:runs])
    if array.ndim != 3:
        raise _damaged()
    array = finite(array)
    return array[:, 0], array[:, 1]


def _numbers(features: Any) -> NDArray[np.float64]:
    """(runs, 2, k) what was kept of runs; none where it is of another shape."""
    try:
        array = np.array(features, np.float64)
    except (TypeError, ValueError):
        return np.zeros(0)
    return array if array.ndim == 3 else np.zeros(0)


def finite(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Features that can be compared: what is no number is 0, and is counted in one more column.

    Nothing is above or below a NaN, so that a run which breaks on one of two data sets, and tells
    them apart by that, would look like any other. Whether there is the column is seen in the pilot
    runs, which are not judged.

    Args:
        features: (runs, 2, k) of each run on either side.
    """
    broken = ~np.isfinite(features)
    if not broken.any():
        return features
    whole = np.nan_to_num(features, nan=0.0, posinf=_HUGE, neginf=-_HUGE)
    if not broken[: max(2, int(len(features) * PILOT))].any():
        return whole
    return np.concatenate([whole, broken.sum(axis=2, keepdims=True, dtype=np.float64)], axis=2)


def _damaged() -> InputError:
    return InputError(
        "the runs on disk are not those of this audit: their numbers differ in kind or number",
        "Restore a copy of the folder, or begin in another one.",
    )


def _reference(
    made: Calibrated, pair: neighbours.Pair, folder: Path | None, source: Source | None
) -> Release:
    """A release that is not judged; the same one after an interruption."""
    number = 1 << 40
    first = once(made, pair.one, number, source)
    if folder is None or first.artefact.kind != "model":
        return first
    kept = folder / "reference.safetensors"
    model: Any = first.artefact.content
    if not kept.exists():
        save_weights(kept, model.tensors, model.architecture)
        return first
    tensors, architecture = load_weights(kept)
    content = replace(model, tensors=tensors, architecture=architecture)
    return replace(first, artefact=replace(first.artefact, content=content))


@contextmanager
def _kept(folder: Path | None, what: dict[str, Any]) -> Iterator[Runs | None]:
    if folder is None:
        yield None
        return
    with Runs.open(folder, {**what, "version": versions()["sfumato"]}, noun="audit") as book:
        yield book


def plain(values: Any) -> Any:
    """JSON values of settings."""
    return json.loads(json.dumps(values, default=str))


def named(facts: Any) -> str:
    """Facts in a line."""
    if hasattr(facts, "columns"):
        return f"a made-up table of {len(facts.columns)} columns"
    shape = " x ".join(map(str, facts.shape))
    return f"made-up images of {shape}, {len(facts.classes)} classes"
