"""What the tables share: names with their marks, scores with their intervals, groups of rows, captions."""

from __future__ import annotations

import re
from collections.abc import Sequence

from downstream.report.board import Row, Standing
from downstream.report.charts import colour_class
from downstream.report.markup import EMPTY, Html, escape, join, tag
from downstream.report.study import Entry, TaskPage
from downstream.report.wording import interval, number

TIED, HIGHEST = "≈", "▲"


def entry_name(entry: Entry) -> Html:
    """An entry's name behind its mark, from which no line break parts it; a long name may break behind : and /."""
    mark = tag("span", class_=f"dot {colour_class(entry)}", aria_hidden="true")
    name = tag("wbr").join(escape(part) for part in re.split(r"(?<=[:/])(?=\w)", entry.label))
    return tag("span", mark, Html(name), class_="named")


def score_text(metric: str, standing: Standing) -> Html:
    """A score, the spread over seeds or draws beside it, and its interval below."""
    marks = []
    if standing.best:
        marks.append(tag("span", " best", class_="unseen"))
    for held, mark, words in (
        (standing.highest, HIGHEST, " highest, not tested"),
        (standing.tied, TIED, " not told from the best"),
    ):
        if held:
            marks += [tag("span", mark, class_="tie", aria_hidden="true"), tag("span", words, class_="unseen")]
    value = tag("strong" if standing.best else "span", number(metric, standing.value), class_="value")
    below = interval(metric, standing.low, standing.high)
    if standing.draws > 1:
        below = "" if standing.std is None else f"± {number(metric, standing.std)}"
    return join([value, *marks, tag("span", below, class_="interval") if below else EMPTY])


def source_mark(row: Row, with_dim: bool = False) -> Html:
    """Where a published row is from, and what to know of it; its size where the table has no column for that."""
    told = list(dict.fromkeys(text for s in row.standings.values() for text in (s.source, s.note) if text))
    if told and with_dim and row.entry.dim is not None:
        told.insert(0, f"dim {row.entry.dim:,}")
    return tag("small", "; ".join(told), class_="source") if told else EMPTY


def row_marks(standings: Sequence[Standing], changes: str) -> list[str]:
    """What sets a row apart: changed settings, and several draws of random weights behind its scores."""
    told = [f"‡ {changes}"] if changes else []
    draws = {standing.draws for standing in standings}
    if max(draws, default=1) > 1:
        told.append(f"mean ± std of {'' if len(draws) == 1 else 'up to '}{max(draws)} draws")
    return told


def row_name(row: Row, standings: Sequence[Standing], changes: str, with_dim: bool = False) -> Html:
    """The head of a row: who it is and what sets it apart."""
    marks = [tag("small", text, class_="source") for text in row_marks(standings, changes)]
    return tag("th", entry_name(row.entry), source_mark(row, with_dim), *marks, scope="row")


def chance_of(task: TaskPage) -> float | None:
    """What guessing reaches on average, where that is plain: accuracy of one label of equally likely ones."""
    single = not task.about["multi_label"] and task.metric in ("accuracy", "balanced_accuracy", "pitch_accuracy")
    return 1 / len(task.about["classes"]) if single else None


def group(title: str, lines: Sequence[Html], columns: int, class_: str | None = None) -> Html:
    """Rows under a common head."""
    head = tag("th", tag("span", title, class_="said"), colspan=columns, scope="rowgroup", class_="group")
    return tag("tbody", tag("tr", head), *lines, class_=class_)


def caption(*parts: object) -> Html:
    """A table's caption, which stays in sight where the table scrolls."""
    return tag("caption", tag("span", *parts, class_="said"))


def scrolling(content: Html, name: str) -> Html:
    """A wide table in a box that scrolls by itself, also from the keyboard."""
    return tag("div", content, class_="scroll", tabindex="0", role="region", aria_label=name)
