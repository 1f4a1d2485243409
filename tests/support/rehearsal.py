"""Commands that stand in a sentence or a table of a page, and how they can be tried where they would change something."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.checklist import PAGE
from tests.support.marked import DOCS

RUNBOOKS: Final = sorted((DOCS / "runbooks").glob("*.md"))
WORDS: Final = ("kubectl", "helm", "sql", "owner", "redis", "stream", "ask", "admin", "prometheus")
"""What a command of a page begins with: what everybody has, and the checklist's own words."""
UNTYPED: Final = {
    "redis FLUSHDB": "empties a Redis that others use",
    "stream XRANGE msg:dlq ID ID": "ID is a dead letter's",
    "kubectl get … --show-managed-fields -o yaml": "names no object",
}
"""Commands of the runbooks that nobody types, and why. RUNBOOKS.md names them."""

_GIVEN: Final = {
    "$COURSE": "10ad7e57-0000-4000-8000-000000000001",
    "'COURSE'": "'10ad7e57-0000-4000-8000-000000000001'",
    "'QUEUE'": "'course-generation:analysis'",
    "(PID)": "(0)",
    "'…'": "'a password'",
}
_FEWEST_WORDS = 3
"""A command with less is only named: `helm upgrade`."""
_DRY: Final = re.compile(r"kubectl (?:-n \S+ )?(?:scale|patch|annotate|delete|create)\b")
_OF_THE_OPERATOR: Final = re.compile(r"\b(?:dbm|rtp|alp)\b|coursegen-(?:operator|system)\b|cronjob/|get coursegen\b")


@dataclass(frozen=True)
class Inline:
    """One command between code marks, on the first page that has it."""

    page: str
    text: str

    @property
    def word(self) -> str:
        """What it begins with."""
        return self.text.split()[0]

    @property
    def needs_the_operator(self) -> bool:
        """Whether it is about the operator or a resource of its kinds."""
        return _OF_THE_OPERATOR.search(self.text) is not None


def prose(page: Path) -> str:
    """A page without its blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def inline(*pages: Path) -> list[Inline]:
    """Every command in the sentences and tables of pages, each once, in order."""
    found: dict[str, Inline] = {}
    for page in pages:
        for text in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose(page)):
            words = text.split()
            named_only = len(words) < _FEWEST_WORDS and words[0] in {"kubectl", "helm"}
            if words and words[0] in WORDS and len(words) > 1 and not named_only:
                found.setdefault(text, Inline(page.stem, text))
    return list(found.values())


def typed_inline() -> list[Inline]:
    """Those of the runbooks that tests type."""
    return [each for each in inline(*RUNBOOKS) if each.text not in UNTYPED]


def filled(statement: str, others: Mapping[str, str] | None = None) -> str:
    """A statement with what the reader fills in."""
    for name, value in {**_GIVEN, **(others or {})}.items():
        statement = statement.replace(name, value)
    return statement


def statements() -> list[tuple[str, str]]:
    """Every statement that the runbooks and the checklist have one type with `sql` or `owner`: the word, and the SQL."""
    pages = [*RUNBOOKS, PAGE]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    return list(dict.fromkeys(re.findall(r"(?:^|`)(sql|owner) +\"([^\"]*)\"", text, re.MULTILINE)))


def rehearsed(command: Inline, names: Mapping[str, str]) -> str:
    """How the command is tried: nothing changes by it, but the API server has looked at what would.

    helm renders, and the API server is shown it; kubectl scales, patches, annotates, creates and deletes nothing. A restart is
    only looked for, an editor changes nothing, and a pod that was never started again has no `--previous`.

    Args:
        command: of a runbook.
        names: what stands for a name that the reader fills in, such as POD, JOB or REVISION.
    """
    text = command.text.replace('"$REVISION"', "REVISION")
    text = re.sub(r"(?<![$\w])([A-Z]{3,})\b(?![\"'=])", lambda found: names.get(found[1], found[1]), text)
    if text.startswith("helm upgrade "):
        return f"{text} --dry-run=server"
    if text.startswith("helm rollback "):
        return f"{text.replace(' --wait', '')} --dry-run"
    if _DRY.match(text):
        return f"{text} --dry-run=server"
    if " edit " in text:
        return f"KUBE_EDITOR=true {text}"
    return text.replace(" rollout restart ", " rollout status ").replace(" --previous", "")
