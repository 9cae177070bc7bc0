"""Compare methods over budgets and seeds on one task."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato import registry
from sfumato.api.declared import check_public
from sfumato.api.evaluations import check_evaluation
from sfumato.api.inputs import Inputs, resolve
from sfumato.api.runs import Runs
from sfumato.api.variants import Variant
from sfumato.errors import InputError
from sfumato.measure.progress import part
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.publish import constraints
from sfumato.publish.method import Progress, silent
from sfumato.versions import versions

if TYPE_CHECKING:
    from sfumato.api.inputs import DataLike, SchemaLike
    from sfumato.measure.baseline import Baseline
    from sfumato.publish.method import Calibrated


@dataclass(frozen=True)
class Row:
    """One method at one budget with one seed.

    Args:
        method: The registered name, with the settings that were given, if any, in brackets.
        epsilon: What was asked for.
        delta: What was asked for.
        proven: What the release proves, in one sentence.
        seed: Of the split and the models.
        seconds: For calibrating and running.
        peak_mebibytes: The most memory the process held meanwhile; None where the system does
            not tell.
        utility: The utility matrix, as plain values.
        findings: Each attack's finding, as plain values.
        marginals: Marginal errors, as plain values; None for images.
        fidelity: Likeness to real images, as plain values; None for tables.
    """

    method: str
    epsilon: float
    delta: float
    proven: str
    seed: int
    seconds: float
    peak_mebibytes: float | None
    utility: Mapping[str, Any] | None
    findings: tuple[Mapping[str, Any], ...]
    marginals: Mapping[str, Any] | None
    fidelity: Mapping[str, Any] | None


@dataclass(frozen=True)
class Comparison:
    """All rows of a comparison. It is computed on private rows and stays with the custodian."""

    data: str
    target: str | None
    rows: tuple[Row, ...]
    versions: Mapping[str, str]

    def to_json(self) -> str:
        """The comparison as JSON."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"


def compare(
    data: DataLike,
    *,
    epsilons: Sequence[float],
    methods: Sequence[str] | None = None,
    target: str | None = None,
    delta: float | None = None,
    schema: SchemaLike | None = None,
    holdout: float | str | Path | None = None,
    seeds: Sequence[int] = (0,),
    attacks: Sequence[str] | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    engine: str = "auto",
    unit: str | None = None,
    rows_per_unit: int | None = None,
    spool: str | Path | None = None,
    progress: Progress = silent,
) -> Comparison:
    """Runs every method at every budget and judges each on the same held-out rows.

    Nothing is published, so no ledger is debited; but to choose a method by looking at private
    rows is a leak of its own that no guarantee covers. Compare on public data of the same kind
    where there is any, and keep the comparison inside.

    One release is in memory at a time. With ``out``, each run is on disk once it is finished:
    the same call goes on where an interrupted one stopped, and one with more methods, budgets or
    seeds adds them.

    Args:
        data: As for :func:`sfumato.api.publish`.
        epsilons: Budgets to try.
        methods: Registered names, each with settings in brackets if need be:
            ``"tables.adaptive[allocation=uniform]"``. None: all that publish data of this kind.
        target: The column to predict.
        delta: None takes each method's default.
        schema: The public facts.
        holdout: As for :func:`sfumato.api.publish`.
        seeds: One run for each.
        attacks: Names of the attacks; None runs all that fit, an empty list none.
        out: A folder for ``comparison.json``, ``report.html`` and the finished runs.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        engine: As for :func:`sfumato.api.publish`.
        unit: As for :func:`sfumato.api.publish`. Which rows of a person are used follows from the
            seed, for every method alike.
        rows_per_unit: As for :func:`sfumato.api.publish`.
        spool: As for :func:`sfumato.api.publish`; a copy is made for each seed, and by each call.
        progress: Told how far the comparison is.

    Raises:
        InputError: If anything named is unknown, missing or out of range; before any run. Or if
            ``out`` holds another comparison.
    """
    if not epsilons or not seeds:
        raise InputError("a comparison of nothing", "Give at least one epsilon and one seed.")
    for epsilon in epsilons:
        Budget(epsilon, delta or 0.0)
    asked = None if methods is None else [Variant.parse(text, device) for text in methods]
    folder = None if out is None else Path(out).expanduser().absolute()

    def resolved(seed: int) -> Inputs:
        return resolve(
            data,
            target=target,
            schema=schema,
            holdout=holdout,
            seed=seed,
            engine=engine,
            unit=unit,
            rows_per_unit=rows_per_unit,
            spool=spool,
            key=hashlib.sha256(f"compare {seed}".encode()).digest(),
        )

    inputs = resolved(seeds[0])
    variants = _fitting(inputs.members.kind, asked, device)
    for variant in variants:
        check_public(variant.method, data, holdout)
    plans = _plans(variants, epsilons, delta, inputs, attacks)  # refuses before anything is run
    rows: list[Row] = []
    with _kept(folder, inputs, holdout, attacks) as runs:
        for count, seed in enumerate(seeds):
            if count:
                inputs = resolved(seed)
                plans = _plans(variants, epsilons, delta, inputs, attacks)
            told = part(progress, count, len(seeds))
            rows += _one_seed(plans, inputs, seed, attacks, runs, told)
        order = [variant.label for variant in variants]
        rows.sort(key=lambda row: order.index(row.method))
        comparison = Comparison(inputs.name, inputs.facts.target, tuple(rows), versions())
        if folder is not None:
            _save(comparison, folder)
    progress(1, 1, "compared")
    return comparison


@dataclass(frozen=True)
class _Plan:
    """A run that is ready."""

    label: str
    budget: Budget
    calibrated: Calibrated
    seconds: float


def _fitting(kind: str, asked: Sequence[Variant] | None, device: str) -> list[Variant]:
    """The methods to run on data of a kind.

    Raises:
        InputError: If one that was asked for does not take it.
    """
    if asked is None:
        every: dict[str, Any] = dict(registry.load("method"))
        fits = [n for n, cls in every.items() if kind in cls.kinds and cls.gives == kind]
        return [Variant.parse(name, device) for name in fits]
    for variant in asked:
        if kind not in variant.method.kinds:
            takes = " or ".join(variant.method.kinds)
            raise InputError(f"{variant.label} takes {takes}, the data is {kind}", "Leave it out.")
    return list({variant.label: variant for variant in asked}.values())


def _plans(
    variants: Sequence[Variant],
    epsilons: Sequence[float],
    delta: float | None,
    inputs: Inputs,
    attacks: Sequence[str] | None,
) -> list[_Plan]:
    """Every run calibrated: what cannot run is found before the first one starts."""
    if inputs.held_out is None:
        raise InputError("a comparison needs rows that were held out", "Give a holdout.")
    records = len(inputs.members)
    plans = []
    for variant in variants:
        method = variant.method
        check_evaluation(inputs, attacks, method.gives)
        facts = inputs.facts.with_records(records) if method.needs_records else inputs.facts
        for epsilon in epsilons:
            budget = Budget(epsilon, method.default_delta if delta is None else delta)
            budget.check_records(records)
            started = time.perf_counter()
            calibrated = constraints.calibrate(method, budget, facts)
            plans.append(_Plan(variant.label, budget, calibrated, time.perf_counter() - started))
    return plans


def _one_seed(
    plans: Sequence[_Plan],
    inputs: Inputs,
    seed: int,
    attacks: Sequence[str] | None,
    runs: Runs | None,
    progress: Progress,
) -> list[Row]:
    """Runs what is not on disk yet."""
    from sfumato.measure.baseline import Baseline

    baseline: Baseline | None = None
    rows = []
    for count, plan in enumerate(plans):
        budget = plan.budget
        told = part(progress, count, len(plans))
        key = json.dumps([plan.label, budget.epsilon, budget.delta, seed])
        values = None if runs is None else runs.get(key)
        if values is None:
            if baseline is None and inputs.facts.target is not None:
                assert inputs.held_out is not None
                baseline = Baseline.fit(inputs.facts, inputs.members, inputs.held_out, seed=seed)
            values = _run(plan, inputs, seed, attacks, baseline, told)
            if runs is not None:
                runs.add(key, values)
        rows.append(Row(**{**values, "findings": tuple(values["findings"])}))
    return rows


def _run(
    plan: _Plan,
    inputs: Inputs,
    seed: int,
    attacks: Sequence[str] | None,
    baseline: Baseline | None,
    progress: Progress,
) -> dict[str, Any]:
    """One release, made and judged; the values of a ``Row``."""
    from sfumato.measure.evaluation import evaluate
    from sfumato.measure.memory import peak

    def told(done: int, total: int, label: str) -> None:
        progress(done, total, f"{plan.label} at ε = {plan.budget.epsilon:g}: {label}")

    started = time.perf_counter()
    with peak() as memory:
        release = plan.calibrated(
            inputs.members, ledger=Ledger.in_memory(), progress=part(told, 0, 2)
        )
    seconds = time.perf_counter() - started + plan.seconds
    assert inputs.held_out is not None
    judged = evaluate(
        release,
        inputs.members,
        inputs.held_out,
        attacks=attacks,
        seed=seed,
        baseline=baseline,
        progress=part(told, 1, 2),
    ).to_dict()
    return asdict(
        Row(
            method=plan.label,
            epsilon=plan.budget.epsilon,
            delta=plan.budget.delta,
            proven=release.card.proven.describe(),
            seed=seed,
            seconds=seconds,
            peak_mebibytes=memory.mebibytes,
            utility=judged["utility"],
            findings=tuple(judged["findings"]),
            marginals=judged["marginals"],
            fidelity=judged["fidelity"],
        )
    )


@contextmanager
def _kept(
    folder: Path | None,
    inputs: Inputs,
    holdout: float | str | Path | None,
    attacks: Sequence[str] | None,
) -> Iterator[Runs | None]:
    """The finished runs of this comparison, if it has a folder."""
    if folder is None:
        yield None
        return
    assert inputs.held_out is not None
    facts = json.dumps([asdict(fact) for fact in inputs.facts.as_facts()], sort_keys=True)
    what = {
        "data": inputs.name,
        "target": inputs.facts.target,
        "facts": hashlib.sha256(facts.encode()).hexdigest(),
        "records": len(inputs.members) + len(inputs.held_out),
        "holdout": None if holdout is None else str(holdout),
        "attacks": None if attacks is None else list(attacks),
        "version": versions()["sfumato"],
    }
    with Runs.open(folder, what) as runs:
        yield runs


def _save(comparison: Comparison, folder: Path) -> None:
    from sfumato.publish.workspace import write
    from sfumato.report import comparison_page

    write(folder / "comparison.json", comparison.to_json())
    write(folder / "report.html", comparison_page(comparison))
