"""The report: one HTML file that needs no network, and the same tables as Markdown."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import click

from byol_a import __version__
from byol_a.errors import ByolaError
from byol_a.files import atomic_file
from byol_a.progress import Progress
from byol_a.words import counted, printable
from downstream.published import PublishedScore
from downstream.report.board import Board, boards
from downstream.report.comparisons import compare_all
from downstream.report.excerpts import Excerpts
from downstream.report.leaderboard import leaderboard
from downstream.report.markdown import markdown
from downstream.report.markup import EMPTY, Html, escape, join, tag
from downstream.report.projection import MOST_DRAWN
from downstream.report.study import DOMAIN_ORDER, Study, arrange
from downstream.report.task_data import gather, pack
from downstream.report.task_section import task_section
from downstream.report.wording import DOMAINS
from downstream.results import Cell

REPORT_HTML, REPORT_MARKDOWN = "report.html", "report.md"
MOST_BYTES = 15_000_000
DATA_BYTES, AUDIO_BYTES = 7_000_000, 7_000_000  # the tables and the page itself take what is left
SCRIPTS = ("page.js", "details.js", "map.js", "start.js")


def write_report(
    out: Path,
    cells: Sequence[Cell],
    published: Sequence[PublishedScore],
    *,
    title: str,
    damaged: Sequence[str] = (),
    progress: bool | None = None,
) -> list[Path]:
    """Write `out/report.html` and `out/report.md` about finished evaluations; returns both paths.

    The HTML file holds everything it shows and stays below 15 MB: maps are thinned and audio is left out where
    there is too much of it. Scores of a cell whose predictions or map are damaged are shown without what these
    hold, which is said there and on standard error.

    Args:
        cells: at least one.
        published: scores of papers to stand beside.
        damaged: what was said of cells that could not be read at all; the report says it too.
        progress: as `byol_a.progress.Progress` takes it.

    Raises:
        ByolaError: if there is no cell, or the disk does not take it.
    """
    if not cells:
        raise ByolaError(f"there is nothing to report in {out}; evaluate something first")
    study = arrange(cells)
    whole, lines = _readable(study)
    for line in lines:
        click.echo(printable(f"warning: {line}"), err=True)
    damaged = [*damaged, *lines]
    compared = compare_all(whole, progress)
    found = boards(study, published, compared)
    blobs = _task_data(whole, progress)
    sections = [
        task_section(task, study, published, compared, text, has_map)
        for task, (text, has_map) in zip(study.tasks, blobs[0], strict=True)
    ]
    page = _page(study, found, sections, title, blobs[1], damaged)
    written = [out / REPORT_HTML, out / REPORT_MARKDOWN]
    texts = [page, markdown(study, found, published, compared, title, damaged)]
    try:
        for path, text in zip(written, texts, strict=True):
            with atomic_file(path) as temporary:
                temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise ByolaError(f"cannot write the report to {out}: {error.strerror or error}") from error
    return written


def _readable(study: Study) -> tuple[Study, list[str]]:
    """The same study without the cells whose predictions are damaged, and a line on each damaged file."""
    tasks, lines = [], []
    for task in study.tasks:
        kept = []
        for cell in task.cells:
            try:
                _ = replace(cell).predictions  # a copy's, so that not all of them stay in memory
                kept.append(cell)
            except ByolaError as error:
                lines.append(str(error))
            try:
                _ = replace(cell).map
            except ByolaError as error:
                lines.append(str(error))
        tasks.append(replace(task, cells=kept))
    return Study(tasks, study.entries), list(dict.fromkeys(lines))


def _task_data(study: Study, progress: bool | None) -> tuple[list[tuple[str, bool]], list[str]]:
    """Each task's data, packed, and the audio that all of them share."""
    share = DATA_BYTES // len(study.tasks)
    with Progress("writing the report", 2 * len(study.tasks), "task", progress) as bar:
        gathered = []
        for task in study.tasks:
            gathered.append(gather(task, study))
            bar.advance()
        excerpts = Excerpts(AUDIO_BYTES)
        by_task = [data.clips_by_worth() for data in gathered]
        deepest = max(len(clips) for clips in by_task)
        excerpts.add(clips[rank] for rank in range(deepest) for clips in by_task if rank < len(clips))
        packed = []
        for data in gathered:
            packed.append(pack(data, study, excerpts, MOST_DRAWN, share))
            bar.advance()
    return packed, excerpts.addresses


def _page(
    study: Study,
    found: Sequence[Board],
    sections: Sequence[Html],
    title: str,
    audio: list[str],
    damaged: Sequence[str],
) -> str:
    package = files("downstream.report")

    def read(name: str) -> str:
        return package.joinpath(name).read_text(encoding="utf-8")

    script = "(() => {\n" + "\n".join(read(name) for name in SCRIPTS) + "})();\n"
    # The browser runs this script and no other, should anything else ever look like one.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    first = tag(
        "section",
        tag("h1", title, tabindex="-1"),
        tag("p", _summary(study), class_="lede"),
        _warning(damaged),
        leaderboard(found),
        id="view-leaderboard",
        class_="view",
        data_view="",
    )
    written = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    values = {
        "title": escape(title),
        "script_hash": f"sha256-{digest}",
        "style": read("style.css"),
        "navigation": _navigation(study),
        "main": join([first, *sections]),
        "footer": escape(f"Written by byol-a {__version__} on {written}. This file needs no network."),
        "audio": json.dumps(audio),
        "script": script,
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], read("page.html"))


def _warning(damaged: Sequence[str]) -> Html:
    """What could not be read."""
    if not damaged:
        return EMPTY
    said = tag("b", "Not everything could be read")
    return tag("div", said, tag("ul", *[tag("li", line) for line in damaged]), class_="warning", role="note")


def _navigation(study: Study) -> Html:
    parts = [tag("ul", tag("li", tag("a", "Leaderboard", href="#/")))]
    for domain in DOMAIN_ORDER:
        tasks = [
            task
            for task in study.tasks
            if task.about["domain"] == domain or (domain == "any" and task.about["domain"] not in DOMAIN_ORDER)
        ]
        if tasks:
            links = [tag("li", tag("a", task.title, href=f"#/{task.slug}")) for task in tasks]
            parts += [tag("p", DOMAINS[domain], class_="domain"), tag("ul", *links)]
    return join(parts)


def _summary(study: Study) -> str:
    models = sum(entry.kind == "model" for entry in study.entries)
    controls = len(study.entries) - models
    protocols = len({cell.about["protocol"]["name"] for cell in study.cells})
    who = counted(models, "model") + (f" and {counted(controls, 'control')}" if controls else "")
    days = sorted({str(cell.about["run"]["started"])[:10] for cell in study.cells})
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return printable(
        f"{who} on {counted(len(study.tasks), 'task')} under {counted(protocols, 'protocol')}, evaluated {when}."
    )
