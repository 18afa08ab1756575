"""The figures of benchmarks/scaling.py as a picture; as a program it draws them again.

python benchmarks/scaling_figure.py FIGURES.json PNG
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import machine
import numpy as np
from scaling_steps import Line, line_through

from byol_a.files import atomic_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {
    "fast": "tab:blue",
    "plain": "tab:orange",
    "byola_v1": "tab:green",
    "byola_v2": "tab:blue",
    "store": "tab:blue",
    "store, not read before": "tab:cyan",
    "wav": "tab:orange",
    "index": "tab:orange",
}
WORDS = {
    "fast": "kernels",
    "plain": "plain path",
    "byola_v1": "v1: D is the MLP's width",
    "byola_v2": "v2: 1024 + width",
}


def draw(figures: dict[str, Any], path: Path) -> None:
    """Draw the parts that were measured, each in a panel of its own, batch in two."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels: list[tuple[str, Callable[[Axes, dict[str, Any]], None]]] = [
        ("batch", _batch),
        ("batch", _rate),
        ("width", _width),
        ("crop", _crop),
        ("processes", _processes),
        ("data", _data),
    ]
    panels = [(name, panel) for name, panel in panels if name in figures]
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.4 * columns, 3.7 * rows + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    places = figure.subplots(rows, columns, squeeze=False).flat
    for axes, (_, panel) in zip(places, panels, strict=False):
        panel(axes, figures)
        axes.grid(alpha=0.3, which="major")
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    for axes in list(places):
        axes.set_visible(False)
    caption = f"{figures['recipe']}, {figures['precision']}; {machine.described(figures['machine'])}"
    figure.supxlabel(textwrap.fill(caption, 50 * columns), fontsize=8, color="0.3", parse_math=False)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def lines(figures: dict[str, Any]) -> dict[str, Line]:
    """What a step costs once and for each clip, by path, and for each second of its crops; of what was measured."""
    found = {}
    for path in dict.fromkeys(one["path"] for one in figures.get("batch", [])):
        points = [one for one in figures["batch"] if one["path"] == path]
        found[f"{path}, by clip"] = _line(points, "batch")
    if "crop" in figures:
        found["by second of crop"] = _line(figures["crop"], "crop_seconds")
    return found


def flatness(data: list[dict[str, Any]]) -> dict[str, float]:
    """An epoch's cost for each of the most clips, by that for each of the fewest; by where crops come from."""
    first, last = data[0]["epoch_us"], data[-1]["epoch_us"]
    return {kind: last[kind] / first[kind] for kind in first}


def _line(points: list[dict[str, Any]], unit: str) -> Line:
    return line_through([one[unit] for one in points], [one["seconds"] for one in points])


def _batch(axes: Axes, figures: dict[str, Any]) -> None:
    for name, line in lines(figures).items():
        path = name.partition(",")[0]
        points = [one for one in figures["batch"] if one["path"] == path]
        if not points:
            continue
        batches = [one["batch"] for one in points]
        label = f"{WORDS[path]}: {1000 * line.fixed:.0f} ms + {1000 * line.each:.2f} ms a clip"
        axes.plot(batches, line.fixed + line.each * np.array(batches), color=COLOURS[path], linewidth=1, label=label)
        _dots(axes, points, "batch", COLOURS[path])
    axes.set(xscale="log", yscale="log", title="Step by batch", xlabel="clips of a step", ylabel="seconds a step")
    _plain_ticks(axes, sorted({one["batch"] for one in figures["batch"]}))
    if any(one["parts"] > 1 for one in figures["batch"]):
        axes.plot([], [], "o", markerfacecolor="white", color="0.4", markersize=5, label="accumulated in parts")
    axes.legend(fontsize=7.5, frameon=False)


def _rate(axes: Axes, figures: dict[str, Any]) -> None:
    for path in dict.fromkeys(one["path"] for one in figures["batch"]):
        points = [{**one, "rate": one["batch"] / one["seconds"]} for one in figures["batch"] if one["path"] == path]
        axes.plot(
            [one["batch"] for one in points], [one["rate"] for one in points], color=COLOURS[path], label=WORDS[path]
        )
        _dots(axes, points, "batch", COLOURS[path], "rate")
    axes.set(xscale="log", title="Speed by batch", xlabel="clips of a step", ylabel="clips a second")
    axes.set_ylim(bottom=0)
    _plain_ticks(axes, sorted({one["batch"] for one in figures["batch"]}))
    axes.legend(fontsize=7.5, frameon=False)


def _width(axes: Axes, figures: dict[str, Any]) -> None:
    for recipe in dict.fromkeys(one["recipe"] for one in figures["width"]):
        points = [one for one in figures["width"] if one["recipe"] == recipe]
        dimensions, seconds = ([one[name] for one in points] for name in ("dimension", "seconds"))
        axes.plot(dimensions, seconds, "o-", markersize=5, color=COLOURS[recipe], label=WORDS[recipe])
    batch = figures["width"][0]["batch"]
    axes.set(xscale="log", yscale="log", title=f"Step by D, batch {batch}", xlabel="D", ylabel="seconds a step")
    _plain_ticks(axes, sorted({one["dimension"] for one in figures["width"]}))
    axes.legend(fontsize=7.5, frameon=False)


def _crop(axes: Axes, figures: dict[str, Any]) -> None:
    points, line = figures["crop"], lines(figures)["by second of crop"]
    lengths = np.array([one["crop_seconds"] for one in points])
    label = f"{1000 * line.fixed:.0f} ms + {1000 * line.each:.0f} ms a second of crop"
    axes.plot(lengths, line.fixed + line.each * lengths, color="tab:blue", linewidth=1, label=label)
    _dots(axes, points, "crop_seconds", "tab:blue")
    title = f"Step by length of crops, batch {points[0]['batch']}"
    axes.set(xscale="log", yscale="log", title=title, xlabel="seconds of a crop", ylabel="seconds a step")
    _plain_ticks(axes, lengths.tolist())
    axes.legend(fontsize=7.5, frameon=False)


def _processes(axes: Axes, figures: dict[str, Any]) -> None:
    points, batch = figures["processes"], figures["process_batch"]
    unit = "GPU" if figures["machine"]["gpu"] else "process"
    names = [
        f"{one['processes']} {unit}" + ("" if one["processes"] == 1 else "s" if unit == "GPU" else "es")
        + ("" if unit == "GPU" else f",\n{one['threads']} thread" + ("s" if one["threads"] > 1 else "")
           + (" each" if one["processes"] > 1 else ""))
        for one in points
    ]  # fmt: skip
    rates = [batch / one["seconds"] for one in points]
    bars = axes.bar(names, rates, color="tab:blue", width=0.55)
    axes.bar_label(bars, [f"{rate:,.0f}" for rate in rates], fontsize=8)
    first = points[0]
    for place, one in enumerate(points):
        ideal = rates[0] * one["processes"] * one["threads"] / (first["processes"] * first["threads"])
        axes.plot([place - 0.35, place + 0.35], [ideal, ideal], "--", color="0.4", linewidth=1)
    axes.set(title=f"Speed by processes, batch {batch}", ylabel="clips a second (dashed: in proportion)")


def _data(axes: Axes, figures: dict[str, Any]) -> None:
    points = figures["data"]
    clips = [one["clips"] for one in points]
    for kind in points[0]["epoch_us"]:
        axes.plot(
            clips,
            [one["epoch_us"][kind] for one in points],
            "o-",
            markersize=5,
            color=COLOURS[kind],
            label=f"epoch, {kind}",
        )
    for kind in points[0]["open_seconds"]:
        opening = [1e6 * one["open_seconds"][kind] / one["clips"] for one in points]
        axes.plot(clips, opening, ":", linewidth=1.2, color=COLOURS[kind], label=f"opening the {kind}, once")
    order = [1e6 * one["order_seconds"] / one["clips"] for one in points]
    axes.plot(clips, order, "--", linewidth=1, color="0.4", label="of the epoch, its order")
    axes.set(
        xscale="log", yscale="log", title="Data: cost of a clip", xlabel="clips", ylabel="µs for each clip, one core"
    )
    axes.set_ylim(top=axes.get_ylim()[1] * 30)
    axes.legend(fontsize=7, frameon=False, ncols=2, loc="upper center")


def _dots(axes: Axes, points: list[dict[str, Any]], x: str, colour: str, y: str = "seconds") -> None:
    """Measured points; hollow where a step was accumulated in parts."""
    for one in points:
        face = "white" if one["parts"] > 1 else colour
        axes.plot(one[x], one[y], "o", markersize=5, color=colour, markerfacecolor=face)


def _plain_ticks(axes: Axes, values: list[float]) -> None:
    """Ticks along a logarithmic axis where something was measured, and in plain numbers across it."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_xticks(values, [f"{value:g}" for value in values], rotation=40 if len(values) > 5 else 0)
    axes.xaxis.set_minor_locator(NullLocator())
    if axes.get_yscale() == "log":
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
        low, high = axes.get_ylim()
        if high < 10 * low:  # room for two ticks at least
            axes.set_ylim(low / 1.5, high * 1.5)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
