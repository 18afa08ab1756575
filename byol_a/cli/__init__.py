"""The command `byol-a`: finds a command by name, imports it only then, and says errors in one sentence."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

import click

from byol_a import __version__
from byol_a.errors import ByolaError
from byol_a.words import one_line, printable

COMMANDS = {
    "scan": "byol_a.cli.scan:scan",
    "pack": "byol_a.cli.pack:pack",
    "pretrain": "byol_a.cli.pretrain:pretrain",
    "export": "byol_a.cli.export:export",
    "embed": "byol_a.cli.embed:embed",
    "import-weights": "byol_a.cli.import_weights:import_weights",
    "recipes": "byol_a.cli.recipes:recipes",
}


class Commands(click.Group):
    """Our own commands, and those other packages add through the entry points `byol_a.commands`."""

    def _homes(self) -> dict[str, str]:
        from importlib.metadata import entry_points

        return COMMANDS | {point.name: point.value for point in entry_points(group="byol_a.commands")}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order a newcomer needs them: ours, then the others'."""
        return list(self._homes())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module and return it; None for an unknown name."""
        home = COMMANDS.get(cmd_name) or self._homes().get(cmd_name)
        if home is None:
            return None
        module, _, attribute = home.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, with the nearest name beside an unknown one."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            from byol_a.config import nearest

            raise click.UsageError(f"there is no command {args[0]!r}{nearest(args[0], self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="byol-a")
@click.option("--debug", is_flag=True, help="Show a traceback with an error (also after a command's name).")
def cli(debug: bool) -> None:
    """Audio representations without labels: pre-train, embed, evaluate."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 2 wrong use, 1 failure, 128 + signal when stopped by one."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"]
    with suppress(AttributeError):  # a name that is not UTF-8 is said as it was given
        sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
    try:
        code = cli.main(given, prog_name="byol-a", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except (KeyboardInterrupt, click.Abort):
        _fail("interrupted", 130)
    except BrokenPipeError:
        # The reader of our output went away (`| head`); keep Python from complaining while it shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        _fail(*_sentence(error))


def _sentence(error: Exception) -> tuple[str, int]:
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        hint = f" (see {context.command_path} --help)" if context is not None else ""
        return error.format_message().rstrip(".") + hint, error.exit_code
    if isinstance(error, ByolaError):
        return str(error), error.exit_code
    if isinstance(error, OSError) and error.strerror:
        where = f" {error.filename}" if error.filename else ""
        return f"{error.strerror}:{where}".rstrip(":"), 1
    text = one_line(error) or "no further word"
    return f"unexpected {type(error).__name__}: {text} (run again with --debug for the traceback)", 1


def _fail(message: str, code: int) -> None:
    line = f"byol-a: error: {printable(message)}\n"
    sys.stderr.write(line)  # in one piece: other processes may write to the same place
    sys.exit(code)
