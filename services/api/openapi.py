"""The OpenAPI 3.1 description, made from the table of routes and the types of their bodies; nothing is written twice."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec
import orjson

from services.api.browser.cookie import cookie_name
from services.api.browser.origin import Origin
from services.api.conversations.bodies import LONGEST_NAME
from services.api.error_catalogue import error_schema
from services.api.routing import Answer, Operation
from services.api.webhook_description import webhooks
from services.kernel.formats import course_schema
from services.kernel.messages.identity import ID_PATTERN
from services.kernel.webhooks.events import Event

TITLE: Final = "coursegen"

_OF_CONNECTIONS: Final = frozenset({400, 408, 431})
"""What any request may be told before it is one: it is no HTTP, does not arrive in time, has headers without end."""

_REFERENCE: Final = "#/components/schemas/{name}"
_HEADERS: Final[dict[str, Any]] = {
    "X-Request-ID": {
        "description": "the request's id: the caller's own, or a new one; every line of the log has it",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,64}$"},
    },
    "Retry-After": {"description": "seconds to wait", "schema": {"type": "integer", "minimum": 0}},
    "WWW-Authenticate": {"description": "how to authenticate", "schema": {"type": "string"}},
}

_PARAMETER = re.compile(r"\{(\w+)(?::path)?\}")
_DOCS = {
    "course": ("UUID or slug of a course of yours", {"type": "string", "minLength": 1}),
    "document": ("UUID of the document", {"type": "string", "format": "uuid"}),
    "queue": (
        "name of the queue, such as `course-generation:documents`",
        {"type": "string", "minLength": 1, "maxLength": 200},
    ),
    "message": ("id of the message", {"type": "string", "pattern": ID_PATTERN}),
    "conversation": (
        "the conversation, as its messages name it; any character of it may be percent-encoded",
        {"type": "string", "minLength": 1, "maxLength": LONGEST_NAME},
    ),
    "scope": (
        "`global` or a tier",
        {"type": "string", "enum": ["global", "FREE", "BASIC", "STANDARD", "TRIAL", "PREMIUM"]},
    ),
}
_REASONS = {
    400: "The request is not valid; the message says what to change",
    401: "There is no valid token",
    403: "It belongs to someone else or would be in someone else's name, or the caller is no administrator",
    404: "There is no such thing",
    408: "The request did not arrive in time",
    409: "The request contradicts the present state",
    413: "The body is too large",
    415: "The content type is not accepted",
    429: "As many courses as allowed are in generation, or streams open; `details` says which limit was met",
    431: "The headers are too large",
    500: "It is our fault; the message is in Russian",
    503: "The service is unavailable for the moment; try again",
}


def describe(operations: Iterable[Operation], version: str) -> dict[str, Any]:
    """The description of all operations that are open for use."""
    listed = [operation for operation in operations if not operation.reserved]
    models = [*_models(listed), Event]
    schemas, components = msgspec.json.schema_components(models, ref_template=_REFERENCE)
    by_model = {id(model): schema for model, schema in zip(models, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for operation in listed:
        paths.setdefault(operation.path.replace(":path}", "}"), {})[operation.method.lower()] = _operation(
            operation, by_model
        )
    components |= _documents() | _errors(listed)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": TITLE,
            "version": version,
            "description": "Turns a title or a set of documents into a structured course.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "webhooks": webhooks(by_model[id(Event)]),
        "components": {
            "schemas": components,
            "headers": _HEADERS,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "session": {"type": "apiKey", "in": "cookie", "name": cookie_name(Origin("https", ""))},
            },
        },
    }


def _models(operations: list[Operation]) -> list[Any]:
    found: dict[int, Any] = {}
    for operation in operations:
        for model in (operation.accepts, *(answer.model for answer in operation.answers.values())):
            if model is not None:
                found[id(model)] = model
    return list(found.values())


def _operation(operation: Operation, schemas: Mapping[int, Any]) -> dict[str, Any]:
    summary, _, rest = inspect.cleandoc(operation.handler.__doc__ or "").partition("\n")
    described: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": summary,
        "security": _security(operation),
        "parameters": _parameters(operation),
        "responses": _responses(operation, schemas),
    }
    if rest.strip():
        described["description"] = " ".join(rest.split())
    if operation.accepts is not None:
        described["requestBody"] = _body("application/json", schemas[id(operation.accepts)])
    if operation.uploads:
        described["requestBody"] = _body("multipart/form-data", _UPLOAD)
    return described


_UPLOAD = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {
            "type": "string",
            "contentMediaType": "application/octet-stream",
            "description": "the document, with its file name",
        }
    },
}


def _security(operation: Operation) -> list[dict[str, list[str]]]:
    if operation.public:
        return []
    anonymous: list[dict[str, list[str]]] = [{}] if operation.optional_token else []
    return [*anonymous, {"token": []}, {"session": []}]


def _body(content_type: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {content_type: {"schema": schema}}}


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = []
    for name in _PARAMETER.findall(operation.path):
        doc, schema = _DOCS[name]
        listed.append({"name": name, "in": "path", "required": True, "description": doc, "schema": schema})
    listed += [
        {"name": each.name, "in": place, "description": each.doc, "schema": dict(each.schema)}
        for place, parameters in (("query", operation.query), ("header", operation.headers))
        for each in parameters
    ]
    if operation.takes_key:
        doc = "repeats of a request with the same key are answered with what the first one did, for 24 hours"
        doc = f"{doc}: printable characters, in UTF-8"
        schema = {"type": "string", "minLength": 1, "maxLength": 255}
        listed.append({"name": "Idempotency-Key", "in": "header", "description": doc, "schema": schema})
    return listed


def _responses(operation: Operation, schemas: Mapping[int, Any]) -> dict[str, Any]:
    responses = {str(status): _answer(answer, schemas) for status, answer in operation.answers.items()}
    for status in sorted(error_statuses(operation)):
        responses.setdefault(
            str(status),
            {
                "description": _REASONS.get(status, HTTPStatus(status).phrase),
                "content": {"application/json": {"schema": _reference(f"Error{status}")}},
            },
        )
        if status in operation.answers:  # an answer of its own, which the same status as an error may replace
            body = responses[str(status)]["content"]["application/json"]
            body["schema"] = {"anyOf": [body["schema"], _reference(f"Error{status}")]}
    for code, response in responses.items():
        response["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in _headers_of(int(code))}
    return responses


def _errors(operations: Iterable[Operation]) -> dict[str, Any]:
    statuses = set().union(*(error_statuses(each) for each in operations))
    return {f"Error{status}": error_schema(status) for status in sorted(statuses)}


def _documents() -> dict[str, Any]:
    """The schemas of documents that other processes write, by name."""
    text = orjson.dumps(course_schema()["$defs"]).replace(b"#/$defs/", _REFERENCE.partition("{")[0].encode())
    schemas: dict[str, Any] = orjson.loads(text)
    return schemas


def _reference(name: str) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(name=name)}


def _headers_of(status: int) -> list[str]:
    special = {401: ["WWW-Authenticate"], 429: ["Retry-After"], 503: ["Retry-After"]}
    return ["X-Request-ID", *special.get(status, ())]


def error_statuses(operation: Operation) -> set[int]:
    """Every error status the operation may answer with: its own, and those of its kind."""
    statuses = {*_OF_CONNECTIONS, 500, 503, *operation.errors}
    if not operation.public:
        statuses.add(401)
    if "{course}" in operation.path:
        statuses |= {403, 404}
    if operation.admin:
        statuses.add(403)
    if operation.accepts is not None or operation.uploads:
        statuses |= {413, 415}
    return statuses


def _answer(answer: Answer, schemas: Mapping[int, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {"description": answer.doc}
    if answer.schema is not None:
        described["content"] = {answer.content_type: {"schema": _reference(answer.schema)}}
    elif answer.model is not None:
        described["content"] = {answer.content_type: {"schema": schemas[id(answer.model)]}}
    elif answer.content_type != "application/json":
        described["content"] = {answer.content_type: {"schema": {"type": "string"}}}
    for content_type in answer.also:
        described.setdefault("content", {})[content_type] = {"schema": {"type": "string"}}
    return described
