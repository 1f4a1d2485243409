"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.cli.languages import fault_of

STYLES = ("academic", "practical", "conversational", "concise")
"""How a course may be written (contract.md GAP29)."""


def known_style(value: str) -> str:
    """Refuse a style nobody knows."""
    if value not in STYLES:
        raise typer.BadParameter(f"choose one of {', '.join(STYLES)}")
    return value


def known_language(value: str | None) -> str | None:
    """Refuse a language nobody knows."""
    fault = None if value is None else fault_of(value)
    if fault:
        raise typer.BadParameter(fault)
    return value


AsJson = Annotated[bool, typer.Option("--json", help="Write one JSON document for scripts.")]
Style = Annotated[
    str, typer.Option("--style", callback=known_style, help=f"How the course is written: {', '.join(STYLES)}.")
]
Language = Annotated[
    str | None,
    typer.Option(
        "--language",
        metavar="CODE",
        callback=known_language,
        help="Language of the course (en, ru, ...); else that of most of the text.",
    ),
]
Title = Annotated[str | None, typer.Option("--title", help="What the course is about; else made from the file names.")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", file_okay=False, help="Where course.json and course.md go.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show what every process logs.")]
