"""What the command writes: sentences for people, or one JSON document for scripts."""

from __future__ import annotations

import json
import sys
from typing import Any

from services.kernel.errors import CoursegenError


def say(text: str = "") -> None:
    """A line for people, at once."""
    print(text, flush=True)


def note(text: str) -> None:
    """A line beside the result: on standard error, so that a script's input stays clean."""
    print(text, file=sys.stderr, flush=True)


def document(content: Any) -> None:
    """The one JSON document of a command called with `--json`."""
    print(json.dumps(content, ensure_ascii=False, default=str), flush=True)


def failure(error: CoursegenError, *, as_json: bool) -> None:
    """What went wrong and what to do next."""
    if as_json:
        document({"error": {"code": error.code, "message": error.message, "details": error.details}})
    note(f"coursegen: {error.message}")
