"""The ASGI application: one layer from the socket to the route, and the one door through which answers and errors leave.

Promises: every answer carries `X-Request-ID` (the caller's, when it is sane), and a valid `traceparent` is continued; both are
in every line logged meanwhile and follow the jobs that the request begins; every request that is refused or fails leaves one
line with the reason; every error has the shape of GAP1; what
nobody foresaw is logged with its trace and answered with a 500 that tells nothing; tokens are checked before anything of
the body is read (GAP26).
"""

from __future__ import annotations

import re
import time
from typing import Any, Final

from services.api.auth import Authenticator, Principal, require_admin
from services.api.browser.sessions import Sessions
from services.api.cors import Cors
from services.api.messages import ChunkSource, ClientGone, Header, Receive, Reply, Request, Scope, Send
from services.api.problems import problem
from services.api.routing import Operation, RouteTable
from services.api.streaming import pump
from services.kernel import metrics, spans, tracing
from services.kernel.database import DatabaseRefused
from services.kernel.errors import CoursegenError, OperatorError, RetryableError
from services.kernel.ids import new_request_id
from services.kernel.logs import bind_context, get_logger, scrub_text

_SANE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
_FIXED_HEADERS: tuple[Header, ...] = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

UNKNOWN: Final = "unknown"
"""The operation of a request that meets none."""
LONGEST_PATH: Final = 200
"""Characters of such a request's path that are logged."""
FAILURES: Final = (500, 503)
"""Every status of an answer that counts against the api."""

_REQUESTS = metrics.counter("http_requests", "Requests answered", ["route", "status"])
_SECONDS = metrics.histogram("http_request_duration_seconds", "Time to answer a request", ["route"])

_log = get_logger(__name__)


class Api:
    """The application. Pure ASGI, no middleware stack."""

    def __init__(
        self,
        routes: RouteTable,
        authenticator: Authenticator,
        *,
        cors: Cors,
        max_body_bytes: int,
        access_log: bool = False,
        sessions: Sessions | None = None,
    ) -> None:
        self._routes = routes
        self._authenticator = authenticator
        self._sessions = sessions
        self._cors = cors
        self._max_body_bytes = max_body_bytes
        self._access_log = access_log
        self._unasked = frozenset(each.name for each in routes.operations if each.public)
        self._meters: dict[tuple[str, int], tuple[Any, Any]] = {}
        for route in {each.name for each in routes.operations}:
            for status in FAILURES:
                _REQUESTS.labels(route, str(status))  # from the first: what appears as 1 has no rate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        started = time.perf_counter()
        request = Request(scope, receive, "", self._max_body_bytes)
        request.request_id = _request_id(request.header(b"x-request-id"))
        trace = tracing.begin(request.only_header(b"traceparent"))
        with tracing.working_in(trace), bind_context(requestId=request.request_id, traceId=trace.trace_id):
            try:
                route, reply = await self._answer(request)
            except ClientGone:
                return
            if reply.stream is not None:
                await self._stream(request, route, reply, reply.stream, send, started)
                return
            await self._send(request, reply, send)
            self._note(request, route, reply, time.perf_counter() - started)

    async def _answer(self, request: Request) -> tuple[str, Reply]:
        route = UNKNOWN
        try:
            preflight = self._cors.preflight(request) if self._cors.is_on else None
            if preflight is not None:
                return "preflight", preflight
            operation, request.path = self._routes.find(request.method, request.scope["path"])
            route = operation.name
            return route, await self._perform(operation, request)
        except ClientGone:
            raise
        except Exception as error:  # noqa: BLE001 - the last door: every error becomes an answer
            return route, _failed(error, request, route)

    async def _perform(self, operation: Operation, request: Request) -> Reply:
        if operation.public:
            return await operation.handler(request)
        caller = request.caller = await self._identify(request, optional=operation.optional_token)
        if caller is None:
            return await operation.handler(request)
        if operation.admin:
            require_admin(caller)
        with bind_context(userId=str(caller.user_id), tier=caller.tier):
            return await operation.handler(request)

    async def _identify(self, request: Request, *, optional: bool) -> Principal | None:
        """Who is calling: by the token, else by the browser's cookie. One who sends a token is judged by it alone.

        None when neither was sent, where that is allowed.
        """
        authorization = request.header(b"authorization")
        if authorization is None and self._sessions is not None:
            caller = await self._sessions.caller(request)
            if caller is not None:
                return caller
        if authorization is None and optional:
            return None
        return await self._authenticator.authenticate(authorization)

    async def _send(self, request: Request, reply: Reply, send: Send) -> None:
        await self._send_head(request, reply, send)
        await send({"type": "http.response.body", "body": reply.body})

    async def _stream(
        self, request: Request, route: str, reply: Reply, stream: ChunkSource, send: Send, started: float
    ) -> None:
        """Answered is a stream once it begins: how long its reader stays says nothing about the api."""
        try:
            await self._send_head(request, reply, send)
            self._note(request, route, reply, time.perf_counter() - started)
            if request.method == "HEAD":
                await send({"type": "http.response.body", "body": b""})
            else:
                await pump(stream, request.receive, send)
        finally:
            stream.close()

    async def _send_head(self, request: Request, reply: Reply, send: Send) -> None:
        headers: list[Header] = [(b"x-request-id", request.request_id.encode()), *_FIXED_HEADERS, *reply.headers]
        if reply.status != 204:
            headers.append((b"content-type", reply.content_type))
            if reply.stream is None:
                headers.append((b"content-length", b"%d" % len(reply.body)))
        if self._cors.is_on:
            headers += self._cors.headers(request)
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})

    def _note(self, request: Request, route: str, reply: Reply, seconds: float) -> None:
        key = (route, reply.status)
        meters = self._meters.get(key)
        if meters is None:
            meters = (_REQUESTS.labels(route, str(reply.status)), _SECONDS.labels(route))
            self._meters[key] = meters
        meters[0].inc()
        meters[1].observe(seconds, metrics.exemplar())
        self._record(request, route, reply, seconds)
        if self._access_log:
            _log.info(
                "request",
                method=request.method,
                path=request.scope["path"],
                status=reply.status,
                seconds=round(seconds, 4),
            )

    def _record(self, request: Request, route: str, reply: Reply, seconds: float) -> None:
        """The request's span. Probes ask all day: they have one only where the caller has begun the trace."""
        trace = tracing.current()
        if not spans.is_recording() or trace is None or (route in self._unasked and not trace.parent_id):
            return
        method = request.method if request.method in _METHODS else "_OTHER"
        facts: dict[str, spans.Attribute] = {
            "http.request.method": method,
            "http.response.status_code": reply.status,
            "coursegen.operation": route,
        }
        failed = reply.status >= 500
        spans.record(trace, f"{method} {route}", spans.Kind.SERVER, seconds, facts, has_failed=failed)


def _request_id(offered: bytes | None) -> str:
    if offered is not None and _SANE_REQUEST_ID.fullmatch(offered):
        return offered.decode("ascii")
    return new_request_id()


def _failed(error: Exception, request: Request, route: str) -> Reply:
    """The answer for `error`, and the one line that says what was decided and why."""
    caller = request.caller
    facts: dict[str, Any] = {"operation": route, "course": request.path.get("course")}
    if route == UNKNOWN:
        # Scrubbed before it is cut: half a token no longer looks like one.
        facts |= {"method": request.method, "path": scrub_text(request.scope["path"])[:LONGEST_PATH]}
    if caller is not None:
        facts |= {"userId": str(caller.user_id), "tier": caller.tier}
    with bind_context(**facts):
        if not isinstance(error, CoursegenError) or isinstance(error, DatabaseRefused | OperatorError):
            _log.error("request failed", exc_info=error)
        elif isinstance(error, RetryableError) or error.http_status >= 500:
            _log.warning("request cannot be served now", code=error.code, reason=error.message)
        else:
            _log.info("request refused", code=error.code, reason=error.message, details=error.details)
    return problem(error)
