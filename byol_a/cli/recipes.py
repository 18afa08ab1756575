"""`byol-a recipes`: list the recipes that come with the package, show one, or copy one to change it."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="List, show or copy the recipes.")
@click.argument("name", required=False)
@click.option("--out", type=click.Path(path_type=Path), help="Write the recipe to this file.")
@click.option("--overwrite", is_flag=True, help="Replace --out if it exists.")
def recipes(name: str | None, out: Path | None, overwrite: bool) -> None:
    """List the recipes; with NAME show that one, with NAME and --out copy it."""
    from byol_a.errors import UsageError
    from byol_a.files import atomic_file, refuse_existing
    from byol_a.recipes import list_recipes, recipe_text

    if name is None:
        if out is not None:
            raise UsageError("which recipe should be copied? give its NAME")
        for recipe, summary in list_recipes("pretrain").items():
            click.echo(f"{recipe:20} {summary}")
        return
    text = recipe_text("pretrain", name)
    if out is None:
        click.echo(text, nl=False)
        return
    refuse_existing(out, overwrite)
    with atomic_file(out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    click.echo(f"recipe: {out}")
