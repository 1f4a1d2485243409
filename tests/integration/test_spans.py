"""One trace from request through outbox, queue and stage to webhook, as a collector sees it (issue: OTLP, off by default)."""

from __future__ import annotations

import httpx

from services.kernel.database import Database
from services.kernel.spans import Kind
from tests.support import tokens
from tests.support.courses import add_course
from tests.support.mailbox import open_mailbox
from tests.support.span_collector import Seen, SpanCollector, open_collector
from tests.support.stack import Stack
from tests.support.tokens import bearer
from tests.support.waiting import eventually

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
STAGES = ("STRUCTURE_ANALYSIS", "STRUCTURE_GENERATION", "WEBHOOK_DELIVERY")
INITIATE = "/api/trpc/generation.initiate"


def by_name(collector: SpanCollector) -> dict[str, Seen]:
    """The spans of the caller's trace; each name is there once."""
    ours = [span for span in collector.spans if span.trace_id == TRACE]
    named = {span.name: span for span in ours}
    assert len(named) == len(ours), [span.name for span in ours]
    return named


async def test_one_trace_goes_from_the_request_to_the_webhook(stack: Stack, db: Database) -> None:
    """Each span hangs on the one before, across processes; the receiver of the webhook can hang its own on the last."""
    stack.environment |= {"WEBHOOK_ALLOW_HTTP": "true", "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8"}
    headers = {**bearer(), "traceparent": f"00-{TRACE}-{CALLER}-01"}
    async with open_collector() as collector, open_mailbox() as mailbox:
        stack.environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.endpoint
        api, _, _ = await stack.start_all("api", "outbox_relay", "stage_worker")
        course_id = await add_course(db)
        async with httpx.AsyncClient(base_url=api.url, headers=headers, timeout=20) as client:
            hook = f"{mailbox.url}?hush=canary-in-the-url"
            answer = await client.post(INITIATE, json={"courseId": str(course_id), "webhookUrl": hook})
            assert answer.status_code == 200, answer.text
        letter = (await eventually(lambda: mailbox.letters, within=60))[0]
        expected = {"POST initiate", "POST webhook"} | {
            f"{verb} {stage}" for verb in ("relay", "process") for stage in STAGES
        }
        await eventually(lambda: by_name(collector).keys() >= expected, within=20)
        seen = by_name(collector)

    assert seen.keys() == expected
    request = seen["POST initiate"]
    assert (request.service, request.kind, request.parent_id) == ("coursegen-api", Kind.SERVER, CALLER)
    assert request.attributes["http.response.status_code"] == 200
    parent = request
    for stage in STAGES:
        relayed, processed = seen[f"relay {stage}"], seen[f"process {stage}"]
        assert (relayed.service, relayed.kind) == ("coursegen-outbox-relay", Kind.PRODUCER)
        assert (processed.service, processed.kind) == ("coursegen-stage-worker", Kind.CONSUMER)
        assert {relayed.parent_id, processed.parent_id} == {parent.span_id}, stage
        assert relayed.attributes["messaging.message.id"] == processed.attributes["messaging.message.id"]
        assert (
            relayed.attributes["coursegen.course_id"] == str(course_id) == processed.attributes["coursegen.course_id"]
        )
        parent = processed
    sent = seen["POST webhook"]
    assert (sent.kind, sent.parent_id, sent.attributes["http.response.status_code"]) == (
        Kind.CLIENT,
        parent.span_id,
        204,
    )
    assert letter.headers["traceparent"] == f"00-{TRACE}-{sent.span_id}-01"
    assert not any(span.has_failed for span in seen.values())

    everything = b"".join(collector.bodies)
    for secret in (
        tokens.SECRET,
        headers["Authorization"].split()[1],
        "canary-in-the-url",
        letter.headers["webhook-signature"],
    ):
        assert secret.encode() not in everything


async def test_probes_have_no_spans_and_failures_are_marked(stack: Stack, db: Database) -> None:
    """Load balancers ask all day; a caller that traces its own question is answered with a span."""
    async with open_collector() as collector:
        stack.environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.endpoint
        api = await stack.start("api")
        async with httpx.AsyncClient(base_url=api.url, timeout=20) as client:
            for _ in range(3):
                await client.get("/api/trpc/metrics.healthCheck")
            await client.get("/api/trpc/metrics.healthCheck", headers={"traceparent": f"00-{TRACE}-{CALLER}-01"})
            await client.get("/api/courses", headers=bearer())
        await eventually(lambda: len(collector.spans) >= 2, within=20)
        assert await api.stopped() == 0

    health, courses = collector.spans
    assert (health.trace_id, health.has_failed) == (TRACE, True)
    assert health.attributes["http.response.status_code"] == 503
    assert (courses.parent_id, courses.has_failed) == ("", False)


async def test_without_a_collector_nothing_is_different(stack: Stack) -> None:
    """Off is the default; an address that is none is refused at the start."""
    api = stack.spawn("api", env={"OTEL_EXPORTER_OTLP_ENDPOINT": "collector"})

    assert await api.ended() == 78
    assert "OTEL_EXPORTER_OTLP_ENDPOINT: must be an address like http://collector:4318" in api.tail()
