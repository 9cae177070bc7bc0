"""The page of a comparison: methods over budgets on one task, for the custodian only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from sfumato.report import line_charts, verdicts, wording
from sfumato.report.inside import headline_metric, nice_range
from sfumato.report.page import render

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sfumato.attack.finding import Finding
    from sfumato.measure.score import Utility


class Row(Protocol):
    """One method at one budget with one seed, its figures as plain JSON values."""

    @property
    def method(self) -> str: ...  # noqa: D102
    @property
    def epsilon(self) -> float: ...  # noqa: D102
    @property
    def delta(self) -> float: ...  # noqa: D102
    @property
    def proven(self) -> str: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102
    @property
    def seconds(self) -> float: ...  # noqa: D102
    @property
    def peak_mebibytes(self) -> float | None: ...  # noqa: D102
    @property
    def utility(self) -> Mapping[str, Any] | None: ...  # noqa: D102
    @property
    def findings(self) -> Sequence[Mapping[str, Any]]: ...  # noqa: D102
    @property
    def marginals(self) -> Mapping[str, Any] | None: ...  # noqa: D102
    @property
    def fidelity(self) -> Mapping[str, Any] | None: ...  # noqa: D102


class Comparison(Protocol):
    """What is compared."""

    @property
    def data(self) -> str: ...  # noqa: D102
    @property
    def target(self) -> str | None: ...  # noqa: D102
    @property
    def rows(self) -> Sequence[Row]: ...  # noqa: D102
    @property
    def versions(self) -> Mapping[str, str]: ...  # noqa: D102


def comparison_page(comparison: Comparison) -> str:
    """Methods over budgets as one offline HTML page.

    Guarantees of different kinds are never drawn on one axis: an epsilon of each row's own report
    is not an epsilon of a whole release.

    Args:
        comparison: Its rows hold utility, findings and marginal errors as plain values.

    Returns:
        A whole HTML document, computed on private rows.
    """
    kinds: dict[str, list[Row]] = {}
    for row in comparison.rows:
        kinds.setdefault(relation(row.method), []).append(row)
    methods = list(dict.fromkeys(row.method for row in comparison.rows))
    groups = [
        {
            "title": f"{kind[:1].upper()}{kind[1:]} guarantees" if kind else "Guarantees",
            "charts": _charts(rows, methods),
            "summary": _summary(rows),
            "unlike": "Fréchet distance"
            if any(row.fidelity is not None for row in rows)
            else "Marginal error",
            "keys": [line_charts.key(methods.index(m), m) for m in _methods(rows)],
            "rows": [
                _line(row) for row in sorted(rows, key=lambda r: (r.method, r.epsilon, r.seed))
            ],
        }
        for kind, rows in kinds.items()
    ]
    budgets = sorted({row.epsilon for row in comparison.rows})
    return render(
        "comparison.html",
        edition="Custodian’s comparison",
        title=wording.plural(len(methods), "method"),
        task=f"for predicting {comparison.target}" if comparison.target else "",
        data=comparison.data,
        budgets=", ".join(f"{budget:g}" for budget in budgets),
        seeds=len({row.seed for row in comparison.rows}),
        groups=groups,
        versions=comparison.versions,
    )


def relation(method: str) -> str:
    """``"central"`` or ``"local"`` for a registered method, whatever its settings; else nothing."""
    from sfumato import registry
    from sfumato.errors import InputError

    try:
        found = registry.find("method", method.partition("[")[0])
        return str(getattr(found, "relation", ""))
    except InputError:
        return ""


def _charts(rows: list[Row], methods: list[str]) -> list[dict[str, Any]]:
    """One chart for utility, one for each attack, one for marginal errors."""
    drawn = []
    judged = [(row, _utility(row)) for row in rows]
    metric = next((headline_metric(found) for _, found in judged if found is not None), None)
    if metric is not None:
        values = [
            (row, found.best("p2", metric).value) for row, found in judged if found is not None
        ]
        real = [f.best("p1", metric).value for _, f in judged if f is not None]
        best = max((value for value in real if value is not None), default=None)
        base = next(f.majority.get(metric) for _, f in judged if f is not None)
        drawn.append(
            _chart(
                f"{metric} of the best model trained on the release, on real rows",
                values,
                methods,
                floor=base,
                top=best,
            )
        )
    found_by: dict[str, list[tuple[Row, Finding]]] = {}
    for row in rows:
        for finding in _findings(row):
            found_by.setdefault(finding.attack, []).append((row, finding))
    for attack, pairs in found_by.items():
        drawn.append(
            _chart(
                f"{attack}: {pairs[0][1].metric}",
                [(row, finding.value) for row, finding in pairs],
                methods,
                floor=pairs[0][1].chance,
            )
        )
    errors = [
        (row, float(row.marginals["one_way_mean"])) for row in rows if row.marginals is not None
    ]
    if errors:
        drawn.append(_chart("Mean error of one-way marginals", errors, methods, floor=0.0))
    alike = [(row, row.fidelity) for row in rows if row.fidelity is not None]
    for extractor in dict.fromkeys(str(found["extractor"]) for _, found in alike):
        same = [(row, found) for row, found in alike if found["extractor"] == extractor]
        drawn.append(
            _chart(
                f"Fréchet distance to real pictures ({extractor})",
                [(row, float(found["frechet"])) for row, found in same],
                methods,
                floor=float(same[0][1]["frechet_floor"]),
            )
        )
    return drawn


def _chart(
    title: str,
    values: Sequence[tuple[Row, float | None]],
    methods: list[str],
    *,
    floor: float | None = None,
    top: float | None = None,
) -> dict[str, Any]:
    known = [(row, value) for row, value in values if value is not None]
    series = [
        line_charts.Series(method, points, index)
        for index, method in enumerate(methods)
        if (points := _points(known, method))
    ]
    shown = [value for _, value in known] + [v for v in (floor, top) if v is not None]
    return {
        "title": title,
        "drawing": line_charts.lines(
            series, title=title, floor=floor, top=top, ends=nice_range(shown)
        )
        if known
        else "",
    }


def _points(
    values: list[tuple[Row, float]], method: str
) -> list[tuple[float, float, float, float]]:
    """Mean and extremes over the seeds, for each budget."""
    by_budget: dict[float, list[float]] = {}
    for row, value in values:
        if row.method == method:
            by_budget.setdefault(row.epsilon, []).append(value)
    return [
        (budget, min(runs), sum(runs) / len(runs), max(runs))
        for budget, runs in sorted(by_budget.items())
    ]


def _summary(rows: list[Row]) -> dict[str, Any]:
    """Each model family's figure by method and budget, over the seeds; real rows first."""
    judged = [(row, found) for row in rows if (found := _utility(row)) is not None]
    if not judged:
        return {}
    metric = headline_metric(judged[0][1])
    models = list(dict.fromkeys(model for _, found in judged for model in found.models))

    def line(
        name: str, epsilon: str, runs: list[tuple[Row, Utility]], setting: str
    ) -> dict[str, Any]:
        cells = []
        for model in models:
            values = [
                value
                for _, found in runs
                if model in found.models
                and (value := found.score(model, setting, metric).value) is not None
            ]
            cells.append(_spread(values))
        return {"method": name, "epsilon": epsilon, "cells": cells, "cost": ""}

    lines = [line("real rows", "none", judged, "p1")]
    for name, epsilon in sorted({(row.method, row.epsilon) for row, _ in judged}):
        runs = [pair for pair in judged if (pair[0].method, pair[0].epsilon) == (name, epsilon)]
        peaks = [row.peak_mebibytes for row, _ in runs if row.peak_mebibytes is not None]
        cost = f"{sum(row.seconds for row, _ in runs) / len(runs):.1f} s"
        if peaks:
            cost += f", {max(peaks):.0f} MiB"
        lines.append({**line(name, f"{epsilon:g}", runs, "p2"), "cost": cost})
    blind = judged[0][1].majority.get(metric)
    return {"metric": metric, "models": models, "lines": lines, "blind": wording.figure(blind)}


def _spread(values: list[float]) -> dict[str, str]:
    """Mean and extremes over the runs."""
    if not values:
        return {"mean": wording.figure(None), "range": ""}
    mean = wording.figure(sum(values) / len(values))
    if len(values) == 1:
        return {"mean": mean, "range": ""}
    return {"mean": mean, "range": f"{wording.figure(min(values))}–{wording.figure(max(values))}"}


def _line(row: Row) -> dict[str, Any]:
    matrix, findings = _utility(row), _findings(row)
    metric = None if matrix is None else headline_metric(matrix)
    released = None if matrix is None else matrix.best("p2", metric).value
    real = None if matrix is None else matrix.best("p1", metric).value
    tone, _ = verdicts.attack_verdict(findings)
    better = sum(finding.better_than_chance for finding in findings)
    unsure = sum(finding.undecided for finding in findings)
    untold = f", {unsure} not told from the baseline" if unsure else ""
    attacks = {
        "bad": "above the ceiling",
        "none": "none run",
    }.get(tone, f"{better} of {len(findings)} above chance{untold}")
    return {
        "method": row.method,
        "epsilon": f"{row.epsilon:g}",
        "delta": wording.delta(row.delta),
        "seed": row.seed,
        "released": wording.figure(released),
        "real": wording.figure(real),
        "metric": metric or "",
        "attacks": attacks,
        "tone": tone,
        "error": wording.figure(_error(row)),
        "seconds": f"{row.seconds:.1f}",
        "memory": "" if row.peak_mebibytes is None else f"{row.peak_mebibytes:.0f} MiB",
        "proven": row.proven,
    }


def _error(row: Row) -> float | None:
    """How unlike the real data the release is: of tables, the mean error of one-way marginals."""
    if row.marginals is not None:
        return float(row.marginals["one_way_mean"])
    return None if row.fidelity is None else float(row.fidelity["frechet"])


def _utility(row: Row) -> Utility | None:
    from sfumato.measure.score import Utility

    return None if row.utility is None else Utility.from_dict(row.utility)


def _findings(row: Row) -> list[Finding]:
    from sfumato.attack.finding import Finding

    return [Finding.from_dict(finding) for finding in row.findings]


def _methods(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(row.method for row in rows))
