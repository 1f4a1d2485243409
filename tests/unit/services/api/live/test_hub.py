"""Hub and watchers on a desk that says what it is told to say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from services.api.live import hub as hub_module
from services.api.live import watcher as watcher_module
from services.api.live.bulletin import Bulletin
from services.api.live.hub import Hub, TooManyStreams, TooManyWatchers
from services.api.live.news import MOST_EVENTS, CourseNews
from services.api.live.places import Place
from services.api.live.watcher import Watcher
from services.api.models import EventReply
from services.kernel.errors import DatabaseUnavailable
from tests.support.waiting import eventually

USER = UUID(int=1)
COURSE = UUID(int=2)


class Deaf:
    """A listener that hears nothing."""

    def __init__(self) -> None:
        self.woken = asyncio.Event()
        self.running = 0

    async def run(self) -> None:
        """Until cancelled."""
        self.running += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.running -= 1


class Desk:
    """Says what it was given, once each; and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[UUID, Place]] = []
        self.news: list[Any] = []

    async def since(self, places: Mapping[UUID, Place]) -> Collection[CourseNews]:
        """The next news that were given."""
        self.asked.append(dict(places))
        answer = self.news.pop(0) if self.news else []
        if isinstance(answer, Exception):
            raise answer
        return list(answer)


def event(position: int, text: str = "") -> EventReply:
    """A move."""
    return EventReply(
        position=position,
        event_id=uuid4(),
        event_type="STATE_CHANGED",
        old_state=None,
        new_state="stage_4_init",
        triggered_by=None,
        created_by="API",
        metadata={"text": text},
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def news(
    *positions: int, stamp: int = 1, status: str = "stage_4_init", owner: UUID | None = USER, text: str = ""
) -> CourseNews:
    """What is new of the course."""
    return CourseNews(
        COURSE, owner, status, {"percentage": stamp}, stamp, tuple(event(each, text) for each in positions)
    )


@asynccontextmanager
async def opened(desk: Desk, *, most: int = 10, most_per_user: int = 10) -> AsyncIterator[tuple[Hub, Deaf]]:
    """A hub at work."""
    listener, stopping = Deaf(), asyncio.Event()
    hub = Hub(desk, listener, most=most, most_per_user=most_per_user)  # type: ignore[arg-type]
    running = asyncio.create_task(hub.run(stopping))
    try:
        yield hub, listener
    finally:
        stopping.set()
        await asyncio.wait_for(running, 5)


def watch(hub: Hub, place: Place = Place(), seconds: float = 3600, user: UUID = USER) -> Watcher:  # noqa: B008
    """A reader."""
    until = asyncio.get_running_loop().time() + seconds
    return hub.watch(COURSE, user, place, until=until, why="token_expired", tier="FREE")


async def chunk(watcher: Watcher) -> str:
    """The next piece that says something."""
    text = ""
    while not text.strip() or text.startswith(("retry", ":")):
        piece = await asyncio.wait_for(watcher.next_chunk(), 5)
        if not piece:
            return ""
        text = "\n\n".join(block for block in piece.decode().split("\n\n") if not block.startswith("retry"))
    return text


def ids(text: str) -> list[str]:
    """The ids of the messages, in order."""
    return [line[4:] for line in text.split("\n") if line.startswith("id: ")]


async def test_one_look_serves_all_and_each_hears_what_is_new_to_him() -> None:
    """The look goes back to the one who knows least; the others hear nothing twice."""
    desk = Desk()
    desk.news = [[news(5, 6, 7, stamp=9)]]
    async with opened(desk) as (hub, _):
        behind, ahead, level = watch(hub, Place(4)), watch(hub, Place(6, 8)), watch(hub, Place(7, 9))
        heard = [await chunk(behind), await chunk(ahead)]
        behind.close()
        ahead.close()

        assert [ids(text) for text in heard] == [["5:0", "6:0", "7:0", "7:9"], ["7:0", "7:9"]]
        assert desk.asked[0] == {COURSE: Place(4, 0)}
        assert level.place == Place(7, 9)
        await eventually(lambda: desk.asked[-1] == {COURSE: Place(7, 9)}, within=5)


async def test_a_reader_who_comes_during_a_look_is_not_forgotten() -> None:
    """What that look found was not asked for him."""
    desk, second = Desk(), None
    gate, began = asyncio.Event(), asyncio.Event()
    plain = desk.since

    async def slow(places: Mapping[UUID, Place]) -> Collection[CourseNews]:
        answer = await plain(places)
        began.set()
        await gate.wait()
        return answer

    desk.since = slow  # type: ignore[method-assign]
    desk.news = [[news(6, stamp=2)], [news(5, 6, stamp=2)]]
    async with opened(desk) as (hub, _):
        first = watch(hub, Place(5, 1))
        await began.wait()
        second = watch(hub, Place(4))
        gate.set()
        texts = [await chunk(first), await chunk(second)]

    assert [ids(text) for text in texts] == [["6:0", "6:2"], ["5:0", "6:0", "6:2"]]


async def test_progress_replaces_progress_and_states_stay() -> None:
    """A reader who was away for a moment hears all moves and the latest progress only."""
    watcher = Watcher(COURSE, USER, Place(), until=1e12, why="renew", leave=lambda _: None)
    for turn in (1, 2, 3):
        watcher.tell(Bulletin(news(turn, stamp=turn)))

    assert ids((await watcher.next_chunk()).decode()) == ["1:0", "2:0", "3:0", "3:3"]


async def test_a_reader_who_falls_behind_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits is bounded; what he was promised is sent; he comes back with the last id he got."""
    monkeypatch.setattr(watcher_module, "MOST_WAITING", 1000)
    left: list[Watcher] = []
    watcher = Watcher(COURSE, USER, Place(), until=1e12, why="renew", leave=left.append)
    for position in range(1, 9):
        watcher.tell(Bulletin(news(position, stamp=position, text="x" * 300)))
    text = (await watcher.next_chunk()).decode()

    assert left == [watcher]
    assert watcher.reason == "too_slow"
    assert len(text) < 3000
    assert text.endswith('event: closing\ndata: {"reason":"too_slow"}\n\n')
    assert await watcher.next_chunk() == b""


async def test_a_single_large_piece_is_no_reason_to_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader who has taken everything so far gets it."""
    monkeypatch.setattr(watcher_module, "MOST_WAITING", 10)
    watcher = Watcher(COURSE, USER, Place(), until=1e12, why="renew", leave=lambda _: None)
    watcher.tell(Bulletin(news(1, 2, 3)))

    assert watcher.reason is None
    assert ids((await watcher.next_chunk()).decode())[-1] == "3:1"


async def test_the_progress_waits_for_the_states_before_it() -> None:
    """A look that could not fetch all events asks again at once, and the end comes after the last."""
    desk = Desk()
    first = news(*range(1, MOST_EVENTS + 1), status="completed")
    desk.news = [[first], [news(MOST_EVENTS + 1, status="completed")]]
    async with opened(desk) as (hub, _):
        watcher = watch(hub)
        texts = [await chunk(watcher), await chunk(watcher)]

    assert "progress" not in texts[0]
    assert ids(texts[1]) == ["201:0", "201:1", "201:1:end"]
    assert await watcher.next_chunk() == b""


async def test_a_quiet_stream_has_a_heartbeat_and_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Comments while nothing happens; at its end a word, then nothing."""
    monkeypatch.setattr(watcher_module, "HEARTBEAT_SECONDS", 0.05)
    left: list[Watcher] = []
    until = asyncio.get_running_loop().time() + 0.3
    watcher = Watcher(COURSE, USER, Place(), until=until, why="token_expired", leave=left.append)
    pieces = []
    async with asyncio.timeout(5):
        while piece := await watcher.next_chunk():
            pieces.append(piece)

    assert pieces[0].startswith(b"retry: ")
    assert set(pieces[1:-1]) == {b": still here\n\n"}
    assert pieces[-1] == b'event: closing\ndata: {"reason":"token_expired"}\n\n'
    assert left == [watcher]


async def test_a_watcher_ends_once() -> None:
    """Whoever is first gives the reason; nothing is told afterwards."""
    left: list[Watcher] = []
    watcher = Watcher(COURSE, USER, Place(), until=1e12, why="renew", leave=left.append)
    watcher.close()
    watcher.close()
    watcher.end("stopping", b"x")
    watcher.tell(Bulletin(news(1)))

    assert left == [watcher]
    assert watcher.reason == "left"
    assert await watcher.next_chunk() == b""


async def test_only_so_many_may_watch_and_a_place_is_given_back() -> None:
    """The limit counts what is open."""
    async with opened(Desk(), most=2) as (hub, _):
        one, _two = watch(hub), watch(hub)
        with pytest.raises(TooManyWatchers):
            watch(hub)
        one.close()
        watch(hub)

        assert hub.watchers == 2


async def test_one_user_leaves_room_for_the_others() -> None:
    """His limit counts what he has open, of whatever course; the others' streams and his closed ones do not count."""
    other = UUID(int=7)
    async with opened(Desk(), most=4, most_per_user=2) as (hub, _):
        one, _two = watch(hub), watch(hub)
        with pytest.raises(TooManyStreams) as refused:
            watch(hub)
        watch(hub, user=other)
        one.close()
        watch(hub)

        assert hub.watchers == 3
    assert refused.value.details == {
        "limitType": "streams",
        "tier": "FREE",
        "limit": 2,
        "current": 2,
        "retryAfterSeconds": 10,
    }


@pytest.mark.parametrize("failure", [DatabaseUnavailable(), ZeroDivisionError("a row that nobody foresaw")])
async def test_a_failed_look_is_repeated(failure: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """The streams stay open; nothing is lost; the process does not end."""
    monkeypatch.setattr(hub_module, "LOOK_SECONDS", 0.05)
    desk = Desk()
    desk.news = [failure, failure, [news(1)]]
    async with opened(desk) as (hub, _):
        assert ids(await chunk(watch(hub))) == ["1:0", "1:1"]
        assert desk.asked[0] == desk.asked[2]


async def test_a_course_that_cannot_be_told_ends_its_own_streams_only() -> None:
    """Its watchers are told that this stream failed; the others hear their news."""
    desk = Desk()
    odd = CourseNews(UUID(int=9), USER, "pending", object(), 1, ())
    desk.news = [[odd, news(1)]]
    async with opened(desk) as (hub, _):
        unlucky = hub.watch(UUID(int=9), USER, Place(), until=1e12, why="renew", tier="FREE")
        lucky = watch(hub)

        assert ids(await chunk(lucky)) == ["1:0", "1:1"]
        assert '"failed"' in await chunk(unlucky)
        assert hub.watchers == 1


async def test_strangers_and_the_deleted_are_told_nothing_else() -> None:
    """One more word, without an id, then nothing."""
    desk = Desk()
    desk.news = [[news(1, owner=UUID(int=5))], [news(owner=None)]]
    async with opened(desk) as (hub, _):
        stranger = watch(hub)
        assert await chunk(stranger) == 'event: closing\ndata: {"reason":"not_yours"}\n\n'
        gone = watch(hub)
        assert await chunk(gone) == 'event: end\ndata: {"reason":"deleted"}\n\n'


async def test_nobody_listens_while_nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither statements nor a session; both begin anew with the next reader."""
    monkeypatch.setattr(hub_module, "LINGER_SECONDS", 0.05)
    monkeypatch.setattr(hub_module, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(hub_module, "REST_SECONDS", 0.01)
    desk = Desk()
    async with opened(desk) as (hub, listener):
        assert (listener.running, desk.asked) == (0, [])
        for _ in range(2):
            watcher = watch(hub)
            await eventually(lambda: listener.running == 1 and desk.asked, within=5)
            watcher.close()
            await eventually(lambda: listener.running == 0, within=5)
            desk.asked.clear()

        assert desk.asked == []


async def test_a_hub_that_is_told_to_stop_ends_what_is_there_and_what_comes() -> None:
    """With the word that sends readers on."""
    async with opened(Desk()) as (hub, _):
        there = watch(hub)
    came = watch(hub)

    assert [await chunk(each) for each in (there, came)] == ['event: closing\ndata: {"reason":"stopping"}\n\n'] * 2
    assert hub.watchers == 0


async def test_a_hub_that_breaks_says_so() -> None:
    """Whoever runs it hears of it, and every stream is ended."""
    hub = Hub(Desk(), Deaf(), most=5, most_per_user=5)  # type: ignore[arg-type]
    hub._feed = None  # type: ignore[assignment,method-assign]
    running = asyncio.create_task(hub.run(asyncio.Event()))
    watcher = watch(hub)
    with pytest.raises(TypeError):
        await asyncio.wait_for(running, 5)

    assert watcher.reason == "stopping"
