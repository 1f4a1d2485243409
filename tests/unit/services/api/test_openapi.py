"""The description says what the code does, because it is made from it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import orjson
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from services.api import openapi
from services.api.openapi import error_statuses
from services.api.routes.admin import AdminRoutes
from services.api.routes.concurrency import ConcurrencyRoutes
from services.api.routes.courses import CourseRoutes
from services.api.routes.dead_letters import DeadLetterRoutes
from services.api.routes.description import DescriptionRoutes, page
from services.api.routes.documents import DocumentRoutes
from services.api.routes.generation import GenerationRoutes
from services.api.routes.live import LiveRoutes
from services.api.routes.metrics import MetricsRoutes
from services.api.routes.pages import PageRoutes
from services.api.routes.queues import QueueRoutes
from services.api.routes.tickets import TicketRoutes
from services.api.routes.webhooks import WebhookRoutes
from services.api.routing import Operation
from services.kernel.owner_errors import told
from services.kernel.webhooks.events import EndedRun, Failure, body_of

EXPECTED = """
POST /api/trpc/generation.initiate
POST /api/coursegen/generate
POST /api/courses/{course}/cancel
POST /api/courses/{course}/retry
GET /api/courses
POST /api/courses
GET /api/courses/{course}
DELETE /api/courses/{course}
GET /api/courses/{course}/history
GET /api/courses/{course}/result
GET /api/courses/{course}/result.md
GET /api/courses/{course}/documents
POST /api/courses/{course}/documents
DELETE /api/courses/{course}/documents/{document}
GET /api/courses/{course}/check-status
GET /api/courses/{course}/events
GET /api/trpc/metrics.getAll
GET /api/trpc/metrics.getFSM
GET /api/trpc/metrics.getOutbox
GET /api/trpc/metrics.getFallbacks
GET /api/trpc/metrics.healthCheck
GET /api/health/outbox
POST /api/tickets
POST /api/sessions
GET /api/sessions
DELETE /api/sessions
POST /api/webhooks/secret
GET /admin
GET /admin/assets/{asset}
GET /api/admin/outbox
GET /api/admin/leader
GET /api/admin/actions
GET /api/admin/events
GET /api/admin/queues
GET /api/admin/queues/{queue}/jobs
POST /api/admin/queues/{queue}/pause
POST /api/admin/queues/{queue}/resume
GET /api/admin/concurrency
PUT /api/admin/limits/{scope}
POST /api/admin/concurrency/reconcile
GET /api/admin/dead-letters
POST /api/admin/dead-letters/replay
POST /api/admin/dead-letters/discard
GET /openapi.json
GET /docs
"""


def operations() -> list[Operation]:
    """The whole table, on nothing."""
    nothing: Any = None
    views = CourseRoutes(nothing, nothing, nothing)
    groups: list[Any] = [
        GenerationRoutes(nothing, nothing, views, nothing),
        views,
        DocumentRoutes(nothing, nothing, largest=1, at_once=1, folder=nothing),
        LiveRoutes(nothing, nothing, nothing, longest_seconds=1, leeway_seconds=0),
        MetricsRoutes(nothing, always_200=False),
        TicketRoutes(nothing, nothing),
        WebhookRoutes(nothing, nothing),
        PageRoutes(),
        AdminRoutes(nothing, nothing),
        QueueRoutes(nothing),
        ConcurrencyRoutes(nothing),
        DeadLetterRoutes(nothing),
        DescriptionRoutes(),
    ]
    return [operation for group in groups for operation in group.operations()]


@pytest.fixture(scope="module")
def description() -> dict[str, Any]:
    """The description."""
    return openapi.describe(operations(), "1.2.3")


def test_the_routes_are_those_of_the_contract() -> None:
    """Adding or removing one is a decision."""
    assert [f"{each.method} {each.path}" for each in operations()] == EXPECTED.split("\n")[1:-1]


def test_no_schema_asks_for_an_iri(description: dict[str, Any]) -> None:
    """tests/conftest.py leaves out what would check one."""
    assert b'"iri' not in orjson.dumps(description)


def test_the_description_has_exactly_the_routes(description: dict[str, Any]) -> None:
    """Every path and method, and nothing else; what is only kept for later is left out."""
    described = {(method.upper(), path) for path, methods in description["paths"].items() for method in methods}

    assert described == {(each.method, each.path) for each in operations() if not each.reserved}
    assert {each.path for each in operations() if each.reserved and not each.path.startswith("/admin/")} == set()


def test_the_description_is_valid_openapi(description: dict[str, Any]) -> None:
    """By the official schema of 3.1."""
    OpenAPIV31SpecValidator(description).validate()


def test_every_operation_says_what_it_does_and_how_it_fails(description: dict[str, Any]) -> None:
    """A summary, its errors, its name once."""
    names = []
    for operation in filter(lambda each: not each.reserved, operations()):
        described = description["paths"][operation.path][operation.method.lower()]
        names.append(described["operationId"])
        assert described["summary"].endswith((".", "token.")), described["summary"]
        assert {str(status) for status in error_statuses(operation)} <= set(described["responses"])
        assert described["security"] == ([] if operation.public else [{"token": []}, {"session": []}])

    assert len(names) == len(set(names))


def test_only_numbers_descriptions_and_the_door_are_public() -> None:
    """TRAP35, the page's files, which hold no data, and what lets a browser in and out; nothing else."""
    public = {f"{each.method} {each.path}" for each in operations() if each.public}

    assert public == {
        "GET /api/trpc/metrics.getAll",
        "GET /api/trpc/metrics.getFSM",
        "GET /api/trpc/metrics.getOutbox",
        "GET /api/trpc/metrics.getFallbacks",
        "GET /api/trpc/metrics.healthCheck",
        "GET /api/health/outbox",
        "GET /openapi.json",
        "GET /docs",
        "GET /admin",
        "GET /admin/assets/{asset}",
        "POST /api/sessions",
        "DELETE /api/sessions",
    }


def test_bodies_are_described_by_their_types(description: dict[str, Any]) -> None:
    """Fields, limits and formats come from the code."""
    body = description["components"]["schemas"]["InitiateBody"]

    assert body["required"] == ["courseId"]
    assert body["properties"]["courseId"] == {"type": "string", "format": "uuid"}
    assert set(body["properties"]) == {
        "courseId",
        "title",
        "hasFiles",
        "webhookUrl",
        "style",
        "language",
        "idempotencyKey",
    }


def test_the_page_loads_nothing_from_outside(description: dict[str, Any]) -> None:
    """No script, and no address but our own."""
    text = page(description)

    assert "<script" not in text
    assert re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?([^\"')>]+)", text) == ["/openapi.json"]
    assert all(each.path in text for each in operations() if not each.reserved)


def test_what_is_sent_to_webhooks_is_described(description: dict[str, Any]) -> None:
    """The very body of a completed and of a failed run fits it, and nothing that lacks its course does."""
    content = description["webhooks"]["courseEnded"]["post"]["requestBody"]["content"]["application/json"]
    validator = Draft202012Validator({**content["schema"], "components": description["components"]})
    run = EndedRun(
        course_id=UUID(int=1),
        slug="bees",
        title="Bees",
        organization_id=UUID(int=2),
        run_number=1,
        priority=1,
        url="https://example.com/",
    )
    for failure in (None, Failure(**told("nothing_readable", "a.pdf: encrypted"))):
        sent = msgspec.to_builtins(body_of(run, datetime.now(UTC), failure))

        assert list(validator.iter_errors(sent)) == []
        if failure is not None:
            assert set(sent["data"]["error"]) == {"code", "message", "detail"}
        del sent["data"]["courseId"]
        assert list(validator.iter_errors(sent)) != []
