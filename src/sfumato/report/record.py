"""The technical record of a release: what a privacy officer checks line by line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sfumato.report import wording
from sfumato.report.charts import percent_tick

if TYPE_CHECKING:
    from sfumato.release.card import Card
    from sfumato.report.bounds import Bounds

_EVENTS = {
    "NoOpDpEvent": "nothing",
    "NonPrivateDpEvent": "data in the clear: nothing is proven",
    "GaussianDpEvent": "Gaussian noise",
    "LaplaceDpEvent": "Laplace noise",
    "DiscreteLaplaceDpEvent": "discrete Laplace noise",
    "DiscreteGaussianDpEvent": "discrete Gaussian noise",
    "RandomizedResponseDpEvent": "randomised response",
    "ZCDpEvent": "a zero-concentrated DP mechanism",
    "PureDpEvent": "a pure ε-DP mechanism",
    "VonMisesFisherDpEvent": "von Mises–Fisher noise on a direction",
    "ObjectiveDpEvent": "a Gaussian linear term in a convex objective",
    "ApproximateDpEvent": "an (ε, δ)-DP mechanism",
    "GroupDpEvent": "of several records at once",
    "PoissonSampledDpEvent": "of a Poisson sample of the records",
    "TruncatedSubsampledGaussianDpEvent": "Gaussian noise on a truncated Poisson sample",
    "SelfComposedDpEvent": "repeated",
    "ComposedDpEvent": "all of",
    "ParallelDpEvent": "one of",
    "SelectedDpEvent": "the best of a random number of",
}
_INTEGERS = {
    "ComposedDpEvent",
    "DiscreteGaussianDpEvent",
    "DiscreteLaplaceDpEvent",
    "GroupDpEvent",
    "NoOpDpEvent",
    "RandomizedResponseDpEvent",
    "SelfComposedDpEvent",
}
_SAMPLED = {
    "PoissonSampledDpEvent": "Poisson",
    "TruncatedSubsampledGaussianDpEvent": "Poisson, truncated",
}


@dataclass(frozen=True)
class Row:
    """One line of the record.

    Args:
        name: What it is.
        value: What it is here.
        note: How to read it.
    """

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Node:
    """One event of the tree of what was drawn.

    Args:
        label: The event in words, with its parameters.
        children: The events it is made of.
    """

    label: str
    children: tuple[Node, ...] = ()


def rows(card: Card, bounds: Bounds) -> list[Row]:
    """Every line of the record that can be computed from the card."""
    return [*_guarantee(card, bounds), *_making(card), *_identity(card)]


def tree(event: Mapping[str, Any] | None) -> Node | None:
    """The event of a guarantee as a tree of words; None where there is none."""
    if not event:
        return None
    kind = str(event["type"])
    if kind == "ComposedDpEvent":
        return Node("All of these, on the same records", tuple(_children(event["events"])))
    if kind == "ParallelDpEvent":
        said = "One of these: each is on records of its own"
        return Node(said, tuple(_children(event["events"])))
    if kind == "SelectedDpEvent":
        said = f"The best of a secret number of trials, {event['mean']:g} expected, each one of"
        return Node(said, tuple(_children(event["events"])))
    inner = event.get("event")
    said = _EVENTS.get(kind, kind)
    if kind == "SelfComposedDpEvent":
        said = f"{wording.count(int(event['count']))} times"
    elif kind == "GroupDpEvent":
        said = f"For {event['size']} records at once, all those of one person"
    elif kind == "PoissonSampledDpEvent":
        said = f"On a Poisson sample of the records, rate {event['sampling_probability']:g}"
    else:
        given = [
            f"{key.replace('_', ' ')} {wording.fact_value(value)}"
            for key, value in event.items()
            if key != "type"
        ]
        said = said[:1].upper() + said[1:] + (f": {', '.join(given)}" if given else "")
    return Node(said, tuple(_children([inner])) if inner else ())


def _children(events: list[Mapping[str, Any]]) -> Iterator[Node]:
    """The parts, equal neighbours counted instead of repeated."""
    at = 0
    while at < len(events):
        same = 1
        while at + same < len(events) and events[at + same] == events[at]:
            same += 1
        node = tree(events[at])
        if node is not None:
            yield node if same == 1 else Node(f"{same} times", (node,))
        at += same


def _guarantee(card: Card, bounds: Bounds) -> Iterator[Row]:
    guarantee, figures = card.guarantee, card.figures
    yield Row("Guarantee", wording.epsilon_line(card))
    yield Row("As the card says it", str(figures["statement"]))
    if not bounds.bounded:
        return
    unit = str(guarantee["unit"])
    yield Row("Unit", unit, wording.of_unit(card))
    yield Row("Neighbours", f"{guarantee['neighbours']}: {_apart(card, unit)}")
    delta = float(guarantee["delta"])
    yield Row("δ", wording.delta(delta), _delta_rule(card, delta))
    if bounds.profile:
        at = "; ".join(f"{wording.up(e)} at {wording.delta(d)}" for d, e in bounds.profile)
        yield Row("ε at other δ", at, "The same noise, read off elsewhere.")
    if bounds.other is not None:
        known = bounds.other_epsilon
        yield Row(
            f"ε under {bounds.other.value}",
            "none known" if known is None else wording.up(known),
            "The same noise under the other relation. The two are never compared or added.",
        )
    mu = figures.get("gdp_mu")
    if mu is not None:
        regret = "" if bounds.regret is None else f", regret {wording.delta(bounds.regret)}"
        yield Row(
            "Gaussian DP",
            f"μ = {wording.up(float(mu))}{regret}",
            "As hard to attack as telling a unit normal from one shifted by μ; the regret says how "
            "much is lost by saying it in one number.",
        )
    ceilings = "; ".join(
        f"{wording.share_up(tpr)} at {percent_tick(fpr)}" for fpr, tpr in figures["tpr_ceiling"]
    )
    yield Row("Best true-positive rate", f"{ceilings} false positives")
    yield Row("Accountant", str(figures["accountant"]))


def _making(card: Card) -> Iterator[Row]:
    event = card.guarantee.get("event")
    if event:
        yield Row("Sampler", _sampler(event))
    if not card.ledger:
        yield Row("Made by", "other software; how is not known here")
        return
    secure = bool(card.noise.get("secure"))
    yield Row(
        "Noise",
        str(card.noise.get("source")),
        "Cryptographic; the seed is never stored."
        if secure
        else "Not secure: whoever knows the seed can take the noise away again.",
    )
    if event:
        yield Row("Arithmetic", _arithmetic(event))
    yield Row(
        "Tuning",
        "none is covered by this entry",
        "A search over settings that looks at private rows is a release of its own, with its own "
        "entry in the ledger.",
    )


def _identity(card: Card) -> Iterator[Row]:
    entry = str(card.ledger.get("entry", ""))
    shown = f"no. {card.ledger.get('sequence')}, {entry}" if card.ledger else "none"
    yield Row("Ledger entry", shown)
    yield Row("Release", card.release_id)
    yield Row("Created", card.created)
    seeds = ", ".join(f"{name} {seed}" for name, seed in card.seeds.items())
    yield Row("Seeds", seeds or "none", "Of everything that is not privacy noise.")
    problems = card.verify()
    yield Row(
        "Check",
        "; ".join(problems) or "the printed figures agree with the event",
        "Recomputed from the event when this page was written.",
    )


def _apart(card: Card, unit: str) -> str:
    from sfumato.privacy.neighbours import Neighbours

    phrase = Neighbours(card.guarantee["neighbours"]).phrase
    return f"data sets that {phrase.format(unit=unit)}"


def _delta_rule(card: Card, delta: float) -> str:
    if delta == 0:
        return "Pure: no allowance."
    records = next((fact.value for fact in card.facts if fact.name == "records"), None)
    if not isinstance(records, int) or records < 1:
        return "Ought to lie below 1/(10 × records); the number of records is not public."
    limit = 0.1 / records
    word = "below" if delta <= limit else "above"
    return f"{word.capitalize()} 1/(10 × records) = {wording.delta(limit)}, the usual rule."


def _sampler(event: Mapping[str, Any]) -> str:
    found = sorted({_SAMPLED[kind] for kind in _kinds(event) if kind in _SAMPLED})
    return ", ".join(found) if found else "none: every record is used"


def _arithmetic(event: Mapping[str, Any]) -> str:
    if set(_kinds(event)) <= _INTEGERS:
        return "integers throughout; nothing can hide in floating point"
    return "steps of a public grid, with integer noise underneath; no bare floating point"


def _kinds(event: Mapping[str, Any]) -> Iterator[str]:
    yield str(event["type"])
    inner = event.get("event")
    parts = event.get("events", []) if inner is None else [inner]
    for part in parts:
        yield from _kinds(part)
