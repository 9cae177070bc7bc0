"""All the attacks that fit a release, with intervals that hold together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from sfumato import registry
from sfumato.errors import InputError
from sfumato.measure.progress import Progress, silent

if TYPE_CHECKING:
    from sfumato.attack.evidence import Evidence
    from sfumato.attack.finding import Finding
    from sfumato.release.release import Release


def fitting(kind: str) -> tuple[str, ...]:
    """Names of the attacks on ``"table"``, ``"images"`` or ``"model"`` that are run unasked.

    Costly ones, which train networks or play a game that not every release is about, are left out:
    they are run where they are named.
    """
    return tuple(
        name
        for name, cls in registry.load("attack").items()
        if kind in _kinds(cls) and not getattr(cls, "costly", False)
    )


def chosen(kind: str, attacks: Sequence[str] | None) -> tuple[str, ...]:
    """The named attacks, each once; all that fit and are not costly if None.

    Raises:
        InputError: If a name is unknown, or its attack does not fit ``kind``.
    """
    names = fitting(kind) if attacks is None else tuple(dict.fromkeys(attacks))
    for name in names:
        if kind not in _kinds(registry.find("attack", name)):
            raise InputError(f"{name} does not attack {kind}", "Leave it out.")
    return names


def run(
    release: Release,
    evidence: Evidence,
    *,
    attacks: Sequence[str] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
    progress: Progress = silent,
) -> list[Finding]:
    """Runs several attacks on one release.

    Whoever looks at many intervals finds one that is off by luck. Each attack is therefore run
    at a confidence of ``1 - (1 - confidence) / attacks``, so that all the intervals hold together
    with the confidence asked for.

    Args:
        release: What is attacked.
        evidence: Members and non-members.
        attacks: Registered names; None runs all that fit and are not costly.
        confidence: Of all the intervals together.
        seed: Of the attacks.
        progress: Told before each attack.

    Returns:
        A finding for each attack; its own ``confidence`` is printed in it.

    Raises:
        InputError: If a name is unknown, does not fit, or the evidence does not.
    """
    names = chosen(release.artefact.kind, attacks)
    release, evidence = _private_part(release, evidence)
    findings: list[Finding] = []
    for done, name in enumerate(names):
        progress(done, len(names), name)
        cls = registry.find("attack", name)
        adjustable = any(field.name == "confidence" for field in fields(cls))
        settings = {"confidence": 1 - (1 - confidence) / len(names)} if adjustable else {}
        findings.append(registry.build("attack", name, settings)(release, evidence, seed=seed))
    progress(len(names), len(names), "attacked")
    return findings


def _private_part(release: Release, evidence: Evidence) -> tuple[Release, Evidence]:
    """Without columns that were passed through: everyone knows whose values they are.

    The guarantee, and so the ceiling on an attack, is about the other columns.
    """
    passed = next((f.value for f in release.card.facts if f.name == "passed through"), ())
    if not passed:
        return release, evidence
    content: Any = release.artefact.content
    names = [name for name in content.schema.names if name not in passed]

    def part(table: Any) -> Any:
        return None if table is None else table.select(*names)

    return (
        replace(release, artefact=replace(release.artefact, content=content.select(*names))),
        replace(
            evidence,
            members=part(evidence.members),
            non_members=part(evidence.non_members),
            auxiliary=part(evidence.auxiliary),
        ),
    )


def _kinds(cls: Any) -> tuple[str, ...]:
    return tuple(cls.kinds)
