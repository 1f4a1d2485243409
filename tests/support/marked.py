"""The commands of a page that bear a mark: `<!-- tested: NAME -->` before a block, which a test then types as it stands there."""

from __future__ import annotations

import re
import textwrap

from tests.support.servers import REPOSITORY

MESSAGES = "docs/MESSAGES.md"


def marked(name: str, page: str = MESSAGES) -> str:
    """The block with this mark, without the indentation that a list gives it.

    Raises:
        AssertionError: the page has no such block, or more than one.
    """
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    found = re.findall(rf"<!-- tested: {name} -->\n *```(?:sh|bash)\n(.*?)\n *```", text, re.DOTALL)
    assert len(found) == 1, f"{page} has {len(found)} blocks marked <!-- tested: {name} -->"
    return textwrap.dedent(found[0])
