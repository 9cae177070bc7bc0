"""The custodian's evaluation of a release: whether it can be had, where it lies, writing it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sfumato.errors import InputError

if TYPE_CHECKING:
    from sfumato.api.inputs import Inputs
    from sfumato.measure.evaluation import Evaluation
    from sfumato.release.release import Release
    from sfumato.report.memorised import Revealed

EVALUATION = "evaluation.json"


def evaluation_path(release: str | Path) -> Path:
    """Where the evaluation of a release lies: beside it, so that a copy never includes it."""
    folder = Path(release)
    return folder.with_name(folder.name + ".evaluation")


def check_evaluation(inputs: Inputs, attacks: Sequence[str] | None, gives: str) -> None:
    """Refuses, before anything is spent, an evaluation that could not run afterwards.

    Args:
        inputs: The private data.
        attacks: Names of the attacks; None for all that fit.
        gives: What is released: ``"table"``, ``"images"`` or ``"model"``.

    Raises:
        InputError: If an attack is unknown or does not fit, or rows are missing or too few.
    """
    from sfumato.attack import suite
    from sfumato.attack.evidence import MINIMUM, Evidence
    from sfumato.attack.persons import count

    if inputs.held_out is None:
        raise InputError("an evaluation needs rows that were held out", "Give a holdout above 0.")
    if suite.chosen(gives, attacks):
        held_out = count(inputs.held_out)
        if held_out < MINIMUM:
            raise InputError(
                f"{held_out} non-members are too few to attack with: who is held out is drawn",
                f"Give at least {MINIMUM} by a larger holdout, such as 0.5, or do not evaluate.",
            )
        suite.planned(gives, Evidence(inputs.members, inputs.held_out), attacks)


def save_evaluation(
    release: Release, evaluation: Evaluation, folder: Path, revealed: Revealed | None = None
) -> None:
    """Writes the custodian's evaluation, readable by its owner only, whole or not at all.

    Args:
        release: What it is about.
        evaluation: What was found.
        folder: Not there yet.
        revealed: Training pictures that the custodian asked to see in the report.

    Raises:
        InputError: If it cannot be written.
    """
    from sfumato.report import page

    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name[:64]}.", dir=folder.parent))
    try:
        (scratch / EVALUATION).write_text(evaluation.to_json(), encoding="utf-8")
        (scratch / "report.html").write_text(
            page(release, evaluation, revealed=revealed), encoding="utf-8"
        )
        os.rename(scratch, folder)
    except BaseException as error:
        shutil.rmtree(scratch, ignore_errors=True)
        if isinstance(error, OSError):
            raise InputError(
                f"{folder} cannot be written ({error.strerror or error})",
                "Make room, or choose another folder.",
            ) from None
        raise
