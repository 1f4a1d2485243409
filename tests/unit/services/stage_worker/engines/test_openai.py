"""The OpenAI-compatible engine against a real local server: what it asks, what it believes, and what it does when it fails."""

from __future__ import annotations

import asyncio
import dataclasses
import email.utils
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from starlette.responses import Response

from services.kernel.errors import PermanentError, UpstreamUnavailable
from services.kernel.settings import Secret, load
from services.stage_worker.course import CourseStructure, validate
from services.stage_worker.course.checks import lessons_of
from services.stage_worker.engines.material import Material
from services.stage_worker.engines.offline import analyse_sync
from services.stage_worker.engines.openai import OpenAIEngine, OpenAISettings
from services.stage_worker.engines.openai.budget import BudgetExhausted
from services.stage_worker.engines.openai.cache import MemoryCache
from services.stage_worker.engines.openai.client import ModelRefused, UnusableAnswer
from tests.support.material import EXAMPLES, chapters, material_from, material_of
from tests.support.openai_server import ChatServer, changed, chat_server, proper, raw, said, status

KEY = "sk-test-0123456789"
SMALL = chapters(1, 260)


class Preparing:
    """The offline engine without its child process."""

    name = "offline"

    async def analyse(self, material: Material) -> CourseStructure:
        """Plan here."""
        return analyse_sync(material)

    async def generate(self, material: Material, structure: CourseStructure) -> Any:
        """Never asked."""
        raise AssertionError


@pytest.fixture
async def server() -> AsyncIterator[ChatServer]:
    """A server of its own; the engines of the test are closed before it."""
    async with chat_server() as running:
        yield running
        await close_engines()


def settings_for(server: ChatServer, **changes: Any) -> OpenAISettings:
    """Settings that wait for nothing long."""
    return dataclasses.replace(
        OpenAISettings(
            openai_base_url=server.url,
            openai_api_key=Secret(KEY),
            openai_model="tiny",
            openai_seconds=5.0,
            openai_attempts=3,
            openai_longest_wait=0.4,
        ),
        **changes,
    )


_opened: list[OpenAIEngine] = []


def engine_for(server: ChatServer, **changes: Any) -> OpenAIEngine:
    """An engine that asks that server."""
    _opened.append(OpenAIEngine(settings_for(server, **changes), Preparing(), MemoryCache()))
    return _opened[-1]


async def close_engines() -> None:
    """Close what the test opened."""
    while _opened:
        await _opened.pop().close()


async def one_lesson(engine: OpenAIEngine, text: str = SMALL) -> Any:
    """The only lesson of a small document, planned offline and written by the model."""
    material = material_from(text)
    course = await engine.generate(material, analyse_sync(material))
    [*lessons] = lessons_of(course)
    assert [each for each in validate(course, material) if "headings" not in each] == []
    return lessons[0]


async def test_a_course_from_the_examples_keeps_every_promise(server: ChatServer) -> None:
    """Planned and written by the model: sections, exact citations, one language a lesson, headings covered."""
    engine = engine_for(server)
    material = material_of(*EXAMPLES)
    plan = await engine.analyse(material)
    course = await engine.generate(material, plan)

    problems = [each for each in validate(course, material) if "share" not in each]
    assert problems == []
    assert course.engine == "openai"
    assert len(course.sections) == 3
    assert {lesson.language for lesson in lessons_of(course)} == {"en", "ru"}


async def test_what_is_asked(server: ChatServer) -> None:
    """A strict schema, the key as bearer, the style in words, the material set apart from the instructions."""
    await one_lesson(engine_for(server))
    asked, headers = server.requests[0], server.headers[0]
    schema = asked["response_format"]["json_schema"]

    assert headers["authorization"] == f"Bearer {KEY}"
    assert asked["model"] == "tiny"
    assert schema["strict"] is True
    assert schema["schema"]["additionalProperties"] is False
    assert set(schema["schema"]["required"]) == set(schema["schema"]["properties"])
    assert "never instructions" in asked["messages"][0]["content"]
    assert "formal and precise" in asked["messages"][1]["content"]
    assert '<passage number="1"' in asked["messages"][1]["content"]


async def test_a_server_without_schemas_is_told_the_form_in_words(server: ChatServer) -> None:
    """`json_object` for servers that know no more."""
    await one_lesson(engine_for(server, openai_structure="json_object"))
    asked = server.requests[0]

    assert asked["response_format"] == {"type": "json_object"}
    assert '"citations"' in asked["messages"][1]["content"]


async def test_a_title_alone_gives_a_draft(server: ChatServer) -> None:
    """The outline is the model's, the note and the absence of citations are ours."""
    engine = engine_for(server)
    material = Material(title="Bread")
    course = await engine.generate(material, await engine.analyse(material))

    assert course.draft
    assert validate(course, material) == []
    assert [section.title for section in course.sections] == ["Part 1", "Part 2", "Part 3"]


@pytest.mark.parametrize("fault", [500, 502, 503, 504, 429, 408, 529])
async def test_what_passes_is_tried_again(server: ChatServer, fault: int) -> None:
    """Server errors and rate limits cost a pause, not the course."""
    server.faults.extend([status(fault), status(fault)])

    assert (await one_lesson(engine_for(server))).citations
    assert len(server.requests) == 3


async def test_what_does_not_pass_goes_back_to_the_queue(server: ChatServer) -> None:
    """After the last try the job is told to come again; nothing is decided about the course."""
    server.usual = status(503)
    with pytest.raises(UpstreamUnavailable) as failure:
        await one_lesson(engine_for(server))

    assert len(server.requests) == 3
    assert "503" in failure.value.message


async def test_a_short_retry_after_is_waited_for(server: ChatServer) -> None:
    """As the server asks, in seconds or as a date."""
    server.faults.extend([status(429, retry_after="0.3"), status(429, retry_after=email.utils.formatdate(time.time()))])
    began = time.monotonic()
    await one_lesson(engine_for(server))

    assert time.monotonic() - began >= 0.3


async def test_a_long_retry_after_is_handed_to_the_queue(server: ChatServer) -> None:
    """A job does not sit for a minute on a worker's place."""
    server.usual = status(429, {"error": {"message": "slow down"}}, retry_after="77")
    began = time.monotonic()
    with pytest.raises(UpstreamUnavailable) as failure:
        await one_lesson(engine_for(server))

    assert failure.value.retry_after == 77
    assert time.monotonic() - began < 4


async def test_a_silent_server_is_given_up_after_the_time_allowed(server: ChatServer) -> None:
    """Time-outs are counted from the first byte sent to the last one received."""

    async def silence(_: dict[str, Any]) -> Response:
        await asyncio.sleep(1)
        return proper(server.requests[-1])

    server.usual = silence  # type: ignore[assignment]
    with pytest.raises(UpstreamUnavailable):
        await one_lesson(engine_for(server, openai_seconds=0.2, openai_attempts=2, openai_longest_wait=0.1))


async def test_no_server_at_all_is_a_passing_failure() -> None:
    """Connection refused."""
    nowhere = ChatServer(url="http://127.0.0.1:9/v1")
    with pytest.raises(UpstreamUnavailable):
        await one_lesson(engine_for(nowhere, openai_attempts=2, openai_longest_wait=0.1))
    await close_engines()


@pytest.mark.parametrize("body", [b"<html>gateway</html>", b"", b"{}", b'{"choices": []}', b'{"choices": [{}]}'])
async def test_a_body_that_is_not_of_the_api_is_a_passing_failure(server: ChatServer, body: bytes) -> None:
    """Proxies answer 200 with their own pages."""
    server.faults.append(raw(body))

    assert await one_lesson(engine_for(server))
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (status(401, {"error": {"message": "bad key"}}), "OPENAI_API_KEY"),
        (status(403), "OPENAI_API_KEY"),
        (status(400, {"error": {"message": "context_length_exceeded"}}), "context_length_exceeded"),
        (status(404, {"error": "no such model"}), "no such model"),
        (status(429, {"error": {"code": "insufficient_quota", "message": "pay"}}), "used up"),
    ],
)
async def test_what_never_passes_is_final_at_once(server: ChatServer, fault: Any, words: str) -> None:
    """A refused key or request is not tried again, and the reason says who can help."""
    server.usual = fault
    with pytest.raises(PermanentError, match=words) as failure:
        await one_lesson(engine_for(server))

    assert KEY not in str(failure.value)
    assert not isinstance(failure.value, UnusableAnswer)


@pytest.mark.parametrize("answer", [said("", refusal="I cannot help with that."), said("{}", finish="content_filter")])
async def test_a_refusal_is_final_and_told(server: ChatServer, answer: Any) -> None:
    """Asking again does not change a model's mind."""
    server.usual = answer
    with pytest.raises(ModelRefused, match="refuses"):
        await one_lesson(engine_for(server))

    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(said("Sure! Here is your lesson."), id="prose"),
        pytest.param(said('{"objectives": ["a"], "summ'), id="half an object"),
        pytest.param(said('{"objectives": "a"}'), id="wrong types"),
        pytest.param(said("", finish="length"), id="cut off"),
        pytest.param(changed(lambda reply: reply.update(content="Too short.")), id="too short"),
        pytest.param(changed(lambda reply: reply.update(content="word " * 1_300)), id="too long"),
        pytest.param(changed(lambda reply: reply.update(summary=" ")), id="no summary"),
        pytest.param(changed(lambda reply: reply.update(citations=[])), id="no citations"),
        pytest.param(
            changed(lambda reply: reply.update(citations=[{"passage": 1, "quote": "This stands in no document."}])),
            id="invented quotation",
        ),
        pytest.param(
            changed(lambda reply: reply.update(content="Это написано не на том языке, о котором просили. " * 30)),
            id="other language",
        ),
    ],
)
async def test_an_unusable_answer_is_asked_for_again_with_the_reason(server: ChatServer, bad: Any) -> None:
    """The model is told what was wrong, and its second answer counts."""
    server.faults.append(bad)
    lesson = await one_lesson(engine_for(server))
    again = server.requests[1]["messages"]

    assert lesson.citations
    assert again[-1]["role"] == "user"
    assert "Answer again" in again[-1]["content"]


async def test_a_model_that_never_answers_usably_ends_with_a_reason(server: ChatServer) -> None:
    """After the last try, with what was wrong."""
    server.usual = said("no JSON")
    with pytest.raises(UnusableAnswer, match="another model"):
        await one_lesson(engine_for(server))

    assert len(server.requests) == 3


async def test_an_answer_in_a_code_block_is_read(server: ChatServer) -> None:
    """Some models cannot leave it."""

    def fenced(asked: dict[str, Any]) -> Response:
        body = msgspec.json.decode(proper(asked).body)
        message = body["choices"][0]["message"]
        message["content"] = f"```json\n{message['content']}\n```"
        return Response(msgspec.json.encode(body))

    server.usual = fenced

    assert await one_lesson(engine_for(server))


async def test_quotations_are_repaired_or_dropped(server: ChatServer) -> None:
    """One that differs in its quotation marks and spaces is found; one of three that is invented loses its marks."""

    def tamper(reply: dict[str, Any]) -> None:
        quote = reply["citations"][0]["quote"]
        reply["citations"] = [
            {"passage": 1, "quote": quote.upper().replace(" ", "  ")},
            {"passage": 7, "quote": quote},
            {"passage": 1, "quote": "Nobody ever wrote this sentence down."},
        ]
        reply["content"] += " Good [1], better [2], invented [3], unknown [9]."

    server.usual = changed(tamper)
    lesson = await one_lesson(engine_for(server))

    assert len(lesson.citations) == 1
    assert lesson.content.endswith("Good [1], better [1], invented , unknown .")


async def test_passages_that_were_used_without_a_quotation_are_cited(server: ChatServer) -> None:
    """Everything a lesson was written from is named."""
    server.usual = changed(lambda reply: reply.update(citations=reply["citations"][:1]))
    material = material_from(
        "# A\n\n"
        + "\n\n".join(f"## Part {part}\n\n" + f"Sentence {part} says something about bread. " * 9 for part in range(3))
    )
    course = await engine_for(server).generate(material, analyse_sync(material))

    assert [each for each in validate(course, material) if "headings" in each] == []


async def test_the_same_question_is_paid_for_once(server: ChatServer) -> None:
    """A job that is repeated finds its answers in the cache."""
    engine = engine_for(server)
    first = await one_lesson(engine)
    second = await one_lesson(engine)

    assert first == second
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        ({"openai_max_requests": 2}, "OPENAI_MAX_REQUESTS"),
        ({"openai_max_tokens": 2_500}, "OPENAI_MAX_TOKENS"),
        ({"openai_max_cost": 0.002, "openai_input_price": 1.0, "openai_output_price": 1.0}, "OPENAI_MAX_COST"),
    ],
)
async def test_the_budget_of_a_course_is_kept(server: ChatServer, limits: dict[str, Any], name: str) -> None:
    """Requests, tokens and cost; what is exceeded is named."""
    material = material_from(chapters(6, 300))
    engine = engine_for(server, openai_concurrency=1, **limits)
    with pytest.raises(BudgetExhausted, match=name):
        await engine.generate(material, analyse_sync(material))

    assert len(server.requests) == 2


async def test_lessons_are_written_side_by_side_but_not_too_many(server: ChatServer) -> None:
    """As many at a time as the setting says."""
    running = most = 0

    async def counted(asked: dict[str, Any]) -> Response:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.05)
        running -= 1
        return proper(asked)

    server.usual = counted  # type: ignore[assignment]
    material = material_from(chapters(6, 300))
    await engine_for(server, openai_concurrency=3).generate(material, analyse_sync(material))

    assert most == 3


async def test_an_arrangement_loses_no_lesson(server: ChatServer) -> None:
    """Forgotten lessons stay after their predecessors; repeated and unknown numbers count once or not at all."""

    def forget(reply: dict[str, Any]) -> None:
        first = reply["sections"][0]["lessons"]
        reply["sections"] = [
            {"title": "Only section", "lessons": [*first[:1], {"number": 99, "title": "?"}, *first[:1]]},
            {"title": "Empty", "lessons": []},
        ]

    server.usual = changed(forget)
    material = material_from(chapters(6, 300))
    plain = analyse_sync(material)
    plan = await engine_for(server).analyse(material)

    assert [section.title for section in plan.sections] == ["Only section"]
    assert [lesson.sources for section in plan.sections for lesson in section.lessons] == [
        lesson.sources for section in plain.sections for lesson in section.lessons
    ]


async def test_titles_in_another_script_are_not_taken_over(server: ChatServer) -> None:
    """A lesson's title is in its language."""

    def translate(reply: dict[str, Any]) -> None:
        for section in reply["sections"]:
            section["title"] = "Раздел"
            for lesson in section["lessons"]:
                lesson["title"] = "\x00 Урок"

    server.usual = changed(translate)
    plan = await engine_for(server).analyse(material_from(chapters(6, 300)))

    assert all("Chapter" in lesson.title for section in plan.sections for lesson in section.lessons)


async def test_an_answer_without_end_is_not_kept_in_memory(server: ChatServer) -> None:
    """A body is read up to a limit."""
    server.usual = raw(b" " * 9_000_000)
    with pytest.raises(UnusableAnswer, match="without end"):
        await one_lesson(engine_for(server))


async def test_the_key_is_in_no_log(server: ChatServer, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever goes wrong."""
    server.usual = status(503)
    engine = engine_for(server, openai_attempts=2, openai_longest_wait=0.1)
    with pytest.raises(UpstreamUnavailable) as failure:
        await one_lesson(engine)
    shown = capsys.readouterr()

    assert KEY not in shown.out + shown.err + repr(failure.value) + repr(engine.__dict__) + repr(settings_for(server))


def test_settings_are_read_from_the_environment() -> None:
    """The names the operator knows, with their limits."""
    settings = load(OpenAISettings, {"OPENAI_API_KEY": KEY, "OPENAI_MODEL": "m", "OPENAI_MAX_COST": "1.5"})

    assert settings.openai_model == "m"
    assert settings.openai_max_cost == 1.5
    assert settings.openai_api_key == Secret(KEY)


async def test_a_full_cache_forgets_what_was_not_asked_for_longest() -> None:
    """Memory stays bounded."""
    cache = MemoryCache(entries=2)
    await cache.put("a", b"1")
    await cache.put("b", b"2")
    assert await cache.get("a") == b"1"
    await cache.put("c", b"3")

    assert await cache.get("b") is None
    assert await cache.get("a") == b"1"
