"""The table of routes: from it requests are dispatched and the OpenAPI description is made, so that they cannot part."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from starlette.routing import compile_path

from services.api.messages import Reply, Request
from services.api.problems import MethodNotAllowed
from services.kernel.errors import NotFound

Handler = Callable[[Request], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class QueryParameter:
    """A parameter of the query, or a header, as the description tells it."""

    name: str
    doc: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """One successful answer."""

    doc: str
    model: Any = None
    """Type of the JSON body; None when there is none, or it is not JSON."""
    content_type: str = "application/json"
    also: Sequence[str] = ()
    """Further content types of the same answer, for clients that ask for one."""
    schema: str | None = None
    """Name of the JSON body's schema, where it is no type of the api's: `Course`."""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One method on one path. The handler's docstring is its description."""

    method: str
    path: str
    handler: Handler
    tag: str
    answers: Mapping[int, Answer]
    errors: Sequence[int] = ()
    """Statuses of its own errors; those every operation of its kind has are added by the description."""
    accepts: Any = None
    """Type of the JSON body it takes."""
    uploads: bool = False
    """Whether it takes a multipart body with a file."""
    query: Sequence[QueryParameter] = ()
    headers: Sequence[QueryParameter] = ()
    """Headers that mean something to this operation only."""
    takes_key: bool = False
    """Whether it honours the header `Idempotency-Key`."""
    reserved: bool = False
    """Whether it answers but is not described: kept for later, or a part of a page."""
    public: bool = False
    """Whether it answers without a token (TRAP35)."""
    optional_token: bool = False
    """Whether a token may be missing. One that is sent is checked all the same, and binds its caller."""
    admin: bool = False
    """Whether it answers only to callers with the role admin (GAP15)."""

    @property
    def name(self) -> str:
        """Its name in the description and in metrics."""
        return str(self.handler.__name__)


class RouteGroup(Protocol):
    """Operations that belong together."""

    def operations(self) -> list[Operation]:
        """Its part of the table."""


@dataclass(slots=True)
class _Path:
    regex: Any
    operations: dict[str, Operation] = field(default_factory=dict)


class RouteTable:
    """Finds the operation for a method and a path."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self.operations = tuple(operations)
        self._fixed: dict[str, _Path] = {}
        self._patterns: dict[str, _Path] = {}
        for operation in self.operations:
            self._add(operation)

    def _add(self, operation: Operation) -> None:
        paths = self._patterns if "{" in operation.path else self._fixed
        path = paths.setdefault(operation.path, _Path(compile_path(operation.path)[0]))
        if operation.method in path.operations:
            raise ValueError(f"{operation.method} {operation.path} is routed twice")
        path.operations[operation.method] = operation

    def find(self, method: str, path: str) -> tuple[Operation, dict[str, str]]:
        """The operation, and the path's parameters.

        Raises:
            NotFound: nothing is at this path.
            MethodNotAllowed: something is, but not for this method; `details["allowed"]` lists those that are.
        """
        fixed = self._fixed.get(path)
        if fixed is not None:
            return _choose(fixed, method), {}
        for pattern in self._patterns.values():
            match = pattern.regex.match(path)
            if match is not None:
                return _choose(pattern, method), match.groupdict()
        raise NotFound("There is nothing at this path; /docs lists what there is.")


def _choose(path: _Path, method: str) -> Operation:
    operation = path.operations.get("GET" if method == "HEAD" else method)
    if operation is None:
        allowed = sorted(path.operations) + (["HEAD"] if "GET" in path.operations else [])
        raise MethodNotAllowed(f"Use {' or '.join(allowed)}.", allowed=allowed)
    return operation
