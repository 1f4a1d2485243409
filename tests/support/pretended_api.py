"""`PretendedCluster` over HTTP, as far as lightkube and kopf use an API server: discovery, lists, watches, patches, Leases."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from operators.coursegen_operator.errors import (
    AlreadyThere,
    KindAbsent,
    NotPermitted,
    ObjectGone,
    ObjectRefused,
    WriteConflict,
)
from operators.coursegen_operator.resources import (
    ALERT_POLICY,
    CRON_JOB,
    DATABASE_MIGRATION,
    DEPLOYMENT,
    EVENT,
    JOB,
    NAMESPACE,
    POD,
    PROMETHEUS,
    PROMETHEUS_RULE,
    RETENTION_POLICY,
    THANOS_RULER,
    Object,
    ObjectKey,
    ResourceType,
)
from services.kernel.errors import CoursegenError
from tests.support.pretended_cluster import PretendedCluster

LEASE = ResourceType("coordination.k8s.io", "v1", "Lease", "leases")
CORE_EVENT = ResourceType("", "v1", "Event", "events")
CRD = ResourceType("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions")
KNOWN = (
    DATABASE_MIGRATION,
    RETENTION_POLICY,
    ALERT_POLICY,
    JOB,
    CRON_JOB,
    POD,
    DEPLOYMENT,
    PROMETHEUS_RULE,
    PROMETHEUS,
    THANOS_RULER,
    EVENT,
    CORE_EVENT,
    NAMESPACE,
    LEASE,
    CRD,
)
_CODES: dict[type[Exception], tuple[int, str]] = {
    AlreadyThere: (409, "AlreadyExists"),
    WriteConflict: (409, "Conflict"),
    ObjectGone: (404, "NotFound"),
    ObjectRefused: (422, "Invalid"),
    NotPermitted: (403, "Forbidden"),
}


@dataclass(slots=True)
class _Place:
    """What a path names."""

    type: ResourceType
    namespace: str | None
    name: str
    is_status: bool


@dataclass
class PretendedApi:
    """The server."""

    cluster: PretendedCluster = field(default_factory=PretendedCluster)
    url: str = ""
    token: str = "t"
    """Whoever shows another one is refused."""
    further: set[str] = field(default_factory=set)
    """Tokens that are taken as well, so that the server can tell who asks."""
    held: set[str] = field(default_factory=set)
    """Whose writes are held up on the way here; they arrive when that is over, whether their sender still waits or not."""
    held_paths: str = "/"
    """Of those, only writes to a path with this in it."""
    waiting: list[str] = field(default_factory=list)
    """The paths of all that were held up."""
    late: list[tuple[str, str, int]] = field(default_factory=list)
    """Method and path of each that was held up, and what became of it."""
    hangs: bool = False
    requests: list[str] = field(default_factory=list)
    """Method and path of every call."""
    _history: list[tuple[int, str, Object]] = field(default_factory=list)
    is_over: bool = False
    floor: int = 0
    """Versions before this one are forgotten: whoever watches from there is told to list anew."""

    def __post_init__(self) -> None:
        self.cluster.listeners.append(self._note)

    def kubeconfig(self, folder: Path, token: str = "") -> Path:
        """A file for KUBECONFIG."""
        (folder / "token").write_text(token or self.token, encoding="utf-8")
        path = folder / "kubeconfig"
        config = {
            "current-context": "x",
            "clusters": [{"name": "x", "cluster": {"server": self.url}}],
            "users": [{"name": "x", "user": {"tokenFile": str(folder / "token")}}],
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x", "namespace": "default"}}],
        }
        path.write_bytes(msgspec.json.encode(config))
        return path

    def _note(self, what: str, item: Object) -> None:
        self._history.append((int(item["metadata"]["resourceVersion"]), what, item))

    async def answer(self, request: Request) -> Response:
        """Any call."""
        self.requests.append(f"{request.method} {request.url.path}")
        while self.hangs and not self.is_over:  # noqa: ASYNC110 - the test looks only at what it has set
            await asyncio.sleep(0.05)
        shown = request.headers.get("authorization", "").removeprefix("Bearer ")
        if shown not in {self.token, *self.further}:
            return _status(401, "Unauthorized", "who are you?")
        if request.method == "GET" or shown not in self.held or self.held_paths not in request.url.path:
            return await self._answered(request)
        await request.body()  # while the sender is there to send it
        self.waiting.append(request.url.path)
        while shown in self.held and not self.is_over:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.02)
        found = await self._answered(request)
        self.late.append((request.method, request.url.path, found.status_code))
        return found

    async def _answered(self, request: Request) -> Response:
        parts = [part for part in request.url.path.split("/") if part]
        if len(parts) < 3 or (parts[0] == "apis" and len(parts) == 3):
            return self._discovery(parts)
        place = _place(parts)
        if place is None or place.type.kind in self.cluster.absent:
            return PlainTextResponse("404 page not found", status_code=404)
        try:
            return await self._object(request, place)
        except CoursegenError as error:
            if isinstance(error, KindAbsent):
                return PlainTextResponse("404 page not found", status_code=404)
            code, reason = _CODES.get(type(error), (503, "ServiceUnavailable"))
            return _status(code, reason, error.message, place.name)

    def _discovery(self, parts: list[str]) -> Response:
        served = [each for each in KNOWN if each.kind not in self.cluster.absent or each in {EVENT, CORE_EVENT}]
        if parts == ["api"]:
            return JSONResponse({"versions": ["v1"]})
        if parts == ["apis"]:
            groups = sorted({(each.group, each.version) for each in served if each.group})
            return JSONResponse({"groups": [_group(*each) for each in groups]})
        group, version = ("", parts[1]) if parts[0] == "api" else (parts[1], parts[2] if len(parts) > 2 else "")
        found = [_described(each) for each in served if (each.group, each.version) == (group, version)]
        return JSONResponse({"resources": found}) if found else PlainTextResponse("404 page not found", status_code=404)

    async def _object(self, request: Request, place: _Place) -> Response:
        match request.method:
            case "GET" if place.name:
                found = await self.cluster.get(place.type, place.namespace or "", place.name)
                if found is None:
                    raise ObjectGone("not found")
                return JSONResponse(found)
            case "GET" if request.query_params.get("watch"):
                return self._watch(request, place)
            case "GET":
                labels = _labels(request)
                items, version = await self.cluster.snapshot(place.type, place.namespace, labels=labels)
                begin = int(request.query_params.get("continue", 0))
                end = begin + int(request.query_params.get("limit", 0) or len(items))
                body = {
                    "kind": f"{place.type.kind}List",
                    "apiVersion": place.type.api_version,
                    "items": items[begin:end],
                }
                more = {"continue": str(end)} if end < len(items) else {}
                return JSONResponse({**body, "metadata": {"resourceVersion": version, **more}})
            case "POST":
                return JSONResponse(await self._post(place, await request.json()), status_code=201)
            case "DELETE":
                await self._delete(place, await request.json())
                return JSONResponse({"kind": "Status", "status": "Success"})
            case method:
                return JSONResponse(
                    self._put(place, await request.json()) if method == "PUT" else await self._patch(request, place)
                )

    async def _post(self, place: _Place, body: Object) -> Object:
        manifest = {**body, "apiVersion": place.type.api_version, "kind": place.type.kind}
        manifest["metadata"]["namespace"] = place.namespace
        if not manifest["metadata"].get("name"):
            manifest["metadata"]["name"] = manifest["metadata"]["generateName"] + str(len(self.requests))
        return await self.cluster.create(place.type, manifest)

    async def _patch(self, request: Request, place: _Place) -> Object:
        body = await request.json()
        assert request.query_params["fieldManager"] == "coursegen-operator"
        if "merge-patch" in request.headers["content-type"]:
            return await self.cluster.merge(place.type, place.namespace or "", place.name, body)
        assert request.query_params["force"] == "true"
        if place.is_status:
            return await self.cluster.apply_status(place.type, body, body["status"])
        return await self.cluster.apply(place.type, body)

    def _put(self, place: _Place, body: Object) -> Object:
        there = self.cluster.objects.get(_key(place))
        if there is None:
            raise ObjectGone("not found")
        if body["metadata"].get("resourceVersion") != there["metadata"]["resourceVersion"]:
            raise WriteConflict("changed")
        return self.cluster.edit(_key(place), lambda item: item.update(spec=body["spec"]))

    async def _delete(self, place: _Place, options: Object) -> None:
        there = self.cluster.objects.get(_key(place))
        if there is None:
            raise ObjectGone("not found")
        if options["preconditions"]["uid"] != there["metadata"]["uid"]:
            raise WriteConflict("another uid")
        await self.cluster.delete(place.type, there)

    def _watch(self, request: Request, place: _Place) -> Response:
        since = int(request.query_params.get("resourceVersion", "0"))
        return StreamingResponse(self._stream(since, place, _labels(request)), media_type="application/json")

    async def _stream(self, since: int, place: _Place, labels: dict[str, str]) -> AsyncIterator[bytes]:
        if since < self.floor:
            gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
            yield json.dumps({"type": "ERROR", "object": gone}).encode() + b"\n"
            return
        told = 0
        while not self.is_over:
            news = self._history[told:]
            told += len(news)  # more may come while these are sent
            for version, what, item in news:
                if version > since and _concerns(item, place, labels):
                    yield json.dumps({"type": what, "object": item}).encode() + b"\n"
            if since < self.floor:
                return
            await asyncio.sleep(0.02)  # a person would not notice


def _key(place: _Place) -> ObjectKey:
    return ObjectKey(place.type.kind, place.namespace or "", place.name)


def _concerns(item: Object, place: _Place, labels: dict[str, str]) -> bool:
    return bool(
        item["kind"] == place.type.kind
        and place.namespace in {None, item["metadata"]["namespace"]}
        and labels.items() <= (item["metadata"].get("labels") or {}).items()
    )


def _labels(request: Request) -> dict[str, str]:
    selector = request.query_params.get("labelSelector", "")
    return dict(part.split("=", 1) for part in selector.split(",") if part)


def _place(parts: list[str]) -> _Place | None:
    group, version, rest = ("", parts[1], parts[2:]) if parts[0] == "api" else (parts[1], parts[2], parts[3:])
    namespace = None
    if rest[0] == "namespaces" and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    found = next((each for each in KNOWN if (each.group, each.version, each.plural) == (group, version, rest[0])), None)
    if found is None:
        return None
    return _Place(found, namespace, rest[1] if len(rest) > 1 else "", len(rest) > 2)


def _group(group: str, version: str) -> Object:
    entry = {"groupVersion": f"{group}/{version}", "version": version}
    return {"name": group, "versions": [entry], "preferredVersion": entry}


def _described(resource_type: ResourceType) -> Object:
    return {
        "name": resource_type.plural,
        "singularName": resource_type.kind.lower(),
        "kind": resource_type.kind,
        "namespaced": resource_type not in {NAMESPACE, CRD},
        "verbs": ["get", "list", "watch", "create", "patch", "delete"],
        "shortNames": [resource_type.short] if resource_type.short else [],
    }


def _status(code: int, reason: str, message: str, name: str = "") -> Response:
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
        "details": {"name": name},
    }
    return JSONResponse(body, status_code=code)


@contextlib.asynccontextmanager
async def pretended_api() -> AsyncIterator[PretendedApi]:
    """Run the server in this loop on a free port."""
    state = PretendedApi()
    methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()  # whoever comes before the server is ready waits
    state.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    app = Starlette(routes=[Route("/{path:path}", state.answer, methods=methods)])
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=1))
    serving = asyncio.create_task(server.serve([listening]))
    try:
        yield state
    finally:
        state.is_over = True
        server.should_exit = True
        await serving
        listening.close()
