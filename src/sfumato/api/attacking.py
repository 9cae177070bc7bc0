"""A target and its evidence, opened: attacked, reported, and searched for whom it exposes."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.errors import InputError
from sfumato.publish.method import Progress, silent
from sfumato.release.release import check_new, check_private

if TYPE_CHECKING:
    from sfumato.attack.evidence import Evidence
    from sfumato.attack.finding import Finding
    from sfumato.measure.evaluation import Evaluation
    from sfumato.release.release import Release
    from sfumato.report.memorised import Revealed

PRIVATE = "private"
"""What the name of a file of single persons' risks must say."""

_NO_PICTURES = (
    "there are no training pictures to reveal",
    "Run the attack memorisation.nearest on a release of pictures.",
)


@dataclass(frozen=True)
class Prepared:
    """What is attacked, and with what.

    Args:
        release: The target, whoever made it.
        evidence: Members and non-members in its terms.
        doubts: What speaks against taking these for two random parts of one source, a sentence
            each.
    """

    release: Release
    evidence: Evidence
    doubts: tuple[str, ...] = ()

    def attack(
        self,
        *,
        attacks: Sequence[str] | None = None,
        confidence: float | None = None,
        seed: int = 0,
        progress: Progress = silent,
    ) -> list[Finding]:
        """A finding for each attack; arguments as for :func:`sfumato.attack`."""
        from sfumato.attack import suite

        return suite.run(
            self.release,
            self.evidence,
            attacks=attacks,
            confidence=suite.CONFIDENCE if confidence is None else confidence,
            seed=seed,
            progress=progress,
        )

    def report(
        self, findings: Sequence[Finding], out: str | Path, *, reveal: bool = False
    ) -> Evaluation:
        """Writes what was found as a private folder: ``evaluation.json`` and ``report.html``.

        Args:
            findings: What :meth:`attack` found.
            out: A folder that is not there yet, outside of every release.
            reveal: Shows the training pictures that released ones are nearest to, and keeps the
                pictures that attacks were told to reveal; without it no private record is in the
                folder, whatever the attacks were told.

        Returns:
            What was written.

        Raises:
            InputError: If the folder exists or lies in a release, or there are no such pictures.
                Nothing is written.
        """
        from sfumato.api.evaluations import save_evaluation
        from sfumato.attack.finding import REVEALED
        from sfumato.measure.evaluation import Evaluation
        from sfumato.report.memorised import ATTACK

        started = time.perf_counter()
        check_private(out)
        folder = check_new(out)
        kept = tuple(findings if reveal else (one.hidden() for one in findings))
        made = any(REVEALED in one.details for one in kept)
        compared = any(one.attack == ATTACK for one in kept)
        shown = self._revealed(kept) if reveal and (compared or not made) else None
        evaluation = Evaluation(
            findings=kept,
            seconds=round(time.perf_counter() - started, 3),
            doubts=self.doubts,
            release_id=self.release.card.release_id,
        )
        save_evaluation(self.release, evaluation, folder, shown)
        return evaluation

    def check_reveal(self, attacks: Sequence[str] | None = None) -> None:
        """Refuses, before anything is attacked, to reveal pictures that no finding will have.

        Args:
            attacks: As for :meth:`attack`.

        Raises:
            InputError: If neither the attack that finds training pictures runs, nor one that was
                told to reveal what it makes.
        """
        from sfumato.attack import suite
        from sfumato.report.memorised import ATTACK

        planned = map(suite.read, suite.planned(self.release.artefact.kind, self.evidence, attacks))
        if not any(name == ATTACK or given.get("reveal") is True for name, given in planned):
            raise InputError(*_NO_PICTURES)

    def check_risk(self, file: str | Path) -> Path:
        """A path that a list of exposed persons may be written to.

        Raises:
            InputError: If it is in the way, in a folder that is handed over, or not named for what
                it is; or if rows have no numbers that the custodian could look up.
        """
        path = check_private(Path(file).expanduser().parent) / Path(file).name
        if PRIVATE not in path.name.lower():
            raise InputError(
                f"{path.name} will hold risks of single persons, and its name does not say so",
                f"Name it so that nobody hands it over: {path.stem}.{PRIVATE}.csv.",
            )
        if os.path.lexists(path):
            raise InputError(f"{path} already exists", "Choose another name.")
        if not path.parent.is_dir():
            raise InputError(f"there is no folder {path.parent}", "Make it first.")
        members: Any = self.evidence.members
        if getattr(members, "bounded", False) or not getattr(members, "ordered", True):
            raise InputError(
                "the members' rows are drawn or have no order, so none can be named by number",
                "Give a file with one row a person.",
            )
        return path

    def risk(self, findings: Sequence[Finding], file: str | Path) -> int:
        """Writes who is exposed most, for the custodian alone: one line a member, mode 0600.

        Args:
            findings: What :meth:`attack` found.
            file: As for :meth:`check_risk`.

        Returns:
            How many members are listed.

        Raises:
            InputError: As for :meth:`check_risk`, or if no attack scores single records.
        """
        from sfumato.attack.exposure import as_csv, exposed

        path = self.check_risk(file)
        members = exposed(findings)
        if not members:
            raise InputError(
                "none of the attacks scores single records", "Run membership.distance or .loss."
            )
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(as_csv(members))
        return len(members)

    def _revealed(self, findings: Sequence[Finding]) -> Revealed:
        """The private pictures nearest to the released ones that a finding names."""
        import numpy as np

        from sfumato.attack import targets
        from sfumato.attack.finding import CLOSEST
        from sfumato.report.memorised import ATTACK, Revealed

        found = next((one for one in findings if one.attack == ATTACK), None)
        if found is None:
            raise InputError(*_NO_PICTURES)
        rows = np.array([one["released"] for one in found.details[CLOSEST]], dtype=np.int64)
        published = targets.read(self.release.data, rows)
        pictures = []
        for side in (self.evidence.members, self.evidence.non_members):
            near: Any = side
            pictures.append(near.select(published.nearest(targets.read(side))[1]).images)
        return Revealed(*pictures)
