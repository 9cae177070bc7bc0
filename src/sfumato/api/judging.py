"""Attack and measure a release that already exists."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.api.inputs import load, validate
from sfumato.data import Schema
from sfumato.data.load import beside
from sfumato.errors import InputError
from sfumato.publish.method import Progress, silent
from sfumato.publish.units import bounded
from sfumato.release.release import Release

if TYPE_CHECKING:
    from sfumato.api.inputs import Data, DataLike
    from sfumato.attack.finding import Finding
    from sfumato.measure.evaluation import Evaluation


def attack(
    release: Release | str | Path,
    *,
    members: DataLike,
    non_members: DataLike,
    attacks: Sequence[str] | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> list[Finding]:
    """Attacks a release with what the custodian knows.

    Args:
        release: A release or its folder.
        members: Rows the release was made from. Where its guarantee is for persons, the column
            of their ids must be there; nobody may be on both sides.
        non_members: Rows of the same population that it was not made from.
        attacks: Registered names; None runs all that fit.
        seed: Of the attacks' own randomness.
        progress: Told how far the attacks are.

    Returns:
        A finding for each attack, computed on private rows and covered by no guarantee.

    Raises:
        InputError: If a name is unknown, or the rows do not fit the release.
    """
    from sfumato.attack import suite
    from sfumato.attack.evidence import Evidence

    opened = _open(release)
    evidence = Evidence(fit(members, opened), fit(non_members, opened))
    return suite.run(opened, evidence, attacks=attacks, seed=seed, progress=progress)


def measure(
    release: Release | str | Path,
    *,
    train: DataLike,
    test: DataLike,
    seed: int = 0,
    progress: Progress = silent,
) -> Evaluation:
    """Measures how useful a release is for its task.

    Args:
        release: A release or its folder.
        train: Real rows that a model would otherwise be trained on.
        test: Real rows that models are judged on.
        seed: Of the models.
        progress: Told how far the measurement is.

    Returns:
        The utility matrix, marginal errors and distributions, without findings.

    Raises:
        InputError: If the rows do not fit the release.
    """
    from sfumato.measure.evaluation import evaluate

    opened = _open(release)
    return evaluate(
        opened,
        fit(train, opened),
        fit(test, opened),
        attacks=(),
        seed=seed,
        progress=progress,
    )


def _open(release: Release | str | Path) -> Release:
    return release if isinstance(release, Release) else Release.load(release)


def fit(data: DataLike, release: Release) -> Data:
    """Private rows in the release's own terms."""
    facts: Any = release.facts.with_records(None)
    if isinstance(data, str | Path) and not str(data).startswith("dataset:"):
        own = beside(Path(data).expanduser())
        # How the file is written is said there; what its values mean must be the same.
        if isinstance(own, Schema) and isinstance(facts, Schema) and own.encodes_like(facts):
            facts = own.with_target(facts.target)
    unit = next((f.value for f in release.card.facts if f.name == "unit"), None)
    named = {} if unit is None else {"unit": unit["column"], "rows_per_unit": unit["rows"]}
    loaded = load(data, schema=facts, **named)
    kind = getattr(release.artefact.content, "takes", release.artefact.kind)
    if loaded.kind != kind:
        raise InputError(
            f"the release is about {kind}, {data} holds {loaded.kind}",
            "Give data of the same kind.",
        )
    validate(loaded)
    fitting: Data = bounded(loaded, loaded.schema)
    return fitting
