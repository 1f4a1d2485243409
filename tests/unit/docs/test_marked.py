"""Every block of commands on a page says who types it: a test, or nobody here, and then what it needs."""

from __future__ import annotations

import ast
import re
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.support.fences import fences
from tests.support.marked import (
    DOCS,
    LANGUAGES,
    MESSAGES,
    NEEDS,
    Commands,
    commands_of,
    faults_of,
    marked,
    pages,
    typed_as,
)
from tests.support.servers import REPOSITORY

_BLOCKS = [block for page in pages() for block in commands_of(page)]
_TYPED = [each for each in _BLOCKS if each.marks and each.marks[0][0] == "tested"]
_UNTYPED = [each for each in _BLOCKS if each.marks and each.marks[0][0] == "needs"]
_LISTED = DOCS / "DEVELOPMENT.md"
_CHARTS = sorted((REPOSITORY / "charts").glob("*/README.md"))
_SAYS_A_PASSWORD = re.compile(r"\b(?:sql|owner|psql|exec|redis|redis-cli)\b[^`\n]*[\"'][^`\n]*PASSWORD\s+\\?'")
"""A command with a password among its arguments."""


def _where(block: Commands) -> str:
    return block.where


@cache
def _words_of_tests() -> frozenset[str]:
    """Every text in quotation marks of tests that run something, and of what they share."""
    files = [each for each in (REPOSITORY / "tests").rglob("*.py") if "unit" not in each.relative_to(REPOSITORY).parts]
    nodes = (node for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    return frozenset(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


@pytest.mark.parametrize("block", _BLOCKS, ids=_where)
def test_a_block_has_one_mark(block: Commands) -> None:
    """Who types it, or what it needs."""
    assert len(block.marks) == 1, f"{block.where}: {block.marks or 'no mark'}; see docs/DEVELOPMENT.md"


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_a_mark_has_a_block(page: Path) -> None:
    """Nothing stands between the two, and what looks like commands calls itself so."""
    text = page.read_text(encoding="utf-8")
    marks = re.findall(r"^ *<!-- *(?:tested|needs)\b.*$", text, re.MULTILINE)
    silent = [each for each in fences(text) if each.language not in LANGUAGES and re.match(r"\s*\$ ", each.text)]

    assert len(marks) == sum(len(each.marks) for each in commands_of(page))
    assert silent == []


@pytest.mark.parametrize("block", _TYPED, ids=_where)
def test_a_test_types_it(block: Commands) -> None:
    """One that names the mark; and there is no gap in the commands that it would have to fill."""
    ((_, name),) = block.marks
    lines = (re.sub(r"(?:^|\s)#.*", "", line) for line in block.text.splitlines())
    gaps = [line for line in lines if re.search(r"…|<[a-z][a-z -]*>", line)]

    assert name in _words_of_tests(), f"no test has the words {name!r}, by which it would find {block.where}"
    assert gaps == [], f"{block.where}: {gaps}"


@pytest.mark.parametrize("block", _UNTYPED, ids=_where)
def test_what_nobody_can_type_here_is_whole(block: Commands) -> None:
    """It needs one of the words that there are, and neither bash nor shellcheck finds a fault."""
    ((_, word),) = block.marks

    assert word in NEEDS
    assert faults_of(block, Path(sys.executable).with_name("shellcheck")) == ""


def test_what_nobody_can_type_here_is_listed() -> None:
    """On the page for those who work here, in the order of the pages, each with its first command; and each word is explained."""
    page = _LISTED.read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[[\w.-]+\]\((\S+?)\) \| `(.*)` \| (\S+) \|$", page, re.MULTILINE)
    words = dict(re.findall(r"^\| `(\S+)` \| (.*?) \|$", page.partition("## Commands on the pages")[2], re.MULTILINE))
    links = {
        each.page: Path(each.page).name if each.page.startswith("docs/") else f"../{each.page}" for each in _UNTYPED
    }

    assert rows == [(links[each.page], _first(each), each.marks[0][1]) for each in _UNTYPED]
    assert words == NEEDS


def _first(block: Commands) -> str:
    """Its first line, without what stands there for the reader."""
    return re.sub(r"\s+#.*", "", block.text.splitlines()[0])


def test_most_is_typed() -> None:
    """What is not is the exception, and every page that was written for operators is looked at."""
    assert len(_BLOCKS) > 200
    assert len(_UNTYPED) < len(_BLOCKS) / 10
    assert {"docs/DEPLOYMENT-CHECKLIST.md", "docs/SECRETS.md", "docs/runbooks/OutboxLagHigh.md"} <= {
        each.page for each in _BLOCKS
    }


def test_no_password_is_an_argument() -> None:
    """Of a command that a page has anybody type, in a block or a sentence: arguments can be read by others, files cannot."""
    lines = [(page, line) for page in [*pages(), *_CHARTS] for line in page.read_text(encoding="utf-8").splitlines()]

    assert [(page.name, line) for page, line in lines if _SAYS_A_PASSWORD.search(line)] == []
    for each in (
        """`owner "ALTER ROLE coursegen_app PASSWORD '…'"`""",
        """kubectl exec "$NAME-tools" -- psql -c "ALTER ROLE a PASSWORD 'b'\"""",
    ):
        assert _SAYS_A_PASSWORD.search(each)
    assert not _SAYS_A_PASSWORD.search("in psql: `ALTER ROLE coursegen_app PASSWORD '…'`")


def test_faults_are_found() -> None:
    """What bash cannot read, and what it would read otherwise than it looks."""
    checker = Path(sys.executable).with_name("shellcheck")
    unclosed, unquoted = (
        Commands("docs/X.md", 1, (), text, ()) for text in ('echo "a\n', "for x in $(ls *.md); do cat $x; done\n")
    )

    assert "unexpected EOF" in faults_of(unclosed, checker)
    assert "SC2086" in faults_of(unquoted, checker)


def test_a_block_in_a_list_loses_its_indentation() -> None:
    """And one that is not there is missed."""
    assert marked(MESSAGES, "messages-zero").startswith("make down; ")
    with pytest.raises(AssertionError, match="has 0 blocks marked"):
        marked(MESSAGES, "messages-nothing")


def test_what_is_printed_below_a_command_is_no_command() -> None:
    """In a block of `console` only what stands behind a `$` is typed."""
    first, *_ = typed_as(DOCS / "ALERTS.md", "alerts-looks")

    assert first.text == "kubectl get alp\n"
    assert first.printed[0].startswith("NAME ")
