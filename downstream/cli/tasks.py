"""The command `byol-a tasks`: what there is to score on, as the recipes say it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from downstream.tasks import TaskRecipe

DOMAINS = {"environment": "environment", "speech": "speech", "music": "music", "any": "any sound"}
FLAGS = {"label": "--label LABEL", "csv": "--csv TABLE", "split": "--split PATH"}  # of `byol-a evaluate`
MARGIN = 16  # columns before what stands below a name, or beside a heading


@click.command(short_help="List the sets to score on, or describe one.")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print for programs.")
def tasks(name: str | None, as_json: bool) -> None:
    """List the tasks: size, metric, the layout that is expected, and where the set is published.

    With NAME (of a task, or the path of a recipe) all that is known of it, and the command that scores on it.
    """
    from downstream.tasks import read_task_recipe, task_recipes

    recipes = task_recipes() if name is None else {name: read_task_recipe(name)}
    if as_json:
        import json

        entries = [_as_json(task, recipe) for task, recipe in recipes.items()]
        click.echo(json.dumps(entries if name is None else entries[0], indent=2, ensure_ascii=False))
    elif name is None:
        _list(recipes)
    else:
        _describe(name, recipes[name])


def _list(recipes: Mapping[str, TaskRecipe]) -> None:
    """Three lines a task, by domain."""
    for domain, title in DOMAINS.items():
        click.secho(title, bold=True)
        for name, recipe in recipes.items():
            if recipe.domain == domain:
                clips, _, _ = _clips(recipe).partition(" (")
                facts = ", ".join(filter(None, [clips, _classes(recipe), _metrics(recipe)[0]]))
                click.echo(f"  {name:{MARGIN - 3}} {recipe.title}: {facts}")
                click.echo(_wrapped(recipe.layout))
                click.echo(_wrapped(recipe.source))
        click.echo()
    click.echo("`byol-a tasks NAME` says more of one; `byol-a evaluate MODEL --task NAME --data FOLDER` scores on it.")


def _describe(name: str, recipe: TaskRecipe) -> None:
    """One task, a heading and what belongs under it a line."""
    metrics = _metrics(recipe)
    unit = None if recipe.unit_seconds is None else f"{recipe.unit_seconds:g} s, to which the field cuts clips"
    settings = [f"{protocol}: {_pairs(values)}" for protocol, values in recipe.protocols.items()]
    options = _options(recipe)
    usage = "".join(f" [{FLAGS[option]}]" for option in options if option in FLAGS)
    lines = {
        "task": f"{recipe.title} ({name})",
        "what": _summary(name),
        "domain": DOMAINS[recipe.domain],
        "clips": _clips(recipe),
        "classes": _classes(recipe),
        "metric": metrics[0] + (f"; beside it {', '.join(metrics[1:])}" if metrics[1:] else ""),
        "unit": unit,
        "layout": recipe.layout,
        "published": recipe.source,
        "recognised by": recipe.marks,
        "fixed": _pairs(recipe.options),
        "settings": "; ".join(settings),
        "scored by": f"byol-a evaluate MODEL --task {name} --data FOLDER{usage}",
    }
    for heading, text in lines.items():
        if text:
            click.echo(f"{heading:{MARGIN}}{_wrapped(text).lstrip()}")
    click.echo()
    click.echo(_how_it_is_read(recipe))


def _as_json(name: str, recipe: TaskRecipe) -> dict[str, Any]:
    from dataclasses import asdict

    return {"name": name, "summary": _summary(name), **asdict(recipe), "may_be_given": list(_options(recipe))}


def _summary(name: str) -> str:
    """A recipe's first line, which says in words how much there is and who divides it."""
    from byol_a.recipes import recipe_text

    return recipe_text("evaluate", name).partition("\n")[0].lstrip("# ")


def _clips(recipe: TaskRecipe) -> str:
    if recipe.n_clips is None:
        return ""
    parts = recipe.clips.items() if isinstance(recipe.clips, dict) else ()
    of_parts = ", ".join(f"{part} {count:,}" for part, count in parts)
    return f"{recipe.n_clips:,} clips" + (f" ({of_parts})" if of_parts else "")


def _classes(recipe: TaskRecipe) -> str:
    return "" if recipe.classes is None else f"{recipe.classes:,} classes"


def _metrics(recipe: TaskRecipe) -> list[str]:
    from downstream.metrics import METRIC_TITLES

    return [METRIC_TITLES[metric] for metric in recipe.metrics] or ["metric as the files say"]


def _options(recipe: TaskRecipe) -> list[str]:
    """The options of the set's reader that the recipe leaves open."""
    import importlib
    import inspect

    load = importlib.import_module(f"downstream.tasks.{recipe.task}").load
    return [option for option in inspect.signature(load).parameters if option not in {"root", *recipe.options}]


def _how_it_is_read(recipe: TaskRecipe) -> str:
    """What the set's reader says of itself, errors left out."""
    import importlib
    import inspect

    module = importlib.import_module(f"downstream.tasks.{recipe.task}")
    text = inspect.getdoc(module.load) or ""
    return text.partition("\nRaises:")[0].rstrip().replace("\nArgs:\n", "\nOptions:\n")


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())


def _wrapped(text: str) -> str:
    """Within the terminal's width, below the margin; words longer than that stay whole, so that they can be copied."""
    import shutil
    import textwrap

    width = max(60, min(120, shutil.get_terminal_size().columns))
    margin = " " * MARGIN
    return textwrap.fill(
        text,
        width,
        initial_indent=margin,
        subsequent_indent=margin,
        break_long_words=False,
        break_on_hyphens=False,
    )
