"""One request id and one trace through api, relay and workers, told by their real logs (contract.md q)."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import httpx

from services.cli.api_client import ApiClient
from services.kernel import tracing
from services.kernel.database import Database
from tests.support.courses import add_course
from tests.support.mailbox import open_mailbox
from tests.support.pipeline import wait_for_state
from tests.support.stack import Process, Stack
from tests.support.tokens import USER, bearer
from tests.support.waiting import eventually

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADERS = {**bearer(tier="PREMIUM"), "X-Request-ID": "order-66", "traceparent": f"00-{TRACE}-{SPAN}-01"}
INITIATE = "/api/trpc/generation.initiate"
JOBS = ["STRUCTURE_ANALYSIS", "STRUCTURE_GENERATION"]


def lines_of(process: Process, event: str | None = None) -> list[dict[str, Any]]:
    """The lines a process has written, each one JSON; those about one event, if one is named."""
    lines = [json.loads(line) for line in process.log.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if event is None or line["event"] == event]


def of_request(process: Process, request_id: str) -> list[dict[str, Any]]:
    """The lines about one request."""
    return [line for line in lines_of(process) if line.get("requestId") == request_id]


async def test_request_id_and_trace_follow_a_run_through_every_process(stack: Stack, db: Database) -> None:
    """From the caller's headers to the last job's lines; every line says whose request and which course and job it is."""
    stack.environment["LOG_LEVEL"] = "debug"
    api, relay, worker = await stack.start_all("api", "outbox_relay", "stage_worker")
    course_id = await add_course(db, title="Bees")
    async with httpx.AsyncClient(base_url=api.url, headers=HEADERS, timeout=20) as client:
        answer = await client.post(INITIATE, json={"courseId": str(course_id)})
        await wait_for_state(db, course_id, "completed")
        again = await client.post(INITIATE, json={"courseId": str(course_id)}, headers={"X-Request-ID": "order-67"})
    assert answer.headers["x-request-id"] == "order-66"
    assert again.json()["jobId"] == answer.json()["jobId"]

    who = {"requestId": "order-66", "traceId": TRACE, "courseId": str(course_id), "tier": "PREMIUM"}
    (initiated,) = lines_of(api, "generation initiated")
    assert initiated.items() >= {**who, "userId": str(USER), "jobId": answer.json()["jobId"], "level": "info"}.items()
    (replayed,) = lines_of(api, "generation replayed")
    assert replayed["requestId"] == "order-67"

    relayed = lines_of(relay, "job relayed")
    assert [line["jobType"] for line in relayed] == JOBS
    assert all(line.items() >= {**who, "level": "debug"}.items() for line in relayed)

    for event in ("job started", "job ended"):
        told = lines_of(worker, event)
        assert [line["jobType"] for line in told] == JOBS
        assert [line["jobId"] for line in told] == [line["jobId"] for line in relayed]
        assert all(line.items() >= {**who, "userId": str(USER), "level": "info"}.items() for line in told)
    assert {line["traceId"] for each in (api, relay, worker) for line in of_request(each, "order-66")} == {TRACE}


async def test_each_process_works_under_a_span_of_its_own(stack: Stack, db: Database) -> None:
    """The outbox rows of a run name the trace of its request, each with the span of whoever wrote it."""
    api, _, _ = await stack.start_all("api", "outbox_relay", "stage_worker")
    course_id = await add_course(db)
    async with httpx.AsyncClient(base_url=api.url, headers=HEADERS, timeout=20) as client:
        await client.post(INITIATE, json={"courseId": str(course_id)})
        await wait_for_state(db, course_id, "completed")

    rows = await db.fetch(
        "SELECT metadata, job_body::jsonb -> 'kwargs' -> 'payload' AS payload FROM job_outbox ORDER BY position"
    )
    spans = [tracing.parse(row["metadata"]["traceparent"]) for row in rows]
    assert [row["payload"]["traceparent"] for row in rows] == [row["metadata"]["traceparent"] for row in rows]
    assert {span.trace_id for span in spans if span} == {TRACE}
    assert len({SPAN, *(span.span_id for span in spans if span)}) == 1 + len(rows)


async def test_the_webhook_carries_request_id_and_trace_on(stack: Stack, db: Database) -> None:
    """So that the receiver can tell to which order and to which trace the message belongs."""
    stack.environment |= {"WEBHOOK_ALLOW_HTTP": "true", "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8"}
    api, _, worker = await stack.start_all("api", "outbox_relay", "stage_worker")
    course_id = await add_course(db)
    async with open_mailbox() as mailbox, httpx.AsyncClient(base_url=api.url, headers=HEADERS, timeout=20) as client:
        body = {"courseId": str(course_id), "webhookUrl": mailbox.url}
        assert (await client.post(INITIATE, json=body)).status_code == 200
        letter = (await eventually(lambda: mailbox.letters, within=60))[0]
        (sent,) = await eventually(lambda: lines_of(worker, "webhook sent"))

    span = tracing.parse(letter.headers["traceparent"])
    assert letter.headers["x-request-id"] == sent["requestId"] == "order-66"
    assert span is not None
    assert span.trace_id == sent["traceId"] == TRACE
    assert sent["courseId"] == str(course_id)


async def test_every_refusal_leaves_one_line_with_its_reason(stack: Stack, db: Database) -> None:
    """Who asked for what, and why not; nothing is logged twice."""
    api = await stack.start("api")
    course_id = await add_course(db)
    stranger = bearer(user=uuid4())
    async with httpx.AsyncClient(base_url=api.url, timeout=20) as client:
        asked = [
            ("r-401", {}, "GET", f"/api/courses/{course_id}", "unauthorized"),
            ("r-403", stranger, "GET", f"/api/courses/{course_id}", "forbidden"),
            ("r-404", bearer(), "GET", f"/api/courses/{uuid4()}", "not_found"),
            ("r-400", bearer(), "POST", INITIATE, "invalid_input"),
            ("r-409", bearer(), "POST", f"/api/courses/{course_id}/cancel", "conflict"),
        ]
        for request_id, token, method, path, _ in asked:
            headers = {**token, "X-Request-ID": request_id, "Content-Type": "application/json"}
            await client.request(method, path, headers=headers, content="{}" if method == "POST" else None)

    for request_id, token, _, _, code in asked:
        (line,) = of_request(api, request_id)
        assert (line["event"], line["level"], line["code"]) == ("request refused", "info", code)
        assert len(line["reason"]) > 10
        assert len(line["traceId"]) == 32
        assert ("userId" in line) == bool(token)


async def test_a_path_where_nothing_is_stands_in_the_line(stack: Stack) -> None:
    """Method and path, without a secret and not at any length; a route that there is stays with its operation."""
    api = await stack.start("api")
    token = bearer()["Authorization"].removeprefix("Bearer ")
    paths = ["/api/course/bees?token=x", f"/api/{token}", "/" + "x" * 1000, "/docs", f"/api/courses/{uuid4()}"]
    async with httpx.AsyncClient(base_url=api.url, timeout=20) as client:
        for number, path in enumerate(paths):
            await client.delete(path, headers={"X-Request-ID": f"n-{number}"})

    lines = [of_request(api, f"n-{number}")[0] for number in range(len(paths))]
    assert {line["event"] for line in lines} == {"request refused"}
    assert [line.get("method") for line in lines] == ["DELETE"] * 4 + [None]
    assert [lines[0]["path"], lines[1]["path"], lines[3]["path"]] == ["/api/course/bees", "/api/***", "/docs"]
    assert len(lines[2]["path"]) <= 200
    assert lines[4]["operation"] not in ("unknown", "docs")


async def test_the_command_asks_who_answers_without_being_refused(stack: Stack) -> None:
    """A run of the command leaves no line of a refusal in the api's log."""
    api = await stack.start("api", env={"STACK_ID": "here"})
    token = bearer()["Authorization"].removeprefix("Bearer ")
    async with ApiClient(api.url, token, stack_id="here") as client:
        await client.create_course("Bees", "academic", None, "bees-1")

    assert lines_of(api, "course created")
    assert lines_of(api, "request refused") == []


async def test_a_headers_trace_that_is_not_valid_is_left_behind(stack: Stack) -> None:
    """A forged or repeated `traceparent` begins a trace of our own and cannot break a line."""
    api = await stack.start("api", env={"ACCESS_LOG": "true"})
    bad = [[("traceparent", HEADERS["traceparent"])] * 2, [("traceparent", '00-"}')], [("traceparent", "x" * 5000)]]
    async with httpx.AsyncClient(base_url=api.url, timeout=20) as client:
        for sent in bad:
            assert (await client.get("/openapi.json", headers=sent)).status_code == 200

    traces = [line["traceId"] for line in lines_of(api, "request")]
    assert len(set(traces)) == len(bad)
    assert TRACE not in traces
