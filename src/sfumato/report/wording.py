"""The sentences of a report: precise first, plain wherever precision allows.

An attack that fails proves nothing, an epsilon without its delta, unit and neighbours says
nothing, and a bound is rounded up, never down. Every sentence on a page that carries a figure is
made here or in :mod:`sfumato.report.verdicts`, so that these rules are kept in one place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sfumato.privacy.rounding import up as up
from sfumato.publish.memory import size as size

if TYPE_CHECKING:
    from sfumato.attack.finding import Finding
    from sfumato.release.card import Card
    from sfumato.report.bounds import Bounds

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_SEEN = 1000
"""So many others that one of them is the left end of logarithmic axes."""


def delta(value: float) -> str:
    """A delta as it is written by hand.

    >>> delta(1e-6), delta(2.5e-7), delta(0)
    ('10⁻⁶', '2.5 × 10⁻⁷', '0')
    """
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.2e}".split("e")
    power = "10" + str(int(exponent)).translate(_SUPERSCRIPT)
    mantissa = mantissa.rstrip("0").rstrip(".")
    return power if mantissa == "1" else f"{mantissa} × {power}"


def share_up(value: float) -> str:
    r"""A bound on a share in percent, rounded up to a tenth, below one percent to a hundredth.

    >>> share_up(0.62241), share_up(0.5), share_up(0.00271)
    ('62.3\xa0%', '50\xa0%', '0.28\xa0%')
    """
    digits = 1 if value >= 0.01 else 2
    parts = math.ceil(min(value, 1.0) * 100 * 10**digits - 1e-9)
    shown = f"{parts / 10**digits:.{digits}f}"
    return (shown.rstrip("0").rstrip(".") if "." in shown else shown) + "\xa0%"


def figure(value: float | None) -> str:
    """A measured figure, to three decimals, small ones to two digits; a dash where there is none.

    >>> figure(0.50342), figure(0.00062), figure(None)
    ('0.503', '0.00062', '–')
    """
    if value is None:
        return "–"
    shown = f"{value:.2g}" if 0 < abs(value) < 0.005 else f"{value:.3f}"
    return shown.replace("-0", "−0", 1) if value < 0 else shown


def bound(value: float | None) -> str:
    """A bound on a figure, written as :func:`figure` is but rounded up.

    >>> bound(0.53901), bound(0.00062), bound(None)
    ('0.540', '0.00062', 'none')
    """
    if value is None:
        return "none"
    if 0 < value < 0.005:
        return up(value, 2)
    return f"{math.ceil(value * 1000 - 1e-6) / 1000:.3f}"


def interval(ends: Sequence[float] | None) -> str:
    """A confidence interval."""
    if not ends:
        return ""
    between = "–" if ends[0] >= 0 else " to "
    return f"{figure(ends[0])}{between}{figure(ends[1])}"


def count(value: int) -> str:
    """A count with separators."""
    return f"{value:,}"


def article(noun: str) -> str:
    """The noun with its indefinite article."""
    return f"an {noun}" if noun[:1].lower() in "aeiou" else f"a {noun}"


def plural(number: int, noun: str, many: str = "") -> str:
    """``1 attack``, ``3 attacks``."""
    return f"{count(number)} {noun if number == 1 else many or noun + 's'}"


def level(confidence: float) -> str:
    """A confidence, rounded down: one that is nearly all is never said to be all.

    >>> level(0.95), level(0.995), level(1 - 0.01 / 8), level(0.9999999)
    ('95%', '99.5%', '99.87%', '99.99%')
    """
    parts = math.floor(confidence * 10_000 + 1e-6)
    return f"{parts / 100:.2f}".rstrip("0").rstrip(".") + "%"


def by_luck(finding: Finding) -> str:
    """Where a curve on logarithmic axes says nothing; empty where it says something everywhere."""
    others = finding.details.get("targets")
    if not isinstance(others, int) or others >= _SEEN:
        return ""
    return (
        f"Left of {100 / others:.2g}\xa0% nobody of the {others:,} who are not in the data is "
        "accused: there the curve is the luck of few members, and may pass the ceiling."
    )


def epsilon_line(card: Card) -> str:
    """Epsilon with everything without which it says nothing."""
    kind = card.guarantee.get("kind")
    printed = card.figures.get("epsilon")
    if kind in ("central", "local"):
        size = "no finite ε" if printed is None else f"ε\xa0=\xa0{up(float(printed))}"
        at = float(card.guarantee["delta"])
        part = "" if at == 0 else f" at δ\xa0=\xa0{delta(at)}"
        unit, relation = card.guarantee["unit"], card.guarantee["neighbours"]
        return f"{size}{part}, {kind}, for one {unit}, {relation}"
    if kind == "metric":
        return f"ε\xa0=\xa0{card.guarantee['epsilon_per_distance']:g} per unit of distance"
    return "no guarantee"


def worst_case(card: Card) -> str:
    """What a metric guarantee comes to at any distance."""
    printed, at = card.figures.get("epsilon"), float(card.guarantee["worst_case"]["delta"])
    size = "no finite ε" if printed is None else f"ε\xa0=\xa0{up(float(printed))}"
    return size if at == 0 else f"{size} at δ\xa0=\xa0{delta(at)}"


def statement(card: Card) -> str:
    """The guarantee in the terms of the field, in one sentence."""
    guarantee, printed = card.guarantee, card.figures.get("epsilon")
    kind = guarantee.get("kind")
    if kind not in ("central", "local") or printed is None:
        return str(card.figures["statement"])
    at, unit = float(guarantee["delta"]), str(guarantee["unit"])
    figures = f"ε\xa0=\xa0{up(float(printed))} and δ\xa0=\xa0{delta(at)}"
    if kind == "local":
        return (
            f"Local differential privacy of each {unit} with {figures}, between any two values "
            f"that {article(unit)} could have had."
        )
    from sfumato.privacy.neighbours import Neighbours

    apart = Neighbours(guarantee["neighbours"]).phrase.format(unit=unit)
    return (
        f"Differential privacy of the whole release with {figures}, between any two data sets "
        f"that {apart}."
    )


def protects(card: Card) -> tuple[str, ...]:
    """What the guarantee says, in paragraphs."""
    guarantee = card.guarantee
    kind = guarantee.get("kind")
    unit = str(guarantee.get("unit", "record"))
    if kind == "central":
        apart = {
            "add-remove": f"whether {article(unit)} was in the data at all",
            "replace-one": f"which of any two values {article(unit)} had",
            "zero-out": f"whether {article(unit)} was in the data or blanked out",
        }[str(guarantee["neighbours"])]
        return (
            "Anyone may study this release in any way, with any other knowledge they have, now or "
            f"later. How much it can tell them about {apart} is limited, and the limits below hold "
            "against all of them.",
            "This is a central guarantee: a trusted holder saw the data in the clear, drew noise, "
            "and released only the noisy result. It does not protect against the holder.",
        )
    if kind == "local":
        return (
            f"Each {unit} was randomised on its own, before anything else was done with it. "
            f"How much the published version of {article(unit)} can tell about which of any two "
            f"values the true {unit} had is limited, whatever else is known, and the limits below "
            "hold against everybody.",
            f"This is a local guarantee: it is a property of each {unit}'s own report. Where the "
            "randomisation runs at the source, nobody needs to be trusted with the true "
            f"{unit}s; in this release the publisher ran it and saw them.",
        )
    if kind == "metric":
        near = ", ".join(f"{k}: {v:g}" for k, v in guarantee["typical_distances"].items())
        far = (
            "This is not differential privacy of a record: records that are far apart are not "
            "protected from each other, and no bound on attacks follows."
        )
        if "worst_case" in guarantee:
            far = (
                f"Whatever the distance, {worst_case(card)} holds between any two values that "
                f"{article(str(guarantee['worst_case']['unit']))} could have had; unless that is "
                "small, records that are far apart are hardly protected from each other."
            )
        return (
            "Two records can be told apart the better, the further they are apart "
            f"({guarantee['metric']}): at distance d the factor is e to the ε·d with "
            f"ε\xa0=\xa0{guarantee['epsilon_per_distance']:g}. {far}",
            f"Typical distances: {near}." if near else "No typical distances were given.",
        )
    return (
        "Nothing is proven about this release. What it can leak is known only from the attacks "
        "that were run, and an attack that fails does not show that a better one would.",
    )


def meaning(card: Card, bounds: Bounds) -> str:
    """The guarantee as a guessing game."""
    unit = str(card.guarantee.get("unit", "record"))
    asked = (
        f"whether {article(unit)} they are after was in the data"
        if card.guarantee.get("neighbours") != "replace-one"
        else f"which of two values {article(unit)} they are after had"
    )
    return (
        f"Suppose an attacker knows everything except {asked}, and both answers are equally "
        "likely. Without the release, a guess is right 50 times in 100. With it, and with "
        f"unlimited computing power, a guess is right at most {bounds.per_hundred} times in 100 "
        f"({share_up(bounds.accuracy)})."
    )


def factor(card: Card) -> str:
    """What epsilon and delta stand for; empty where there is no finite epsilon."""
    printed = card.figures.get("epsilon")
    if printed is None or "delta" not in card.guarantee:
        return ""
    at = float(card.guarantee["delta"])
    unit = str(card.guarantee["unit"])
    change = {
        "add-remove": f"adding or removing one {unit}",
        "replace-one": f"changing one {unit} to any other value",
        "zero-out": f"blanking out one {unit}",
    }[str(card.guarantee["neighbours"])]
    times = up(math.exp(min(float(printed), 700.0)), 3)
    said = f"No result becomes more than {times} times as likely (e to the ε) by {change}"
    if at == 0:
        return f"{said}; there are no exceptions (δ = 0)."
    return (
        f"{said}, apart from an allowance of δ\xa0=\xa0{delta(at)} in probability. The best "
        "guess above already takes the allowance into account."
    )


def found_at(card: Card, bounds: Bounds, fpr: float) -> str:
    """The ceiling at one false-positive rate, in natural frequencies."""
    tpr, unit, every = bounds.at(fpr), str(card.guarantee["unit"]), round(1 / fpr)
    if card.guarantee["neighbours"] == "replace-one":
        return (
            f"An attacker who may take the first of two values for the second in at most 1 of "
            f"{every} cases recognises the second in at most {share_up(tpr)} of cases."
        )
    return (
        f"An attacker who may wrongly accuse at most 1 of {every} absent {unit}s finds at most "
        f"{share_up(tpr)} of those present."
    )


def not_promised(card: Card) -> tuple[str, ...]:
    """What no guarantee of this kind says; for those that prove something."""
    kind = card.guarantee.get("kind")
    if kind not in ("central", "local"):
        return ()
    unit = str(card.guarantee.get("unit", "record"))
    return (
        "It does not hide what is true of a whole group. If the data show that smoking harms, "
        "the release may show it too, and that can affect people who were never in the data.",
        _beyond_one(card, unit),
        "It covers this release. Other releases of the same data add to it"
        + ("; the ledger keeps the sum." if card.ledger else ", and nothing here keeps the sum."),
        "It does not stop anyone from using the release for another purpose than its task.",
    )


def _beyond_one(card: Card, unit: str) -> str:
    rows = card.plan.get("rows_per_unit")
    if rows is None:
        return (
            f"It covers one {unit}. A person behind several {unit}s is protected less: with two, "
            "ε about doubles."
        )
    return (
        f"It covers one {unit}, as the data tell them apart: someone under two ids is two of them, "
        "and ε about doubles. Families and other groups are protected less, too."
    )


def of_unit(card: Card) -> str:
    """What belongs to what is protected."""
    unit, rows = str(card.guarantee["unit"]), card.plan.get("rows_per_unit")
    if rows is None:
        return f"What is protected is one {unit}, not all that belongs to one person."
    kept = "one, drawn at random, was" if rows == 1 else f"at most {rows}, drawn at random, were"
    return f"What is protected is one {unit} with all their rows, of which {kept} used."


def fact_value(value: Any) -> str:
    """A fact's value in a line."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        if "lower" in value and "upper" in value:
            step = value.get("granularity")
            said = f"{fact_value(value['lower'])} to {fact_value(value['upper'])}"
            return said + _policy(value, f" in steps of {fact_value(step)}" if step else "")
        if "levels" in value and isinstance(value["levels"], list):
            return ", ".join(map(str, value["levels"])) + _policy(value, "")
        if "sha256" in value and "count" in value:
            return f"{count(int(value['count']))} levels, SHA-256 {str(value['sha256'])[:12]}…"
        return ", ".join(f"{k}: {fact_value(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(fact_value(item) for item in value)
    return "none" if value is None else str(value)


def _policy(value: dict[str, Any], step: str) -> str:
    missing = "; may be missing" if value.get("missing") else ""
    outside = value.get("outside")
    policy = {"clamp": "; values outside are clamped", "missing": "; values outside become missing"}
    return step + missing + policy.get(str(outside), "")
