"""Somebody who types the commands of a page into a shell, as they stand there."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.support.marked import Commands

BLOCK_SECONDS: Final = 120.0

_GREP: Final = 'grep() { command grep "$@" || [ $? -eq 1 ]; }\n'


def finds_or_not(commands: str) -> str:
    """The same, where a `grep` that finds nothing has not failed: whoever reads sees that there is nothing."""
    return _GREP + commands


class Typist:
    """Types blocks, each into a shell of its own with the same variables, in one folder."""

    def __init__(self, environment: Mapping[str, str], folder: Path, words: str = "") -> None:
        """`words` are what the pages say once for all of their blocks."""
        self.environment = dict(environment)
        self.folder = folder
        self._words = words

    def types(self, block: Commands | str, **variables: str) -> str:
        """What a block prints, when all of its commands end well; `variables` are those that the page has the reader set.

        Raises:
            AssertionError: one of its commands failed.
        """
        text, where = (block, "") if isinstance(block, str) else (block.text, block.where)
        done = subprocess.run(
            ["bash", "-c", f"set -eo pipefail\n{self._words}\n{finds_or_not(text)}"],
            cwd=self.folder,
            env={**self.environment, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BLOCK_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{where}: exit {done.returncode}\n{text}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def shape(text: str) -> list[str]:
    """Lines as far as they are the same everywhere: numbers, ids and the width of columns are not."""
    return [re.sub(r"[0-9a-f]*\d[0-9a-f-]*", "#", re.sub(r"\s+", " ", line)).strip() for line in text.splitlines()]
