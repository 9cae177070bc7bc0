"""What attacks and models come to, in a tone and a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sfumato.report.wording import figure, interval, plural

if TYPE_CHECKING:
    from sfumato.attack.finding import Finding


def attack_verdict(findings: Sequence[Finding]) -> tuple[str, str]:
    """How the attacks went: a tone (``good``, ``warn``, ``bad``, ``none``) and one sentence."""
    if not findings:
        return "none", "No attack was run."
    broken = [f.attack for f in findings if f.breaks_guarantee]
    if broken:
        return "bad", (
            f"{', '.join(broken)} got further than the guarantee allows. Either the guarantee or "
            "this evaluation is wrong. Do not hand the release over before this is explained."
        )
    better = [f.attack for f in findings if f.better_than_chance]
    unsure = [f.attack for f in findings if f.undecided]
    few = (
        f" Of {', '.join(unsure)} it cannot be told: better than chance, but on too few records to "
        "say whether better than the same attack without the release."
        if unsure
        else ""
    )
    ran = plural(len(findings), "attack")
    worse = [f.attack for f in findings if f.worse_than_chance]
    if worse and not better:
        return "warn", (
            f"None of {ran} did better than chance, but members did worse than non-members by more "
            f"than luck: {', '.join(worse)}. If the two were exchanged, this is a leak: make sure "
            f"which records were used.{few}"
        )
    if unsure and not better:
        return "warn", f"None of {ran} surely did better than that without the release.{few}"
    if not better:
        return "good", (
            f"None of {ran} did better than chance or than the same attack without the release. "
            "This is evidence, not proof: a better attack may exist, and only the ceiling "
            "bounds it."
            if any(f.ceiling is not None for f in findings)
            else f"None of {ran} did better than chance or than the same attack without the "
            "release. This is evidence, not proof: a better attack may exist."
        )
    within = all(f.ceiling is not None for f in findings if f.better_than_chance)
    tail = (
        "All stayed within what the guarantee allows."
        if within
        else "Where no ceiling applies, the figure itself is what to judge."
    )
    return (
        "warn",
        f"{len(better)} of {ran} did better than chance: {', '.join(better)}. {tail}{few}",
    )


def finding_verdict(finding: Finding) -> tuple[str, str]:
    """A tone and a few words for one finding."""
    if finding.breaks_guarantee:
        return "bad", "above the ceiling"
    if finding.worse_than_chance:
        return "warn", "worse than chance"
    if finding.undecided:
        return "warn", "not told from its baseline"
    if not finding.better_than_chance:
        # Better than guessing, but no better than what is known without the release.
        known = finding.interval[0] > finding.chance
        return "good", "no better than its baseline" if known else "no better than chance"
    some = finding.finds_some and finding.interval[0] <= finding.chance
    return "warn", "finds a few members" if some else "better than chance"


def utility_verdict(
    name: str, real: float, released: float, majority: float | None, of: str = "data"
) -> str:
    """What a model trained on the release, or the released model, is worth beside one trained on
    the real data.
    """
    base = 0.5 if name == "AUROC" or majority is None else majority
    kept = (released - base) / (real - base) if real - base > 0.01 else None
    if of == "model":
        said = (
            f"The released model reaches {name} {figure(released)} on real held-out records; the "
            f"best of those trained on the real data without privacy, {figure(real)}."
        )
    else:
        said = (
            f"Trained on the release, the best model reaches {name} {figure(released)} on real "
            f"held-out rows; trained on the real data, {figure(real)}."
        )
    if kept is None:
        return f"{said} The real data itself hardly beat the baseline of {figure(base)}."
    if kept <= 0:
        return f"{said} That is no better than the baseline of {figure(base)}."
    return (
        f"{said} Of the gain over the baseline of {figure(base)}, "
        f"{min(round(100 * kept), 100)}\xa0% is kept."
    )


def beaten(finding: Finding) -> str:
    """By how much an attack did better than its baseline; empty where that is known exactly."""
    margin = finding.margin
    return "" if margin is None else f"beaten by {interval(margin.interval)} ({margin.told})"
