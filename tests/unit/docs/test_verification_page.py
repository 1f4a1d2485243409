"""docs/VERIFICATION.md names the ten checks and the exit codes as the code has them."""

from __future__ import annotations

import re

from services.cli.verification.checks import NAMES
from tests.support.servers import REPOSITORY

_PAGE = (REPOSITORY / "docs" / "VERIFICATION.md").read_text(encoding="utf-8")


def test_the_table_has_the_ten_checks_in_their_order() -> None:
    """And the example below the commands, too."""
    rows = re.findall(r"^\| ([A-Z][\w ]*) \|", _PAGE, re.MULTILINE)
    example = re.findall(r"^  (?:pass|warn|FAIL)  (\w+(?: Jobs)?) ", _PAGE, re.MULTILINE)

    assert tuple(rows) == NAMES
    assert tuple(example) == NAMES


def test_the_exit_codes_are_those_of_the_script() -> None:
    """In the words of its help."""
    script = (REPOSITORY / "scripts" / "verify-deployment.sh").read_text(encoding="utf-8")
    codes = re.findall(r"^\| (\d+) \| (.*?)(?:,.*)? \|$", _PAGE, re.MULTILINE)

    assert [code for code, _ in codes] == ["0", "1", "2", "64"]
    assert "Exit codes: " + ", ".join(f"{code} {when}" for code, when in codes) in script.replace("\n# ", " ")
