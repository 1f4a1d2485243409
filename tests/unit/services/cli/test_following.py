"""The command follows a course through everything that can happen to a stream."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
import typer
from typer.testing import CliRunner

from services.cli import following as following_module
from services.cli.api_client import ApiClient, ApiRefused, ApiUnreachable
from services.cli.commands import courses
from services.cli.following import Following, Message

_HEADERS = {"content-type": "text/event-stream"}


class Body(httpx.AsyncByteStream):
    """Pieces of a body; an error among them breaks it off."""

    def __init__(self, *pieces: str | Exception) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece.encode()


def stream(*pieces: str | Exception) -> httpx.Response:
    """An answer that goes on."""
    return httpx.Response(200, headers=_HEADERS, stream=Body(*pieces))


def message(event: str, place: str | None, data: str = "{}") -> str:
    """A message on the wire."""
    return (f"id: {place}\n" if place else "") + f"event: {event}\ndata: {data}\n\n"


class Script:
    """Answers in turn, and notes from where each request wanted to go on."""

    def __init__(self, *answers: httpx.Response | Exception | Callable[[], httpx.Response]) -> None:
        self.answers = list(answers)
        self.asked: list[str | None] = []
        self.outages: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """The next answer."""
        self.asked.append(request.headers.get("Last-Event-ID"))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else answer()

    async def follow(self, patience: float = 5.0) -> list[Message]:
        """What the command hears."""
        api = ApiClient(
            "http://test",
            "t",
            patience_seconds=patience,
            on_outage=self.outages.append,
            transport=httpx.MockTransport(self),
        )
        async with api:
            return [each async for each in Following(api, "c").messages()]


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause is waited for."""
    monkeypatch.setattr(following_module, "_LONGEST_PAUSE_SECONDS", 0.01)


async def test_messages_come_whole_however_they_are_cut() -> None:
    """Pieces of the network are not messages; comments and the time to come back are none."""
    text = "retry: 1\n\n: still here\n\n" + message("state", "1:0", '{"newState":"ж"}') + message("end", "1:2:end")
    script = Script(stream(*[text[at : at + 7] for at in range(0, len(text), 7)]))

    assert await script.follow() == [Message("state", {"newState": "ж"}, "1:0"), Message("end", {}, "1:2:end")]
    assert script.asked == [None]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_lines_end_only_where_the_protocol_says(end: str, size: int) -> None:
    """A text may hold what other programs take for the end of a line."""
    title = "one\u2028two\u2029three\u0085four"
    told = message("state", "1:0", json.dumps({"title": title}, ensure_ascii=False)) + message("end", "1:2:end")
    text = told.replace("\n", end) + (":" if end == "\r" else "")

    assert await Script(stream(*[text[at : at + size] for at in range(0, len(text), size)])).follow() == [
        Message("state", {"title": title}, "1:0"),
        Message("end", {}, "1:2:end"),
    ]


async def test_a_message_that_cannot_be_read_is_a_broken_stream() -> None:
    """It is asked for again, from the last one that could be; without end it is an error with a next step."""
    spoilt = message("state", "1:0") + message("state", "2:0", '{"new')
    script = Script(stream(spoilt), stream(message("end", "2:1:end")))
    heard = await script.follow()

    assert [each.place for each in heard] == ["1:0", "2:1:end"]
    assert script.asked == [None, "1:0"]
    assert len(script.outages) == 1
    with pytest.raises(ApiUnreachable, match="cannot be read"):
        await Script(lambda: stream(message("state", "2:0", "{"))).follow(patience=0.05)


async def test_a_broken_stream_is_taken_up_where_it_broke() -> None:
    """Broken off, refused for the moment, not reached, ended in order: always from the last id; one word about each outage."""
    script = Script(
        stream(message("state", "1:0"), httpx.ReadError("cut")),
        httpx.ConnectError("no connection"),
        httpx.Response(503, json={"error": {"code": "x", "message": "Busy.", "details": {}}}),
        stream(message("state", "2:0"), message("closing", None, '{"reason":"stopping"}')),
        stream(message("progress", "2:5"), "event: state\nda"),
        httpx.Response(204),
    )
    heard = await script.follow()

    assert [each.place for each in heard] == ["1:0", "2:0", "2:5"]
    assert script.asked == [None, "1:0", "1:0", "1:0", "2:0", "2:5"]
    assert len(script.outages) == 1


@pytest.mark.parametrize("status", [401, 403, 404, 400])
async def test_a_refusal_is_final(status: int) -> None:
    """Nobody tries again what is not for him."""
    script = Script(httpx.Response(status, json={"error": {"code": "no", "message": "No.", "details": {}}}))
    with pytest.raises(ApiRefused, match="No"):
        await script.follow()

    assert len(script.asked) == 1


async def test_patience_has_an_end() -> None:
    """And a next step."""
    with pytest.raises(ApiUnreachable, match="coursegen up"):
        await Script(httpx.ConnectError("no connection")).follow(patience=0.05)


async def test_a_stream_of_another_kind_of_messages_is_read_all_the_same() -> None:
    """A message without a name is one."""
    assert await Script(stream("data: 1\n\n", message("end", None))).follow() == [
        Message("message", 1, None),
        Message("end", {}, None),
    ]


@pytest.mark.parametrize(("reason", "code"), [("completed", 0), ("error", 1), ("cancelled", 1), ("deleted", 1)])
@pytest.mark.parametrize("as_json", [False, True])
def test_the_command_shows_changes_and_ends_with_the_course(
    monkeypatch: pytest.MonkeyPatch, reason: str, code: int, as_json: bool
) -> None:
    """Lines for people or for scripts; the exit code says whether there is a course."""
    state = '{"newState":"stage_4_init","oldState":"pending","eventType":"STATE_CHANGED","position":1}'
    course = {"status": "x", "documents": [], "progress": {"steps": []}}

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events"):
            told = message("state", "1:0", state) + message("progress", "1:1")
            return stream(told + message("end", "1:1:end", f'{{"reason":"{reason}"}}'))
        return httpx.Response(404 if reason == "deleted" else 200, json=course)

    original = ApiClient.__init__

    def on_paper(self: ApiClient, *args: Any, **options: Any) -> None:
        original(self, *args, **{**options, "transport": httpx.MockTransport(answer), "stack_id": None})

    monkeypatch.setattr(ApiClient, "__init__", on_paper)
    app = typer.Typer()
    app.command()(courses.status)
    environ = {"API_URL": "http://test", "API_TOKEN": "t"}
    done = CliRunner().invoke(app, ["c", "--follow", *(["--json"] if as_json else [])], env=environ)

    assert done.exit_code == code, done.output
    if as_json:
        assert [line[:11] for line in done.stdout.splitlines()] == ['{"event": "'] * 3
    else:
        assert "the analysis is queued" in done.stdout
        assert done.stdout.rstrip().endswith(
            {
                "completed": "the course is finished",
                "error": "the course ended in an error",
                "cancelled": "the course was cancelled",
                "deleted": "the course was deleted",
            }[reason]
        )
