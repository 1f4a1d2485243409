"""An api in memory, as far as the command's client can see: courses, documents, one run each; it can break on demand."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from email.message import Message
from typing import Any

import httpx

STATES = ("stage_2_init", "stage_2_processing", "stage_4_init", "stage_5_init", "completed")
"""A run in short."""


class FakeApi:
    """Answers requests; `breaks` may raise, or answer in its place."""

    def __init__(self) -> None:
        self.courses: dict[str, dict[str, Any]] = {}
        self.events: dict[str, list[dict[str, Any]]] = {}
        self.keys: dict[str, str] = {}
        """Keys of runs."""
        self.creations: dict[str, str] = {}
        self.stack_id = "this-stack"
        self.requests: list[str] = []
        self.breaks: Callable[[httpx.Request, int], httpx.Response | None] = lambda _request, _number: None
        self.after: Callable[[httpx.Request, int], None] = lambda _request, _number: None
        self.outcome = "completed"

    def transport(self) -> httpx.MockTransport:
        """For the client."""
        return httpx.MockTransport(self._handle)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(f"{request.method} {request.url.path}")
        number = self.requests.count(self.requests[-1])
        broken = self.breaks(request, number)
        answer = broken if broken is not None else self._answer(request)
        answer.headers["X-Stack-Id"] = self.stack_id
        self.after(request, number)
        return answer

    def _answer(self, request: httpx.Request) -> httpx.Response:
        match request.method, request.url.path.strip("/").split("/"):
            case "POST", ["api", "courses"]:
                return self._create_once(request)
            case "POST", ["api", "trpc", "generation.initiate"]:
                return self._initiate(request)
            case method, ["api", "courses", course_id, *rest] if course_id in self.courses:
                return self._of_course(method, self.courses[course_id], "/".join(rest), request)
        return _error(404, "not_found", "There is no such course.")

    def _create_once(self, request: httpx.Request) -> httpx.Response:
        key = request.headers["Idempotency-Key"]
        if key in self.creations:
            return httpx.Response(200, json=self.courses[self.creations[key]])
        made = self._create(json.loads(request.content))
        self.creations[key] = made["id"]
        return httpx.Response(201, json=made)

    def _create(self, body: dict[str, Any]) -> dict[str, Any]:
        course_id = str(uuid.uuid4())
        now = datetime.now(UTC).isoformat()
        course = {"id": course_id, "slug": "s", "status": "pending", "documents": [], "createdAt": now, **body}
        self.courses[course_id] = {**course, "progress": {"steps": []}, "runNumber": 1, "error": None}
        self.events[course_id] = []
        return self.courses[course_id]

    def _initiate(self, request: httpx.Request) -> httpx.Response:
        course_id = json.loads(request.content)["courseId"]
        key = request.headers["Idempotency-Key"]
        if key not in self.keys:
            self.keys[key] = course_id
            states = [*STATES[:-1], self.outcome]
            self.events[course_id] = [
                {"position": n, "eventType": "STATE_CHANGED", "oldState": None, "newState": state, "metadata": {}}
                for n, state in enumerate(states, 1)
            ]
            self.courses[course_id]["status"] = self.outcome
        return httpx.Response(200, json={"success": True, "jobId": key, "courseId": course_id})

    def _of_course(  # noqa: PLR0911 - one return per route
        self, method: str, course: dict[str, Any], rest: str, request: httpx.Request
    ) -> httpx.Response:
        match method, rest:
            case "GET", "":
                return httpx.Response(200, json=course)
            case "DELETE", "":
                del self.courses[course["id"]]
                return httpx.Response(204)
            case "GET", "documents":
                return httpx.Response(200, json={"documents": course["documents"]})
            case "POST", "documents":
                return self._upload(course, request)
            case "GET", "history":
                after = int(request.url.params.get("cursor", "0"))
                page = [event for event in self.events[course["id"]] if event["position"] > after]
                return httpx.Response(
                    200, json={"events": page, "nextCursor": str(page[-1]["position"]) if page else None}
                )
            case "GET", "result":
                return httpx.Response(200, content=b'{"title":"T","sections":[]}')
            case "GET", "result.md":
                return httpx.Response(200, content=b"# T\n")
        return _error(405, "method_not_allowed", "no")

    @staticmethod
    def _upload(course: dict[str, Any], request: httpx.Request) -> httpx.Response:
        boundary = request.headers["Content-Type"].partition("boundary=")[2].encode()
        head, _, content = request.content.split(b"--" + boundary)[1].partition(b"\r\n\r\n")
        message = Message()
        message["Content-Disposition"] = re.search(rb"Content-Disposition: (.*)", head)[1].decode().strip()  # type: ignore[index]
        filename = str(message.get_filename())
        content = content.removesuffix(b"\r\n")
        if b"refuse me" in content:
            return _error(415, "unsupported_media_type", "This is no document.")
        document = {
            "id": str(uuid.uuid4()), "filename": filename, "sha256": hashlib.sha256(content).hexdigest(),
            "status": "uploaded", "failureReason": None,
        }  # fmt: skip
        course["documents"].append(document)
        return httpx.Response(201, json=document)


def _error(status: int, code: str, message: str) -> httpx.Response:
    return httpx.Response(status, json={"error": {"code": code, "message": message, "details": {}}})
