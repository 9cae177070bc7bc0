"""What an attacker learns, in plain words: one paragraph for each finding.

Rates are natural frequencies, beside what anybody gets without the release. A failed attack is
evidence and no proof, and a success is said of people, not of curves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sfumato.report import verdicts, wording

if TYPE_CHECKING:
    from sfumato.attack.finding import Finding

_ASKED = {
    "membership": "Was this person in the data?",
    "privacy_loss": "Was this person in the data?",
    "linkage": "Whose record is behind a released one?",
    "anonymeter.singling_out": "Does something fit one person only?",
    "anonymeter.linkability": "Do two files hold the same person?",
    "inference": "What is the one thing about a person that I do not know?",
    "memorisation": "Is a training picture in the release?",
}
_WITHOUT = "No proof: a better attack may exist."


def learns(finding: Finding) -> dict[str, str]:
    """What one attack means for a person.

    Returns:
        ``asked``, the attacker's question; ``answer``, what they get; ``so``, what follows, with
        its ``tone``; and the attack's ``name``.
    """
    tone, _ = verdicts.finding_verdict(finding)
    return {
        "name": finding.attack,
        "asked": _asked(finding),
        "answer": _answer(finding),
        "so": _so(finding, tone),
        "tone": tone,
    }


def in_hundred(share: float) -> str:
    """A share as people count: of 100, or of 1,000 or 10,000 where it is small.

    >>> in_hundred(0.734), in_hundred(0.0042), in_hundred(0.0), in_hundred(0.99996)
    ('73 in 100', '4 in 1,000', 'none', 'nearly all')
    """
    if share <= 0:
        return "none"
    if share >= 1:
        return "all"
    if share >= 0.9995:
        return "nearly all"
    for of in (100, 1000, 10_000):
        count = share * of
        if count >= 1.5 or (of == 100 and count >= 0.95):
            return f"{round(count)} in {of:,}"
    return "fewer than 2 in 10,000"


def _asked(finding: Finding) -> str:
    name = finding.attack
    for key in (name, name.split(".")[0], name.split(".")[-1]):
        if key in _ASKED:
            return _ASKED[key]
    return "What can be found out about the people in the data?"


def _answer(finding: Finding) -> str:
    speak = _SPOKEN.get(finding.attack)
    try:
        if speak is not None:
            return speak(finding)
        return _area(finding) if finding.metric == "AUC" else finding.summary
    except (KeyError, TypeError, IndexError):  # a finding of another version keeps its own words
        return finding.summary


def _so(finding: Finding, tone: str) -> str:
    if finding.breaks_guarantee:
        return "This is more than the guarantee allows. Something is wrong: do not hand it over."
    if finding.margin is not None and finding.undecided:
        return (
            "Whether that is more than an attacker gets without the release cannot be told: the "
            f"two may differ by {wording.interval(finding.margin.interval)}, and more people would "
            "tell. Until then, take it for a leak."
        )
    if tone == "good" and finding.interval[0] > finding.chance:
        if finding.margin is not None:
            return f"That is no more than an attacker got without the release. {_WITHOUT}"
        return (
            "That is not surely more than an attacker got without the release: the two groups of "
            "people that the attack was tried on differ by themselves, or seem to by luck, and "
            f"more people would tell which. {_WITHOUT}"
        )
    if tone == "good":
        return f"Nothing was learnt here about anybody in particular. {_WITHOUT}"
    if finding.worse_than_chance:
        return (
            "People in the data do worse than others, by more than luck. If the two were "
            "exchanged, the people in the data are exposed by this: make sure which records were "
            "used."
        )
    if finding.ceiling is None:
        return (
            "The people in the data are exposed by this, and nothing is proven to limit how far a "
            "better attack gets."
        )
    return "The people in the data are exposed by this, within what the guarantee allows."


def _area(finding: Finding) -> str:
    low, high = (round(100 * end) for end in finding.interval)
    said = (
        "Shown one person who is in the data and one who is not, the attacker says which is which "
        f"and is right {round(100 * finding.value)} times in 100 (between {low} and {high}); by "
        "tossing a coin, 50."
    )
    if finding.ceiling is not None:
        most = wording.share_up(finding.ceiling).replace("\xa0", " ")
        said += f" The guarantee keeps every attack below {most}."
    points = finding.details.get("tpr_at_fpr")
    if isinstance(points, list) and points:
        told = (finding.told_at(what) for what in ("breaks_guarantee", "beats_chance"))
        point = next((one for one in told if one is not None), points[0])
        every = round(1 / float(point["fpr_target"]))
        said += (
            f" An attacker who names people and may be wrong about 1 in {every:,} of those who are "
            f"not in the data finds {in_hundred(float(point['tpr']))} of those who are."
        )
    return said


def _advantage(finding: Finding) -> str:
    right = float(finding.details["P"])
    return (
        "Asked of people, half of them in the data, who is in it, the attacker is right "
        f"{round(100 * right)} times in 100; by tossing a coin, 50."
    )


def _inferred(finding: Finding) -> str:
    row = _row(finding, "secrets", "secret")
    rates = _rates(row)
    return (
        f"Who knows everything else about a person guesses {row['secret']!r} right for "
        f"{in_hundred(rates[0])} of the people in the data. Of people who are not in it, "
        f"{in_hundred(rates[1])}: so much follows from what is true of people in general, and is "
        "nobody's secret."
    )


def _singled(finding: Finding) -> str:
    if not any(mode["tried"] for mode in finding.details["modes"]):
        return "No description of a released row fits that row alone, so none could be tried."
    row = _row(finding, "modes", "mode")
    rates = _rates(row)
    return (
        f"Descriptions that fit one released row were tried on {finding.details['among']:,} people "
        f"in the data: {in_hundred(rates[0])} of them fit exactly one. Among as many people who "
        f"are not in the data, {in_hundred(rates[1])} do: rare combinations are rare everywhere."
    )


def _joined(finding: Finding) -> str:
    rates = _rates(finding.details)
    return (
        "One file has some columns about a person, a second file the others, and neither has a "
        f"name. Through the release, {in_hundred(rates[0])} of the people in the data are joined; "
        f"of people who are not in it, {in_hundred(rates[1])}."
    )


def _linked(finding: Finding) -> str:
    details = finding.details
    if details["game"] == "rank-1":
        return (
            f"Given {details['line_up']:,} released rows and the {details['line_up']:,} people "
            f"behind them, the attacker finds the right person for {details['linked']:,}; by "
            "drawing lots, about 1."
        )
    return (
        f"Released records were held against people, half of them in the data. They point at "
        f"{details['distinct']:,} people, and {in_hundred(finding.value)} of these are in the "
        "data; by drawing lots, 50 in 100."
    )


def _memorised(finding: Finding) -> str:
    found, counts = finding.details["released"], finding.details["reproduced"]
    held_out = finding.details.get("held_out", finding.details["targets"])
    return (
        f"Of {found['compared']:,} released pictures, {found['memorised']:,} are far nearer to one "
        f"training picture than to every other picture of {held_out:,} that "
        f"were never used. Somebody who knows such a training picture would recognise it. "
        f"{wording.plural(counts['training'], 'training picture')} came back in this way; of "
        f"pictures that were never used, {counts['held_out']:,} seem to have, by likeness alone."
    )


def _row(finding: Finding, rows: str, key: str) -> Mapping[str, Any]:
    """The row of details that the finding is about."""
    named = finding.details[key]
    found: Mapping[str, Any] = next(row for row in finding.details[rows] if row[key] == named)
    return found


def _rates(row: Mapping[str, Any]) -> tuple[float, float]:
    """Success on members and on others."""
    if "accuracy" in row:
        return float(row["accuracy"]["members"]), float(row["accuracy"]["non_members"])
    (right, tried), (others_right, others_tried) = (
        row["success"][s] for s in ("members", "control")
    )
    return float(right) / float(tried), float(others_right) / float(others_tried)


_SPOKEN: Mapping[str, Callable[[Finding], str]] = {
    "privacy_loss": _advantage,
    "attribute.inference": _inferred,
    "anonymeter.inference": _inferred,
    "anonymeter.singling_out": _singled,
    "anonymeter.linkability": _joined,
    "linkage.nearest": _linked,
    "memorisation.nearest": _memorised,
}
