"""``learn.pate``: teachers on disjoint shards vote on public records; a student learns the answers.

Private records are seen by teachers only, and teachers only vote. What leaves the house is a noisy
histogram of votes for a fixed number of public records, and everything made of those: labels, the
labels of all other public records, and the network that learns them.

Source: Papernot et al., ICLR 2017 and ICLR 2018.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from sfumato.errors import InputError
from sfumato.privacy.neighbours import Neighbours
from sfumato.publish import checks
from sfumato.publish.method import TUNED, Calibrated, RecordCaveat
from sfumato.registry import method

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from sfumato.data import ImageSchema, ImageSet, Schema, Table
    from sfumato.learn.pate.pool import Pool
    from sfumato.learn.pate.teaching import CalibratedPate, Pate
    from sfumato.privacy.budget import Budget
    from sfumato.privacy.noise import NoiseSource
    from sfumato.publish.method import Progress
    from sfumato.release.release import Artefact

VOTINGS = ("gnmax", "confident", "lnmax")
FEATURES = ("auto", "scattering", "raw")
_SHARD = 100
"""Records a teacher has, on average, unless the number of teachers is set."""
_TEACHERS = (10, 1000)
_PIXEL_VARIANCE = 0.1
"""About that of a pixel in [0, 1], where features are expected to have a variance of 1."""
_SMALLEST = 8
"""Pixels a side below which images are too small to be scattered."""


@method("learn.pate")
@dataclass(frozen=True)
class PateMethod:
    """A linear classifier of public records, labelled by a noisy vote of private teachers.

    Args:
        public_data: Where the public records are, a path or ``dataset:NAME/SPLIT``; needed. Their
            labels are not looked at, and nothing protects the people in them.
        public_records: How many of them are used, from the first.
        teachers: How many shards; None: one for every hundred records, 10 to 1,000.
        voting: ``"gnmax"``, ``"confident"`` (tested first) or ``"lnmax"`` (Laplace noise).
        queries: How many public records are put to the vote, fixed before anything is asked;
            None: so many that the noise on a count is a third of the teachers.
        answers: For ``"confident"``: the most that are answered; None: half of the queries.
        threshold: For ``"confident"``: the part of the teachers that must agree.
        test_ratio: For ``"confident"``: noise of the test over that of an answer.
        features: What teachers and student see of images: ``"scattering"``, ``"raw"`` pixels, or
            ``"auto"``: scattering, but of images too small for it.
        components: Principal components of the public features, in which queries are chosen and
            labels spread.
        neighbours: ``"add-remove"`` or ``"replace-one"``.
        seed: Of the choice of queries, which is not privacy noise; None draws one.

    Presets: ``paper`` (250 teachers, the threshold and the ratio of noises of 2018).

    Raises:
        InputError: If a value is unknown or out of its range.

    Guaranteed: ``Central``, (epsilon, delta) for the relation chosen, by accounting that does not
    look at the votes.
    """

    public_data: str | None = None
    public_records: int = 20_000
    teachers: int | None = None
    voting: str = "gnmax"
    queries: int | None = None
    answers: int | None = None
    threshold: float = 0.8
    test_ratio: float = 3.75
    features: str = "auto"
    components: int = 200
    neighbours: str = "add-remove"
    seed: int | None = None

    name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]] = ("images", "table")
    gives: ClassVar[str] = "model"
    source: ClassVar[str] = "Papernot et al., Scalable Private Learning with PATE, ICLR 2018"
    relation: ClassVar[str] = "central"
    needs_records: ClassVar[bool] = True
    default_delta: ClassVar[float] = 1e-5
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"teachers": 250, "voting": "confident", "queries": 572, "answers": 286},
    }

    def __post_init__(self) -> None:
        checks.one_of("voting", self.voting, VOTINGS)
        checks.one_of("features", self.features, FEATURES)
        checks.one_of("neighbours", self.neighbours, ("add-remove", "replace-one"))
        if not (self.public_data is None or (isinstance(self.public_data, str))):
            raise InputError(f"public_data is {self.public_data!r}", "Give a path or dataset:NAME.")
        for name in ("public_records", "components"):
            checks.whole(name, getattr(self, name), 1)
        for name, least in (("teachers", 2), ("queries", 1), ("answers", 1), ("seed", 0)):
            if getattr(self, name) is not None:
                checks.whole(name, getattr(self, name), least)
        checks.number("threshold", self.threshold, 0, 1, closed=False)
        checks.number("test_ratio", self.test_ratio, 0, closed=False)
        if self.answers is not None:
            if self.voting != "confident":
                raise InputError(
                    f"answers is {self.answers} with voting {self.voting!r}",
                    "Every query is answered: give queries, or use confident.",
                )
            if self.queries is not None and self.answers > self.queries:
                raise InputError(
                    f"answers is {self.answers} of {self.queries} queries", "Give more queries."
                )

    def calibrate(self, budget: Budget, facts: ImageSchema | Schema) -> Calibrated:
        """The run that spends ``budget`` on records with these public facts.

        Raises:
            InputError: If there are no public records or too few, the facts lack a target or the
                number of records, or a setting does not fit them.
        """
        from sfumato.learn.examples import classes_of
        from sfumato.learn.pate.pool import load_pool

        checks.records(facts, budget)
        if len(classes_of(facts)) < 2:
            raise InputError("there is one class", "Declare the classes to tell apart.")
        if not self.public_data:
            raise InputError(
                "learn.pate has no public records to put to the vote",
                "Set public_data=PATH (records like the private ones, labels not needed), or use "
                "learn.recipe or learn.dpsgd, which need none.",
            )
        made = _architecture(facts, self.features)
        pool = load_pool(self.public_data, facts, self.public_records)
        relation = Neighbours(self.neighbours)
        pate = self._pate(budget, facts, len(pool.inputs))
        if len(pool.inputs) <= pate.queries:
            raise InputError(
                f"there are {len(pool.inputs)} public records for {pate.queries} queries",
                "Give more public records, or ask fewer queries.",
            )
        ready = pate.calibrate(budget, neighbours=relation)
        return Calibrated(
            method=self,
            budget=budget,
            facts=facts,
            guarantee=ready.guarantee(),
            plan=_plan(ready, made),
            run=Run(self, facts, ready, pool, made),
            public=(pool.fact,),
            caveats=_caveats(relation),
        )

    def _pate(self, budget: Budget, facts: ImageSchema | Schema, pool: int) -> Pate:
        from sfumato.learn.examples import classes_of
        from sfumato.learn.pate.teachers import KernelRidge
        from sfumato.learn.pate.teaching import Pate, affordable_queries

        low, high = _TEACHERS
        assert facts.records is not None
        teachers = self.teachers or min(max(facts.records // _SHARD, low), high)
        classes = len(classes_of(facts))
        queries = self.queries
        if queries is None:
            least, most = max(5 * classes, self.answers or 1), max(pool // 4, 1)
            affordable = affordable_queries(budget, teachers, self.voting)
            queries = min(max(affordable, least), max(most, self.answers or 1))
        return Pate(
            classes=classes,
            teachers=teachers,
            queries=queries,
            voting=self.voting,
            answers=self.answers,
            threshold=self.threshold,
            test_ratio=self.test_ratio,
            teacher=KernelRidge(classes, width=_width(facts, self.features)),
            components=self.components,
        )


@dataclass(frozen=True)
class Run:
    """Teachers, votes, answers; then the student.

    Args:
        method: The public choices.
        facts: Of the private records.
        ready: The calibrated election.
        pool: The public records.
        architecture: Of the student.
    """

    method: PateMethod
    facts: ImageSchema | Schema
    ready: CalibratedPate
    pool: Pool
    architecture: Mapping[str, Any]
    resumable: bool = field(default=True, init=False)

    def __call__(
        self,
        data: ImageSet | Table,
        source: NoiseSource,
        progress: Progress,
        workspace: Path | None = None,
    ) -> Artefact:
        """Asks the teachers of private records, and teaches the student.

        In a ``workspace`` the seed and the noisy answers are kept, and the votes never: whoever is
        interrupted before the answers lets the teachers vote again, on shards drawn anew, of which
        nothing was released.
        """
        from dataclasses import replace

        import torch

        from sfumato.learn.architectures import build, weights
        from sfumato.learn.examples import labelled
        from sfumato.learn.pate.voting import Answers
        from sfumato.publish.workspace import is_kept, once
        from sfumato.release.model import Model
        from sfumato.release.release import Artefact

        drawn = secrets.randbits(31) if self.method.seed is None else self.method.seed
        seeds = once(workspace, "seeds", lambda: {"queries": drawn})
        ready = replace(self.ready, method=replace(self.ready.method, seed=seeds["queries"]))
        inputs, labels = labelled(data)
        module = build(self.architecture, seed=0)  # its weights are replaced
        features, linear = _parts(module)
        progress(0, 1, "features of the public records")
        pool = features(self.pool.inputs)

        def private(rows: NDArray[np.int64]) -> Tensor:
            return features(inputs[torch.from_numpy(rows)])

        voted: tuple[Any, ...] = ()
        if not is_kept(workspace, "answers"):  # teachers take minutes, and draw nothing
            voted = ready.votes(private, labels, pool, source=source, progress=progress)
        released = once(
            workspace, "answers", lambda: ready.answers(*voted, source=source).to_dict(), drawn=True
        )
        answers = Answers.from_dict(released, ready.method.classes)
        progress(0, 1, "student")
        layer = ready.teach(pool, answers)
        with torch.no_grad():
            linear.weight.copy_(layer.weight)
            linear.bias.copy_(layer.bias)
        return Artefact(
            Model(self.facts, self.architecture, weights(module)),
            seeds=seeds,
            notes={"asked": answers.asked, "answered": len(answers.queries)},
        )


def _architecture(facts: ImageSchema | Schema, features: str) -> dict[str, Any]:
    """One linear layer on public features: scattering of images, pixels of tiny ones, rows."""
    from sfumato.learn.architectures.scattering import feature_values
    from sfumato.learn.examples import classes_of, input_values
    from sfumato.learn.recipe import ScatterLinear

    values = {**input_values(facts), "classes": len(classes_of(facts))}
    if "columns" in values:
        if features == "scattering":
            raise InputError("rows of a table have no scattering features", "Use auto or raw.")
        return {"family": "table-dense", **values}
    small = min(values["shape"][1:]) < _SMALLEST
    if small and features == "scattering":
        raise InputError(
            f"images of {values['shape'][1:]} pixels are too small to be scattered",
            f"Use auto, or images of {_SMALLEST} pixels a side.",
        )
    if small or features == "raw":
        return {"family": "dense", **values}
    return {"family": "scatter-linear", **values, "features": feature_values(ScatterLinear(2))}


def _width(facts: ImageSchema | Schema, features: str) -> float:
    """The teachers' kernel, for features that are scattered, pixels or, in a row, mostly 0."""
    from sfumato.learn.architectures.dense import CodesToFeatures
    from sfumato.learn.examples import input_values

    values = input_values(facts)
    if "columns" not in values:
        return 0.5 if features != "raw" else 0.5 / _PIXEL_VARIANCE
    encoder = CodesToFeatures([(int(c["size"]), c["grid"]) for c in values["columns"]])
    return 0.5 * encoder.width / len(values["columns"])


def _parts(module: nn.Module) -> tuple[Callable[[Tensor], Tensor], nn.Linear]:
    """What a module makes of records before its last layer, and that layer."""
    import torch

    from sfumato.learn.architectures.scattering import ScatterNet

    if isinstance(module, ScatterNet):
        return module.recipe.features, module.linear
    assert isinstance(module, torch.nn.Sequential)
    linear = module[-1]
    assert isinstance(linear, torch.nn.Linear)
    return module[:-1], linear


def _plan(ready: CalibratedPate, made: Mapping[str, Any]) -> dict[str, Any]:
    pate = ready.method
    plan: dict[str, Any] = {
        "teachers": pate.teachers,
        "voting": pate.voting,
        "queries": pate.queries,
        "votes_noise": ready.noise,
        "architecture": dict(made),
    }
    if pate.voting == "confident":
        voting = ready.voting
        for name in ("answers", "threshold", "test_stddev"):
            plan[name] = getattr(voting, name)
    return plan


def _caveats(neighbours: Neighbours) -> tuple[str, ...]:
    named = "adding or removing" if neighbours is Neighbours.ADD_REMOVE else "replacing"
    return (
        RecordCaveat(
            f"One record is protected against {named} it: of a person with k records, all together "
            "are protected less, by group privacy."
        ),
        "The public records are not protected at all: that no private record, and nobody who "
        "expects protection, is among them is the custodian's declaration.",
        "Epsilon is that of noisy histograms for all queries, whatever the votes were; smaller "
        "figures in the literature depend on the votes and are private themselves.",
        TUNED,
    )
