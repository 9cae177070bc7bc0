"""SVG as values: small pure functions that escape whatever they are given."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import log10

from markupsafe import Markup, escape

Scale = Callable[[float], float]


def tag(name: str, *children: str, **attributes: str | float | None) -> Markup:
    """One element; underscores in attribute names become hyphens, None leaves one out.

    Args:
        name: The element.
        children: Text is escaped, ``Markup`` is taken as it is.
        attributes: ``class_`` is written ``class``; numbers are rounded to hundredths.

    >>> tag("text", "a < b", x=1.005, class_="tick")
    Markup('<text x="1" class="tick">a &lt; b</text>')
    """
    written = "".join(
        f' {_name(key)}="{escape(number(value) if isinstance(value, float | int) else value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = "".join(str(escape(child)) for child in children)
    return Markup(f"<{name}{written}>{inner}</{name}>")


def number(value: float) -> str:
    """A coordinate, to a hundredth of a unit."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def path(points: Iterable[tuple[float, float]], **attributes: str | float | None) -> Markup:
    """A polyline through points given in drawing units."""
    data = "L".join(f"{number(x)} {number(y)}" for x, y in points)
    return tag("path", d=f"M{data}", **attributes)


def figure(
    width: float,
    height: float,
    title: str,
    description: str,
    *children: str,
    class_: str = "chart",
) -> Markup:
    """A whole drawing, with the words that stand for it where it cannot be seen.

    Args:
        width: Drawing units; the page scales it down where there is less room.
        height: Drawing units.
        title: What it shows.
        description: What it says, in words and figures.
        children: The drawing.
        class_: For the style sheet.
    """
    return tag(
        "svg",
        tag("title", title),
        tag("desc", description),
        *children,
        viewBox=f"0 0 {number(width)} {number(height)}",
        width=width,
        height=height,
        role="img",
        aria_label=f"{title}. {description}",
        class_=class_,
    )


@dataclass(frozen=True)
class Axis:
    """A scale from values to drawing units.

    Args:
        low: The value at ``start``.
        high: The value at ``end``.
        start: Drawing units.
        end: Drawing units.
        log: Whether the scale is logarithmic; values below ``low`` are drawn at ``low``.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Where a value is drawn; values outside are drawn at the edge."""
        held = min(max(value, self.low), self.high)
        if self.log:
            share = log10(held / self.low) / log10(self.high / self.low)
        else:
            share = (held - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return self.start + share * (self.end - self.start)


def _name(key: str) -> str:
    return key if key == "viewBox" else key.rstrip("_").replace("_", "-")
