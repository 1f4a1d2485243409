"""Restarts and upgrades of every process under load: no request fails, no attempt is used up, every exit is 0 (R11).

The load orders courses and sends messages, so that every process is restarted while it has work.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.support.kube.clients import client_pod, load_on
from tests.support.kube.commands import kubectl
from tests.support.kube.conversations import Talk, dead_letters, judge_messages
from tests.support.kube.endings import Ending, Endings, assert_ended_well
from tests.support.kube.installation import Installation
from tests.support.kube.values import Values
from tests.support.kube.verdicts import charged, judge
from tests.support.ledger import Fault, Verdict

PROVE = "PROVE_ROLLING"
"""How often everything is restarted, instead of once (`make prove-rolling`)."""
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.rolling,
    pytest.mark.timeout(0 if os.environ.get(PROVE) else 900),  # a proof takes as long as it takes
]
PER_SECOND = 3.0
"""Orders of each client: one keeps its connections, one opens a new one for every request. Each course is read once."""
MESSAGES_PER_SECOND = 0.5
"""Messages in each of eight conversations, which lie in several partitions; each conversation is read in the end."""
GRACE_SECONDS = 28.0
"""R11: from the beginning of the end to the exit."""

Seconds = dict[str, float]


@dataclass(frozen=True, slots=True)
class Round:
    """What came of one change under load."""

    seconds: Seconds
    endings: list[Ending]
    report: dict[str, Any]
    verdict: Verdict
    talk: Talk
    charged: list[str]

    def __str__(self) -> str:
        steps = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in self.seconds.items())
        slowest = max(each.seconds for each in self.endings)
        return (
            f"{len(self.endings)} containers ended, the slowest after {slowest:.0f} s; {self.report['attempts']} requests, "
            f"longest {self.report['longest_seconds']:.2f} s, {len(self.report['failures'])} failed; {steps}\n"
            f"{self.verdict}\n{self.talk}"
        )


def rounds() -> range:
    """One, or as many as the proof asks for."""
    return range(int(os.environ.get(PROVE) or 1))


def under_load(installation: Installation, change: Callable[[], Seconds]) -> Round:
    """Make a change that replaces every pod of ours, while clients order courses and send messages."""
    user = uuid4()
    before = {name for part in installation.processes() for name in installation.pod_names(part)}
    token = installation.token(user, tier="PREMIUM")
    with (
        Endings(installation.namespace, selector=installation.selector) as endings,
        load_on(
            installation.namespace, url=installation.url, token=token, per_second=PER_SECOND,
            messages_per_second=MESSAGES_PER_SECOND, reads=True,
        ) as load,
    ):  # fmt: skip
        seconds = change()
        ended = endings.of(before)
        ended = endings.of(endings.gone())
        report = load.report()
    return _round(installation, user, seconds, ended, report, len(before))


def _round(
    installation: Installation,
    user: UUID,
    seconds: Seconds,
    ended: list[Ending],
    report: dict[str, Any],
    wanted: int,
) -> Round:
    faults = [Fault("restart", wanted, len(ended))]
    begun = time.monotonic()
    verdict = judge(installation, [report["journal"]], user, faults)
    talk = judge_messages(installation, [report], user)
    seconds["rest"] = time.monotonic() - begun
    return Round(seconds, ended, report, verdict, talk, charged(installation, user))


def assert_cost_nothing(result: Round) -> None:
    """No failed request, every exit 0 in time, no attempt used up; each accepted course finished once, each message there once.

    Messages lie in the order of their conversation, which shows them so.
    """
    print(f"\n{result}")
    assert result.report["failures"] == []
    assert_ended_well(result.endings, within=GRACE_SECONDS)
    assert result.charged == []
    assert result.verdict.passed, str(result.verdict)
    assert not result.verdict.failed, str(result.verdict)
    assert result.verdict.acked == len(result.report["accepted"]) > 0
    assert result.talk.passed, result.talk
    assert result.talk.accepted > len(result.report["read"]) == result.talk.conversations > 1


def started_anew(installation: Installation) -> dict[str, int]:
    """Pods of ours whose container did not hold at the first start."""
    ours = {name for part in installation.processes() for name in installation.pod_names(part)}
    return {name: times for name, times in installation.restarts().items() if name in ours}


def restart(installation: Installation, *parts: str) -> Seconds:
    """`kubectl rollout restart` of these, at once; how long until they are rolled out."""
    begun = time.monotonic()
    installation.kubectl("rollout", "restart", *(f"deployment/{installation.fullname}-{part}" for part in parts))
    installation.rolled_out(*parts)
    return {"+".join(parts): time.monotonic() - begun}


def test_restarting_one_part_after_the_other_costs_no_request(whole: Installation) -> None:
    """`kubectl rollout restart` of api, relay, persistence-worker and each queue's worker, in turn."""
    for _ in rounds():

        def in_turn() -> Seconds:
            seconds: Seconds = {}
            for part in whole.processes():
                seconds |= restart(whole, part)
            return seconds

        assert_cost_nothing(under_load(whole, in_turn))
        assert dead_letters(whole) == 0
        assert started_anew(whole) == {}


def test_an_upgrade_of_everything_at_once_costs_no_request(whole: Installation) -> None:
    """`helm upgrade` with another setting of every process, and back again."""
    for _ in rounds():

        def there_and_back() -> Seconds:
            return {
                "upgrade": _upgrade(whole, {"config": {"common": {"LOG_LEVEL": "warn"}}}),
                "back": _upgrade(whole, {}),
            }

        assert_cost_nothing(under_load(whole, there_and_back))
        assert dead_letters(whole) == 0
        assert started_anew(whole) == {}


def _upgrade(installation: Installation, values: Values) -> float:
    begun = time.monotonic()
    installation.install(values)
    installation.wait_ready(seconds=180)
    return time.monotonic() - begun


def test_the_watch_tells_a_killed_container_from_one_that_ended(shared: Installation) -> None:
    """What the other tests rest on: 137 for a container that does not heed SIGTERM, and that is found out."""
    namespace, names = shared.namespace, ("deaf", "heeds")
    with (
        client_pod(namespace, "deaf", program="import time; time.sleep(600)"),
        client_pod(namespace, "heeds"),
        Endings(namespace, selector="app in (deaf, heeds)") as endings,
    ):
        kubectl("-n", namespace, "delete", "pod", *names, "--grace-period=2", "--wait=false")
        deaf, heeds = endings.of(names)

    assert (heeds.exit_code, deaf.exit_code) == (0, 137)
    assert heeds.seconds <= 2 <= deaf.seconds
    assert_ended_well([heeds], within=2)
    with pytest.raises(AssertionError, match="1 did not end with 0"):
        assert_ended_well([heeds, deaf], within=GRACE_SECONDS)
