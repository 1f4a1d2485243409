"""The `coursegen` command, put together.

Exit codes: 0 done, 1 failed (the message names the next step), 2 called wrongly, 128 + signal when interrupted. Those of `verify`
are verdicts; called wrongly it gives none, and ends with 64.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand

from services.cli import output
from services.cli.errors import CalledWrongly
from services.kernel import logs
from services.kernel.errors import CoursegenError

_WRONG_CALL = 2
_NO_VERDICT = 64
"""Of a wrong call of `_JUDGE`, as of scripts/verify-deployment.sh: its 2 says that there are warnings only."""
_JUDGE = "verify"
_EPILOG = "First time here? coursegen demo. More: README.md"
_PANELS: Final = {
    "Local stack": {"demo": "demo", "up": "stack", "env": "stack", "down": "stack"},
    "Courses": {"generate": "courses", "status": "courses"},
    "Operations": {"verify": "verification", "top": "top"},
    "Development": {"token": "tokens", "fixtures": "database", "migrate": "database"},
}
"""The commands as help shows them, each with its module."""
_GROUPS: Final = {"messages": "Messages", "admin": "Administration"}
"""Commands with subcommands, each with its panel and a module of its name."""


class _Judging(TyperCommand):
    """A command whose exit codes are verdicts, so that a wrong call needs another one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As every command."""
        try:
            return super().parse_args(ctx, args)
        except typer.TyperException as error:
            error.exit_code = _NO_VERDICT
            raise


def _tell_version(asked: bool) -> None:
    if asked:
        import importlib.metadata

        output.say(f"coursegen {importlib.metadata.version('coursegen')}")
        raise typer.Exit


def build(named: str = "") -> typer.Typer:
    """The command with all its subcommands; where `named` is one of them only with that: no other module is read."""
    app = typer.Typer(
        name="coursegen",
        help="Turns documents into a structured course, and never loses one on the way.",
        epilog=_EPILOG,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_before)
    known = {name for commands in (*_PANELS.values(), _GROUPS) for name in commands}
    wanted = {named} if named in known else known
    for panel, commands in _PANELS.items():
        for name in [each for each in commands if each in wanted]:
            kind = _Judging if name == _JUDGE else None
            app.command(name, cls=kind, rich_help_panel=panel)(getattr(_module(commands[name]), name))
    for name in [each for each in _GROUPS if each in wanted]:
        app.add_typer(_module(name).group(), name=name, rich_help_panel=_GROUPS[name])
    return app


def _module(name: str) -> ModuleType:
    return import_module(f"services.cli.commands.{name}")


def _before(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Say which coursegen this is.")
    ] = False,
) -> None:
    """Turns documents into a structured course, and never loses one on the way."""


def run() -> None:
    """Run the command and leave with its exit code."""
    logs.configure("warning", "auto", "coursegen")
    try:
        build(*sys.argv[1:2])()
    except CoursegenError as error:
        output.failure(error, as_json="--json" in sys.argv)
        wrong_call = _NO_VERDICT if sys.argv[1:2] == [_JUDGE] else _WRONG_CALL
        sys.exit(wrong_call if isinstance(error, CalledWrongly) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)
