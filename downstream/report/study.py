"""Cells put in order: which tasks there are, who was evaluated on them, and what belongs to whom."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from byol_a.errors import ByolaError
from downstream.report.wording import common_folder, model_name, settings
from downstream.results import Cell

Kind = Literal["model", "random", "logmel", "published"]
DOMAIN_ORDER = ("environment", "speech", "music", "any")
PROTOCOL_ORDER = ("default", "evar", "hear", "finetune", "few-shot", "label-fraction")
KIND_ORDER: tuple[Kind, ...] = ("model", "random", "logmel", "published")
CURVES = ("shots", "fraction")
"""Settings that results form a curve over."""
CHANGED = " ‡ "
"""Between a protocol's name and the settings of it that were changed."""


@dataclass(frozen=True)
class Entry:
    """Who stands in a table's row: a model, a control beside it, or a published score.

    Attributes:
        key: the same for the same embedding everywhere; the draws of random weights share one.
        colour: the number of its colour; controls and published rows have none of their own (-1).
    """

    key: tuple[Any, ...]
    label: str
    kind: Kind
    dim: int | None
    colour: int = -1


@dataclass
class TaskPage:
    """A task on one set of clips, and everything evaluated on them.

    Attributes:
        apart: what tells it from the other tasks of its title; empty where there are none.
    """

    about: dict[str, Any]
    slug: str
    cells: list[Cell]
    warnings: list[str] = field(default_factory=list)
    apart: str = ""

    @property
    def title(self) -> str:
        title = str(self.about.get("title") or self.about["name"])
        return f"{title} ({self.apart})" if self.apart else title

    @property
    def metric(self) -> str:
        """The task's own."""
        named = self.about["metrics"] or list(self.cells[0].about["results"][0]["metrics"])
        return str(named[0])

    @property
    def protocols(self) -> list[str]:
        return ordered_protocols(self.cells)

    def of(self, protocol: str, entry: Entry) -> list[Cell]:
        """The cells of an entry under a protocol; several where random weights were drawn several times."""
        return [c for c in self.cells if protocol_of(c) == protocol and entry_key(c) == entry.key]


@dataclass(frozen=True)
class Study:
    """All that a report is about: tasks by domain and title, entries with models first."""

    tasks: list[TaskPage]
    entries: list[Entry]

    @property
    def cells(self) -> list[Cell]:
        return [cell for task in self.tasks for cell in task.cells]

    def entry_of(self, cell: Cell) -> Entry:
        key = entry_key(cell)
        return next(entry for entry in self.entries if entry.key == key)


def arrange(cells: Sequence[Cell]) -> Study:
    """Put cells in order. A task on other clips is another task: their scores do not compare."""
    by_task: dict[tuple[str, str, str | None], list[Cell]] = {}
    for cell in cells:
        about = cell.about["task"]
        by_task.setdefault((about["name"], about["label"], about.get("clips_digest")), []).append(cell)
    pages: list[TaskPage] = []
    for same in by_task.values():
        warnings = list(dict.fromkeys(line for cell in same for line in cell.about["task"]["warnings"]))
        about = same[0].about["task"]
        pages.append(TaskPage(about, _slug(about["name"], pages), same, warnings))
    _tell_apart(pages)
    pages.sort(key=lambda page: (_place(DOMAIN_ORDER, page.about["domain"]), page.title.lower(), page.slug))
    return Study(pages, _entries(cells))


def entry_key(cell: Cell) -> tuple[Any, ...]:
    """What makes two cells one row: the embedding, whichever draw of random weights."""
    entrant = cell.about["entrant"]
    identity = entrant["title"] if entrant["control"] == "random" else entrant["fingerprint"]
    return (entrant["control"], entrant["model"], identity, entrant["pooling"], entrant["layer"])


def protocol_of(cell: Cell) -> str:
    """The protocol that a cell followed: its name, and where settings were changed, ‡ and those.

    With other settings it is another protocol: its scores compare with one another, and with no published ones.
    """
    about = cell.about["protocol"]
    changed = about.get("changed")
    return f"{about['name']}{CHANGED}{settings(changed)}" if changed else str(about["name"])


def changes_of(protocol: str) -> str:
    """The changed settings in what `protocol_of` gives, in words; empty where there are none."""
    return protocol.partition(CHANGED)[2]


def protocol_title(protocol: str) -> str:
    """What `protocol_of` gives, as a title: "evar protocol ‡ lr 0.01"."""
    name, mark, changes = protocol.partition(CHANGED)
    return f"{name} protocol{mark}{changes}"


def ordered_protocols(cells: Sequence[Cell]) -> list[str]:
    """The protocols that cells followed, the usual ones first."""
    names = {protocol_of(cell) for cell in cells}
    return sorted(names, key=lambda name: (_place(PROTOCOL_ORDER, name.partition(CHANGED)[0]), name))


def curve_of(result: dict[str, Any]) -> tuple[str, float] | None:
    """What a result is a point of: ("shots", 5); None where it stands for itself."""
    setting = result["setting"]
    for key in CURVES:
        if key in setting:
            return key, float(setting[key])
    return None


def _entries(cells: Sequence[Cell]) -> list[Entry]:
    first: dict[tuple[Any, ...], dict[str, Any]] = {}
    for cell in cells:
        first.setdefault(entry_key(cell), cell.about["entrant"])
    kinds: dict[str | None, Kind] = {None: "model", "random": "random", "logmel": "logmel"}
    keys = sorted(first, key=lambda key: (KIND_ORDER.index(kinds[first[key]["control"]]), _label(first[key])))
    labels = _unlike([first[key] for key in keys])
    entries, models = [], 0
    for key, label in zip(keys, labels, strict=True):
        kind = kinds[first[key]["control"]]
        entries.append(Entry(key, label, kind, first[key]["dim"], models if kind == "model" else -1))
        models += kind == "model"
    return entries


def _label(entrant: dict[str, Any]) -> str:
    parts = [model_name(entrant["title"])]
    if entrant["layer"] not in (None, "", "last"):
        parts.append("all layers" if entrant["layer"] == "all" else f"layer {entrant['layer']}")
    if entrant["pooling"] not in (None, "", "model"):
        parts.append(f"{entrant['pooling']} pooling")
    return " · ".join(parts)


def _unlike(entrants: list[dict[str, Any]]) -> list[str]:
    """Labels, of which no two are alike: the model's name is added where it is needed, then the fingerprint."""
    labels = [_label(entrant) for entrant in entrants]
    for more in (lambda e: model_name(e["model"]), lambda e: f"dim {e['dim']}", lambda e: e["fingerprint"][:8]):
        texts = [more(entrant) for entrant in entrants]
        differing = {
            label
            for label in labels
            if len({text for other, text in zip(labels, texts, strict=True) if other == label}) > 1
        }
        labels = [
            f"{label} ({text})" if label in differing and text not in label else label
            for label, text in zip(labels, texts, strict=True)
        ]
    return labels


def _tell_apart(pages: Sequence[TaskPage]) -> None:
    """Add to titles that several pages have what differs between those: the label, how many clips, where they are."""
    for more in (
        lambda page: str(page.about["label"]),
        lambda page: f"{page.about['clips']:,} clips",
        lambda page: model_name(_folder(page)),
        lambda page: str(page.about.get("clips_digest") or "")[:8],
    ):
        by_title: dict[str, list[TaskPage]] = {}
        for page in pages:
            by_title.setdefault(page.title, []).append(page)
        for alike in by_title.values():
            texts = [more(page) for page in alike] if len(alike) > 1 else []
            if len(set(texts)) > 1:
                for page, text in zip(alike, texts, strict=True):
                    page.apart = ", ".join(filter(None, (page.apart, text)))


def _folder(page: TaskPage) -> str:
    """The folder that a task's test clips are in; nothing where its first cell is damaged."""
    try:
        return common_folder([str(path) for path in page.cells[0].predictions.paths]).rstrip("/")
    except ByolaError:
        return ""


def _slug(name: str, pages: list[TaskPage]) -> str:
    """A name that can stand in an address, and no other page has."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "task"
    taken = {page.slug for page in pages}
    number, found = 1, slug
    while found in taken:
        number += 1
        found = f"{slug}-{number}"
    return found


def _place(order: Sequence[str], name: str) -> int:
    return order.index(name) if name in order else len(order)
