"""What an index holds, in a few lines and in a picture."""

from __future__ import annotations

import os

import numpy as np
import pyarrow.compute as pc

from byol_a.data.index import AudioIndex
from byol_a.errors import require
from byol_a.files import atomic_file
from byol_a.words import counted, printable

SILENT = 0.99
"""A file with a larger fraction of samples that are exactly zero counts as silent."""

_SHOWN = 8  # kinds of a thing that a line lists
_BINS = 20  # of the picture, for each factor of ten
_TICKS = {  # seconds, as people say them
    0.001: "1 ms",
    0.01: "10 ms",
    0.03: "30 ms",
    0.1: "0.1 s",
    0.3: "0.3 s",
    1: "1 s",
    3: "3 s",
    10: "10 s",
    30: "30 s",
    60: "1 min",
    180: "3 min",
    600: "10 min",
    1800: "30 min",
    3600: "1 h",
    3 * 3600: "3 h",
    10 * 3600: "10 h",
    24 * 3600: "1 day",
}


def summary(index: AudioIndex) -> list[str]:
    """Lines on the index: files, hours, durations, formats, rates, silence, and why files cannot be used."""
    durations = _durations(index)
    n_unusable = len(index) - len(durations)
    lines = [f"{counted(len(index), 'file')}, {len(index) - n_unusable} usable, {_hours(durations.sum() / 3600)}"]
    if n_unusable < len(index):
        shortest, median, longest = map(_seconds, (durations.min(), np.median(durations), durations.max()))
        lines += [
            _line("durations", f"shortest {shortest}, median {median}, longest {longest}"),
            _line("formats", _kinds(index, ["format", "subtype"], "{} {}")),
            _line("rates", _kinds(index, ["sample_rate"], "{} Hz")),
            _line("channels", _kinds(index, ["channels"], "of {}")),
        ]
    n_silent = int(np.count_nonzero(index.array("silence") > SILENT))
    if n_silent:
        lines.append(_line("silence", f"{counted(n_silent, 'file')} more than {SILENT:.0%} digital silence"))
    n_copies = _copies(index)
    if n_copies:
        lines.append(_line("copies", f"{counted(n_copies, 'file')} with exactly the same sound as another"))
    if n_unusable:
        lines += _rejections(index, n_unusable)
    return lines


def plot_durations(index: AudioIndex, path: str | os.PathLike[str]) -> None:
    """Draw how many files there are of which duration, and how many hours those add up to, into the PNG `path`."""
    require("matplotlib", "drawing the durations of an index")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    durations = _durations(index)
    edges = _edges(durations)
    figure = Figure(figsize=(8, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    files_axes, hours_axes = figure.subplots(2, 1, sharex=True)
    for axes, weights, color, label in (
        (files_axes, None, "tab:blue", "files"),
        (hours_axes, durations / 3600, "tab:orange", "hours"),
    ):
        axes.hist(durations, edges, weights=weights, color=color, edgecolor="white", linewidth=0.4)
        axes.set_ylabel(label)
        axes.set_xscale("log")
        axes.set_xlim(edges[0], edges[-1])
        axes.minorticks_off()
        axes.set_axisbelow(True)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    ticks = [tick for tick in _TICKS if edges[0] <= tick <= edges[-1]]
    hours_axes.set_xticks(ticks, [_TICKS[tick] for tick in ticks])
    hours_axes.set_xlabel("duration of a file")
    files_axes.set_title(f"{counted(len(durations), 'usable file')}, {_hours(durations.sum() / 3600)}")
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def _durations(index: AudioIndex) -> np.ndarray:
    """Seconds of the usable files, (N,)."""
    return index.array("duration")[index.column("error").is_null().to_numpy()]


def _edges(durations: np.ndarray) -> np.ndarray:
    """Limits of the bins in seconds, with room for a tick or two on both sides of what there is."""
    shortest, longest = (durations.min(), durations.max()) if len(durations) else (1.0, 1.0)
    low, high = np.floor(_BINS * (np.log10(shortest) - 0.25)), np.ceil(_BINS * (np.log10(longest) + 0.25))
    edges: np.ndarray = 10 ** (np.arange(low, high + 1) / _BINS)
    return edges


def _kinds(index: AudioIndex, columns: list[str], form: str) -> str:
    """The values in these columns of the usable files with their counts, the most frequent first."""
    usable = index.table.filter(index.column("error").is_null())
    counted = usable.group_by(columns).aggregate([([], "count_all")]).to_pylist()
    counts = sorted((-row["count_all"], form.format(*(row[name] for name in columns))) for row in counted)
    parts = [f"{-count} {name}" for count, name in counts[:_SHOWN]]
    rest = -sum(count for count, _ in counts[_SHOWN:])
    return ", ".join(parts + [f"{rest} others"] * bool(rest))


def _copies(index: AudioIndex) -> int:
    """How many files hold the same sound as one before them."""
    digests = index.column("digest").drop_null()
    return len(digests) - len(pc.unique(digests))


def _rejections(index: AudioIndex, n_unusable: int) -> list[str]:
    """The kinds of errors with their counts, each with one of its files, as a report of bad files has them."""
    errors = index.column("error")
    rows = np.flatnonzero(errors.is_valid().to_numpy())
    kinds: dict[str, list[int]] = {}
    for row, reason in zip(rows.tolist(), errors.drop_null().to_pylist(), strict=True):
        kinds.setdefault(reason.partition(":")[0], []).append(row)
    ordered = sorted(kinds.items(), key=lambda kind: (-len(kind[1]), kind[0]))
    lines = [_line("unusable", f"{n_unusable} of {counted(len(index), 'file')} could not be used:")]
    for kind, members in ordered:
        path, reason = index.table["path"][members[0]].as_py(), errors[members[0]].as_py()
        example = printable(f"{path} ({reason})")
        lines.append(_line("", f"{len(members)} {kind}, as {example}"))
    return lines


def _line(name: str, text: str) -> str:
    return f"  {name:<10} {text}"


def _hours(hours: float) -> str:
    return f"{hours:,.1f} hours" if hours >= 10 else f"{hours:.2f} hours"


def _seconds(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 6000 else f"{seconds / 3600:.3g} h"
