"""The API server: the one module of the operator that speaks lightkube.

lightkube finds the server and proves who asks (a service account's token is read anew when the old one is refused); objects
stay the JSON they are. Every call is bounded in time, whatever the network does, and every failure is one of `errors`.

Writing is server-side apply under one field manager: the operator owns the fields it names, takes them back from whoever has
changed them, and leaves all others alone. What says which object it was planned on, by uid and version, is refused when that
is not what is there (docs/decisions/0008-operator.md).
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx2
import orjson
from lightkube.config.client_adapter import AsyncClient, ConnectionParams
from lightkube.config.models import User

from operators.coursegen_operator.answers import error_of
from operators.coursegen_operator.errors import ClusterUnavailable, ObjectGone, WriteConflict
from operators.coursegen_operator.figures import Figures
from operators.coursegen_operator.identity import Identity
from operators.coursegen_operator.resources import FIELD_MANAGER, Object, ResourceType, slim
from services.kernel.errors import CoursegenError, SettingsInvalid
from services.kernel.lease.kubernetes import read_access

Objects = list[Object]
PAGE: Final = 100
"""Objects in one answer to a list."""
_APPLY: Final = "application/apply-patch+yaml"
_MERGE: Final = "application/merge-patch+json"
_OK: Final = 300


@dataclass(frozen=True, slots=True)
class Access:
    """The way to the API server, for whoever speaks to it by other means."""

    server: str
    trust: ssl.SSLContext
    _user: User

    def authorization(self) -> str | None:
        """The header's value; a service account's token is read each time. None with a client's certificate."""
        user = self._user
        if user.token_file:
            return f"Bearer {Path(user.token_file).read_text(encoding='utf-8').strip()}"
        if user.token:
            return f"Bearer {user.token.strip()}"
        if user.username and user.password:
            return "Basic " + base64.b64encode(f"{user.username}:{user.password}".encode()).decode()
        return None


class Cluster:
    """Reads and writes objects; as `planning.Reader`, and more."""

    def __init__(
        self, http: httpx2.AsyncClient, call_seconds: float, figures: Figures, access: Access, identity: Identity
    ) -> None:
        self.access = access
        self.identity = identity
        """Who asks."""
        self.guard: Callable[[], None] = lambda: None
        """Called before every write; raises when this process may not write any more."""
        self._http = http
        self._call_seconds = call_seconds
        self._figures = figures

    @classmethod
    @asynccontextmanager
    async def open(cls, call_seconds: float, figures: Figures, pod: str = "") -> AsyncIterator[Cluster]:
        """Prepare the connection, for the process of `pod` if it is in one; nothing is sent yet.

        Raises:
            SettingsInvalid: there is no cluster to speak to, or its description cannot be used.
        """
        config, trust = read_access("the operator")
        user = config.user or User()
        if user.exec or user.auth_provider:
            raise SettingsInvalid(
                ["the operator needs a token or a certificate; this KUBECONFIG runs a program to log in"]
            )
        transport: Any = httpx2.AsyncHTTPTransport(verify=trust)  # lightkube's type knows the other kind only
        http = AsyncClient(config, ConnectionParams(timeout=httpx2.Timeout(call_seconds), transport=transport))
        access = Access(config.cluster.server, trust, user)
        async with http:
            yield cls(http, call_seconds, figures, access, _identity(access, pod))

    async def get(self, resource_type: ResourceType, namespace: str, name: str) -> Object | None:
        """As `Reader.get`."""
        try:
            return await self._send("get", resource_type, namespace, name)
        except ObjectGone:
            return None

    async def list(
        self, resource_type: ResourceType, namespace: str | None, *, labels: Mapping[str, str] | None = None
    ) -> Objects:
        """As `Reader.list`."""
        found: Objects = []
        async for page, _ in self._pages(resource_type, namespace, labels):
            found += page
        return found

    async def snapshot(
        self, resource_type: ResourceType, namespace: str | None, *, labels: Mapping[str, str] | None = None
    ) -> tuple[Objects, str]:
        """As `list`, each item `slim`, and the version at which it was true."""
        found: Objects = []
        true_at = ""
        async for page, version in self._pages(resource_type, namespace, labels):
            found += map(slim, page)
            true_at = version
        return found, true_at

    async def _pages(
        self, resource_type: ResourceType, namespace: str | None, labels: Mapping[str, str] | None
    ) -> AsyncIterator[tuple[Objects, str]]:
        params = {"limit": str(PAGE)}
        if labels:
            params["labelSelector"] = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
        while True:
            page = await self._send("list", resource_type, namespace, params=params)
            metadata = page.get("metadata") or {}
            items = page.get("items") or []
            for item in items:  # those of a list do not say what they are
                item.setdefault("apiVersion", resource_type.api_version)
                item.setdefault("kind", resource_type.kind)
            yield items, str(metadata.get("resourceVersion", ""))
            if not metadata.get("continue"):
                return
            params["continue"] = metadata["continue"]

    async def create(self, resource_type: ResourceType, manifest: Object) -> Object:
        """Write a new object.

        Raises:
            AlreadyThere: there is one of that name; and whatever `apply` raises.
        """
        return await self._send("create", resource_type, manifest["metadata"]["namespace"], body=manifest)

    async def apply(self, resource_type: ResourceType, manifest: Object) -> Object:
        """Make the object have these fields, and none of ours beside them.

        Raises:
            ObjectRefused: the API server does not accept it.
            ObjectGone: its namespace is not there, or is going.
            WriteConflict: it is another object than the manifest's uid says, or another version.
            NotPermitted: RBAC refuses.
            KindAbsent: the API server does not know the kind.
            ClusterUnavailable: no answer.
            LeadershipLost: another one leads.
        """
        metadata = manifest["metadata"]
        return await self._patch("apply", resource_type, metadata["namespace"], metadata["name"], manifest)

    async def apply_status(self, resource_type: ResourceType, resource: Object, status: Object) -> Object:
        """Make `status` the status of `resource`, unless that has changed since it was read. Raises as `apply`.

        What a status says is what the next plan goes on from: one that was planned on an older state is refused.
        """
        metadata = resource["metadata"]
        place = {each: metadata[each] for each in ("name", "namespace", "uid", "resourceVersion")}
        body = {
            "apiVersion": resource_type.api_version,
            "kind": resource_type.kind,
            "metadata": place,
            "status": status,
        }
        return await self._patch("apply", resource_type, place["namespace"], f"{place['name']}/status", body)

    async def merge(self, resource_type: ResourceType, namespace: str, name: str, patch: Object) -> Object:
        """Replace what `patch` names, lists as a whole. Raises as `apply`."""
        return await self._patch("patch", resource_type, namespace, name, patch)

    async def delete(self, resource_type: ResourceType, item: Object) -> None:
        """Delete this very object, and let the garbage collector follow; one that is gone already is no error."""
        metadata = item["metadata"]
        body = {"propagationPolicy": "Background", "preconditions": {"uid": metadata["uid"]}}
        try:
            await self._send("delete", resource_type, metadata["namespace"], metadata["name"], body=body)
        except (ObjectGone, WriteConflict):  # the latter: another one has its name by now
            return

    async def _patch(self, verb: str, resource_type: ResourceType, namespace: str, name: str, body: Object) -> Object:
        params = {"fieldManager": FIELD_MANAGER, **({"force": "true"} if verb == "apply" else {})}
        kind = _APPLY if verb == "apply" else _MERGE
        return await self._send(verb, resource_type, namespace, name, params=params, body=body, content_type=kind)

    async def _send(
        self,
        verb: str,
        resource_type: ResourceType,
        namespace: str | None,
        name: str = "",
        *,
        params: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> Object:
        """One call.

        Raises:
            CoursegenError: one of `errors`.
        """
        if verb not in _READING:
            self.guard()
        self._figures.called(verb)
        request = self._http.build_request(
            _METHODS[verb],
            path_of(resource_type, namespace, name),
            params=dict(params or {}),
            content=None if body is None else orjson.dumps(body),
            headers={"Accept": "application/json", **({} if body is None else {"Content-Type": content_type})},
        )
        try:
            response = await _answer(self._http, request, self._call_seconds)
            if response.status_code < _OK:
                return _json(response.content)
            asked = (verb, resource_type, namespace, name)
            raise error_of(response.status_code, _status(response.content), *asked, self.identity, body=body)
        except CoursegenError as error:
            self._figures.call_failed(error.code)
            raise


def _identity(access: Access, pod: str) -> Identity:
    try:
        return Identity.of(access.authorization(), pod)
    except OSError:  # the file of the token: whoever asks is told
        return Identity(pod=pod)


_METHODS: Final = {
    "get": "GET",
    "list": "GET",
    "create": "POST",
    "apply": "PATCH",
    "patch": "PATCH",
    "delete": "DELETE",
}
_READING: Final = frozenset({"get", "list"})


async def _answer(http: httpx2.AsyncClient, request: httpx2.Request, seconds: float) -> httpx2.Response:
    try:
        async with asyncio.timeout(seconds):
            return await http.send(request)
    except (httpx2.HTTPError, httpx2.StreamError, OSError, ValueError) as error:  # TimeoutError is an OSError
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise ClusterUnavailable(f"the API server does not answer ({reason})") from error


def path_of(resource_type: ResourceType, namespace: str | None, name: str = "") -> str:
    """Where the API server has it, without the leading slash."""
    base = f"apis/{resource_type.group}" if resource_type.group else "api"
    parts = [base, resource_type.version, *(["namespaces", namespace] if namespace else []), resource_type.plural, name]
    return "/".join(part for part in parts if part)


def _json(content: bytes) -> Object:
    found: Any = _status(content)
    if not isinstance(found, dict):
        raise ClusterUnavailable("the API server answers with something that is no object")
    return found


def _status(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
