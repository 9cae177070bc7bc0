"""Compare methods over budgets and seeds on one task."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.api.inputs import resolve
from sfumato.errors import InputError
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.publish import units
from sfumato.publish.method import Progress, silent
from sfumato.release.release import check_new
from sfumato.versions import versions

if TYPE_CHECKING:
    from sfumato.api.inputs import DataLike, SchemaLike


@dataclass(frozen=True)
class Row:
    """One method at one budget with one seed.

    Args:
        method: The registered name.
        epsilon: What was asked for.
        delta: What was asked for.
        proven: What the release proves, in one sentence.
        seed: Of the split and the models.
        seconds: For calibrating and running.
        utility: The utility matrix, as plain values.
        findings: Each attack's finding, as plain values.
        marginals: Marginal errors, as plain values.
    """

    method: str
    epsilon: float
    delta: float
    proven: str
    seed: int
    seconds: float
    utility: Mapping[str, Any] | None
    findings: tuple[Mapping[str, Any], ...]
    marginals: Mapping[str, Any] | None


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
    methods: Sequence[str],
    target: str | None = None,
    delta: float | None = None,
    schema: SchemaLike | None = None,
    holdout: float | str | Path | None = None,
    seeds: Sequence[int] = (0,),
    attacks: Sequence[str] | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    unit: str | None = None,
    rows_per_unit: int | None = None,
    progress: Progress = silent,
) -> Comparison:
    """Runs every method at every budget and judges each on the same held-out rows.

    Nothing is published, so no ledger is debited; but to choose a method by looking at private
    rows is a leak of its own that no guarantee covers. Compare on public data of the same kind
    where there is any, and keep the comparison inside.

    Args:
        data: As for :func:`sfumato.api.publish`.
        epsilons: Budgets to try.
        methods: Registered names.
        target: The column to predict.
        delta: None takes each method's default.
        schema: The public facts.
        holdout: As for :func:`sfumato.api.publish`.
        seeds: One run for each.
        attacks: Names of the attacks; None runs all that fit, an empty list none.
        out: A folder for ``comparison.json`` and ``report.html``.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        unit: As for :func:`sfumato.api.publish`.
        rows_per_unit: As for :func:`sfumato.api.publish`.
        progress: Told how far the comparison is.

    Raises:
        InputError: If anything named is unknown, missing or out of range.
    """
    import time

    from sfumato.api.publishing import configure
    from sfumato.measure.evaluation import evaluate

    folder = None if out is None else check_new(out)
    for epsilon in epsilons:
        Budget(epsilon, delta or 0.0)
    configured = {name: configure(name, None, device) for name in methods}
    rows: list[Row] = []
    total = len(epsilons) * len(configured) * len(seeds)
    name = ""
    for seed in seeds:
        inputs = resolve(
            data,
            target=target,
            schema=schema,
            holdout=holdout,
            seed=seed,
            unit=unit,
            rows_per_unit=rows_per_unit,
        )
        name = inputs.name
        if inputs.held_out is None:
            raise InputError("a comparison needs rows that were held out", "Give a holdout.")
        for method_name, method in configured.items():
            if inputs.members.kind not in method.kinds:
                takes = " or ".join(method.kinds)
                raise InputError(
                    f"{method_name} takes {takes}, the data is {inputs.members.kind}",
                    "Leave it out.",
                )
        records = len(inputs.members)
        for method_name, method in configured.items():
            facts = inputs.facts.with_records(records) if method.needs_records else inputs.facts
            for epsilon in epsilons:
                progress(len(rows), total, f"{method_name} at ε = {epsilon:g}")
                budget = Budget(epsilon, method.default_delta if delta is None else delta)
                budget.check_records(records)
                started = time.perf_counter()
                calibrated = units.calibrate(method, budget, facts)
                release = calibrated(inputs.members, ledger=Ledger.in_memory())
                seconds = time.perf_counter() - started
                judged = evaluate(
                    release, inputs.members, inputs.held_out, attacks=attacks, seed=seed
                ).to_dict()
                rows.append(
                    Row(
                        method=method_name,
                        epsilon=epsilon,
                        delta=budget.delta,
                        proven=release.card.proven.describe(),
                        seed=seed,
                        seconds=seconds,
                        utility=judged["utility"],
                        findings=tuple(judged["findings"]),
                        marginals=judged["marginals"],
                    )
                )
    progress(total, total, "compared")
    comparison = Comparison(name, target or inputs.facts.target, tuple(rows), versions())
    if folder is not None:
        _save(comparison, folder)
    return comparison


def _save(comparison: Comparison, folder: Path) -> None:
    from sfumato.report import comparison_page

    folder.mkdir(mode=0o700)
    (folder / "comparison.json").write_text(comparison.to_json(), encoding="utf-8")
    (folder / "report.html").write_text(comparison_page(comparison), encoding="utf-8")
