"""Messages on a cluster: through the Service while their writers die, and by the seven commands of docs/MESSAGES.md."""

from __future__ import annotations

import json
import re
from uuid import uuid4

import pytest

from tests.e2e.kubernetes.test_killing import kill, whole_again
from tests.support.kube.clients import load_on
from tests.support.kube.conversations import dead_letters, judge_messages, owner_of, rows_of
from tests.support.kube.installation import Installation
from tests.support.kube.page import Shell
from tests.support.kube.readme import marked
from tests.support.servers import REPOSITORY
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.cluster, pytest.mark.install, pytest.mark.timeout(600)]

PAGE = REPOSITORY / "docs" / "MESSAGES.md"
PER_SECOND = 4.0
"""Messages in each of eight conversations."""
SOME = 100
"""Rows between one death and the next."""
PARTITION = 12
"""Of the page's conversation."""


def test_messages_outlive_their_writers(whole: Installation) -> None:
    """The persistence-worker that has a conversation in hand is killed, its successor is stopped: all is there once, in order.

    Clients post through the Service, one message in four twice, and read their conversations in the end.
    """
    user, seen = uuid4(), []
    token = whole.token(user)
    with load_on(
        whole.namespace, url=whole.url, token=token, per_second=0, messages_per_second=PER_SECOND, reads=True
    ) as load:
        for end in (kill, stop):
            least = len(rows_of(whole, user)) + SOME
            eventually_sync(lambda least=least: len(rows_of(whole, user)) >= least, within=60, every=0.5)
            conversation = rows_of(whole, user)[-1][0]
            owner, epoch = owner_of(whole, conversation)
            uid = end(whole, owner)
            eventually_sync(lambda one=conversation, n=epoch: owner_of(whole, one)[1] > n, within=60, every=0.5)
            eventually_sync(lambda uid=uid: whole_again(whole, "persistence-worker", uid), within=90, every=0.5)
            seen.append((owner, owner_of(whole, conversation)[0]))
        report = load.report()

    talk = judge_messages(whole, [report], user)
    print(
        f"\n{report['attempts']} requests, longest {report['longest_seconds']:.2f} s; {talk}; partitions moved: {seen}"
    )
    assert report["failures"] == []
    assert all(before != after for before, after in seen)
    assert talk.passed, talk
    assert talk.accepted > 2 * SOME
    assert len(report["read"]) == talk.conversations == 8
    assert dead_letters(whole) == 0


def stop(installation: Installation, pod: str) -> str:
    """`kubectl delete`, which asks first; the uid of the pod."""
    uid = installation.get("pod", pod)["metadata"]["uid"]
    installation.kubectl("delete", "pod", pod, "--wait=false")
    return str(uid)


def typed(shell: Shell, commands: str) -> dict[str, str]:
    """What each numbered step of the page's block prints."""
    numbered = re.sub(r"^# (\d)\.", r"echo '== \1'\n# \1.", commands, flags=re.MULTILINE)
    done = shell(f"{marked(PAGE, 'messages-cluster-words')}\n{numbered}")
    assert done.returncode == 0, (done.stdout, done.stderr)
    _, *parts = re.split(r"^== (\d)\n", done.stdout, flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def step(number: int) -> str:
    """One step of the block."""
    (found,) = re.findall(rf"^# {number}\..*?(?=^# |\Z)", marked(PAGE, "messages-cluster"), re.MULTILINE | re.DOTALL)
    return str(found)


def counts(said: str) -> dict[str, int]:
    """What HGETALL shows of a partition's counters."""
    return {name: int(number) for name, number in re.findall(r"^(enqueued|settled)\n(\d+)$", said, re.MULTILINE)}


@pytest.mark.depth(2)
def test_the_seven_commands_do_what_the_page_says(whole: Installation, shell: Shell) -> None:
    """Sent twice it is one entry, one row, one repeat; with no worker the next one waits, and is written when there are some."""
    before = counts(whole.redis("-n", "1", "HGETALL", f"msg:count:{PARTITION}"))
    said = typed(shell, marked(PAGE, "messages-cluster"))
    first, again = (json.loads(said[each]) for each in "12")
    waiting = json.loads(re.findall(r"^\{.*\}$", said["7"], re.MULTILINE)[0])

    assert (first["idempotentHit"], again["idempotentHit"], waiting["idempotentHit"]) == (False, True, False)
    assert first["messageId"] == again["messageId"] != waiting["messageId"]
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
    words = set(re.findall(r"^(\w+)\(\) \{", marked(PAGE, "messages-cluster-words"), re.MULTILINE))
    lines = [each for each in marked(PAGE, "messages-cluster").splitlines() if not each.startswith("#")]

    assert {each.split()[0] for each in lines} == words | {"sql", "ask", "kubectl"}
    assert {each for line in lines for each in re.findall(r"\| (\w+)", line)} == {"grep"}
