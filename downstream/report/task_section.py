"""A task's page: its scores, comparisons and curves, and room for details and map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from downstream.published import PublishedScore
from downstream.report.comparisons import Comparison
from downstream.report.differences import comparison_table, curve_figures
from downstream.report.markup import EMPTY, Html, tag
from downstream.report.runs import run_details
from downstream.report.scores import score_table
from downstream.report.study import Study, TaskPage
from downstream.report.wording import DOMAINS, folds_or_parts


def task_section(
    task: TaskPage,
    study: Study,
    published: Sequence[PublishedScore],
    compared: Mapping[tuple[str, str, str], Sequence[Comparison]],
    blob: str,
    has_map: bool,
) -> Html:
    """The section of one task; `blob` is what the page's script draws from."""
    parts = [
        _head(task),
        score_table(task, study, published),
        *curve_figures(task, study),
        comparison_table(task, compared),
        _details(task),
        _map(task) if has_map else EMPTY,
        run_details(task, study),
        tag("script", Html(blob), type="application/gzip", class_="data"),
    ]
    return tag("section", *parts, id=f"view-{task.slug}", class_="view", data_view=task.slug, data_title=task.title)


def _head(task: TaskPage) -> Html:
    about = task.about
    parts = about.get("parts") or {}
    counts = folds_or_parts(parts) if parts else ""
    classes = len(about["classes"])
    facts = {
        "Domain": DOMAINS.get(about["domain"], about["domain"]),
        "Label": f"{about['label']}, {classes:,} classes" + (", several per clip" if about["multi_label"] else ""),
        "Clips": f"{about['clips']:,}" + (f" ({counts})" if counts else ""),
        "Tested": f"{about['tested']:,}",
        "Split": about["split"],
        "Unit": "whole clips" if about["unit_seconds"] is None else f"{about['unit_seconds']:g} s",
        "Source": _source(about.get("source")),
    }
    if about["unusable"]:
        facts["Unusable"] = f"{about['unusable']:,} files, left out of the scores"
    items = [tag("div", tag("dt", key), tag("dd", value)) for key, value in facts.items() if value]
    warnings = EMPTY
    if task.warnings:
        lines = [tag("li", line) for line in task.warnings]
        warnings = tag(
            "div", tag("b", "† Read these scores with care"), tag("ul", *lines), class_="warning", role="note"
        )
    heading = tag(
        "h1", task.title, tag("small", f" {about['name']}") if about["name"] != task.title else EMPTY, tabindex="-1"
    )
    return tag("header", heading, tag("dl", *items, class_="facts"), warnings)


def _source(source: object) -> Html | str:
    text = str(source or "")
    if text.startswith(("https://", "http://")):
        return tag("a", text.partition("://")[2], href=text, rel="noreferrer noopener")
    return text


def _details(task: TaskPage) -> Html:
    name = f"details-{task.slug}"
    return tag(
        "section",
        tag("h2", "Behind a score"),
        tag("div", tag("label", "Evaluation ", tag("select", class_="choose-result", id=name)), class_="choice script"),
        tag("div", class_="panels", aria_live="polite"),
        tag(
            "p",
            "Confusions, scores by class, calibration and the hardest clips are drawn by this page's script.",
            class_="no-script",
        ),
        class_="details",
    )


def _map(task: TaskPage) -> Html:
    return tag(
        "section",
        tag("h2", "Map of the embeddings"),
        tag("div", tag("label", "Embedding ", tag("select", class_="choose-map")), class_="choice script"),
        tag("div", class_="map-room"),
        tag("p", "The map is drawn by this page's script.", class_="no-script"),
        class_="map",
    )
