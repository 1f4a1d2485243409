"""The commands of a page that bear a mark: `<!-- tested: NAME -->` before a block, which a test then types as it stands there."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from tests.support.servers import REPOSITORY

MESSAGES = REPOSITORY / "docs" / "MESSAGES.md"


def marked(page: Path, name: str) -> str:
    """The block of a page with this mark, as printed, without the indentation that a list gives it.

    Raises:
        AssertionError: the page has no such block, or more than one.
    """
    text = page.read_text(encoding="utf-8")
    found = re.findall(rf"<!-- tested: {name} -->\n *```(?:sh|bash)\n(.*?) *```", text, re.DOTALL)
    assert len(found) == 1, f"{page.name} has {len(found)} blocks marked <!-- tested: {name} -->"
    return textwrap.dedent(found[0])
