"""What CONTRIBUTING.md asks of the code is checked, not hoped for."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

_ROOT = Path(__file__).resolve().parents[3]
_MODULES = sorted(path for package in ("services", "operators") for path in (_ROOT / package).rglob("*.py"))
_SQL = re.compile(
    r"^\s*(select\s.+\sfrom\s|insert\s+into\s|update\s+\w+\s+set\s|delete\s+from\s|create\s+(table|index|function)\s|drop\s+(table|schema)\s)",
    re.IGNORECASE | re.DOTALL,
)
_BANNED = {"utils", "helpers", "common", "manager", "base", "data", "info", "handle"}
_Function = ast.FunctionDef | ast.AsyncFunctionDef


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _functions() -> Iterator[tuple[Path, _Function]]:
    for path in _MODULES:
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield path, node


def _length(node: _Function) -> int:
    docstring = node.body[0] if ast.get_docstring(node) else None
    spared = (docstring.end_lineno or 0) - docstring.lineno + 1 if docstring else 0
    return (node.end_lineno or 0) - node.lineno + 1 - spared


def _percentile(values: list[int], share: float) -> int:
    return sorted(values)[int(share * (len(values) - 1))]


def test_modules_are_small() -> None:
    """Median at most 140 lines, nine of ten at most 350, none over 500."""
    sizes = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in _MODULES if path.stat().st_size}
    values = list(sizes.values())

    assert {str(path): size for path, size in sizes.items() if size > 500} == {}
    assert median(values) <= 140
    assert _percentile(values, 0.9) <= 350


def test_functions_are_short() -> None:
    """Median at most 8 lines without the docstring, nine of ten at most 28, none over 60."""
    lengths = [(f"{path.relative_to(_ROOT)}:{node.lineno} {node.name}", _length(node)) for path, node in _functions()]
    values = [length for _, length in lengths]

    assert [(where, length) for where, length in lengths if length > 60] == []
    assert median(values) <= 8
    assert _percentile(values, 0.9) <= 28


@pytest.mark.parametrize("path", _MODULES, ids=lambda path: str(path.relative_to(_ROOT)))
def test_no_sql_in_python(path: Path) -> None:
    """Statements live in `.sql` files, where they can be prepared and read."""
    tree = _tree(path)
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]

    assert [text[:60] for text in texts if _SQL.match(text) and "\n\n" not in text[:200]] == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    """A module is a noun of the domain."""
    assert [str(path.relative_to(_ROOT)) for path in _MODULES if path.stem in _BANNED] == []


def test_every_public_thing_says_what_it_promises() -> None:
    """Modules, classes and functions without a leading underscore have a docstring."""
    silent = []
    for path in _MODULES:
        tree = _tree(path)
        if path.stat().st_size and ast.get_docstring(tree) is None:
            silent.append(str(path.relative_to(_ROOT)))
        silent += [f"{path.relative_to(_ROOT)}: {name}" for name in _silent(tree)]

    assert silent == []


def _silent(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
            continue
        if ast.get_docstring(node) is None:
            yield node.name
        if isinstance(node, ast.ClassDef):
            yield from _silent_methods(node)


def _silent_methods(cls: ast.ClassDef) -> Iterator[str]:
    for node in cls.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
            continue
        is_declaration = len(node.body) == 1 and isinstance(node.body[0], ast.Expr)  # a Protocol's `...`
        if ast.get_docstring(node) is None and not is_declaration:
            yield f"{cls.name}.{node.name}"


def test_only_the_entry_points_read_the_environment() -> None:
    """One place reads `os.environ`: lifecycle.run for the services; the command and its children for the local stack.

    The reloader hands its own on to the service it runs.
    """
    allowed = {"services/kernel/lifecycle.py", "services/kernel/reloading.py"}
    readers = {
        str(path.relative_to(_ROOT))
        for path in _MODULES
        if re.search(r"\bos\.(environ|getenv)\b", path.read_text(encoding="utf-8"))
    }

    assert {each for each in readers if not each.startswith("services/cli/") and each not in allowed} == {
        each for each in readers if each in {"services/migrate/__main__.py", "services/retention/__main__.py"}
    }


def test_nothing_is_raised_in_except_star() -> None:
    """Before Python 3.11.4 what is raised there, alone as it may be, comes out in an ExceptionGroup that no caller expects."""
    raising = [
        f"{path.relative_to(_ROOT)}:{node.lineno}"
        for path in _MODULES
        for group in ast.walk(_tree(path))
        if isinstance(group, ast.TryStar)
        for handler in group.handlers
        for node in ast.walk(handler)
        if isinstance(node, ast.Raise)
    ]

    assert raising == []
