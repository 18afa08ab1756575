"""A picture of a run: the loss and the collapse meter over the clips seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from byol_a.files import atomic_file


def plot_training(rows: list[dict[str, Any]], path: Path, title: str) -> None:
    """Draw loss and collapse meter of metrics rows (see `read_metrics`) into the PNG `path`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    clips = [row["clips"] for row in rows]
    figure = Figure(figsize=(8, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    loss_axes, collapse_axes = figure.subplots(2, 1, sharex=True)
    marker = "." if len(rows) < 30 else None
    loss_axes.plot(clips, [row["loss"] for row in rows], color="tab:blue", linewidth=1.2, marker=marker)
    loss_axes.set_ylabel("loss")
    loss_axes.set_title(title)
    collapse_axes.plot(clips, [row["collapse"] for row in rows], color="tab:red", linewidth=1.2, marker=marker)
    collapse_axes.set_ylabel("collapse meter")
    collapse_axes.set_ylim(0, 1.1)
    collapse_axes.axhline(1.0, color="0.6", linewidth=0.8, linestyle="--")
    collapse_axes.annotate(
        "1: spread out, 0: collapsed", (0.99, 0.06), xycoords="axes fraction", ha="right", color="0.4"
    )
    collapse_axes.set_xlabel("clips seen")
    for axes in (loss_axes, collapse_axes):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
