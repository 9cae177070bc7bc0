"""The page of a comparison of perturbation points, for the custodian only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from sfumato.report import line_charts, wording
from sfumato.report.inside import nice_range
from sfumato.report.page import render

if TYPE_CHECKING:
    Line = tuple[float, float, float, float]

NONE = "none"


class Row(Protocol):
    """One point at one mu with one seed."""

    @property
    def point(self) -> str: ...  # noqa: D102
    @property
    def method(self) -> str: ...  # noqa: D102
    @property
    def mu(self) -> float | None: ...  # noqa: D102
    @property
    def epsilon(self) -> float | None: ...  # noqa: D102
    @property
    def compared_by(self) -> str: ...  # noqa: D102
    @property
    def own_mu(self) -> float | None: ...  # noqa: D102
    @property
    def own_epsilon(self) -> float | None: ...  # noqa: D102
    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def proven(self) -> str: ...  # noqa: D102
    @property
    def accuracy(self) -> float: ...  # noqa: D102
    @property
    def utility_loss(self) -> float: ...  # noqa: D102
    @property
    def leakage(self) -> Mapping[str, Any]: ...  # noqa: D102


class Comparison(Protocol):
    """What is compared."""

    @property
    def data(self) -> str: ...  # noqa: D102
    @property
    def target(self) -> str | None: ...  # noqa: D102
    @property
    def network(self) -> str: ...  # noqa: D102
    @property
    def attack(self) -> str: ...  # noqa: D102
    @property
    def equal(self) -> str: ...  # noqa: D102
    @property
    def majority(self) -> Mapping[str, float]: ...  # noqa: D102
    @property
    def rows(self) -> Sequence[Row]: ...  # noqa: D102
    @property
    def refused(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def versions(self) -> Mapping[str, str]: ...  # noqa: D102


def points_page(comparison: Comparison) -> str:
    """Perturbation points over mu as one offline HTML page, computed on private records."""
    rows = [row for row in comparison.rows if row.mu is not None]
    plain = [row for row in comparison.rows if row.mu is None]
    points = list(dict.fromkeys(row.point for row in rows))
    majority = sum(comparison.majority.values()) / len(comparison.majority)
    top = sum(row.accuracy for row in plain) / len(plain)
    mus = sorted({row.mu for row in rows if row.mu is not None})
    drawn = [
        _chart("Accuracy on held-out records", rows, points, "accuracy", floor=majority, top=top),
        _chart("Membership: TPR − FPR at the best threshold", rows, points, "advantage", floor=0.0),
        _chart("Membership: TPR at a false-positive rate of 0.1 %", rows, points, "tpr"),
    ]
    groups = [plain]
    groups += [
        [row for row in rows if (row.point, row.mu) == (point, mu)]
        for mu in mus
        for point in points
    ]
    return render(
        "points.html",
        edition="Custodian’s comparison",
        data=comparison.data,
        task=f"for predicting {comparison.target}" if comparison.target else "",
        network=comparison.network,
        attack=comparison.attack,
        equal=comparison.equal,
        mus=", ".join(f"{mu:.3g}" for mu in mus),
        seeds=len(comparison.majority),
        majority=wording.figure(majority),
        keys=[line_charts.key(index, point) for index, point in enumerate(points)],
        charts=[one for one in drawn if one["drawing"]],
        lines=[_line(group) for group in groups if group],
        proven=[
            (group[0].point, _number(group[0].mu), group[0].proven) for group in groups if group
        ],
        refused=dict(comparison.refused),
        versions=comparison.versions,
    )


def _value(row: Row, name: str) -> float | None:
    found = row.accuracy if name == "accuracy" else row.leakage.get(name)
    return None if found is None else float(found)


def _chart(
    title: str,
    rows: list[Row],
    points: list[str],
    name: str,
    *,
    floor: float | None = None,
    top: float | None = None,
) -> dict[str, Any]:
    series, shown = [], [value for value in (floor, top) if value is not None]
    for index, point in enumerate(points):
        by_mu: dict[float, list[float]] = {}
        for row in rows:
            value = _value(row, name)
            if row.point == point and row.mu is not None and value is not None:
                by_mu.setdefault(row.mu, []).append(value)
        line: list[Line] = [
            (mu, min(runs), sum(runs) / len(runs), max(runs)) for mu, runs in sorted(by_mu.items())
        ]
        shown += [value for runs in by_mu.values() for value in runs]
        if line:
            series.append(line_charts.Series(point, line, index))
    drawing = ""
    if series:
        ends = nice_range(shown)
        drawing = line_charts.lines(
            series, title=title, floor=floor, top=top, ends=ends, across="μ"
        )
    return {"title": title, "drawing": drawing}


def _line(group: list[Row]) -> dict[str, Any]:
    """One point at one mu, over the seeds."""
    first = group[0]
    ceiling = first.leakage.get("ceiling")
    return {
        "point": first.point,
        "mu": _number(first.mu),
        "epsilon": "none" if first.epsilon is None else f"{first.epsilon:.3g}",
        "by": first.compared_by,
        "proves": _own(first),
        "kind": first.kind,
        "accuracy": _spread([row.accuracy for row in group]),
        "loss": _spread([row.utility_loss for row in group]),
        "advantage": _spread([_value(row, "advantage") for row in group]),
        "interval": _outer([row.leakage.get("interval") for row in group]),
        "ceiling": wording.figure(ceiling),
        "tpr": _spread([_value(row, "tpr") for row in group]),
        "revealed": _counts(group),
    }


def _counts(group: list[Row]) -> str:
    """Members truly revealed beside others accused, of as many each."""
    known = [row.leakage for row in group if row.leakage.get("revealed") is not None]
    if not known:
        return "–"
    mean = {k: sum(one[k] for one in known) / len(known) for k in ("revealed", "accused")}
    return f"{mean['revealed']:.0f}, {mean['accused']:.0f} of {known[0]['members']}"


def _spread(values: list[float | None]) -> dict[str, str]:
    known = [value for value in values if value is not None]
    if not known:
        return {"mean": wording.figure(None), "range": ""}
    mean = wording.figure(sum(known) / len(known))
    if len(known) == 1:
        return {"mean": mean, "range": ""}
    return {"mean": mean, "range": f"{wording.figure(min(known))}–{wording.figure(max(known))}"}


def _outer(intervals: list[Any]) -> str:
    """From the lowest lower end to the highest upper end, over the seeds."""
    known = [interval for interval in intervals if interval is not None]
    if not known:
        return ""
    low, high = min(low for low, _ in known), max(high for _, high in known)
    return f"{wording.figure(low)} to {wording.figure(high)}"


def _own(row: Row) -> str:
    """The mu and the epsilon that a run is proven to have."""
    if row.own_epsilon is None:
        return "–"
    mu = "none" if row.own_mu is None else wording.up(row.own_mu)
    return f"{mu}, {wording.up(row.own_epsilon)}"


def _number(mu: float | None) -> str:
    return "none" if mu is None else f"{mu:.3g}"
