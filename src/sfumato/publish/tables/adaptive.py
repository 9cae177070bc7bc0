"""``tables.adaptive``: every row under its own noise, least where the task needs the value.

Each row is reported by local mechanisms, attribute by attribute, and the label by randomised
response. What a row may cost is divided between its attributes by their importance; the parts sum
to the record's epsilon, which is the only figure that means something: attributes of a person are
correlated, so a single attribute's part is no guarantee for that attribute.

Importance is ``"public"`` (declared; each released row is then epsilon-LDP, and nobody need be
trusted with the table), ``"paid"`` or ``"split"``. Paid importance is a statistic of all rows: a
private model of the label, then the noisy mean of the records' attributions under it. It needs a
trusted curator, so the release is a *central* guarantee under replace-one (the number of rows is
public), for the model, the importance and the rows together. Split importance is the same statistic
of a part of the rows that is then not released: every record pays for one of the two alone
(:mod:`sfumato.publish.tables.split`).

A second run on the same table draws new noise and is debited again: an attacker who holds ``k``
releases averages them. To serve the same release twice, keep the first one.

Source: perturbation.md A (Utaliyeva, Shin, Choi, Sensors 2023, 23(4):1980).
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.data.ahead import in_order
from sfumato.data.columns import narrowest
from sfumato.data.facts import Fact
from sfumato.errors import InputError
from sfumato.privacy.guarantee import Local
from sfumato.privacy.noise import SecureSource
from sfumato.publish import checks
from sfumato.publish.method import Calibrated, Progress
from sfumato.publish.tables import allocation, importance, learning, paid, split
from sfumato.publish.tables.rows import Collector
from sfumato.publish.tables.sampling import SampledTable
from sfumato.registry import method
from sfumato.release.release import Artefact

if TYPE_CHECKING:
    from dp_accounting import DpEvent

    from sfumato.data import Schema, Table
    from sfumato.privacy.budget import Budget
    from sfumato.privacy.noise import NoiseSource
    from sfumato.publish.tables.row import Row

IMPORTANCES = ("public", "split", "paid")
WIDE = ("k-rr", "oue")
AUTO = "auto"


_MOST_WORKERS = 8  # beyond, Python's lock is what they wait for

_LEARNT = {"model_share": 0.15, "importance_share": 0.05, "attribution": "squared"}


@method("tables.adaptive")
@dataclass(frozen=True)
class Adaptive:
    """Row noise divided by importance.

    Args:
        allocation: ``"cube-root"`` (least weighted variance), ``"sqrt"`` (least weighted absolute
            error), ``"uniform"`` or ``"proportional"`` (a baseline, worse than uniform when
            weights are skewed).
        importance: ``"public"``, ``"split"`` or ``"paid"``.
        weights: Public importance by attribute; attributes left out get the floor, a tenth of an
            equal weight. None: all equal.
        noise: Of numbers and ordered levels: ``"laplace"``; ``"gaussian"``, which needs a delta
            and pays off from about nine such columns; or a bounded report, ``"piecewise"``, or
            ``"duchi"``, which tells one end of the range.
        label_share: The label's share of a row's epsilon. The label is one more attribute of the
            row, but every relation a model can learn from the release runs through it: the signal
            between a feature and the label is damped by both their noises, so for small budgets
            half is best whatever the number of features. None: half, or what makes the label
            right in 95 of 100 rows if that is less.
        wide: ``"k-rr"``: randomised response for levels however many. ``"oue"``: unary encoding
            where there are more than ``3 e^epsilon + 2`` levels; its bits estimate frequencies
            better, but a cell holds one level, and no way to report one level is right as often
            as randomised response.
        sampled: How many of its attributes a row reports, drawn by importance, each with an equal
            part of the budget; what the others are released as, see
            :class:`~sfumato.publish.tables.reports.Sampled`. ``"auto"``: one for each 2.5 of
            epsilon. None: all of them, each with its own part.
        model_share: Learnt importance: the model's share of epsilon; of split importance, what
            the two shares are to one another.
        importance_share: Learnt importance: the mean attribution's share of epsilon.
        attribution: Learnt importance: what a record's attributions are
            (:data:`~sfumato.publish.tables.learning.ATTRIBUTIONS`): ``"squared"`` is in closed
            form, of a private logistic regression; all others are Captum's (extra ``explain``),
            of a network trained by DP-SGD.
        held_out: Split importance: the share of rows that importance is learnt from.
        seed: Of the choices that are no privacy noise and may be published: which rows are held
            out, which attributes a row reports (None draws one, and it is recorded), a network's
            first weights (None is 0).

    Raises:
        InputError: If a value is unknown or out of its range.

    Guaranteed: public importance, ``Local``: each released row is epsilon-LDP for replacing the
    row, at delta 0 under all but Gaussian noise. Learnt importance, ``Central``: the whole release
    is (epsilon, delta)-DP for replacing one record.
    """

    allocation: str = "cube-root"
    importance: str = "public"
    weights: Mapping[str, float] | None = None
    noise: str = "laplace"
    label_share: float | None = None
    wide: str = "k-rr"
    sampled: int | str | None = None
    model_share: float = 0.15
    importance_share: float = 0.05
    attribution: str = "squared"
    held_out: float = 0.1
    seed: int | None = None

    name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]] = ("table",)
    gives: ClassVar[str] = "table"
    source: ClassVar[str] = "Utaliyeva, Shin, Choi, Sensors 2023, 23(4):1980"
    relation: ClassVar[str] = "local"

    def __post_init__(self) -> None:
        allocation.check_rule(self.allocation, self.noise)
        for name, known in (("importance", IMPORTANCES), ("wide", WIDE)):
            if getattr(self, name) not in known:
                raise InputError(
                    f"{name} is {getattr(self, name)!r}", f"Use one of {', '.join(known)}."
                )
        if self.weights is not None:
            if not isinstance(self.weights, Mapping):
                raise InputError(
                    f"weights is {self.weights!r}", "Give a number for each attribute."
                )
            if self.importance != "public":
                raise InputError(
                    "weights are given, but importance is to be learnt",
                    "Drop the weights, or set importance to public.",
                )
            object.__setattr__(self, "weights", dict(self.weights))
        if self.label_share is not None:
            _check_share("label_share", self.label_share)
        learning.check_attribution(self.attribution)
        for name in ("model_share", "importance_share", "held_out"):
            _check_share(name, getattr(self, name))
        for name, default in _LEARNT.items():
            if self.importance == "public" and getattr(self, name) != default:
                raise InputError(
                    f"{name} was given, and importance is public",
                    "It has a meaning with importance=split or importance=paid only.",
                )
        if self.importance != "split" and self.held_out != 0.1:
            raise InputError(
                f"held_out was given, and importance is {self.importance}",
                "It has a meaning with importance=split only.",
            )
        if self.sampled not in (None, AUTO):
            checks.whole("sampled", self.sampled, 1)
        checks.optional(self, seed=0)
        if self.model_share + self.importance_share >= 1:
            raise InputError(
                f"model_share and importance_share sum to "
                f"{self.model_share + self.importance_share:g}",
                "Leave something for the rows: a sum below 1.",
            )

    @property
    def needs_records(self) -> bool:
        """Whether the number of rows must be declared public."""
        return self.importance != "public"

    @property
    def default_delta(self) -> float:
        """What delta to take where none is asked for."""
        return 1e-6 if self.noise == "gaussian" or self.importance != "public" else 0.0

    def calibrate(self, budget: Budget, facts: Schema) -> Calibrated:
        """The run that spends ``budget`` on a table with these public facts.

        Raises:
            InputError: If the facts leave nothing to publish, or the budget lacks a delta that
                the noise needs.
        """
        if not facts.features:
            raise InputError(
                "the table has no column beside its target", "Declare at least one attribute."
            )
        if self.importance == "paid":
            return paid.calibrate(self, budget, facts)
        if self.importance == "split":
            return split.calibrate(self, budget, facts)
        names = tuple(column.name for column in facts.features)
        weights = importance.declared(self.weights, names, facts.target)
        row = self.row(budget, facts, weights)
        # What pure noise proves holds at delta 0, whatever delta was asked for.
        guarantee = Local(row.event(weights), row.delta)
        return Calibrated(
            method=self,
            budget=budget,
            facts=facts,
            guarantee=guarantee,
            plan={"row_epsilon": budget.epsilon, "aligned": True, **row.describe(weights)},
            run=Run(row, weights, self.seed),
            public=(_fact(self.weights, names, weights),),
            caveats=CAVEATS,
        )

    def row(
        self,
        budget: Budget,
        facts: Schema,
        weights: NDArray[np.float64],
        beside: tuple[DpEvent, Budget] | None = None,
    ) -> Row:
        """A row's budget under these choices; see :meth:`Row.calibrate`."""
        from sfumato.publish.tables.row import Row

        return Row.calibrate(
            facts,
            budget,
            weights,
            rule=self.allocation,
            noise=self.noise,
            wide=self.wide,
            label_share=self.label_share,
            sampled=self.sampled,
            beside=beside,
        )


@dataclass(frozen=True)
class Run:
    """Reports under public importance.

    Args:
        row: A row's calibrated budget.
        weights: (features,) importance.
        seed: See ``Adaptive``.
    """

    row: Row
    weights: NDArray[np.float64]
    seed: int | None

    def __call__(self, table: Table, source: NoiseSource, progress: Progress) -> Artefact:
        """Perturbs the rows."""
        released, seeds = reported(table, self.row, self.weights, source, progress, self.seed)
        return Artefact(released, seeds=seeds)


CAVEATS = (
    "Only the record's epsilon is a guarantee: attributes of one person are correlated, so an "
    "attribute's own part of it is none for that attribute.",
    "Publishing the same table again is debited again; whoever holds both releases averages them.",
)


def reported(
    table: Table,
    row: Row,
    weights: NDArray[np.float64],
    source: NoiseSource,
    progress: Progress,
    seed: int | None,
) -> tuple[Table, dict[str, int]]:
    """The reports of all rows, and the seed of what chose their attributes, if something did.

    Args:
        table: The private rows.
        row: A row's calibrated budget.
        weights: (features,) importance.
        source: The noise; every cell draws its own.
        progress: Told after each batch.
        seed: Of the choice, where a row reports some attributes only; None draws one.
    """
    if not row.sampled:
        return perturb(table, row, weights, source, progress), {}
    seed = drawn(seed)
    chances = row.chances(weights)
    # A view of a table: it answers what perturb asks.
    view: Any = SampledTable(table, tuple(chances), np.array(list(chances.values())), seed)
    return perturb(view, row, weights, source, progress), {"attributes": seed}


def drawn(seed: int | None) -> int:
    """The seed, or a fresh one."""
    return secrets.randbits(63) if seed is None else seed


def perturb(
    table: Table,
    row: Row,
    weights: NDArray[np.float64],
    source: NoiseSource,
    progress: Progress,
) -> Table:
    """A report for every row, batch by batch in several threads; only reports are kept.

    Every batch draws noise of its own from the operating system's generator. A source for tests is
    drawn from by one thread, so that a seed gives the same reports every time.

    Args:
        table: The private rows.
        row: A row's calibrated budget.
        weights: (features,) importance.
        source: The noise; every cell draws its own.
        progress: Told after each batch.
    """
    reports = row.reports(weights)
    collector = Collector(row.facts)
    done, total = 0, table.num_rows

    def reported(codes: dict[str, NDArray[np.int64]]) -> dict[str, NDArray[Any]]:
        noisy = ((n, report.randomise(codes[n], source)) for n, report in reports.items())
        return {name: values.astype(narrowest(row.facts[name].size)) for name, values in noisy}

    for codes in in_order(reported, table.codes_batches(), _workers(source)):
        collector.add(codes)
        done += len(next(iter(codes.values())))
        progress(done, total, "rows")
    return collector.table()


def _workers(source: NoiseSource) -> int:
    """Threads that draw: a secure source hands out no byte twice, whoever asks."""
    return min(_MOST_WORKERS, os.cpu_count() or 1) if isinstance(source, SecureSource) else 1


def _fact(
    given: Mapping[str, float] | None, names: tuple[str, ...], weights: NDArray[np.float64]
) -> Fact:
    """What the card says about public importance."""
    used = dict(zip(names, (float(w) for w in weights), strict=True))
    name = "importance (none declared: equal weights)" if given is None else "importance"
    return Fact(name, used)


def _check_share(name: str, value: Any) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (number and 0 < value < 1):
        raise InputError(f"{name} is {value!r}", "Give a number in (0, 1).")
