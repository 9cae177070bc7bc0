"""Drawings say what the figures say: positions, areas and words."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from sfumato.report import charts, line_charts
from sfumato.report.svg import Axis, number, path, tag

CEILING = ((0.0, 0.0), (0.001, 0.004), (0.01, 0.03), (0.1, 0.2), (1.0, 1.0))


class Shapes(HTMLParser):
    def __init__(self, drawing: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.feed(drawing)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {key: value or "" for key, value in attrs}))

    def of(self, class_: str) -> list[dict[str, str]]:
        return [a for _, a in self.found if class_ in a.get("class", "").split()]


def points(shape: dict[str, str]) -> list[tuple[float, float]]:
    pairs = re.findall(r"(-?[\d.]+) (-?[\d.]+)", shape["d"])
    return [(float(a), float(b)) for a, b in pairs]


def test_text_and_attributes_are_escaped() -> None:
    drawn = tag("text", '<b>"&', data_name='"<>&')
    assert drawn == '<text data-name="&#34;&lt;&gt;&amp;">&lt;b&gt;&#34;&amp;</text>'
    assert tag("g", tag("text", "<")) == "<g><text>&lt;</text></g>"
    assert tag("rect", x=None, class_="a", viewBox="0") == '<rect class="a" viewBox="0"></rect>'
    assert path([(0, 1.234), (2, -0.001)]) == '<path d="M0 1.23L2 -0"></path>'
    assert [number(value) for value in (1.0, 0.126, 100.0)] == ["1", "0.13", "100"]


def test_an_axis_holds_values_within_its_ends() -> None:
    linear, log = Axis(0, 2, 10, 30), Axis(0.001, 1, 0, 300, log=True)
    assert [linear(v) for v in (-5, 0, 1, 2, 9)] == [10, 10, 20, 30, 30]
    assert [round(log(v)) for v in (0, 0.001, 0.01, 0.1, 1)] == [0, 0, 100, 200, 300]
    assert Axis(3, 3, 0, 10)(3) == 5


def test_the_hundred_dots_count_what_they_say() -> None:
    drawn = Shapes(charts.hundred(50, 63))
    assert [len(drawn.of(kind)) for kind in ("chance", "gain", "wrong")] == [50, 13, 37]
    assert len(Shapes(charts.hundred(50, 100)).of("wrong")) == 0


def test_the_strength_marker_stands_where_the_accuracy_is() -> None:
    def marker(accuracy: float) -> float:
        shape = Shapes(charts.strength(accuracy, "x", "y")).of("marker-line")[0]
        return float(shape["x1"])

    assert marker(0.5) == 2
    assert marker(1.0) == 318
    assert marker(0.75) == pytest.approx(160)


def test_the_ceiling_and_the_attack_are_drawn_on_the_same_axes() -> None:
    drawn = Shapes(charts.roc(CEILING, ((0.0, 0.0), (0.1, 0.2), (1.0, 1.0))))
    curve = points(drawn.of("ceiling")[0])
    attack = points(next(s for s in drawn.of("attack") if "d" in s))
    assert curve[3] == attack[1]
    assert curve[0] == (52, 238)
    assert curve[-1] == (304, 12)
    assert points(drawn.of("forbidden")[0])[-1][1] <= 238


def test_logarithmic_axes_cut_the_curve_where_they_begin() -> None:
    drawn = Shapes(charts.roc(CEILING, ((0.0, 0.0), (0.002, 0.5), (1.0, 1.0)), log=True))
    curve = points(drawn.of("ceiling")[0])
    assert curve[0][0] == 52
    assert curve[1] == (pytest.approx(136, abs=0.1), pytest.approx(126.7, abs=0.5))
    attack = points(next(s for s in drawn.of("attack") if "d" in s))
    assert attack[0][0] == 52
    assert attack[0][1] == pytest.approx(238 - 226 * 2.398 / 3, abs=0.5)  # 0.25 at one in 1000


def test_without_a_ceiling_nothing_is_excluded() -> None:
    drawn = charts.roc((), ((0.0, 0.0), (1.0, 1.0)), name="an attack with a very long name")
    assert not Shapes(drawn).of("forbidden")
    assert not Shapes(drawn).of("ceiling")
    assert "no bound" in drawn
    assert "an attack with a very …" in drawn


def test_a_strip_shows_value_interval_and_bounds() -> None:
    drawn = Shapes(
        charts.strip(
            [charts.Mark(0.5, (0.25, 0.75), "attack"), charts.Mark(0.5, None, "real")],
            low=0.0,
            high=1.0,
            title="t",
            description="d",
            chance=0.1,
            baseline=0.2,
            ceiling=0.9,
        )
    )
    span = drawn.of("span")
    assert [(float(s["x1"]), float(s["x2"])) for s in span] == [(69, 191)]
    lines = {kind: float(drawn.of(kind)[0]["x1"]) for kind in ("chance", "baseline", "ceiling")}
    assert lines == {"chance": 32.4, "baseline": 56.8, "ceiling": 227.6}
    shaded = drawn.of("forbidden")[0]
    assert float(shaded["x"]) + float(shaded["width"]) == pytest.approx(252)


def test_a_strip_without_a_ceiling_in_view_shades_nothing() -> None:
    for ceiling in (None, 1.0):
        drawn = charts.strip([], low=0, high=1, title="", description="", ceiling=ceiling)
        assert not Shapes(drawn).of("forbidden")
    quiet = charts.strip([], low=0, high=1, title="", description="", ticks=False)
    assert not Shapes(quiet).of("tick")


def test_bars_are_as_long_as_their_shares() -> None:
    drawn = Shapes(
        charts.bars(["a" * 30, "b", "c"], [0.5, 0.25, 0.0], [0.25, 0.5, 0.25], title="x")
    )
    widths = [float(bar["width"]) for bar in drawn.of("released")]
    assert widths == [88, 44, 0.5]
    ticks = [float(tick["x1"]) for tick in drawn.of("real-tick")]
    assert ticks == [148, 192, 148]
    assert "distance to the real data 0.375" in charts.bars(["a"], [0.75], [0.0], title="x")


def test_histogram_bins_are_as_tall_as_their_shares() -> None:
    drawn = Shapes(charts.histogram([0.5, 0.25, 0.25], [0.0, 0.5, 0.5], title="x", ends=("0", "9")))
    heights = [float(bar["height"]) for bar in drawn.of("released")]
    assert heights == [82, 41, 41]
    outline = points(drawn.of("real-outline")[0])
    assert [y for _, y in outline] == [96, 96, 96, 14, 14, 14, 14, 96]
    # An empty column is drawn too.
    assert not Shapes(charts.histogram([0.0], title="x", ends=("0", "9"))).of("released")


def test_lines_tell_methods_apart_by_more_than_colour() -> None:
    series = [
        line_charts.Series(f"m{i}", [(0.5, 0.1, 0.2, 0.3), (2.0, 0.4, 0.4, 0.4)], i)
        for i in range(6)
    ]
    drawn = line_charts.lines(series, title="t", floor=0.1, top=0.9, ends=(0.0, 1.0))
    shapes = Shapes(drawn)
    marks = {
        (name, len(points(a)) if "d" in a else 0, "hollow" in a["class"])
        for name, a in shapes.found
        if "mark" in a.get("class", "").split()
    }
    assert len(marks) == 6
    spans = [a for a in shapes.of("span") if "s0" in a["class"].split()]
    assert len(spans) == 1  # only where runs differ
    assert float(spans[0]["y1"]) == pytest.approx(190 - 17.8)
    assert "m0: 0.200 at 0.5, 0.400 at 2" in drawn
    assert "m5" in line_charts.key(5, "m5")


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0.0, "0 %"), (0.0004, "<0.1 %"), (0.001, "0.1 %"), (0.125, "12.5 %"), (1.0, "100 %")],
)
def test_shares_are_short(share: float, shown: str) -> None:
    assert charts.percent_tick(share).replace("\xa0", " ") == shown
