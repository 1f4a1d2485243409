"""Events: written in the background, continued when they repeat, never in the way."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from operators.coursegen_operator.errors import ClusterUnavailable, NotPermitted
from operators.coursegen_operator.figures import Figures
from operators.coursegen_operator.planning import Notice
from operators.coursegen_operator.recorder import BURST, SERIES_SECONDS, SPACING_SECONDS, WAITING, Recorder, micro_time
from operators.coursegen_operator.resources import EVENT, Object
from tests.support.clocks import StandingClock
from tests.support.pretended_cluster import PretendedCluster
from tests.support.pretended_kind import sample


class Grounds:
    """A recorder, and the API server it writes to."""

    def __init__(self) -> None:
        self.cluster = PretendedCluster()
        self.clock = StandingClock()
        self.recorder = Recorder(self.cluster, self.clock, Figures(), "pod-1")
        self.resource = self.cluster.add(sample())

    async def tell(self, *notices: Notice) -> None:
        """Have them written."""
        stopping = asyncio.Event()
        for notice in notices:
            self.recorder.tell(self.resource, notice)
        stopping.set()
        await self.recorder.run(stopping)

    @property
    def events(self) -> list[Object]:
        """What `kubectl events` shows."""
        return [item for key, item in self.cluster.objects.items() if key.kind == EVENT.kind]


async def test_an_event_says_who_what_and_about_whom() -> None:
    """As `kubectl describe` finds it."""
    grounds = Grounds()
    await grounds.tell(Notice("RunFailed", "look at `kubectl logs job/x`", warning=True))
    (event,) = grounds.events

    assert event["regarding"]["uid"] == grounds.resource["metadata"]["uid"]
    assert (event["reason"], event["type"], event["action"]) == ("RunFailed", "Warning", "Reconcile")
    assert event["note"] == "look at `kubectl logs job/x`"
    assert (event["reportingController"], event["reportingInstance"]) == ("coursegen-operator", "pod-1")
    assert event["eventTime"] == "2026-01-01T00:00:00.000000Z"
    assert event["metadata"]["namespace"] == "default"


async def test_what_repeats_is_one_event_with_a_series() -> None:
    """For as long as it repeats; after a pause it is news again."""
    grounds = Grounds()
    for _ in range(3):
        await grounds.tell(Notice("RunFailed", "again"))
        grounds.clock.pass_by(SERIES_SECONDS)
    (event,) = grounds.events
    assert event["series"] == {"count": 3, "lastObservedTime": "2026-01-01T00:12:00.000000Z"}

    grounds.clock.pass_by(1)
    await grounds.tell(Notice("RunFailed", "again"), Notice("RunFailed", "for another reason"))
    assert len(grounds.events) == 3


async def test_a_series_whose_event_is_gone_begins_anew() -> None:
    """The API server keeps Events for an hour, or as long as nobody deletes them."""
    grounds = Grounds()
    await grounds.tell(Notice("A", "a"))
    for key in [key for key in grounds.cluster.objects if key.kind == EVENT.kind]:
        grounds.cluster.drop(key)
    grounds.clock.pass_by(1)
    await grounds.tell(Notice("A", "a"))

    assert len(grounds.events) == 1
    assert "series" not in grounds.events[0]


async def test_one_resource_cannot_flood_the_api_server() -> None:
    """With something else to say each time; in time it may speak again."""
    grounds = Grounds()
    await grounds.tell(*(Notice("A", f"number {number}") for number in range(BURST + 10)))
    assert len(grounds.events) == BURST

    grounds.clock.pass_by(SPACING_SECONDS * 2)
    await grounds.tell(*(Notice("B", f"number {number}") for number in range(5)))
    assert len(grounds.events) == BURST + 2


@pytest.mark.parametrize("error", [ClusterUnavailable(), NotPermitted(), RuntimeError("a defect")])
async def test_what_cannot_be_written_is_dropped(error: Exception) -> None:
    """Whatever the reason; the next one is written."""
    grounds = Grounds()
    grounds.cluster.refuses["create", EVENT.kind] = error
    await grounds.tell(Notice("A", "a"))
    grounds.cluster.refuses.clear()
    await grounds.tell(Notice("B", "b"))

    assert [each["reason"] for each in grounds.events] == ["B"]


async def test_telling_never_waits() -> None:
    """A thousand wait, the rest is dropped."""
    grounds = Grounds()
    for number in range(WAITING + 5):
        grounds.recorder.tell(grounds.resource, Notice("A", str(number)))


async def test_it_ends_while_nothing_is_told() -> None:
    """At once."""
    grounds = Grounds()
    stopping = asyncio.Event()
    running = asyncio.create_task(grounds.recorder.run(stopping))
    await asyncio.sleep(0.01)
    grounds.recorder.tell(grounds.resource, Notice("A", "a"))
    await asyncio.sleep(0.01)
    stopping.set()
    await asyncio.wait_for(running, 1)
    assert len(grounds.events) == 1


async def test_a_note_is_short_and_without_secrets() -> None:
    """Kubernetes admits 1,024 characters."""
    grounds = Grounds()
    await grounds.tell(Notice("A", "postgresql://user:hunter22@host/db " + "x" * 3000))

    assert len(grounds.events[0]["note"].encode()) <= 1000
    assert "hunter22" not in grounds.events[0]["note"]


def test_the_time_of_an_event_has_microseconds() -> None:
    """The API server refuses others."""
    assert micro_time(datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)) == "2026-01-02T03:04:05.000006Z"
