"""Every alert has a page, and what a page names exists: commands, log lines, kinds, other pages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest
import typer.main
import yaml
from click import Command, Group

from operators.coursegen_operator.alerts.rules.catalogue import PRESETS
from operators.coursegen_operator.alerts.rules.objectives import Objective
from operators.coursegen_operator.children import ChildRefused
from operators.coursegen_operator.errors import (
    AdmissionDenied,
    ClusterUnavailable,
    KindAbsent,
    NotPermitted,
    ObjectRefused,
    QuotaExceeded,
    WriteConflict,
)
from operators.coursegen_operator.jobs import starting
from operators.coursegen_operator.migrations import words as migrations
from operators.coursegen_operator.reconciler import RECONCILE_ERROR, reason_of
from services.cli.application import build
from tests.support.fences import fences
from tests.support.marked import commands_of, pages
from tests.support.rehearsal import prose
from tests.support.servers import REPOSITORY

DOCS: Final = REPOSITORY / "docs"
PAGES: Final = sorted((DOCS / "runbooks").glob("*.md"))
ALERTS: Final = {alert.name: alert for preset in PRESETS for alert in preset.alerts}
OF_OBJECTIVES: Final = {alert.name for alert in Objective.of({"name": "x"}).alerts()}

_KUBECTL: Final = {
    "annotate", "auth", "create", "delete", "describe", "edit", "events", "exec", "explain", "get", "logs", "patch", "rollout",
    "scale", "top", "wait",
}  # fmt: skip


_LEVELS: Final = {"warning": "warn", "exception": "error", "critical": "error"}
"""What a line says that was written by this method."""


def code_of(page: Path) -> list[str]:
    """What stands in code marks, and every line of its blocks."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    return [line for block in blocks for line in block.splitlines()] + re.findall(r"(?<!`)`([^`\n]+)`", text)


def anchors_of(page: Path) -> set[str]:
    """What a link to one of its headings ends in."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    """`runbook_url` ends in the page's name."""
    assert {page.stem for page in PAGES} == set(ALERTS) | OF_OBJECTIVES


def test_the_index_has_them_all() -> None:
    """With the severity that they have."""
    index = (DOCS / "RUNBOOKS.md").read_text(encoding="utf-8")

    for name, alert in ALERTS.items():
        assert re.search(rf"\| \[{name}\]\(runbooks/{name}\.md\) \| {alert.severity}\b", index), name
    for name in OF_OBJECTIVES:
        assert name in index


def test_a_prometheus_without_the_operator_scrapes_as_the_source_says() -> None:
    """The job by its name, interval, timeout, path and scheme, at the Service that the chart makes; and each pod."""
    (block,) = (each for each in fences((DOCS / "RUNBOOKS.md").read_text(encoding="utf-8")) if each.language == "yaml")
    said = yaml.safe_load(block.text)
    job, pods = said["scrape_configs"]
    values = yaml.safe_load((REPOSITORY / "charts" / "coursegen" / "values.yaml").read_text(encoding="utf-8"))

    assert said["rule_files"] == ["/etc/prometheus/rules/*.yml"]
    assert job.pop("static_configs") == [
        {"targets": [f"coursegen-api.coursegen.svc:{values['api']['service']['port']}"]}
    ]
    assert job == {
        "job_name": "megacampus-outbox",
        "scrape_interval": "30s",
        "scrape_timeout": "10s",
        "metrics_path": "/api/trpc/metrics.getAll",
        "scheme": "http",
    }
    template = (REPOSITORY / "charts" / "coursegen" / "templates" / "_workload.tpl").read_text(encoding="utf-8")
    (port,) = pods["relabel_configs"]
    assert f"name: {port['regex']}, containerPort: 9090" in template
    assert pods["kubernetes_sd_configs"][0]["selectors"] == [
        {"role": "pod", "label": "app.kubernetes.io/name=coursegen"}
    ]
    assert "metrics_path" not in pods


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_says_all_that_is_asked_at_night(page: Path) -> None:
    """What it means to users, what confirms it, stops it and mends it, when it is over; and the severity that the alert has."""
    text = page.read_text(encoding="utf-8")
    head, *parts = re.split(r"^## (.*)\n", text, flags=re.MULTILINE)
    said = dict(zip(parts[::2], parts[1::2], strict=True))

    assert head.startswith(f"# {page.stem}\n")
    assert re.search(r"^\*\*What it means\.\*\* \S.*^\*\*Impact\.\*\* \S", head, re.MULTILINE | re.DOTALL)
    assert list(said) == ["Confirm", "Stop the bleeding", "Look", "Mend", "Over when", "Escalate"]
    assert [name for name, words in said.items() if len(words.strip()) < 4] == []
    alert = ALERTS.get(page.stem)
    assert alert is None or text.splitlines()[2].startswith(alert.severity)
    assert len(text) < 5000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_one_command_confirms_it(page: Path) -> None:
    """And the page says what it shows while the alert is right."""
    confirming = page.read_text(encoding="utf-8").partition("\n## Confirm\n")[2].partition("\n## ")[0]
    first = commands_of(page)[0]

    assert confirming.count("```bash\n") == 1
    assert f"```bash\n{first.text}```\n\nIt is so " in confirming
    assert len(first.text.splitlines()) == 1


def test_the_index_leads_to_what_is_no_alert() -> None:
    """Five cases and the schema's, four levels, backup and restore, and the checks after one day and three."""
    index = (DOCS / "RUNBOOKS.md").read_text(encoding="utf-8")

    assert re.findall(r"\[case (\d)\]", index) == list("12345")
    assert re.findall(r"^\| \[(\d)\]\(DEPLOYMENT-CHECKLIST\.md#level-\1-", index, re.MULTILINE) == list("1234")
    for link in ("BACKUP.md", "DEPLOYMENT-CHECKLIST.md#24-h-checks", "DEPLOYMENT-CHECKLIST.md#72-h-checks"):
        assert f"]({link})" in index


def _said_to_grow(text: str) -> list[str]:
    """Numbers of a window that a sentence reads as counters."""
    sentences = re.split(r"(?<=[.;:])\s", text)
    return [each for each in sentences if "`window" in each and re.search(r"\b(?:grow|rise|stay|increase)s?\b", each)]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_what_a_window_holds_does_not_grow(page: Path) -> None:
    """It falls as well, while as much goes on as before: what is asked whether it grows is a sum of all time."""
    assert _said_to_grow(prose(page)) == []


def test_a_window_that_is_said_to_grow_is_found() -> None:
    """By the name of a number, and of all of them."""
    assert _said_to_grow("It is so while the two of `window` grow by ten.")
    assert _said_to_grow("`window.layer2Failed` grows no more. The alert ends.")
    assert not _said_to_grow("`window.failed` is above 5; `failed` grows.")


@pytest.mark.parametrize("page", [DOCS / "RUNBOOKS.md", *PAGES], ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    """To a file, and to a heading of it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors_of(file), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_exist(page: Path) -> None:
    """Of coursegen by its own account, of kubectl by their first word."""
    for line in code_of(page):
        for words in re.findall(r"(?:^|\| )coursegen ([a-z][a-z -]*)", line):
            assert _is_command(words.split()), line
        for verb in re.findall(r"(?:^|\| )kubectl (?:-n \S+ )?(\S+)", line):
            assert verb in _KUBECTL, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_log_lines_exist(page: Path) -> None:
    """What is looked for in a log is said by the code, word for word."""
    code = "\n".join(file.read_text(encoding="utf-8") for file in _sources())
    for line in code_of(page):
        for words in re.findall(r"\"\(?([a-zA-Z0-9 |]+ [a-zA-Z0-9 |]+)\)?\"'", line):
            for each in words.split("|"):
                assert f'"{each}"' in code, each


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_that_looks_for_levels_finds_the_lines_that_it_names(page: Path) -> None:
    """Each line in code marks is said at a level that the page's command lets through; elsewhere it may be said lower, too."""
    code, found = "\n".join(file.read_text(encoding="utf-8") for file in _sources()), code_of(page)
    asked = {
        name for line in found for level in re.findall(r"\"level\":\"\(?([a-z|]+)", line) for name in level.split("|")
    }
    for each in found:
        said = set(re.findall(rf"_log\.(\w+)\(\s*\"{re.escape(each)}\"", code))
        levels = {_LEVELS.get(method, method) for method in said}
        assert not asked or not said or levels & asked, (each, said)


def test_every_reason_of_a_migration_is_on_its_page() -> None:
    """Each that a condition or an Event can give, in code marks; and none that the code does not know."""
    said = set(
        re.findall(r"`([A-Z][A-Za-z]+)`", (DOCS / "runbooks" / "DatabaseMigrationStalled.md").read_text("utf-8"))
    )

    assert said == _reasons() - {migrations.PENDING_APPROVAL, migrations.CONTRACT_PENDING, migrations.CONTRACT_FAILED}


def _reasons() -> set[str]:
    """What the planner says, why a pod does not start, and why the operator could do nothing."""
    planned = {
        value
        for module in (migrations, starting)
        for name, value in vars(module).items()
        if name.isupper() and not name.startswith("_") and isinstance(value, str) and value[:1].isupper()
    }
    faults = (ChildRefused, ObjectRefused, NotPermitted, KindAbsent, AdmissionDenied)
    passing = (ClusterUnavailable, QuotaExceeded, WriteConflict)
    return planned | {reason_of(fault("")) for fault in (*faults, *passing)} | {RECONCILE_ERROR}


def _sources() -> list[Path]:
    return [file for folder in ("services", "operators") for file in (REPOSITORY / folder).rglob("*.py")]


def _is_command(words: list[str]) -> bool:
    command: Command | None = typer.main.get_command(build())
    for word in words:
        if not isinstance(command, Group):
            return not word.startswith("-") or command is not None
        command = command.commands.get(word)
        if command is None:
            return False
    return True
