"""The page of a comparison: methods over budgets on one task, for the custodian only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from sfumato.report import charts, wording
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
    def utility(self) -> Mapping[str, Any] | None: ...  # noqa: D102
    @property
    def findings(self) -> Sequence[Mapping[str, Any]]: ...  # noqa: D102
    @property
    def marginals(self) -> Mapping[str, Any] | None: ...  # noqa: D102


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
            "keys": [charts.key(methods.index(m), m) for m in _methods(rows)],
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
    """``"central"`` or ``"local"`` for a registered method, else nothing."""
    from sfumato import registry
    from sfumato.errors import InputError

    try:
        return str(getattr(registry.find("method", method), "relation", ""))
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
        charts.Series(method, points, index)
        for index, method in enumerate(methods)
        if (points := _points(known, method))
    ]
    shown = [value for _, value in known] + [v for v in (floor, top) if v is not None]
    return {
        "title": title,
        "drawing": charts.lines(series, title=title, floor=floor, top=top, ends=nice_range(shown))
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


def _line(row: Row) -> dict[str, Any]:
    matrix, findings = _utility(row), _findings(row)
    metric = None if matrix is None else headline_metric(matrix)
    released = None if matrix is None else matrix.best("p2", metric).value
    real = None if matrix is None else matrix.best("p1", metric).value
    tone, _ = wording.attack_verdict(findings)
    better = sum(finding.better_than_chance for finding in findings)
    attacks = {
        "bad": "above the ceiling",
        "none": "none run",
    }.get(tone, f"{better} of {len(findings)} above chance")
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
        "marginal": wording.figure(
            None if row.marginals is None else float(row.marginals["one_way_mean"])
        ),
        "seconds": f"{row.seconds:.1f}",
        "proven": row.proven,
    }


def _utility(row: Row) -> Utility | None:
    from sfumato.measure.score import Utility

    return None if row.utility is None else Utility.from_dict(row.utility)


def _findings(row: Row) -> list[Finding]:
    from sfumato.attack.finding import Finding

    return [Finding.from_dict(finding) for finding in row.findings]


def _methods(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(row.method for row in rows))
