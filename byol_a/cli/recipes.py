"""`byol-a recipes`: list the recipes that come with the package, show one, or copy one to change it."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="List, show or copy the recipes.")
@click.argument("name", required=False)
@click.option("--out", type=click.Path(path_type=Path), help="Write the recipe to this file.")
@click.option("--overwrite", is_flag=True, help="Replace --out if it exists.")
def recipes(name: str | None, out: Path | None, overwrite: bool) -> None:
    """List the recipes; with NAME (or the path of one) show that one, with NAME and --out copy it.

    There are recipes for pre-training and for the tasks to evaluate on. A copy can be changed and given, by its
    path, to the command that its kind is for.
    """
    from byol_a.errors import UsageError
    from byol_a.files import atomic_file, refuse_existing
    from byol_a.recipes import KINDS, list_recipes, recipe_text

    if name is None:
        if out is not None:
            raise UsageError("which recipe should be copied? give its NAME")
        for index, (kind, command) in enumerate(KINDS.items()):
            click.echo(f"{'' if index == 0 else chr(10)}{kind} ({command})")
            for recipe, summary in list_recipes(kind).items():
                click.echo(f"  {recipe:16} {summary}")
        return
    text = recipe_text(None, name)
    if out is None:
        click.echo(text, nl=False)
        return
    refuse_existing(out, overwrite)
    with atomic_file(out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    click.echo(f"recipe: {out}")
