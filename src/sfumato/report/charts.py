"""The drawings of a report: pure functions from figures to inline SVG.

Colours come from the style sheet by class (so that dark screens and paper get their own), and
nothing is told by colour alone: bounds are solid, chance is dotted, attacks are heavy lines,
released data is filled, real data is an outline or a tick.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from sfumato.report.svg import Axis, figure, path, tag

Curve = Sequence[tuple[float, float]]

GRADES = (
    (0.55, "very strong"),
    (0.65, "strong"),
    (0.80, "moderate"),
    (0.95, "weak"),
    (1.00, "very weak"),
)
"""Upper ends of the best possible guessing accuracy, and the word used for each."""


def strength(accuracy: float, word: str, shown: str) -> Markup:
    """Where a guarantee lies between a coin toss and certainty.

    Args:
        accuracy: The best possible share of right guesses, in [0.5, 1].
        word: The grade's name.
        shown: The accuracy as the text prints it.
    """
    x = Axis(0.5, 1.0, 2, 318)
    parts = []
    low = 0.5
    for index, (high, _) in enumerate(GRADES):
        parts.append(
            tag(
                "rect",
                x=x(low) + (1 if index else 0),
                y=30,
                width=x(high) - x(low) - (1 if index else 0),
                height=8,
                class_=f"grade g{index}",
            )
        )
        low = high
    at = x(accuracy)
    anchor = "start" if at < 60 else "end" if at > 260 else "middle"
    edge = {"start": at - 5, "end": at + 5, "middle": at}[anchor]
    parts += [
        path(((at - 5, 20), (at + 5, 20), (at, 28), (at - 5, 20)), class_="marker"),
        tag("line", x1=at, x2=at, y1=28, y2=40, class_="marker-line"),
        tag("text", word, x=edge, y=14, text_anchor=anchor, class_="label strong"),
        tag("text", "50 % coin toss", x=2, y=54, class_="tick"),
        tag("text", "100 % certain", x=318, y=54, text_anchor="end", class_="tick"),
    ]
    return figure(
        320,
        60,
        "Strength of the guarantee",
        f"Best possible share of right guesses {shown}, graded {word}, between 50 % and 100 %.",
        *parts,
    )


def hundred(chance: int, ceiling: int) -> Markup:
    """One hundred decisions as dots: right by chance, right at most because of the release.

    Args:
        chance: How many of 100 are right without the release.
        ceiling: How many of 100 can be right with it, at most.
    """
    dots = []
    for index in range(100):
        column, row = index % 20, index // 20
        kind = "chance" if index < chance else "gain" if index < ceiling else "wrong"
        dots.append(
            tag(
                "circle",
                cx=10 + 15.8 * column,
                cy=10 + 15.8 * row,
                r=5.2 if kind != "wrong" else 4.7,
                class_=f"dot {kind}",
            )
        )
    return figure(
        320,
        84,
        "One hundred decisions",
        f"{chance} right by chance; at most {max(ceiling - chance, 0)} more right because of the "
        f"release; at least {100 - max(ceiling, chance)} wrong.",
        *dots,
    )


def roc(ceiling: Curve, attack: Curve = (), *, log: bool = False, name: str = "attack") -> Markup:
    """True-positive against false-positive rate: what is possible, and what was reached.

    Args:
        ceiling: The guarantee's bound as (fpr, tpr), by rising fpr; empty if there is none.
        attack: The attack's own curve.
        log: Whether both axes are logarithmic, from one in a thousand.
        name: Of the attack, for the key.
    """
    low = 1e-3 if log else 0.0
    x = Axis(low, 1.0, 52, 304, log)
    y = Axis(low, 1.0, 238, 12, log)
    stops = (0.001, 0.01, 0.1, 1.0) if log else (0.0, 0.25, 0.5, 0.75, 1.0)
    parts: list[Markup] = []
    for stop in stops:
        shown = percent_tick(stop)
        parts += [
            tag("line", x1=x(stop), x2=x(stop), y1=y(low), y2=y(1), class_="grid"),
            tag("line", x1=x(low), x2=x(1), y1=y(stop), y2=y(stop), class_="grid"),
            tag("text", shown, x=x(stop), y=y(low) + 15, text_anchor="middle", class_="tick"),
            tag("text", shown, x=x(low) - 6, y=y(stop) + 3.5, text_anchor="end", class_="tick"),
        ]
    bound = [(x(a), y(b)) for a, b in _from(ceiling, low)]
    if bound:
        above = [*bound, (x(1), y(1)), (x(low), y(1)), (x(low), bound[0][1])]
        parts += [path(above, class_="forbidden"), path(bound, class_="line ceiling")]
    parts.append(path(((x(low), y(low)), (x(1), y(1))), class_="line chance"))
    if attack:
        reached = [(x(a), y(b)) for a, b in _from(sorted(attack), low)]
        parts.append(path(reached, class_="line attack"))
    keys = [("chance", "chance")]
    if bound:
        keys.insert(0, ("ceiling", "most that is possible"))
    if attack:
        keys.append(("attack", name if len(name) < 24 else name[:22] + "…"))
    for row, (kind, text) in enumerate(keys):
        height = 234 - 15 * (len(keys) - row)
        parts += [
            path(((150, height), (172, height)), class_=f"line {kind}"),
            tag("text", text, x=178, y=height + 3.5, class_="label key"),
        ]
    parts += [
        tag("text", "wrongly accused", x=175, y=270, text_anchor="middle", class_="label"),
        tag(
            "text",
            "rightly found",
            transform="translate(8 125) rotate(-90)",
            text_anchor="middle",
            class_="label",
        ),
    ]
    axes = "logarithmic axes" if log else "linear axes"
    said = [f"{at:g} at {fpr:g}" for fpr, at in _sampled(ceiling)] or ["no bound"]
    told = f"True-positive rate the guarantee allows, by false-positive rate: {', '.join(said)}."
    if attack:
        told += " Reached: " + ", ".join(f"{b:.3g} at {a:g}" for a, b in _sampled(attack)) + "."
    return figure(312, 276, f"Attack curve and ceiling, {axes}", told, *parts, class_="chart roc")


@dataclass(frozen=True)
class Mark:
    """One figure on a strip.

    Args:
        value: The figure.
        interval: Its confidence interval, if it has one.
        kind: ``attack``, ``real``, ``released``: decides colour and shape.
    """

    value: float
    interval: tuple[float, float] | None
    kind: str


def strip(
    marks: Sequence[Mark],
    *,
    low: float,
    high: float,
    title: str,
    description: str,
    chance: float | None = None,
    baseline: float | None = None,
    ceiling: float | None = None,
    ticks: bool = True,
    width: float = 260,
) -> Markup:
    """Figures with their intervals on one line, beside chance, baseline and ceiling.

    Args:
        marks: Drawn from top to bottom.
        low: Left end of the scale.
        high: Right end of the scale.
        title: What is shown.
        description: The same in words.
        chance: Dotted.
        baseline: Dashed: reached without the release.
        ceiling: Solid, with what the guarantee excludes shaded.
        ticks: Whether the ends of the scale are written below.
        width: Drawing units.
    """
    right = width - 8
    x = Axis(low, high, 8, right)
    bottom = 8 + 14 * len(marks)
    parts = [tag("line", x1=8, x2=right, y1=bottom, y2=bottom, class_="axis")]
    if ceiling is not None and ceiling < high:
        parts.append(
            tag(
                "rect",
                x=x(ceiling),
                y=2,
                width=right - x(ceiling),
                height=bottom - 2,
                class_="forbidden",
            )
        )
    for kind, value in (("chance", chance), ("baseline", baseline), ("ceiling", ceiling)):
        if value is not None:
            parts.append(
                tag("line", x1=x(value), x2=x(value), y1=2, y2=bottom, class_=f"line {kind}")
            )
    for row, mark in enumerate(marks):
        middle = 11 + 14 * row
        if mark.interval is not None:
            start, end = (x(at) for at in mark.interval)
            parts.append(
                tag("line", x1=start, x2=end, y1=middle, y2=middle, class_=f"span {mark.kind}")
            )
        parts.append(_point(x(mark.value), middle, mark.kind))
    if ticks:
        parts += [
            tag("text", f"{low:g}", x=8, y=bottom + 12, class_="tick"),
            tag("text", f"{high:g}", x=right, y=bottom + 12, text_anchor="end", class_="tick"),
        ]
    tall = bottom + (16 if ticks else 4)
    return figure(width, tall, title, description, *parts, class_="chart strip")


def histogram(
    released: Sequence[float],
    real: Sequence[float] | None = None,
    *,
    title: str,
    ends: tuple[str, str],
) -> Markup:
    """Shares over ordered bins: released filled, real as an outline.

    Args:
        released: One share for each bin.
        real: The same of the private data, where the page may show it.
        title: The column.
        ends: The scale's first and last value, as text.
    """
    top = max([*released, *(real or ()), 1e-9])
    x = Axis(0, len(released), 4, 236)
    y = Axis(0, top, 96, 14)
    wide = (236 - 4) / max(len(released), 1)
    gap = min(1.0, wide / 6)
    parts = [
        tag(
            "rect",
            x=x(index) + gap / 2,
            y=y(share),
            width=wide - gap,
            height=max(96 - y(share), 0),
            class_="released",
        )
        for index, share in enumerate(released)
        if share > 0
    ]
    if real is not None:
        steps = [(x(0), 96.0)]
        for index, share in enumerate(real):
            steps += [(x(index), y(share)), (x(index + 1), y(share))]
        parts.append(path([*steps, (x(len(real)), 96.0)], class_="real-outline"))
    parts += [
        tag("line", x1=4, x2=236, y1=96, y2=96, class_="axis"),
        tag("text", ends[0], x=4, y=110, class_="tick"),
        tag("text", ends[1], x=236, y=110, text_anchor="end", class_="tick"),
        tag("text", percent_tick(top), x=236, y=9, text_anchor="end", class_="tick"),
    ]
    told = f"From {ends[0]} to {ends[1]}; the fullest bin holds {percent_tick(max(released))} of "
    told += "the released values" + ("." if real is None else _apart(released, real))
    return figure(240, 114, f"Distribution of {title}", told, *parts, class_="chart small")


def bars(
    labels: Sequence[str],
    released: Sequence[float],
    real: Sequence[float] | None = None,
    *,
    title: str,
) -> Markup:
    """Shares of levels: released filled, real as a tick across the bar.

    Args:
        labels: One for each level.
        released: Their shares.
        real: The same of the private data, where the page may show it.
        title: The column.
    """
    top = max([*released, *(real or ()), 1e-9])
    x = Axis(0, top, 104, 192)
    parts = []
    for row, (label, share) in enumerate(zip(labels, released, strict=True)):
        middle = 9 + 17 * row
        short = label if len(label) <= 17 else label[:16].rstrip() + "…"
        parts += [
            tag("text", short, x=98, y=middle + 3.5, text_anchor="end", class_="label"),
            tag(
                "rect",
                x=104,
                y=middle - 5,
                width=max(x(share) - 104, 0.5),
                height=10,
                class_="released",
            ),
            tag(
                "text", percent_tick(share), x=238, y=middle + 3.5, text_anchor="end", class_="tick"
            ),
        ]
        if real is not None:
            at = x(real[row])
            parts.append(
                tag("line", x1=at, x2=at, y1=middle - 7.5, y2=middle + 7.5, class_="real-tick")
            )
    told = ", ".join(
        f"{label} {percent_tick(share)}" for label, share in zip(labels, released, strict=True)
    )
    told = f"Released: {told}" + ("." if real is None else _apart(released, real))
    tall = 17 * len(labels) + 2
    return figure(240, tall, f"Distribution of {title}", told, *parts, class_="chart small")


def percent_tick(share: float) -> str:
    """A share as a short label, such as ``25 %``."""
    if 0 < share < 0.0005:
        return "<0.1\xa0%"
    return f"{100 * share:.1f}".removesuffix(".0") + "\xa0%"


def _from(curve: Curve, low: float) -> list[tuple[float, float]]:
    """The part of a curve at or right of ``low``, starting where it crosses ``low``."""
    inside = [(a, b) for a, b in curve if a >= low]
    before = [(a, b) for a, b in curve if a < low]
    if not before or not inside or inside[0][0] == low:
        return inside
    (a0, b0), (a1, b1) = before[-1], inside[0]
    return [(low, b0 + (b1 - b0) * (low - a0) / (a1 - a0)), *inside]


def _sampled(curve: Curve) -> list[tuple[float, float]]:
    """The curve at 1 and 10 percent, for the words that stand for a drawing."""
    found = []
    for fpr in (0.01, 0.1):
        at = _from(sorted(curve), fpr)
        if at:
            found.append((fpr, round(at[0][1], 4)))
    return found


def _apart(released: Sequence[float], real: Sequence[float]) -> str:
    distance = sum(abs(a - b) for a, b in zip(released, real, strict=True)) / 2
    return f"; total variation distance to the real data {distance:.3f}."


def _point(x: float, y: float, kind: str) -> Markup:
    if kind == "real":
        return tag("rect", x=x - 3.6, y=y - 3.6, width=7.2, height=7.2, class_="point real")
    if kind == "attack":
        return path(
            ((x, y - 5), (x + 5, y), (x, y + 5), (x - 5, y), (x, y - 5)), class_="point attack"
        )
    return tag("circle", cx=x, cy=y, r=4.2, class_=f"point {kind}")
