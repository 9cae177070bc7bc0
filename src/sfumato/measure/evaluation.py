"""Everything measured about one release: the custodian's private evaluation."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from sfumato.attack.finding import Finding
from sfumato.errors import InputError, SfumatoError
from sfumato.measure.fidelity import Fidelity
from sfumato.measure.marginals import MarginalError
from sfumato.measure.progress import Progress, part, silent
from sfumato.measure.score import Utility

if TYPE_CHECKING:
    from sfumato.data.imageset import ImageSet
    from sfumato.data.table import Table
    from sfumato.measure.baseline import Baseline
    from sfumato.measure.utility import Limits
    from sfumato.release.release import Release

_T = TypeVar("_T")
FORMAT = 1
SAMPLE = 500_000
"""Rows of a table that an evaluation reads at most."""


@dataclass(frozen=True)
class Evaluation:
    """What attacks and measures found about one release.

    Computed on private rows: it stays with the custodian, beside the release, never inside it.

    Args:
        findings: One for each attack that ran.
        utility: The matrix p1 to p4, or None if it was not measured.
        marginals: Errors of one- and two-way marginals; None for images.
        fidelity: Likeness of released images to real ones; None for tables and models.
        distributions: Real against released, for the report; JSON values, see
            :mod:`sfumato.measure.distributions`. No single private record is in it.
        seconds: How long the evaluation took.
        sampled: Rows read and rows there are, of each large table that was read in part.
        left_out: What could not be found out, by name (an attack, ``"utility"``), and why.
        doubts: What speaks against members and non-members being random parts of one source: a
            sentence each, with which the findings are to be read.
        release_id: Which release this is about.
        created: UTC, ISO 8601.
    """

    findings: tuple[Finding, ...] = ()
    utility: Utility | None = None
    marginals: MarginalError | None = None
    fidelity: Fidelity | None = None
    distributions: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    sampled: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()
    release_id: str = ""
    created: str = field(
        default_factory=lambda: datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    )

    def of_all(self) -> Evaluation:
        """The evaluation for others' eyes: no figure in it points at a single person."""
        return replace(self, findings=tuple(finding.of_all() for finding in self.findings))

    def to_dict(self) -> dict[str, Any]:
        """The evaluation as plain JSON values."""
        return {
            "sfumato_evaluation": FORMAT,
            "release_id": self.release_id,
            "created": self.created,
            "seconds": self.seconds,
            "sampled": {name: list(rows) for name, rows in self.sampled.items()},
            "left_out": dict(self.left_out),
            "doubts": list(self.doubts),
            "findings": [finding.to_dict() for finding in self.findings],
            "utility": None if self.utility is None else self.utility.to_dict(),
            "marginals": None if self.marginals is None else self.marginals.to_dict(),
            "fidelity": None if self.fidelity is None else self.fidelity.to_dict(),
            "distributions": dict(self.distributions),
        }

    def to_json(self) -> str:
        """The evaluation as it is written to ``evaluation.json``."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Evaluation:
        """Reads an evaluation back.

        Raises:
            InputError: If the text is not an evaluation of this format.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(
                f"evaluation.json is not JSON ({error})", "Run the evaluation again."
            ) from None
        if not isinstance(values, dict) or values.get("sfumato_evaluation") != FORMAT:
            raise InputError(
                "evaluation.json is not an evaluation of format 1", "Run the evaluation again."
            )
        try:
            utility, marginals = values["utility"], values["marginals"]
            fidelity = values.get("fidelity")  # older evaluations of images have none
            return cls(
                findings=tuple(Finding.from_dict(finding) for finding in values["findings"]),
                utility=None if utility is None else Utility.from_dict(utility),
                marginals=None if marginals is None else MarginalError.from_dict(marginals),
                fidelity=None if fidelity is None else Fidelity.from_dict(fidelity),
                distributions=dict(values["distributions"]),
                seconds=float(values["seconds"]),
                sampled={
                    str(name): (int(read), int(total))
                    for name, (read, total) in values.get("sampled", {}).items()
                },
                left_out={str(name): str(why) for name, why in values.get("left_out", {}).items()},
                doubts=tuple(map(str, values.get("doubts", ()))),
                release_id=str(values["release_id"]),
                created=str(values["created"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"evaluation.json cannot be read ({error!r})", "Run the evaluation again."
            ) from None


def evaluate(
    release: Release,
    members: Table | ImageSet,
    non_members: Table | ImageSet,
    *,
    attacks: Sequence[str] | None = None,
    limits: Limits | None = None,
    seed: int = 0,
    baseline: Baseline | None = None,
    whole: bool = True,
    by_coins: bool = False,
    progress: Progress = silent,
) -> Evaluation:
    """Attacks a release and measures its utility and its likeness to the real data.

    Of a table with more than 500,000 rows as many are read, drawn by the seed, in one pass; the
    evaluation says so. Every figure is then about that sample: intervals are those of as many
    rows. Members and an aligned release are sampled at the same rows.

    Args:
        release: What is judged.
        members: The real records that it was made from.
        non_members: Real records of the same population that it was not made from; they are
            the attacks' non-members and the models' test records.
        attacks: Registered names; None runs all that fit, an empty list runs none.
        limits: How much data the models of the utility matrix use.
        seed: Of attacks, samples and models.
        baseline: Models of the real records, fitted before for releases of the same task.
        whole: Whether an attack or a measure that refuses is an error; else the evaluation says
            that it was left out, and why.
        by_coins: Whether secret coins said who is a member; see :class:`sfumato.attack.Evidence`.
        progress: Told how far the evaluation is.

    Returns:
        The evaluation. It was computed on private records and no guarantee covers it: it stays
        with the custodian. A table without a target has no utility matrix.

    Raises:
        InputError: If a name is unknown or the data sets do not fit each other.
    """
    from sfumato.attack import suite
    from sfumato.attack.evidence import Evidence
    from sfumato.measure.distributions import distributions
    from sfumato.measure.fidelity import FEWEST as FEWEST_IMAGES
    from sfumato.measure.fidelity import fidelity
    from sfumato.measure.marginals import marginal_error
    from sfumato.measure.trained import model_utility
    from sfumato.measure.utility import utility

    started = time.perf_counter()
    if attacks is None or attacks:
        Evidence(members, non_members)  # a sample no longer says who is on both sides
    release, members, non_members, sampled = _sampled(release, members, non_members, seed)
    findings: list[Finding] = []
    left: dict[str, str] = {}

    def tried(name: str, make: Callable[[], _T]) -> _T | None:
        try:
            return make()
        except SfumatoError as error:
            if whole:
                raise
            left[name] = error.problem
            return None

    parts = (attacks is None or len(attacks) > 0) + 2
    if attacks is None or attacks:
        evidence = Evidence(members, non_members, by_coins=by_coins)
        findings = suite.run(
            release,
            evidence,
            attacks=attacks,
            seed=seed,
            progress=part(progress, 0, parts),
            left_out=None if whole else left,
        )
    matrix: Utility | None = None
    if release.artefact.kind == "model":
        matrix = tried(
            "utility",
            lambda: model_utility(
                release.model,
                members,
                non_members,
                seed=seed,
                limits=limits,
                baseline=baseline,
                progress=part(progress, parts - 2, parts),
            ),
        )
        progress(parts, parts, "evaluated")
        return _made(release, findings, matrix, started, sampled=sampled, left_out=left)
    data: Any = release.data
    sides: tuple[Any, Any, Any] = data, members, non_members
    if data.schema.target is not None:
        matrix = tried(
            "utility",
            lambda: utility(
                data,
                members,
                non_members,
                seed=seed,
                limits=limits,
                baseline=baseline,
                progress=part(progress, parts - 2, parts),
            ),
        )
    rest = part(progress, parts - 1, parts)
    rest(0, 2, "comparing distributions")
    drawn = tried("distributions", lambda: distributions(data, members, seed=seed))
    more: dict[str, Any] = {"distributions": drawn or {}}
    if data.kind == "table":
        rest(1, 2, "comparing marginals")
        more["marginals"] = tried("marginals", lambda: marginal_error(*sides, seed=seed))
    elif min(map(len, sides)) >= FEWEST_IMAGES:
        rest(1, 2, "comparing images")
        more["fidelity"] = tried("fidelity", lambda: fidelity(*sides, seed=seed))
    rest(2, 2, "evaluated")
    return _made(release, findings, matrix, started, sampled=sampled, left_out=left, **more)


def _sampled(
    release: Release, members: Any, non_members: Any, seed: int
) -> tuple[Release, Any, Any, dict[str, tuple[int, int]]]:
    """The three with large tables cut to a sample, and what was cut."""
    cut: dict[str, tuple[int, int]] = {}

    def some(data: Any, name: str) -> Any:
        if data.kind != "table":
            return data
        # One seed for all: tables of as many rows are sampled at the same ones.
        sample = data.sample(SAMPLE, seed)
        if len(sample) < len(data):
            cut[name] = (len(sample), len(data))
        return sample

    content = (
        some(release.artefact.content, "released") if release.artefact.kind == "table" else None
    )
    if content is not release.artefact.content and content is not None:
        release = replace(release, artefact=replace(release.artefact, content=content))
    return release, some(members, "members"), some(non_members, "non-members"), cut


def _made(
    release: Release,
    findings: Sequence[Finding],
    matrix: Utility | None,
    started: float,
    **more: Any,
) -> Evaluation:
    return Evaluation(
        findings=tuple(finding.hidden() for finding in findings),
        utility=matrix,
        seconds=round(time.perf_counter() - started, 3),
        release_id=release.card.release_id,
        **more,
    )
