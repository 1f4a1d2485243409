"""docs/VERIFICATION.md names the ten checks and the exit codes as the code has them."""

from __future__ import annotations

import re

import pytest

from operators.coursegen_operator.alerts.rules.catalogue import PRESETS
from services.cli.verification.checks import NAMES
from tests.support.kube.parts import PARTS, RUNBOOKS, Part, rows
from tests.support.marked import marked
from tests.support.servers import REPOSITORY

_PAGE = (REPOSITORY / "docs" / "VERIFICATION.md").read_text(encoding="utf-8")


def test_the_table_has_the_ten_checks_in_their_order() -> None:
    """And the example below the commands, too."""
    explained = _PAGE.partition("\n## When a part breaks\n")[0]
    found = re.findall(r"^\| ([A-Z][\w ]*) \|", explained, re.MULTILINE)
    example = re.findall(r"^  (?:pass|warn|FAIL)  (\w+(?: Jobs)?) ", _PAGE, re.MULTILINE)

    assert tuple(found) == NAMES
    assert tuple(example) == NAMES


def test_the_exit_codes_are_those_of_the_script() -> None:
    """In the words of its help."""
    script = (REPOSITORY / "scripts" / "verify-deployment.sh").read_text(encoding="utf-8")
    codes = re.findall(r"^\| (\d+) \| (.*?)(?:,.*)? \|$", _PAGE, re.MULTILINE)

    assert [code for code, _ in codes] == ["0", "1", "2", "64"]
    assert "Exit codes: " + ", ".join(f"{code} {when}" for code, when in codes) in script.replace("\n# ", " ")


def test_every_check_is_broken_in_the_proof_as_the_page_says() -> None:
    """In what way, which alerts tell of it, and which page brings it back."""
    assert tuple(each.check for each in PARTS) == NAMES
    assert rows(_PAGE) == [(each.check, each.broken, ", ".join(each.alerts), each.page) for each in PARTS]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.mark)
def test_the_alert_of_a_part_leads_to_the_commands_that_mend_it(part: Part) -> None:
    """There are such alerts; the first one's page has something to look at, and is the page that mends or links to it."""
    known = {alert.name for preset in PRESETS for alert in preset.alerts}

    assert set(part.alerts) <= known
    assert part.look
    assert marked(part.runbook, part.mark)
    first = (RUNBOOKS / f"{part.alerts[0]}.md").read_text(encoding="utf-8")
    assert part.page == part.alerts[0] or f"({part.page}.md)" in first
