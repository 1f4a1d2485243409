"""docs/DEPLOYMENT-CHECKLIST.md: its commands are whole, need nothing but kubectl and helm, and name what there is."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

import services.outbox_relay.figures
import services.stage_worker.deliveries
from services.api import metrics_view
from services.api.metrics_view import OutboxState
from services.api.recent_figures import Outcomes, Recent
from services.kernel import metrics
from services.kernel.counters import Snapshot
from services.migrate.files import find_directory, read_directory
from tests.support import checklist
from tests.support.fences import fences
from tests.support.marked import pages
from tests.support.previous import present_version, previous_version
from tests.support.servers import REPOSITORY

ALLOWED = {"kubectl", "helm", "tools", "sql", "owner", "redis", "stream", "ask", "admin", "prometheus", "grep"}
SHELL = {"export", "for", "do", "done", "read", "echo", "sort", "tail", "true", "date", "{", "}"}
"""What a shell brings along."""

_PAGE = checklist.text()
_BLOCKS = checklist.blocks()
_OTHERS = _BLOCKS[2:]


def _commands(block: str) -> set[str]:
    """The first word of every command, those within $(…) too."""
    text = re.sub(r"\\\n\s*", " ", block)
    text = re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"'[^']*'", "Q", text)
    text = re.sub(r'"(?:[^"$\\]|\\.|\$\w+|\$(?!\())*"', "Q", text)
    text = re.sub(r"<<<\S+|[<>]\S+|2>&1", "", text)
    parts = re.split(r"\n|\||;|&&|\$\(|\bdo\b|\{", text)
    return {part.split()[0].strip('"()') for part in parts if part.split()} - {""}


@pytest.mark.parametrize("block", _OTHERS, ids=lambda each: each.where)
def test_only_kubectl_and_helm_are_needed(block: checklist.Block) -> None:
    """Beside what every shell has."""
    assert _commands(block.commands) <= ALLOWED | SHELL


def test_the_check_of_commands_sees_them() -> None:
    """In pipes, loops and substitutions."""
    assert _commands('for x in $(kubectl get pods); do\n  psql "$x" | jq .a\ndone') >= {"kubectl", "psql", "jq", "done"}
    assert _commands("sql \"SELECT 'a; b'\" && curl x") == {"sql", "curl"}


@pytest.mark.parametrize("block", _BLOCKS, ids=lambda each: each.where)
def test_commands_are_whole(block: checklist.Block, tmp_path: Path) -> None:
    """Shellcheck finds nothing in them, put behind the page's own words."""
    script = tmp_path / "block.sh"
    words = "" if block in _BLOCKS[:2] else checklist.words()
    script.write_text(words + block.commands, encoding="utf-8")
    tool = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run(
        [tool, "--shell=bash", "--norc", "--exclude=SC2034,SC2329", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stdout


def test_balancers_probe_as_the_source_says() -> None:
    """Interval, timeout, how many good or bad ones, and what counts as good, for each of the three."""
    (paragraph,) = re.findall(r"\*\*4\.4 Load balancers.*?\n\nIt follows", _PAGE, re.DOTALL)
    said = dict(re.findall(r"^- \*\*(\w+)\*\*(.*?)(?=\n- |\n\n)", paragraph, re.DOTALL | re.MULTILINE))

    assert "`GET /api/trpc/metrics.healthCheck`" in paragraph
    for balancer, words in {
        "Nginx": ("interval=3000", "rise=2", "fall=3", "timeout=1000", "max_fails=3", "fail_timeout=30s"),
        "HAProxy": ("GET /api/trpc/metrics.healthCheck", "expect status 200", "inter 3s", "rise 2", "fall 3"),
        "ALB": ("interval 30 s", "2 healthy", "3 unhealthy", "timeout 5 s", "success code 200"),
    }.items():
        assert [each for each in words if each not in said[balancer]] == [], balancer


def test_every_block_is_seen() -> None:
    """As many as the page opens: one that is swallowed by another is checked by nobody."""
    assert len(_BLOCKS) == len(re.findall(r"^```bash\b", _PAGE, re.MULTILINE)) > 50


def test_each_block_says_what_it_prints() -> None:
    """But for the page's own words, and the file for those who help."""
    silent = [block for block in _BLOCKS if block.output is None]

    assert silent == [*_BLOCKS[:2], *(each for each in _BLOCKS if ">incident.txt" in each.commands)]
    assert all(block.output is None or block.output.strip() for block in _BLOCKS)


def test_what_is_asked_for_is_answered() -> None:
    """Every field of `ask api 3000` is one that the route has."""
    counted, recent, lately, state = (
        Snapshot({}),
        Recent(0.0, Snapshot({})),
        Outcomes(0, 0),
        OutboxState(0, 0.0, None, None, None, None, datetime.now(UTC)),
    )
    views = {
        "getAll": {
            "fsm": metrics_view.fsm(counted, recent),
            "outbox": metrics_view.outbox(counted, state, recent),
            "fallbacks": metrics_view.fallbacks(counted, 0, recent),
            "healthCheck": metrics_view.health_check(lately, state),
        },
        "getFSM": metrics_view.fsm(counted, recent),
        "getFallbacks": metrics_view.fallbacks(counted, 0, recent),
        "healthCheck": metrics_view.health_check(lately, state),
    }
    asked = re.findall(r"^ask api 3000 /api/trpc/metrics\.(\w+)(.*)$", _PAGE, re.MULTILINE)
    for route, fields in asked:
        for field in fields.split():
            value: object = views[route]
            for name in field.split("."):
                assert isinstance(value, dict), field
                assert name in value, field
                value = value[name]
    assert len(asked) > 5


def test_every_series_is_published() -> None:
    """By the api for all processes, or by relay and workers themselves."""
    services.outbox_relay.figures._instruments()
    state = OutboxState(0, 0.0, None, None, None, None, datetime.now(UTC))
    published = metrics_view.exposition(Snapshot({}), Outcomes(0, 0), state, []) + metrics.render().decode()
    table = _PAGE.partition("| alert | severity |")[2].partition("\n\n")[0]
    series = re.findall(r"`([a-z]+(?:_[a-z]+)+)`", table)

    assert len(set(series)) == 10
    assert [each for each in series if not re.search(rf"^# TYPE {each}(?:_total)? ", published, re.MULTILINE)] == []


def test_the_eleven_alerts_bear_their_names() -> None:
    """In their order (contract.md j)."""
    names = (
        "FsmFailureRateHigh OutboxQueueDepthHigh OutboxProcessorStalled WorkerFailureRateHigh SystemHealthCheckFailed"
        " CacheHitRateLow FsmLatencyHigh OutboxFailureRateHigh OutboxBatchLatencyHigh FallbackFrequencyHigh"
        " Layer2FailureRateHigh"
    )

    assert re.findall(r"^\| `(\w+)` \| (?:critical|warning) \|", _PAGE, re.MULTILINE) == names.split()


def test_the_inventory_of_migrations_is_right() -> None:
    """Number and newest; and none of them drops a table or a column, which the page promises."""
    files = read_directory(find_directory())

    assert f"This release has {len(files)};" in _PAGE
    assert f"{len(files)} | {files[-1].version}" in _PAGE
    assert f"{len(files)} migrations applied" in _PAGE
    for file in files:
        text = (find_directory() / file.filename).read_text(encoding="utf-8")
        assert not re.search(r"^\s*(DROP TABLE|ALTER TABLE .* DROP COLUMN)", text, re.MULTILINE | re.IGNORECASE), file


def test_the_way_back_is_shown_from_the_chart_that_there_is() -> None:
    """Level 3 leaves the version of the tree for the last of the one before it, which is not the revision before."""
    history = re.findall(r"^(\d+) *\t[^\t]+\t(superseded|deployed) *\tcoursegen-([\d.]+)", _PAGE, re.MULTILINE)
    *_, (before, *_), (_, state, present) = history
    (printed,) = [each.output for each in _BLOCKS if each.commands.startswith("helm history ")]
    chosen = checklist.chosen_revision(printed or "")
    going = [each.commands for each in _BLOCKS if "helm rollback" in each.commands]

    assert {chart for _, _, chart in history} == {previous_version(), present_version()}
    assert (state, present) == ("deployed", present_version())
    assert f"Here it is {chosen}:" in _PAGE
    assert chosen != before
    assert len(going) == 1
    assert 'helm rollback "$RELEASE" "$REVISION" ' in going[0]


@pytest.mark.parametrize(
    ("history", "chosen"),
    [
        ("superseded 1, superseded 2, deployed 2", "1"),
        ("superseded 1, superseded 2, superseded 2, deployed 2", "1"),
        ("superseded 0, deployed 1, failed 2", "2"),
        ("superseded 0, deployed 1, failed 2, failed 2", "2"),
        ("superseded 0, deployed 1, pending-upgrade 2", "2"),
        ("superseded 0, superseded 1, failed 2, deployed 2", "2"),
        ("superseded 1, deployed 2, failed 2", "1"),
        ("superseded 1, superseded 2, deployed 1, failed 2", "3"),
        ("superseded 1, failed 3, deployed 2", "1"),
    ],
)
def test_the_way_back_leads_to_what_has_worked_last(history: str, chosen: str) -> None:
    """Also when the upgrade itself has failed: the release before it is still `deployed`; none that failed is chosen."""
    rows = [each.split(" ") for each in history.split(", ")]
    printed = "REVISION\tUPDATED\tSTATUS    \tCHART\tAPP VERSION\tDESCRIPTION\n" + "".join(
        f"{number} \tSat Nov 28 09:53:54 2026\t{status}\tcoursegen-0.{minor}.0\t0.1.0\t…\n"
        for number, (status, minor) in enumerate(rows, 1)
    )

    assert checklist.chosen_revision(printed) == chosen
    assert f"Choose `REVISION`: {checklist.CHOICE}." in _PAGE


def test_no_page_goes_back_to_the_revision_before() -> None:
    """That is the same release once more, after most steps of the checklist: `REVISION` is chosen."""
    found = [
        (page.name, each)
        for page in pages()
        for each in re.findall(r'helm rollback "\$RELEASE" \S+', page.read_text("utf-8"))
    ]

    assert [each for each in found if each[1] != 'helm rollback "$RELEASE" "$REVISION"'] == []
    assert len(found) > 5


def test_a_relay_comes_back_as_often_as_before() -> None:
    """`kubectl scale` asks no chart whether two may run: wherever a page makes them two it says when they must not be."""
    found: list[tuple[str, bool]] = []
    for page in pages():
        for section in re.split(r"^#+ ", page.read_text("utf-8"), flags=re.MULTILINE):
            parts = [each for each in re.split(r"\n\n|\n(?=\|)", section) if "outbox-relay" in each]
            scaling = [each for each in parts if "--replicas=2" in each]
            found += [(page.name, "(1 with `" in (section if "```" in each else each)) for each in scaling]

    assert [name for name, is_said in found if not is_said] == []
    assert len(found) > 5


def test_links_and_files_exist() -> None:
    """Pages with their headings, folders, scripts, values and rollbacks."""
    for target, anchor in re.findall(r"\]\(([\w./-]*)(?:#([\w-]+))?\)", _PAGE):
        path = checklist.PAGE.parent / target if target else checklist.PAGE
        assert path.exists(), target
        headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        slugs = {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}
        assert not anchor or anchor in slugs, f"{target}#{anchor}"
    for path in re.findall(r"\b(?:scripts|rollback|charts/coursegen)/[\w./-]+\w", _PAGE):
        assert (REPOSITORY / path).exists(), path
    for name in re.findall(r"\b(00\d_\w+\.sql)", _PAGE):
        assert (REPOSITORY / "rollback" / name).exists(), name


def test_the_readme_leads_here() -> None:
    """From the row of documents."""
    assert "docs/DEPLOYMENT-CHECKLIST.md" in (REPOSITORY / "README.md").read_text(encoding="utf-8")


def test_the_drawing_renders() -> None:
    """A known kind, and nothing left open."""
    (drawing,) = [each.text for each in fences(_PAGE) if each.language == "mermaid"]

    assert drawing.startswith("flowchart TB\n")
    assert all(drawing.count(one) == drawing.count(other) for one, other in ("()", "[]", "{}"))
    assert drawing.count('"') % 2 == 0


def test_unseen_finds_what_is_missing() -> None:
    """Headings, words and rows that matter; not numbers, and not rows of a table that is an example."""
    block = checklist.Block(
        "", "", "", ' a | b\n---+---\n t | 1\n(1 row)\n\nPONG\na/coursegen-api "coursegen-b" 1\n…\n', rows_matter=False
    )
    strict = checklist.Block("", "", "", " a | b\n---+---\n t | 1\n", rows_matter=True)

    assert checklist.unseen(block, 'a | b\n----+---\n(0 rows)\n\nPONG\na/x-api "x-b" 77\n', "x") == []
    assert checklist.unseen(block, 'a | c\nPONG\na/x-api "x-b" 77\n', "x") == [" a | b"]
    assert checklist.unseen(block, 'a | b\na/x-api "x-b" 77\n', "x") == ["PONG"]
    assert checklist.unseen(strict, "a | b\n f | 1\n", "x") == [" t | 1"]


@pytest.mark.parametrize("block", checklist.readings(), ids=lambda each: each.where)
def test_the_page_would_pass_its_own_check(block: checklist.Block) -> None:
    """What it prints, from an installation of another name, is what the test on a cluster looks for."""
    assert block.output is not None

    assert checklist.unseen(block, block.output.replace("coursegen-", "cg-coursegen-"), "cg-coursegen") == []
    assert checklist.unseen(block, "", "cg-coursegen")
