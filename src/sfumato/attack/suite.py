"""All the attacks that fit a release, with intervals that hold together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from inspect import signature
from typing import TYPE_CHECKING, Any

from sfumato import registry
from sfumato.attack import persons
from sfumato.attack.evidence import MINIMUM, told
from sfumato.attack.settings import check_confidence
from sfumato.errors import InputError, SfumatoError
from sfumato.measure.progress import Progress, part, silent

if TYPE_CHECKING:
    from sfumato.attack.evidence import Evidence
    from sfumato.attack.finding import Finding
    from sfumato.release.release import Release

CONFIDENCE = 0.99
"""Of all the intervals of a run together, unless set."""


def fitting(kind: str) -> tuple[str, ...]:
    """Names of the attacks on ``"table"``, ``"images"`` or ``"model"``; not of the costly ones.

    An attack that says ``costly`` trains models of its own, and runs only when it is named.
    """
    return tuple(
        name
        for name, cls in registry.load("attack").items()
        if kind in _kinds(cls) and not _costly(cls)
    )


def chosen(kind: str, attacks: Sequence[str] | None) -> tuple[str, ...]:
    """The named attacks, each once; all that fit and are not costly if None.

    Args:
        kind: ``"table"``, ``"images"`` or ``"model"``.
        attacks: Names, with settings as ``name[key=value,...]`` where they are given;
            ``preset=NAME`` takes the settings that the attack has under that name.

    Raises:
        InputError: If a name or a setting is unknown, or the attack does not fit ``kind``.
    """
    names = fitting(kind) if attacks is None else tuple(dict.fromkeys(attacks))
    for text in names:
        name, settings = read(text)
        if kind not in _kinds(registry.find("attack", name)):
            raise InputError(f"{name} does not attack {kind}", "Leave it out.")
        registry.build("attack", name, settings)
    return names


def run(
    release: Release,
    evidence: Evidence,
    *,
    attacks: Sequence[str] | None = None,
    confidence: float = CONFIDENCE,
    seed: int = 0,
    progress: Progress = silent,
    left_out: dict[str, str] | None = None,
) -> list[Finding]:
    """Runs several attacks on one release.

    Whoever looks at many intervals finds one that is off by luck. Each attack is therefore run
    at a confidence of ``1 - (1 - confidence) / attacks``, so that all the intervals hold together
    with the confidence asked for. What is said of a release looks at one end of them, so that by
    default guesses are said to succeed once in 200 runs.

    Args:
        release: What is attacked.
        evidence: Members and non-members.
        attacks: Registered names, as :func:`chosen` takes them; None runs all that fit.
        confidence: Of all the intervals together.
        seed: Of the attacks.
        progress: Told before each attack; by costly ones, what they will cost and how far they are.
        left_out: Where given, takes an attack that refuses, by name, with the reason; the others
            run on.

    Returns:
        A finding for each attack; its own ``confidence`` is printed in it.

    Raises:
        InputError: If a name is unknown, does not fit, or the evidence does not, or the confidence
            is out of range.
    """
    check_confidence(confidence)
    names = planned(release.artefact.kind, evidence, attacks)
    release, evidence = _private_part(release, evidence)
    findings: list[Finding] = []
    for done, text in enumerate(names):
        progress(done, len(names), text)
        name, settings = read(text)
        cls = registry.find("attack", name)
        if any(field.name == "confidence" for field in fields(cls)):
            settings = {"confidence": 1 - (1 - confidence) / len(names), **settings}
        built = registry.build("attack", name, settings)
        given = {"progress": part(progress, done, len(names))} if _tells(cls) else {}
        try:
            findings.append(built(release, evidence, seed=seed, **given))
        except SfumatoError as error:
            if left_out is None:
                raise
            left_out[text] = error.problem
    progress(len(names), len(names), "attacked")
    return findings


def planned(kind: str, evidence: Evidence, attacks: Sequence[str] | None) -> tuple[str, ...]:
    """The attacks that :func:`run` runs on a release of this kind; the rest as for it.

    Attacks that calibrate and that nobody named are left out where half of the non-members are too
    few to say anything.

    Raises:
        InputError: If a name is unknown or does not fit, or there are too few non-members for it.
    """
    names = chosen(kind, attacks)
    if attacks is None:
        return tuple(name for name in names if not _halves(name) or _enough(evidence, 2 * MINIMUM))
    for text in names:
        fewest = _halves(read(text)[0])
        if not _enough(evidence, fewest):
            raise InputError(
                f"{told('non-members', evidence.non_members)} are too few for {text}, which "
                "calibrates on half of them",
                f"Give auxiliary records, or at least {fewest}, each of another person.",
            )
    return names


def _private_part(release: Release, evidence: Evidence) -> tuple[Release, Evidence]:
    """Without columns that were passed through: everyone knows whose values they are.

    The guarantee, and so the ceiling on an attack, is about the other columns.
    """
    passed = next((f.value for f in release.card.facts if f.name == "passed through"), ())
    if not passed:
        return release, evidence
    content: Any = release.artefact.content
    names = [name for name in content.schema.names if name not in passed]

    def private(table: Any) -> Any:
        return None if table is None else table.select(*names)

    return (
        replace(release, artefact=replace(release.artefact, content=content.select(*names))),
        replace(
            evidence,
            members=private(evidence.members),
            non_members=private(evidence.non_members),
            auxiliary=private(evidence.auxiliary),
        ),
    )


def _tells(cls: Any) -> bool:
    """Whether the attack takes a ``progress`` to say how far it is."""
    return "progress" in signature(cls.__call__).parameters


def _kinds(cls: Any) -> tuple[str, ...]:
    return tuple(cls.kinds)


def read(text: str) -> tuple[str, dict[str, Any]]:
    """The attack's name and its settings; those given beside a preset go before the preset's."""
    name, settings = registry.parse(text, "attack")
    preset = settings.pop("preset", None)
    if preset is None:
        return name, settings
    presets = getattr(registry.find("attack", name), "presets", {})
    if not isinstance(preset, str) or preset not in presets:
        known = f"Known: {', '.join(presets)}." if presets else "It has none."
        raise InputError(f"{name} has no preset {preset!r}", known)
    return name, {**presets[preset], **settings}


def _costly(cls: Any) -> bool:
    return bool(getattr(cls, "costly", False))


def _halves(name: str) -> int:
    """How many non-members the attack asks for where there are no auxiliary records; 0: any."""
    return int(getattr(registry.find("attack", name), "calibrates", 0))


def _enough(evidence: Evidence, fewest: int) -> bool:
    """Whether an attack that asks for so many non-members can halve them, or need not."""
    return evidence.auxiliary is not None or persons.count(evidence.non_members) >= fewest
