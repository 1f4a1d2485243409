"""A generation as a client drives it: whatever breaks in between, everything is done once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import httpx
import pytest

from services.cli import api_client
from services.cli.api_client import ApiClient, ApiRefused, ApiUnreachable, StrangeApi
from services.cli.commands.courses import carry_out
from services.cli.generation import Generation, GenerationFailed
from services.cli.orders import Notebook, Order, Record, resume, unusable
from services.cli.stack.state import StateFolder
from tests.unit.services.cli.fake_api import STATES, FakeApi


class Notes:
    """A display that remembers."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.states: list[str] = []

    def say(self, text: str) -> None:
        """A line that stays."""
        self.said.append(text)

    def advance(self, event: dict[str, str]) -> None:
        """A new state."""
        self.states.append(event["newState"])

    def show(self, course: dict[str, str]) -> None:
        """How things stand."""
        del course


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_client, "_FIRST_PAUSE_SECONDS", 0.001)


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
def order(tmp_path: Path) -> Order:
    files = (tmp_path / "one.md", tmp_path / "two.md")
    for path in files:
        path.write_text(f"# {path.stem}\n\nText.\n")
    return Order("Bees", files, "academic", None)


async def _run(api: FakeApi, order: Order, record: Record | None = None, notes: Notes | None = None) -> Record:
    record = record or Record()
    kept: list[Record] = []
    async with ApiClient("http://api", "t", transport=api.transport(), patience_seconds=1) as client:
        generation = Generation(client, order, record, display=notes or Notes(), keep=kept.append)
        finished = await generation.run()
    assert (finished.json, finished.markdown) == (b'{"title":"T","sections":[]}', b"# T\n")
    return record


def _documents(api: FakeApi) -> list[str]:
    (course,) = api.courses.values()
    return [document["filename"] for document in course["documents"]]


async def test_every_state_is_shown_once_and_in_order(api: FakeApi, order: Order) -> None:
    """The states come from the history, so that quick ones are not missed."""
    notes = Notes()
    await _run(api, order, notes=notes)

    assert notes.states == list(STATES)
    assert _documents(api) == ["one.md", "two.md"]


async def test_an_answer_lost_on_the_way_does_not_double_the_course(api: FakeApi, order: Order) -> None:
    """The course that was made without our hearing of it is found again."""

    def lose(request: httpx.Request, number: int) -> None:
        if (request.method, request.url.path, number) == ("POST", "/api/courses", 1):
            raise httpx.ReadError("connection reset")

    api.after = lose
    await _run(api, order)

    assert len(api.courses) == 1


async def test_a_failed_upload_is_repeated_only_when_it_did_not_arrive(api: FakeApi, order: Order) -> None:
    """The first upload arrives unheard, the second fails before it arrives: each document is there once."""

    def lose(request: httpx.Request, number: int) -> None:
        if request.method == "POST" and request.url.path.endswith("/documents") and number == 1:
            raise httpx.ReadError("connection reset")

    def fail(request: httpx.Request, number: int) -> httpx.Response | None:
        uploads = request.method == "POST" and request.url.path.endswith("/documents")
        return httpx.Response(500) if uploads and number == 2 else None

    api.after, api.breaks = lose, fail
    await _run(api, order)

    assert Counter(_documents(api)) == {"one.md": 1, "two.md": 1}


async def test_a_resumed_order_goes_on_with_its_course(api: FakeApi, order: Order) -> None:
    """The same course, no second upload and no second run."""
    record = await _run(api, order)
    before = len(api.requests)
    await _run(api, order, record)

    again = api.requests[before:]
    assert len(api.courses) == len(api.keys) == 1
    assert [each for each in again if not each.startswith("GET")] == []


async def test_a_creation_that_was_never_heard_of_is_found_by_its_key(api: FakeApi, order: Order) -> None:
    """The key is written down before the course is made; another course of the same title is another's."""
    other = await _run(api, order)
    api.courses[str(other.course_id)]["status"] = "pending"
    record = Record()
    async with ApiClient("http://api", "t", transport=api.transport()) as client:
        made = await client.create_course(order.title, order.style, order.language, record.key)
    await _run(api, order, record)

    assert record.course_id == made["id"] != other.course_id
    assert len(api.courses) == 2


async def test_an_outage_is_waited_out_and_told_once(api: FakeApi, order: Order) -> None:
    """503 and refused connections are repeated."""
    told: list[str] = []

    def fail(request: httpx.Request, number: int) -> httpx.Response | None:
        if request.url.path.endswith("initiate") and number < 4:
            if number == 2:
                raise httpx.ConnectError("refused")
            return httpx.Response(503)
        return None

    api.breaks = fail
    async with ApiClient(
        "http://api", "t", transport=api.transport(), patience_seconds=5, on_outage=told.append
    ) as client:
        await Generation(client, order, Record(), display=Notes(), keep=lambda _: None).run()

    assert len(told) == 1
    assert "does not answer" in told[0]
    assert len(api.keys) == 1


async def test_an_outage_without_end_names_the_next_step(api: FakeApi, order: Order) -> None:
    """The error says what to start."""
    api.breaks = lambda _request, _number: httpx.Response(503)

    with pytest.raises(ApiUnreachable, match=r"http://api does not answer.*coursegen up"):
        await _run(api, order)


async def test_a_refusal_is_not_repeated(api: FakeApi, order: Order) -> None:
    """401 says where tokens come from."""
    api.breaks = lambda _request, _number: httpx.Response(
        401, json={"error": {"code": "unauthorized", "message": "Send a token.", "details": {}}}
    )

    with pytest.raises(ApiRefused, match=r"401 unauthorized.*Send a token.*coursegen token"):
        await _run(api, order)
    assert len(api.requests) == 1


async def test_a_document_that_is_refused_does_not_stop_the_others(api: FakeApi, order: Order) -> None:
    """It is named with its reason; only when none is left the order fails."""
    order.files[0].write_text("refuse me")
    notes = Notes()
    await _run(api, order, notes=notes)

    assert _documents(api) == ["two.md"]
    assert any("one.md" in line and "This is no document" in line for line in notes.said)

    order.files[1].write_text("refuse me too")
    with pytest.raises(GenerationFailed, match="None of the documents"):
        await _run(api, order)


@pytest.mark.parametrize("status", [401, 403, 404, 409, 429])
async def test_a_refusal_that_is_not_about_the_document_ends_the_order_and_deletes_nothing(
    api: FakeApi, order: Order, status: int
) -> None:
    """The documents are as good as they were: the same command can go on when the caller may again."""

    def refuse(request: httpx.Request, _number: int) -> httpx.Response | None:
        upload = request.method == "POST" and request.url.path.endswith("/documents")
        error = {"error": {"code": "no", "message": "Not now.", "details": {}}}
        return httpx.Response(status, json=error) if upload else None

    api.breaks = refuse
    notes = Notes()
    with pytest.raises(ApiRefused, match="Not now") as raised:
        await _run(api, order, notes=notes)

    assert raised.value.status == status
    assert len(api.courses) == 1
    assert notes.said == []


async def test_a_course_that_ends_in_an_error_is_reported_with_its_reasons(api: FakeApi, order: Order) -> None:
    """The course's error, and every document's reason that it does not name: each is said once."""
    api.outcome = "error"

    def spoil(request: httpx.Request, _number: int) -> None:
        if request.url.path.endswith("initiate"):
            (course,) = api.courses.values()
            course["error"] = "two.md: it is empty"
            course["documents"][0]["failureReason"] = "the PDF is encrypted"
            course["documents"][1]["failureReason"] = "it is empty"

    api.after = spoil
    with pytest.raises(GenerationFailed) as raised:
        await _run(api, order)
    reasons = ("two.md: it is empty", "  one.md: the PDF is encrypted")
    assert raised.value.message == "\n".join((f"The course ended in an error: {reasons[0]}", reasons[1]))


def test_an_order_is_known_by_its_contents(order: Order) -> None:
    """Another text in a file, or another title, is another order."""
    before = order.fingerprint()

    assert Order("Wasps", order.files, "academic", None).fingerprint() != before
    order.files[0].write_text("changed")
    assert order.fingerprint() != before


def test_files_are_looked_at_before_anything_starts(tmp_path: Path) -> None:
    """A missing or empty one is named."""
    (tmp_path / "empty.md").touch()

    assert "is no file" in str(unusable([tmp_path / "missing.md"]))
    assert "is empty" in str(unusable([tmp_path / "empty.md"]))
    assert unusable([]) is None


async def test_an_order_of_refused_files_leaves_no_course(api: FakeApi, order: Order) -> None:
    """Nothing that could be mistaken for a course of somebody's."""
    for path in order.files:
        path.write_text("refuse me")

    with pytest.raises(GenerationFailed, match="nothing was kept"):
        await _run(api, order)
    assert api.courses == {}


async def test_a_caller_with_too_many_courses_waits_for_his_turn(api: FakeApi, order: Order) -> None:
    """429 is told once and repeated until there is room."""
    notes = Notes()
    body = {"error": {"code": "concurrency_limit", "message": "One course at a time.", "details": {}}}

    def full(request: httpx.Request, number: int) -> httpx.Response | None:
        limited = request.url.path.endswith("initiate") and number < 4
        return httpx.Response(429, json=body, headers={"Retry-After": "0"}) if limited else None

    api.breaks = full
    await _run(api, order, notes=notes)

    assert [line for line in notes.said if "at a time" in line] == [
        "The api refused (429 concurrency_limit): One course at a time. Waiting for its turn."
    ]
    assert len(api.keys) == 1


async def _ask(api: FakeApi) -> None:
    async with ApiClient("http://api", "t", stack_id="this-stack", transport=api.transport()) as client:
        await client.create_course("Bees", "academic", None, "k")


async def test_a_stranger_on_the_port_is_told_nothing(api: FakeApi) -> None:
    """He is asked who he is, without the token, and the error says what to do."""
    heard: list[httpx.Headers] = []
    api.after = lambda request, _number: heard.append(request.headers)
    api.stack_id = "another"

    with pytest.raises(StrangeApi, match=r"Another program answers at http://api.*--port 3001"):
        await _ask(api)
    assert api.courses == {}
    assert ["Authorization" in each for each in heard] == [False]


async def test_a_stranger_who_comes_later_is_noticed(api: FakeApi) -> None:
    """After a break of the connection the question is asked again; and every answer is looked at."""

    def overtaken(request: httpx.Request, _number: int) -> None:
        if request.method == "POST":
            api.stack_id = "another"
            raise httpx.ReadError("connection reset")

    api.after = overtaken
    with pytest.raises(StrangeApi):
        await _ask(api)
    assert [each.split()[0] for each in api.requests] == ["HEAD", "POST", "HEAD"]

    api.stack_id, api.after = "this-stack", lambda _request, _number: None
    api.breaks = lambda request, _number: setattr(api, "stack_id", "another") if request.method == "POST" else None
    with pytest.raises(StrangeApi):
        await _ask(api)


async def test_an_unfinished_order_is_taken_up_by_the_next_command(
    api: FakeApi, order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once whoever worked on it has ended; and only where its course still is."""
    state = StateFolder(tmp_path / "state")
    async with ApiClient("http://api", "t", transport=api.transport()) as client:
        made = await client.create_course("Bees", "academic", None, "k")
        Notebook(state, order).keep(Record(key="k", course_id=made["id"], pid=999_999_999))
        taken = await resume(Notebook(state, order), client)
        elsewhere = await resume(Notebook(state, order, "http://elsewhere"), client)
        busy = Notebook(state, order)
        busy.keep(Record(key="k", course_id=made["id"], pid=1))
        while_another_works = await resume(busy, client)
        busy.keep(Record())
        busy.forget()
        monkeypatch.setattr("services.cli.orders.is_running", lambda _pid: False)
        kept = await resume(Notebook(state, order), client)
        await client.delete_course(made["id"])
        gone = await resume(Notebook(state, order), client)

    assert (taken[0].course_id, taken[1]) == (made["id"], True)
    assert (elsewhere[0].course_id, elsewhere[1]) == (None, False)
    assert (while_another_works[0].course_id, while_another_works[1]) == (None, False)
    assert (kept[0].course_id, kept[1]) == (made["id"], True)
    assert (gone[0].course_id, gone[1]) == (None, False)


async def test_an_order_whose_creation_is_refused_leaves_no_note(api: FakeApi, order: Order, tmp_path: Path) -> None:
    """There is nothing to go on with; once there is a course, there is."""
    state = StateFolder(tmp_path / "state")
    refused = "/api/courses"
    error = {"error": {"code": "no", "message": "Not so.", "details": {}}}
    api.breaks = lambda request, _number: (
        httpx.Response(400, json=error) if request.method == "POST" and request.url.path == refused else None
    )
    async with ApiClient("http://api", "t", transport=api.transport()) as client:
        with pytest.raises(ApiRefused):
            await carry_out(client, order, Notebook(state, order), Notes())
        without_course = list(state.root.glob("order-*.json"))
        refused = "/api/trpc/generation.initiate"
        with pytest.raises(ApiRefused):
            await carry_out(client, order, Notebook(state, order), Notes())

    assert without_course == []
    assert len(list(state.root.glob("order-*.json"))) == 1


def test_an_order_without_a_folder_to_note_it_in_is_carried_out_all_the_same(order: Order, tmp_path: Path) -> None:
    """It just cannot be taken up again."""
    (tmp_path / "file").touch()
    notebook = Notebook(StateFolder(tmp_path / "file"), order)
    notebook.keep(Record())
    notebook.forget()

    assert notebook.recall() is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"other": 1}', "\x00"])
def test_a_damaged_note_begins_afresh(order: Order, tmp_path: Path, content: str) -> None:
    """Nothing of it is believed."""
    state = StateFolder(tmp_path / "state")
    Notebook(state, order).keep(Record(course_id="c"))
    (note,) = state.root.glob("order-*.json")
    note.write_text(content)
    record = Notebook(state, order).recall()

    assert record is None or record.course_id is None
