"""SQL lives in `.sql` files; this reads them into named statements.

A file is a row of blocks: a line ``-- name: claim_batch``, comment lines that say what the statement is for, then the
statement. A missing purpose, a doubled name or an empty statement is refused when the file is read, at start.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources

from services.kernel.errors import OperatorError

_NAME = re.compile(r"^--\s*name:\s*(\w+)\s*$", re.MULTILINE)


class Queries:
    """The statements of one `.sql` file, by name: ``queries["claim_batch"]``."""

    def __init__(self, source: str, statements: dict[str, str]) -> None:
        self._source = source
        self._statements = statements

    @classmethod
    def load(cls, package: str, filename: str) -> Queries:
        """Read `filename` that lies in `package` (its folder `sql`, or beside it)."""
        root = resources.files(package)
        path = root / "sql" / filename
        if not path.is_file():
            path = root / filename
        return cls(f"{package}/{filename}", parse(path.read_text(encoding="utf-8"), filename))

    def __getitem__(self, name: str) -> str:
        try:
            return self._statements[name]
        except KeyError:
            raise OperatorError(f"{self._source} has no statement named {name!r}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._statements)

    def __len__(self) -> int:
        return len(self._statements)


def parse(text: str, source: str) -> dict[str, str]:
    """Split the text of a `.sql` file into its named statements.

    Raises:
        OperatorError: for a doubled name, or a block without a purpose or a statement.
    """
    marks = list(_NAME.finditer(text))
    statements: dict[str, str] = {}
    for index, mark in enumerate(marks):
        end = marks[index + 1].start() if index + 1 < len(marks) else len(text)
        name = mark.group(1)
        if name in statements:
            raise OperatorError(f"{source} names {name!r} twice")
        statements[name] = _statement(text[mark.end() : end], f"{source}: {name}")
    return statements


def _statement(block: str, where: str) -> str:
    lines = block.strip().splitlines()
    purpose = [line for line in lines if line.lstrip().startswith("--")]
    body = "\n".join(line for line in lines if not line.lstrip().startswith("--")).strip().rstrip(";")
    if not purpose:
        raise OperatorError(f"{where} does not say what it is for; add a `--` sentence above it")
    if not body:
        raise OperatorError(f"{where} has no statement")
    return body
