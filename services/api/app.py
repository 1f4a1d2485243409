"""The ASGI application: one layer from the socket to the route, and the one door through which answers and errors leave.

Promises: every answer carries `X-Request-ID` (the caller's, when it is sane); every error has the shape of GAP1; what
nobody foresaw is logged with its trace and answered with a 500 that tells nothing; tokens are checked before anything of
the body is read (GAP26).
"""

from __future__ import annotations

import re
import time
from typing import Any

from services.api.auth import Authenticator, require_admin
from services.api.cors import Cors
from services.api.messages import ClientGone, Header, Receive, Reply, Request, Scope, Send
from services.api.problems import problem
from services.api.routing import Operation, RouteTable
from services.kernel import metrics
from services.kernel.database import DatabaseRefused
from services.kernel.errors import CoursegenError, OperatorError
from services.kernel.ids import new_request_id
from services.kernel.logs import bind_context, get_logger

_SANE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
_FIXED_HEADERS: tuple[Header, ...] = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))

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
    ) -> None:
        self._routes = routes
        self._authenticator = authenticator
        self._cors = cors
        self._max_body_bytes = max_body_bytes
        self._access_log = access_log
        self._meters: dict[tuple[str, int], tuple[Any, Any]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        started = time.perf_counter()
        request = Request(scope, receive, "", self._max_body_bytes)
        request.request_id = _request_id(request.header(b"x-request-id"))
        with bind_context(requestId=request.request_id):
            try:
                route, reply = await self._answer(request)
            except ClientGone:
                return
            await self._send(request, reply, send)
            self._note(request, route, reply, time.perf_counter() - started)

    async def _answer(self, request: Request) -> tuple[str, Reply]:
        route = "unknown"
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
            return route, _failed(error)

    async def _perform(self, operation: Operation, request: Request) -> Reply:
        if operation.public:
            return await operation.handler(request)
        caller = await self._authenticator.authenticate(request.header(b"authorization"))
        request.caller = caller
        if operation.admin:
            require_admin(caller)
        with bind_context(userId=str(caller.user_id), tier=caller.tier):
            return await operation.handler(request)

    async def _send(self, request: Request, reply: Reply, send: Send) -> None:
        headers: list[Header] = [(b"x-request-id", request.request_id.encode()), *_FIXED_HEADERS, *reply.headers]
        if reply.status != 204:
            headers.append((b"content-type", reply.content_type))
            headers.append((b"content-length", b"%d" % len(reply.body)))
        if self._cors.is_on:
            headers += self._cors.headers(request)
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})

    def _note(self, request: Request, route: str, reply: Reply, seconds: float) -> None:
        key = (route, reply.status)
        meters = self._meters.get(key)
        if meters is None:
            meters = (_REQUESTS.labels(route, str(reply.status)), _SECONDS.labels(route))
            self._meters[key] = meters
        meters[0].inc()
        meters[1].observe(seconds)
        if self._access_log:
            _log.info(
                "request",
                method=request.method,
                path=request.scope["path"],
                status=reply.status,
                seconds=round(seconds, 4),
            )


def _request_id(offered: bytes | None) -> str:
    if offered is not None and _SANE_REQUEST_ID.fullmatch(offered):
        return offered.decode("ascii")
    return new_request_id()


def _failed(error: Exception) -> Reply:
    foreseen = isinstance(error, CoursegenError) and not isinstance(error, DatabaseRefused | OperatorError)
    if not foreseen:
        _log.error("request failed", exc_info=error)
    return problem(error)
