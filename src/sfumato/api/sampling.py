"""Sample: more records from a released generator, at no cost to anybody's privacy."""

from __future__ import annotations

import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

from sfumato import registry
from sfumato.errors import InputError
from sfumato.release.release import Artefact, Release, check_new


def sample(
    release: Release | str | Path,
    n: int,
    *,
    seed: int | None = None,
    out: str | Path | None = None,
) -> Release:
    """Draws ``n`` new records from what a release keeps of its generator.

    Free, however often: everything is drawn from the release alone, so no ledger is asked, and
    what is proven of the release is proven of it and all its samples together.

    Args:
        release: Of a generator of images, or of a table from noisy counts; or its folder.
        n: How many records, at least 1.
        seed: Of the draw: the same seed gives the same records. None draws one.
        out: A folder to write; None keeps the sample in memory.

    Returns:
        A release of the new records, with the card of the first: guarantee, ledger entry and all.

    Raises:
        InputError: If the release holds a model or a fixed set of records, or a number is out of
            its range.
    """
    lowest = {"n": (n, 1), "seed": (0 if seed is None else seed, 0)}
    for name, (value, least) in lowest.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InputError(f"{name} is {value!r}", f"Give a whole number from {least} up.")
    folder = None if out is None else check_new(out)
    known = release if isinstance(release, Release) else Release.load(release)
    drawn = secrets.randbits(31) if seed is None else seed
    made, further = _drawn(known, n, drawn)
    card = replace(
        known.card,
        plan={**known.card.plan, **further},
        seeds={**known.card.seeds, "drawn again": drawn},
    )
    artefact = replace(known.artefact, content=made, seeds=card.seeds)
    again = Release(card=card, artefact=artefact)
    if folder is None:
        return again
    from sfumato.report import page

    return again.save(folder, report=page)


def _drawn(release: Release, n: int, seed: int) -> tuple[Any, dict[str, Any]]:
    """The new ``Table`` or ``ImageSet``, and what its card says of it."""
    from sfumato.data import Table
    from sfumato.publish import constraints

    name = str(release.card.method.get("name"))
    cls: Any = registry.find("method", name)
    if not _has_generator(release.artefact) or not hasattr(cls, "resample"):
        what = "a model" if release.artefact.kind == "model" else "a fixed set of records"
        raise InputError(
            f"this release of {name} holds {what}, no generator",
            "How many records there are is chosen when it is published.",
        )
    method = registry.build("method", name, dict(release.card.method.get("settings", {})))
    try:
        made = method.resample(release, n, seed)
    except KeyError as error:
        raise InputError(f"the generator lacks {error}", "The release is damaged.") from None
    plan = release.card.plan
    said = {"drawn_again": n, **{name: n for name in ("rows", "samples") if name in plan}}
    if isinstance(made, Table) and release.facts.impossible:
        made, said["impossible_rows_replaced"] = constraints.possible(made, release.facts, seed)
    return made, said


def _has_generator(artefact: Artefact) -> bool:
    return artefact.kind != "model" and bool(artefact.tensors)
