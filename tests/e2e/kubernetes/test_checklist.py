"""docs/DEPLOYMENT-CHECKLIST.md on a real cluster: what only reads prints what the page says; the load test passes.

And the seven commands of docs/MESSAGES.md, which need the same tools.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support import checklist
from tests.support.fences import fences
from tests.support.kube.commands import run
from tests.support.kube.installation import Installation
from tests.support.kube.page import Shell, make_tools, shell_for
from tests.support.marked import marked
from tests.support.servers import REPOSITORY
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.cluster, pytest.mark.install, pytest.mark.depth(3), pytest.mark.timeout(900)]

_AT_ONCE = 3
"""Blocks that run side by side: most of their time kubectl waits."""
MESSAGES = REPOSITORY / "docs" / "MESSAGES.md"
PARTITION = 12
"""Of the conversation on that page."""


@pytest.fixture(scope="module")
def shell(shared: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """Runs commands of the page in bash, behind its own words, for the shared installation; with the tools pod of step 0.4."""
    shared.wait_ready(seconds=180)
    run_block = shell_for(shared, tmp_path_factory.mktemp("page"))
    make_tools(run_block, shared.fullname)
    yield run_block
    component = f"{shared.selector},app.kubernetes.io/component=tools"
    shared.kubectl("delete", "pod,networkpolicy", "-l", component, "--wait=false")


def test_what_reads_prints_what_the_page_says(shell: Shell, whole: Installation) -> None:
    """Every block marked `reads`, as printed: it ends well, and headings, words and rows that matter are there."""
    reading = checklist.readings()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        done = list(pool.map(lambda block: shell(block.commands), reading))

    failed = {each.where: end.stderr for each, end in zip(reading, done, strict=True) if end.returncode != 0}
    assert failed == {}
    missing = {
        each.where: (lines, end.stdout)
        for each, end in zip(reading, done, strict=True)
        if (lines := checklist.unseen(each, end.stdout, whole.fullname))
    }
    assert missing == {}
    assert len(reading) > 20


def test_the_load_test_passes_and_leaves_nothing(whole: Installation) -> None:
    """Courses at once, each accepted, queued and begun; then they are deleted, and the limits are as before."""
    whole.install({"tests": {"load": {"enabled": True, "courses": 20}}})
    try:
        said = run(
            [
                "helm",
                "test",
                whole.release,
                "-n",
                whole.namespace,
                "--logs",
                "--filter",
                f"name={whole.fullname}-test-load",
            ],
            seconds=300,
        ).stdout
    finally:
        whole.install()

    assert "load test: passed" in said
    assert "every request is answered with success ({'success': 20})" in said
    assert whole.sql("SELECT count(*) FROM courses WHERE id::text LIKE '10ad7e57-%'") == "0"
    assert whole.sql("SELECT count(*) FROM concurrency_limits") == "0"


def typed(shell: Shell, commands: str) -> dict[str, str]:
    """What each numbered step of the page's block prints."""
    numbered = re.sub(r"^# (\d)\.", r"echo '== \1'\n# \1.", commands, flags=re.MULTILINE)
    done = shell(f"{marked(MESSAGES, 'messages-cluster-words')}\n{numbered}")
    assert done.returncode == 0, (done.stdout, done.stderr)
    _, *parts = re.split(r"^== (\d)\n", done.stdout, flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def printed() -> checklist.Block:
    """The block, with what the page says that it prints."""
    commands = marked(MESSAGES, "messages-cluster")
    _, _, following = MESSAGES.read_text(encoding="utf-8").partition(commands)
    output = next(each for each in fences(following.partition("```")[2]) if each.language == "text")
    return checklist.Block("Seven commands", "", commands, output.text, rows_matter=False)


def step(number: int) -> str:
    """One step of the block."""
    (found,) = re.findall(
        rf"^# {number}\..*?(?=^# |\Z)", marked(MESSAGES, "messages-cluster"), re.MULTILINE | re.DOTALL
    )
    return str(found)


def counts(said: str) -> dict[str, int]:
    """What HGETALL shows of a partition's counters."""
    return {name: int(number) for name, number in re.findall(r"^(enqueued|settled)\n(\d+)$", said, re.MULTILINE)}


def test_the_seven_commands_do_what_the_page_says(whole: Installation, shell: Shell) -> None:
    """Sent twice it is one entry, one row, one repeat; with no worker the next one waits, and is written when there are some."""
    before = counts(whole.redis("-n", "1", "HGETALL", f"msg:count:{PARTITION}"))
    said = typed(shell, marked(MESSAGES, "messages-cluster"))
    first, again = (json.loads(said[each]) for each in "12")
    waiting = json.loads(re.findall(r"^\{.*\}$", said["7"], re.MULTILINE)[0])

    assert (first["idempotentHit"], again["idempotentHit"], waiting["idempotentHit"]) == (False, True, False)
    assert first["messageId"] == again["messageId"] != waiting["messageId"]
    assert checklist.unseen(printed(), "".join(said.values()), whole.fullname) == []
    assert said["3"].count(first["messageId"]) == 1
    assert "(0 rows)" in said["5"]
    for series in ("stream_enqueue_total", 'idempotency_hit_total{operation="ingress"}'):
        assert float(re.findall(rf"^{re.escape(series)} (\S+)$", said["6"], re.MULTILINE)[0]) >= 1
    assert len(re.findall(r"^stream_partition_lag\{", said["6"], re.MULTILINE)) >= 1
    then = counts(said["7"])
    assert then["enqueued"] == before.get("enqueued", 0) + 2
    assert then["enqueued"] - then["settled"] == 1

    def is_written() -> bool:
        now = typed(shell, step(3) + step(4))
        assert [now["4"].count(each["messageId"]) for each in (first, waiting)] == [1, 1]
        after = counts(now["3"])
        return after["enqueued"] == after["settled"] == then["enqueued"] and now["3"].endswith("\n0\n")

    assert eventually_sync(is_written, within=30, every=0.5)


def test_only_kubectl_is_needed() -> None:
    """Beside the page's own words and what every shell has."""
    words = set(re.findall(r"^(\w+)\(\) \{", marked(MESSAGES, "messages-cluster-words"), re.MULTILINE))
    lines = [each for each in marked(MESSAGES, "messages-cluster").splitlines() if not each.startswith("#")]

    assert {each.split()[0] for each in lines} == words | {"sql", "ask", "stream", "kubectl"}
    assert {each for line in lines for each in re.findall(r"\| (\w+)", line)} == {"grep"}
