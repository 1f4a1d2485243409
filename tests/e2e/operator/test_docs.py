"""What docs/ and the runbooks have a reader type where the operator works, typed as it stands there."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import checklist
from tests.support.kube.installation import Installation
from tests.support.kube.operator import OperatorRelease, await_condition
from tests.support.kube.page import make_tools, shell_for
from tests.support.kube.prometheus import FIRED_SECONDS, hurry
from tests.support.kube.readme import context_in
from tests.support.marked import DOCS, Commands, typed_as
from tests.support.rehearsal import rehearsed, typed_inline
from tests.support.typist import Typist, finds_or_not
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.cluster, pytest.mark.install, pytest.mark.timeout(600)]

SILENT = ("DatabaseContractFailed", "SloMetricAbsent")
"""Of these the command shows nothing where nothing is wrong, or nobody has an objective."""
OF_OBJECTIVES = ("SloErrorBudgetBurnFast", "SloErrorBudgetBurnSlow")
"""Of these it always shows something: `uptime` is recorded wherever anything runs."""
SYSTEM = "coursegen-system"
"""Where the operator is on the pages."""

Types = Callable[[Commands], str]


@pytest.fixture
def reader(operator: OperatorRelease, operated: Installation, tmp_path: Path) -> Types:
    """Types what pages have for the namespace of one's context, in that of the application."""
    typist = Typist({**os.environ, "KUBECONFIG": str(context_in(operated.namespace, tmp_path))}, tmp_path)
    return lambda block: typist.types(block.text.replace(SYSTEM, operator.namespace))


@pytest.fixture
def tools(operator: OperatorRelease, operated: Installation, tmp_path: Path) -> Iterator[Types]:
    """Types what pages have behind the checklist's words, with the tools pod."""
    shell = shell_for(operated, tmp_path)
    make_tools(shell, operated.fullname)

    def types(block: Commands) -> str:
        done = shell(finds_or_not(block.text.replace(SYSTEM, operator.namespace)))
        assert done.returncode == 0, (block.where, done.stdout, done.stderr)
        return done.stdout

    yield types
    component = f"{operated.selector},app.kubernetes.io/component=tools"
    operated.kubectl("delete", "pod,networkpolicy", "-l", component, "--wait=false")


def test_the_pages_look_and_wait(reader: Types, operated: Installation) -> None:
    """The three kinds and their columns, what is seen and applied, what alerts and retention say of themselves."""
    await_condition(operated.namespace, "dbm", "main", "Ready", reason="Applied", within=60)
    (looked,) = map(reader, typed_as(DOCS / "OPERATOR.md", "operator-looks"))
    assert all(kind in looked for kind in ("databasemigration", "retentionpolicy", "alertpolicy"))
    (waited,) = map(reader, typed_as(DOCS / "OPERATOR.md", "operator-waits"))
    assert waited == "databasemigration.ops.coursegen.dev/main condition met\n" * 3
    (failing,) = map(reader, typed_as(DOCS / "OPERATOR.md", "operator-fails"))
    assert "coursegen-operator" in failing

    said = "".join(map(reader, typed_as(DOCS / "ALERTS.md", "alerts-looks")))
    assert all(word in said for word in ("ACCEPTED", "platform", "RulesGenerated", "RulesSelected"))
    (said,) = map(reader, typed_as(DOCS / "RETENTION.md", "retention-looks"))
    assert all(word in said for word in ("LAST-OK", "fsm-events", "idempotency", "outbox"))


def test_retention_is_acted_upon(reader: Types, operated: Installation) -> None:
    """A run now, one by hand, a look at what would go, suspended and taken up again; in the end it is as before."""
    before = operated.get("rtp", "outbox")["spec"]
    try:
        (said,) = map(reader, typed_as(DOCS / "RETENTION.md", "retention-acts"))
    finally:
        operated.kubectl("delete", "job", "manual-1", "--ignore-not-found")

    assert "job.batch/manual-1 created" in said
    after = operated.get("rtp", "outbox")["spec"]
    assert {name: after.get(name, False) for name in ("dryRun", "suspend")} == {
        name: before.get(name, False) for name in ("dryRun", "suspend")
    }


def test_the_runbooks_of_the_operator_can_be_followed(tools: Types, watched: Installation) -> None:
    """Every command that confirms one of its alerts, or looks further, ends well; some ask Prometheus."""
    for name in OF_OBJECTIVES:
        (recorded, *_) = typed_as(DOCS / "runbooks" / f"{name}.md", "operator-runbooks")
        eventually_sync(lambda asked=recorded: is_found(tools(asked)), within=FIRED_SECONDS, every=2)
    pages = [
        each for each in sorted((DOCS / "runbooks").glob("*.md")) if "operator-runbooks" in each.read_text("utf-8")
    ]
    said = {block.where: tools(block) for page in pages for block in typed_as(page, "operator-runbooks")}

    assert len(pages) > 8, watched.namespace
    confirmed = [typed_as(page, "operator-runbooks")[0].where for page in pages if page.stem not in SILENT]
    assert [each for each in confirmed if not said[each].strip()] == []


def is_found(said: str) -> bool:
    """Whether Prometheus has a figure, as the checklist's word `prometheus` shows it; it may still be about to load the rules."""
    hurry()
    return "nothing" not in said and '"value"' in said


def test_what_stands_in_sentences_can_be_typed(tools: Types, operator: OperatorRelease, operated: Installation) -> None:
    """Every command between code marks of the runbooks that is about the operator or its kinds, so that nothing changes by it."""
    names = {
        "POD": operator.leader(),
        "CRONJOB": operated.get("rtp", "outbox")["status"]["cronJobName"],
        "REVISION": re.findall(r'"revision":(\d+)', operator.helm("history", "coursegen-operator", "-o", "json"))[0],
    }
    before = operated.get("dbm", "main")["metadata"]["generation"]
    ours = [each for each in typed_inline() if each.needs_the_operator]
    for each in ours:
        tools(Commands(each.page, 0, (), f"{rehearsed(each, names)}\n", ()))

    assert len(ours) > 15
    assert operated.get("dbm", "main")["metadata"]["generation"] == before
    assert "manual-1" not in operated.kubectl("get", "jobs", "-o", "name")


def test_a_plan_that_destroys_is_allowed_with_a_backup(tools: Types, operated: Installation) -> None:
    """By the commands of the page of DatabaseMigrationStalled; test_contract.py has such a plan."""
    (block,) = typed_as(DOCS / "runbooks" / "DatabaseMigrationStalled.md", "mend-destructive")
    try:
        tools(replace(block, text=f"BACKUP=from-the-page\n{block.text}"))
        found = operated.get("dbm", "main")
    finally:
        undone = '{"metadata":{"annotations":{"ops.coursegen.dev/backup":null}},"spec":{"policy":{"destructive":null}}}'
        operated.kubectl("patch", "dbm/main", "--type=merge", "-p", undone)

    assert found["metadata"]["annotations"]["ops.coursegen.dev/backup"] == "from-the-page"
    assert found["spec"]["policy"]["destructive"] == "Allow"


def test_prometheus_is_asked_as_the_checklist_says(tools: Types, watched: Installation) -> None:
    """After a day for alerts that fire, test_parts.py has one; after three for durations and repeats."""
    firing, durations = typed_as(checklist.PAGE, "checklist-prometheus")

    assert re.fullmatch(r'nothing\n|("metric":.*"alertname":.*\n)+', tools(firing)), watched.namespace
    assert re.fullmatch(r'((nothing|"metric":\{\},"value":\[\S+,"\S+"\])\n){3}', tools(durations))


def test_the_checklist_is_followed_with_the_operator(tools: Types, operated: Installation) -> None:
    """What it has for `migrations.mode: operator`: the kinds are there, the schema is waited for, a mended one is tried again."""
    blocks = [each for each in checklist.blocks() if each.mark == "checklist-operator"]
    commands = typed_as(checklist.PAGE, "checklist-operator")

    assert [each.where.partition(" ")[2][:3] for each in blocks[:2]] == ["0: ", "1: "]
    assert len(blocks) == len(commands) == 3
    for block, typed in zip(blocks, commands, strict=True):
        assert checklist.unseen(block, tools(typed), operated.fullname) == [], block.where


def test_the_rights_for_the_kinds_are_asked_for(tools: Types, operated: Installation) -> None:
    """Who runs these tests has them all."""
    (block,) = [each for each in checklist.blocks() if each.mark == "checklist-operator-rights"]
    (typed,) = typed_as(checklist.PAGE, "checklist-operator-rights")
    said = tools(typed)

    assert checklist.unseen(block, said, operated.fullname) == []
    assert len(re.findall(r"^\w+ \w+: yes$", said, re.MULTILINE)) == len(said.splitlines()) == 12
