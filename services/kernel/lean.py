"""Importing a library without what it takes along for people at a terminal.

structlog and httpx import rich, click and pygments where they find them, for tracebacks and for a command that nobody here
uses. No image has them, but a machine that runs the local stack has; there they are a quarter of a process's start.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Final, cast

FOR_TERMINALS: Final = ("click", "pygments", "rich")
"""What is used through these libraries by nobody; whoever wants rich imports it by name, afterwards."""


@contextmanager
def lean() -> Iterator[None]:
    """For what is imported in the block `FOR_TERMINALS` is not installed, except what somebody has imported before."""
    hidden = [name for name in FOR_TERMINALS if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden, cast(ModuleType, None)))  # how Python is told that there is no such module
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)
