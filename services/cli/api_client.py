"""The api as the command uses it: patient with outages, plain about refusals.

Every call may be repeated safely: reading changes nothing, creating and initiating carry an idempotency key, and before an
upload is repeated the documents that arrived are looked up. An api that must be one of a known stack is asked who it is before
it is told anything, at first and after every break of the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from services.cli.errors import StackError
from services.kernel.errors import CoursegenError
from services.kernel.lean import lean

with lean():
    import httpx

_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 2.0
_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
_STREAM_TIMEOUT = httpx.Timeout(45.0, connect=5.0)
"""Three heartbeats of the live stream."""
WHO = "/docs"
"""Asked only for its head: every api has this page and shows it to everyone, so the question is no refusal in its log."""

_MEDIA_TYPES = {
    ".pdf": "application/pdf",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".html": "text/html",
    ".htm": "text/html",
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".txt": "text/plain",
}

Json = dict[str, Any]


class ApiRefused(StackError):
    """The api refused the request."""

    code = "api_refused"

    def __init__(self, message: str, *, status: int, retry_after: float = 0.0) -> None:
        super().__init__(message, status=status)
        self.status = status
        self.retry_after = retry_after
        """Seconds after which the api asks to be called again; 0 when it does not."""


class ApiUnreachable(StackError):
    """The api does not answer."""

    code = "api_unreachable"


class StrangeApi(StackError):
    """Another stack's api, or another program, answers."""

    code = "strange_api"


class ApiClient:
    """A signed-in client of one api."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        stack_id: str | None = None,
        patience_seconds: float = 30.0,
        on_outage: Callable[[str], None] = lambda _: None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Connect to nothing yet.

        Args:
            url: of the api, without a path.
            token: sent as bearer.
            stack_id: of the stack whose api must answer; any when None.
            patience_seconds: how long a call is repeated while the api does not answer or answers 5xx.
            on_outage: told once per outage.
            transport: what carries the requests; the network when None.
        """
        self.url = url.rstrip("/")
        self._stack_id = stack_id
        self._is_known = stack_id is None
        self._patience = patience_seconds
        self._on_outage = on_outage
        is_encrypted = self.url.lower().startswith("https:")
        self._http = httpx.AsyncClient(
            base_url=self.url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=_TIMEOUT,
            trust_env=False,
            verify=is_encrypted,  # else no certificate is looked at, and reading those of all authorities takes a while
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def create_course(self, title: str, style: str, language: str | None, key: str) -> Json:
        """The course that `key` names; a repeat finds the same one."""
        body = {"title": title, "style": style, **({"language": language} if language else {})}
        return await self._json("POST", "/api/courses", json=body, headers={"Idempotency-Key": key})

    async def delete_course(self, course_id: str) -> None:
        """Remove a course, if it is still there."""
        try:
            await self._send("DELETE", f"/api/courses/{course_id}")
        except ApiRefused as refusal:
            if refusal.status != 404:
                raise

    async def course(self, reference: str) -> Json:
        """A course by id or slug."""
        return await self._json("GET", f"/api/courses/{reference}")

    async def documents(self, course_id: str) -> list[Json]:
        """The documents of a course, in order."""
        return list((await self._json("GET", f"/api/courses/{course_id}/documents"))["documents"])

    async def upload(self, course_id: str, path: Path) -> Json:
        """Add a document; not to be repeated blindly."""
        kind = _MEDIA_TYPES.get(path.suffix.lower(), "application/octet-stream")
        with path.open("rb") as content:
            files = {"file": (path.name, content, kind)}
            return await self._json("POST", f"/api/courses/{course_id}/documents", files=files, repeat=False)

    async def initiate(self, course_id: str, key: str) -> Json:
        """Begin the run that `key` names; a repeat finds the same run."""
        headers = {"Idempotency-Key": key}
        return await self._json("POST", "/api/trpc/generation.initiate", json={"courseId": course_id}, headers=headers)

    async def events(self, course_id: str, cursor: str | None) -> tuple[list[Json], str | None]:
        """The next events of a course's history, and the cursor for what follows."""
        params = {"limit": 100, **({"cursor": cursor} if cursor else {})}
        page = await self._json("GET", f"/api/courses/{course_id}/history", params=params)
        return list(page["events"]), page["nextCursor"]

    async def result(self, course_id: str) -> bytes:
        """The finished course as JSON, as the api stores it."""
        return (await self._send("GET", f"/api/courses/{course_id}/result")).content

    async def markdown(self, course_id: str) -> bytes:
        """The finished course as Markdown."""
        return (await self._send("GET", f"/api/courses/{course_id}/result.md")).content

    async def send_message(self, body: Json) -> Json:
        """Have a message accepted; a repeat of its `clientMessageId` is the same message."""
        return await self._json("POST", "/api/messages", json=body)

    async def message(self, message_id: str) -> Json:
        """A message, and how far it has come."""
        return await self._json("GET", f"/api/messages/{quote(message_id, safe='')}")

    async def conversation(self, conversation_id: str, limit: int, cursor: str | None) -> Json:
        """A page of a conversation's persisted messages, in their order."""
        params = {"limit": str(limit), **({"cursor": cursor} if cursor else {})}
        return await self._json("GET", f"/api/conversations/{quote(conversation_id, safe='')}/messages", params=params)

    @property
    def patience_seconds(self) -> float:
        """How long an outage may last."""
        return self._patience

    def on_outage(self, text: str) -> None:
        """Say that the api does not answer."""
        self._on_outage(text)

    @asynccontextmanager
    async def stream(self, path: str, headers: dict[str, str]) -> AsyncIterator[httpx.Response]:
        """An answer that goes on, to be read as it comes. Called once: whoever reads it knows from where to repeat it.

        Raises:
            ApiRefused: there is no such stream for us.
            StreamBroken: the api does not answer, or breaks off; call again.
        """
        try:
            await self._make_sure()
            async with self._http.stream("GET", path, headers=headers, timeout=_STREAM_TIMEOUT) as answer:
                self._require_known(answer)
                if answer.status_code >= 400:
                    await answer.aread()
                    if answer.status_code >= 500:
                        raise StreamBroken(f"status {answer.status_code}{_reason(answer)}")
                    raise _refusal(answer)
                yield answer
        except httpx.TransportError as error:
            self._is_known = self._stack_id is None
            raise StreamBroken(str(error) or type(error).__name__) from error

    async def _json(self, method: str, path: str, *, repeat: bool = True, **options: Any) -> Json:
        answer = await self._send(method, path, repeat=repeat, **options)
        value: Json = answer.json()
        return value

    async def _send(self, method: str, path: str, *, repeat: bool = True, **options: Any) -> httpx.Response:
        """One call, repeated through an outage.

        A call that must not be repeated blindly is repeated only when it certainly did not arrive.
        """
        deadline = time.monotonic() + self._patience
        pause = _FIRST_PAUSE_SECONDS
        told = False
        while True:
            answer, trouble = await self._try(method, path, repeat, options)
            if answer is not None:
                return answer
            if time.monotonic() + pause > deadline:
                raise ApiUnreachable(
                    f"{self.url} does not answer: {trouble}. Is it running? `coursegen up` starts one."
                )
            if not told:
                self._on_outage(f"the api does not answer ({trouble}); trying again")
                told = True
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def _try(
        self, method: str, path: str, repeat: bool, options: dict[str, Any]
    ) -> tuple[httpx.Response | None, str]:
        try:
            await self._make_sure()
            answer = await self._http.request(method, path, **options)
        except httpx.ConnectError as error:
            self._is_known = self._stack_id is None
            return None, str(error) or "no connection"
        except httpx.TransportError as error:
            self._is_known = self._stack_id is None
            if repeat:
                return None, type(error).__name__
            raise Uncertain(f"the api broke off ({type(error).__name__})") from error
        self._require_known(answer)
        if answer.is_success:
            return answer, ""
        if answer.status_code >= 500:
            if repeat or answer.status_code == 503:
                return None, f"status {answer.status_code}{_reason(answer)}"
            raise Uncertain(f"the api failed ({answer.status_code})")
        raise _refusal(answer)

    async def _make_sure(self) -> None:
        """Before anything is told to it: is it the api that is meant? Its stack is in the head of every answer.

        Raises:
            StrangeApi: it is not.
        """
        if not self._is_known:
            question = self._http.build_request("HEAD", WHO)
            del question.headers["Authorization"]
            self._require_known(await self._http.send(question))
            self._is_known = True

    def _require_known(self, answer: httpx.Response) -> None:
        if self._stack_id is not None and answer.headers.get("X-Stack-Id") != self._stack_id:
            raise StrangeApi(
                f"Another program answers at {self.url} in place of this stack's api. Stop that program, or start the "
                "stack on another port: coursegen up --port 3001"
            )


class Uncertain(CoursegenError):
    """Nobody knows whether the request was carried out."""

    code = "uncertain"


class StreamBroken(CoursegenError):
    """A stream could not be opened, or broke off."""

    code = "stream_broken"


def _reason(answer: httpx.Response) -> str:
    """What the api says about it, if it says anything."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return f", {answer.json()['error']['message']}".rstrip(".")
    return ""


def _refusal(answer: httpx.Response) -> ApiRefused:
    code, message = str(answer.status_code), answer.text[:500]
    with contextlib.suppress(ValueError, KeyError, TypeError):
        error = answer.json()["error"]
        code, message = str(error["code"]), str(error["message"])
    advice = " Get a token with `coursegen token`." if answer.status_code == 401 else ""
    return ApiRefused(
        f"The api refused ({answer.status_code} {code}): {message}{advice}",
        status=answer.status_code,
        retry_after=_seconds(answer.headers.get("Retry-After", "")),
    )


def _seconds(text: str) -> float:
    return float(text) if text.isdecimal() else 0.0
