"""Messages on a cluster, through the Service, while their writers die (docs/MESSAGES.md's seven commands: test_checklist.py)."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.e2e.kubernetes.test_killing import kill
from tests.support.kube.clients import load_on
from tests.support.kube.conversations import dead_letters, judge_messages, owner_of, rows_of
from tests.support.kube.installation import Installation
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.cluster, pytest.mark.install, pytest.mark.timeout(600), pytest.mark.no_second_try]

PER_SECOND = 4.0
"""Messages in each of eight conversations."""
SOME = 100
"""Rows between one death and the next."""


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
            end(whole, owner)
            eventually_sync(lambda one=conversation, n=epoch: owner_of(whole, one)[1] > n, within=60, every=0.5)
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


def stop(installation: Installation, pod: str) -> None:
    """`kubectl delete`, which asks first."""
    installation.kubectl("delete", "pod", pod, "--wait=false")
