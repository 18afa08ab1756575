"""How numbers and names are written, the same in HTML and Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from byol_a.words import counted, printable
from downstream.metrics import LOWER_IS_BETTER, METRIC_TITLES, UNBOUNDED_METRICS

NOTHING = "–"
DOMAINS = {"environment": "Environmental sound", "speech": "Speech", "music": "Music", "any": "Other audio"}


def metric_title(metric: str) -> str:
    """A metric's name for people."""
    return METRIC_TITLES.get(metric, metric)


def metric_head(metric: str) -> str:
    """A metric's name as a column's head: its unit, and which way is better where that is down."""
    unit = "" if metric in UNBOUNDED_METRICS else " %"
    return metric_title(metric) + unit + (" ↓" if metric in LOWER_IS_BETTER else "")


def scale(metric: str) -> float:
    """What a stored value is multiplied by to be shown: per cent, unless the metric is not within 0 and 1."""
    return 1.0 if metric in UNBOUNDED_METRICS else 100.0


def number(metric: str, value: float | None) -> str:
    """A score as it is shown, without its unit; a dash for one that does not exist."""
    if value is None or value != value:
        return NOTHING
    return f"{scale(metric) * value:.{2 if metric in UNBOUNDED_METRICS else 1}f}"


def signed(metric: str, difference: float) -> str:
    """A difference of two scores as it is shown, without its unit."""
    return f"{scale(metric) * difference:+.{2 if metric in UNBOUNDED_METRICS else 1}f}"


def interval(metric: str, low: float | None, high: float | None) -> str:
    """A 95 % interval; empty where there is none."""
    if low is None or high is None or low != low or high != high:
        return ""
    return f"{number(metric, low)}–{number(metric, high)}"


def p_value(p: float) -> str:
    """A p value as papers print it."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def model_name(title: str) -> str:
    """A model's name; of a path no more than its last two parts."""
    parts = PurePath(title).parts
    return printable("/".join(parts[-2:]) if PurePath(title).is_absolute() and len(parts) > 2 else title)


def settings(values: Mapping[str, Any]) -> str:
    """Settings in a line: "C 0.1, seeds 0 1 2"."""

    def text(value: Any) -> str:
        if isinstance(value, list | tuple):
            return " ".join(text(item) for item in value)
        if isinstance(value, dict):
            return settings(value)
        return f"{value:g}" if isinstance(value, float) else str(value)

    return ", ".join(f"{key.replace('_', ' ')} {text(value)}" for key, value in values.items())


def chosen_range(chosen: list[list[dict[str, Any]]]) -> str:
    """What was chosen over seeds and rounds: "C 0.01 to 0.1"; where it is no number, the different values."""
    found: dict[str, list[Any]] = {}
    for of_seed in chosen:
        for of_round in of_seed:
            for key, value in of_round.items():
                found.setdefault(key, []).append(value)
    texts = []
    for key, values in found.items():
        name = key.replace("_", " ")
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            low, high = min(values), max(values)
            texts.append(f"{name} {low:g}" + ("" if low == high else f" to {high:g}"))
        else:
            texts.append(f"{name} {', '.join(sorted({str(value) for value in values}))}")
    return "; ".join(texts)


def folds_or_parts(parts: Mapping[str, int]) -> str:
    """How clips are divided: "train 440, valid 66, test 154"; of folds only how many there are, and of what size."""
    if set(parts) <= {"train", "valid", "test"}:
        return ", ".join(f"{name} {count:,}" for name, count in parts.items())
    low, high = min(parts.values()), max(parts.values())
    return f"{counted(len(parts), 'fold')} of {low:,}" + ("" if low == high else f" to {high:,}")


def mean_over(tasks: Sequence[str]) -> str:
    """What a published mean is over."""
    return f"mean over {counted(len(tasks), 'task')} ({', '.join(tasks)})" if tasks else "mean over tasks not recorded"


def common_folder(paths: Sequence[str]) -> str:
    """The folder that all files are below, with a slash at its end; empty where there is none."""
    first, last = min(paths, default=""), max(paths, default="")
    # What the first and the last by name share, all between them share.
    shared = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[: first[:shared].rfind("/") + 1]
