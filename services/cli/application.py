"""The `coursegen` command, put together.

Exit codes: 0 done, 1 failed (the message names the next step), 2 called wrongly, 128 + signal when interrupted.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from services.cli import output
from services.cli.commands import admin, courses, database, demo, messages, stack, tokens, top, verification
from services.cli.errors import CalledWrongly
from services.kernel import logs
from services.kernel.errors import CoursegenError

_WRONG_CALL = 2
_EPILOG = "First time here? coursegen demo. More: README.md"


def _tell_version(asked: bool) -> None:
    if asked:
        output.say(f"coursegen {importlib.metadata.version('coursegen')}")
        raise typer.Exit


def build() -> typer.Typer:
    """The command with all its subcommands."""
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
    for panel, commands in _panels().items():
        for command in commands:
            app.command(rich_help_panel=panel)(command)
    app.add_typer(messages.group(), name="messages", rich_help_panel="Messages")
    app.add_typer(admin.group(), name="admin", rich_help_panel="Administration")
    return app


def _panels() -> dict[str, tuple[Callable[..., None], ...]]:
    return {
        "Local stack": (demo.demo, stack.up, stack.env, stack.down),
        "Courses": (courses.generate, courses.status),
        "Operations": (verification.verify, top.top),
        "Development": (tokens.token, database.fixtures, database.migrate),
    }


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
        build()()
    except CoursegenError as error:
        output.failure(error, as_json="--json" in sys.argv)
        sys.exit(_WRONG_CALL if isinstance(error, CalledWrongly) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)
