"""Line charts of comparisons: figures against a budget, a line a method; see ``charts``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from sfumato.report.svg import Axis, figure, path, tag


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Args:
        name: For the key.
        points: ``(x, low, middle, high)``: the mean of several runs between their extremes.
        index: Which of the dashes and markers it has, the same in every chart of a page.
    """

    name: str
    points: Sequence[tuple[float, float, float, float]]
    index: int


def lines(
    series: Sequence[Series],
    *,
    title: str,
    floor: float | None = None,
    top: float | None = None,
    ends: tuple[float, float],
    across: str = "ε",
) -> Markup:
    """Figures against epsilon, or another such measure, on a logarithmic axis, a line a method.

    Args:
        series: At most six are told apart by dash and marker.
        title: What is drawn.
        floor: A dotted line: chance or the baseline.
        top: A dashed line: what is reached without privacy.
        ends: Of the vertical scale.
        across: What the horizontal axis is.
    """
    budgets = sorted({point[0] for one in series for point in one.points})
    x = Axis(budgets[0] / 1.25, budgets[-1] * 1.25, 46, 304, log=True)
    y = Axis(*ends, 190, 12)
    parts: list[Markup] = []
    for stop in (ends[0], (ends[0] + ends[1]) / 2, ends[1]):
        parts += [
            tag("line", x1=46, x2=304, y1=y(stop), y2=y(stop), class_="grid"),
            tag("text", f"{stop:.3g}", x=40, y=y(stop) + 3.5, text_anchor="end", class_="tick"),
        ]
    for kind, value in (("chance", floor), ("baseline", top)):
        if value is not None:
            parts.append(
                tag("line", x1=46, x2=304, y1=y(value), y2=y(value), class_=f"line {kind}")
            )
    for budget in budgets:
        parts.append(
            tag("text", f"{budget:.4g}", x=x(budget), y=205, text_anchor="middle", class_="tick")
        )
    parts.append(tag("text", across, x=175, y=222, text_anchor="middle", class_="label"))
    said = []
    for one in series:
        kind = f"s{one.index % 6}"
        parts.append(path([(x(p[0]), y(p[2])) for p in one.points], class_=f"line {kind}"))
        for budget, low, middle, high in one.points:
            if high > low:
                at = x(budget)
                parts.append(
                    tag("line", x1=at, x2=at, y1=y(low), y2=y(high), class_=f"span {kind}")
                )
            parts.append(marker(x(budget), y(middle), one.index))
        told = ", ".join(f"{p[2]:.3f} at {p[0]:g}" for p in one.points)
        said.append(f"{one.name}: {told}")
    return figure(312, 226, title, "; ".join(said) + ".", *parts, class_="chart lines")


def marker(x: float, y: float, index: int) -> Markup:
    """The mark of a series: circle, square, diamond, triangle, and the first two hollow."""
    kind = f"mark s{index % 6}" + (" hollow" if index % 6 > 3 else "")
    shape = index % 4
    if shape == 1:
        return tag("rect", x=x - 3.8, y=y - 3.8, width=7.6, height=7.6, class_=kind)
    if shape == 2:
        return path(
            ((x, y - 5.2), (x + 5.2, y), (x, y + 5.2), (x - 5.2, y), (x, y - 5.2)), class_=kind
        )
    if shape == 3:
        return path(((x, y - 5), (x + 4.8, y + 3.8), (x - 4.8, y + 3.8), (x, y - 5)), class_=kind)
    return tag("circle", cx=x, cy=y, r=4.2, class_=kind)


def key(index: int, name: str) -> Markup:
    """The key of a series, for the legend beside a chart."""
    return tag(
        "svg",
        path(((0, 7), (26, 7)), class_=f"line s{index % 6}"),
        marker(13, 7, index),
        viewBox="0 0 26 14",
        width=26,
        height=14,
        aria_hidden="true",
        class_="swatch",
    ) + tag("span", name)
