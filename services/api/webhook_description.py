"""What the OpenAPI description says of the requests that coursegen sends itself (`webhooks`, OpenAPI 3.1)."""

from __future__ import annotations

from typing import Any, Final

_HEADERS: Final = (
    ("webhook-id", "the same in every attempt and replay: what a receiver has seen needs no second effect"),
    ("webhook-timestamp", "seconds since 1970 at which this attempt was signed"),
    ("webhook-signature", "one signature per valid secret, separated by blanks, as Standard Webhooks 1.0 has it"),
)


def webhooks(event: dict[str, Any]) -> dict[str, Any]:
    """The `webhooks` of the description; `event` is the body's schema."""
    return {
        "courseEnded": {
            "post": {
                "operationId": "course_ended",
                "tags": ["Webhooks"],
                "summary": "A run has ended: the course is completed, or it failed.",
                "description": "Sent to the `webhookUrl` that was given with the course, signed with the secret of its "
                "organisation, and repeated over a day until it is accepted.",
                "security": [],
                "parameters": [_header(name, doc) for name, doc in _HEADERS],
                "requestBody": {"required": True, "content": {"application/json": {"schema": event}}},
                "responses": {
                    "2XX": {"description": "Accepted; it is not sent again"},
                    "410": {"description": "Never again: this one is given up at once"},
                    "default": {"description": "Not accepted; it is sent again later"},
                },
            }
        }
    }


def _header(name: str, doc: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": True, "description": doc, "schema": {"type": "string"}}
