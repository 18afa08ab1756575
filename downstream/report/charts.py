"""Small charts as HTML and SVG: a score on its scale, and a curve over shots or label fractions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from downstream.report.board import Standing
from downstream.report.markup import EMPTY, Html, join, tag
from downstream.report.study import Entry
from downstream.report.wording import metric_title, number, scale

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 520, 310, 44, 16, 26, 40
DASHES = ("", "7 3", "2 3", "9 3 2 3")
MARKS = 4


@dataclass(frozen=True)
class Axis:
    """A scale from `low` to `high` with ticks, on the metric's own scale."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def place(self, value: float) -> float:
        """Where a value is, 0 to 100."""
        return round(100 * min(1.0, max(0.0, (value - self.low) / (self.high - self.low))), 2)


def axis_over(values: Sequence[float], bounded: bool) -> Axis:
    """An axis with round ticks that holds all values; within 0 and 1 where scores are."""
    known = [value for value in values if value == value]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    span = max(high - low, 0.02)
    step = next(s * 10**e for e in range(-4, 5) for s in (1, 2, 5) if span / (s * 10**e) <= 4)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    if bounded:
        first, last = max(first, 0), min(last, math.floor(1 / step + 1e-9))
    last = max(last, first + 1)
    ticks = tuple(round(index * step, 10) for index in range(first, last + 1))
    low, high = min(ticks[0], low), max(ticks[-1], high)
    return Axis(low, high, ticks)


def full_axis(metric_bounded: bool, highest: float) -> Axis:
    """From 0 to 1, or for a metric without an upper bound to what is needed."""
    return Axis(0.0, 1.0, (0.0, 1.0)) if metric_bounded else axis_over([0.0, highest], False)


def whisker(standing: Standing, axis: Axis, entry: Entry, chance: float | None = None) -> Html:
    """A score as a dot with its interval as a line; for the eye only, the numbers stand beside it."""
    if standing.value is None:
        return EMPTY
    low, high = standing.low, standing.high
    if low is None and standing.std is not None:
        low, high = standing.value - standing.std, standing.value + standing.std
    parts = []
    if chance is not None and axis.low <= chance:
        parts.append(tag("s", style=f"--v:{axis.place(chance)}"))
    if low is not None and high is not None:
        parts.append(tag("i", style=f"--l:{axis.place(low)};--h:{axis.place(high)}"))
    parts.append(tag("b", style=f"--v:{axis.place(standing.value)}"))
    return tag("span", *parts, class_=f"whisker {colour_class(entry)}", aria_hidden="true")


def difference_whisker(value: float, low: float, high: float, widest: float) -> Html:
    """A difference with its interval around a zero in the middle."""
    axis = Axis(-widest, widest, ())
    return tag(
        "span",
        tag("s", style="--v:50"),
        tag("i", style=f"--l:{axis.place(low)};--h:{axis.place(high)}"),
        tag("b", style=f"--v:{axis.place(value)}"),
        class_="whisker difference",
        aria_hidden="true",
    )


def ticks(axis: Axis, metric: str) -> Html:
    """The labels of an axis above a column of whiskers."""
    marks = [tag("span", f"{scale(metric) * tick:g}", style=f"--v:{axis.place(tick)}") for tick in axis.ticks]
    return tag("span", *marks, class_="ticks", aria_hidden="true")


def colour_class(entry: Entry) -> str:
    """The class that gives an entry its colour; models beyond the eighth begin again."""
    return f"c{entry.colour % 8}" if entry.kind == "model" else f"k-{entry.kind}"


@dataclass(frozen=True)
class Series:
    """A curve of an entry: (x, standing) with x ascending."""

    entry: Entry
    points: list[tuple[float, Standing]]


def curve(series: Sequence[Series], metric: str, x_title: str, description: str) -> Html:
    """A line for each entry over a logarithmic x, with intervals. Lines differ by colour, dashes and marks."""
    xs = sorted({x for line in series for x, _ in line.points})
    values = [v for line in series for _, s in line.points for v in (s.value, s.low, s.high) if v is not None]
    axis = axis_over(values, scale(metric) == 100)
    left, right = math.log(xs[0]), math.log(xs[-1])

    def at(x: float, value: float) -> tuple[float, float]:
        share = (math.log(x) - left) / (right - left) if right > left else 0.5
        across = LEFT + 8 + share * (WIDTH - LEFT - RIGHT - 16)
        return round(across, 1), round(TOP + (1 - axis.place(value) / 100) * (HEIGHT - TOP - BOTTOM), 1)

    parts = [tag("title", description)]
    for tick in axis.ticks:
        _, y = at(xs[0], tick)
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
        parts.append(tag("text", f"{scale(metric) * tick:g}", x=LEFT - 8, y=y + 4, text_anchor="end"))
    for x in xs:
        across, _ = at(x, axis.low)
        label = f"{100 * x:g} %" if x_title == "fraction" else f"{x:g}"
        parts.append(tag("text", label, x=across, y=HEIGHT - BOTTOM + 18, text_anchor="middle"))
    words = {"fraction": "training clips with labels", "shots": "training clips of each class"}
    parts.append(
        tag(
            "text", words.get(x_title, x_title), x=(LEFT + WIDTH) / 2, y=HEIGHT - 4, text_anchor="middle", class_="axis"
        )
    )
    parts.append(tag("text", metric_title(metric), x=4, y=11, class_="axis"))
    parts += [_line(line, place, at) for place, line in enumerate(series)]
    box = f"0 0 {WIDTH} {HEIGHT}"
    return tag("svg", *parts, viewBox=box, role="img", aria_label=description, class_="curve")


def _line(line: Series, place: int, at: object) -> Html:
    assert callable(at)
    known = [(x, s) for x, s in line.points if s.value is not None]
    dots = [at(x, s.value) for x, s in known]
    band = [at(x, s.low) for x, s in known if s.low is not None]
    band += [at(x, s.high) for x, s in reversed(known) if s.high is not None]
    parts: list[Html] = []
    if len(band) > 2:
        parts.append(tag("polygon", points=" ".join(f"{x},{y}" for x, y in band), class_="band"))
    way = " ".join(f"{x},{y}" for x, y in dots)
    parts.append(tag("polyline", points=way, class_="line", stroke_dasharray=DASHES[place % len(DASHES)] or None))
    parts += [mark(place, x, y) for x, y in dots]
    return tag("g", *parts, class_=colour_class(line.entry))


def mark(place: int, x: float, y: float) -> Html:
    """A line's mark: circle, square, triangle or diamond."""
    kind = place % MARKS
    if kind == 0:
        return tag("circle", cx=x, cy=y, r=4, class_="mark")
    if kind == 1:
        return tag("rect", x=round(x - 3.6, 1), y=round(y - 3.6, 1), width=7.2, height=7.2, class_="mark")
    corners = [(0, -5), (4.6, 3.6), (-4.6, 3.6)] if kind == 2 else [(0, -5), (5, 0), (0, 5), (-5, 0)]
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return tag("polygon", points=points, class_="mark")


def key_mark(place: int, entry: Entry) -> Html:
    """A line's sample for a legend."""
    dashes = DASHES[place % len(DASHES)] or None
    line = tag("line", x1=0, x2=34, y1=8, y2=8, class_="line", stroke_dasharray=dashes)
    return tag(
        "svg",
        tag("g", line, mark(place, 17, 8), class_=colour_class(entry)),
        viewBox="0 0 34 16",
        aria_hidden="true",
        class_="key",
    )


def curve_table(series: Sequence[Series], metric: str, x_title: str) -> Html:
    """The same numbers as a table."""
    xs = sorted({x for line in series for x, _ in line.points})
    heads = [tag("th", f"{100 * x:g} %" if x_title == "fraction" else f"{x:g}", scope="col", class_="n") for x in xs]
    rows = []
    for place, line in enumerate(series):
        found = dict(line.points)
        cells = [tag("td", number(metric, found[x].value if x in found else None), class_="n") for x in xs]
        rows.append(tag("tr", tag("th", key_mark(place, line.entry), " ", line.entry.label, scope="row"), *cells))
    words = {"fraction": "fraction of labels", "shots": "clips of each class"}
    head = tag("tr", tag("th", words.get(x_title, x_title), scope="col"), *heads)
    return tag("table", tag("thead", head), tag("tbody", join(rows)), class_="slim")
