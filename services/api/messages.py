"""A request and its answer, as the routes see them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qsl

import msgspec
import orjson

from services.api import strict_json
from services.api.auth import Principal
from services.kernel.errors import InvalidInput, TooLarge, UnsupportedMediaType

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]

JSON = b"application/json"

T = TypeVar("T")


class ClientGone(Exception):
    """The client closed the connection before its request was whole; there is nobody to answer."""


class ChunkSource(Protocol):
    """A body that goes on for as long as there is something to say."""

    async def next_chunk(self) -> bytes:
        """The next piece, as soon as there is one; empty at the end."""

    def close(self) -> None:
        """Give back what it holds: the client is gone, or has it all. Never waits; may be called twice."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: whole, or with a body that goes on."""

    status: int
    body: bytes = b""
    content_type: bytes = JSON
    headers: Sequence[Header] = ()
    stream: ChunkSource | None = None
    """Takes the place of `body`; closed by whoever sends the answer."""


def json_reply(document: Any, status: int = 200, headers: Sequence[Header] = ()) -> Reply:
    """`document` as compact JSON (TRAP1)."""
    return Reply(status, orjson.dumps(document, default=str), headers=headers)


def struct_reply(message: msgspec.Struct, status: int = 200, headers: Sequence[Header] = ()) -> Reply:
    """A message of the models as compact JSON."""
    return Reply(status, _encoder.encode(message), headers=headers)


_encoder = msgspec.json.Encoder()


@dataclass(slots=True)
class Request:
    """A request on its way through the api."""

    scope: Scope
    receive: Receive
    request_id: str
    max_body_bytes: int
    path: dict[str, Any] = field(default_factory=dict)
    """Parameters of the path, by name."""
    caller: Principal | None = None

    @property
    def method(self) -> str:
        """The HTTP method."""
        return str(self.scope["method"])

    @property
    def principal(self) -> Principal:
        """The authenticated caller. Only routes that require one may ask."""
        if self.caller is None:
            raise RuntimeError("this route does not authenticate its callers")
        return self.caller

    def header(self, name: bytes) -> bytes | None:
        """The value of the header `name` (lower case); the first one when it was sent more than once."""
        return next((value for key, value in self.scope["headers"] if key == name), None)

    def only_header(self, name: bytes) -> str | None:
        """The value of a header that must not be sent twice; None when it is absent, repeated, or not ASCII."""
        sent = [value for key, value in self.scope["headers"] if key == name]
        return sent[0].decode("ascii") if len(sent) == 1 and sent[0].isascii() else None

    def query(self) -> dict[str, str]:
        """The query's parameters; of a name sent twice, the last.

        Raises:
            InvalidInput: when the query is not UTF-8, has a NUL, or too many parameters.
        """
        text = self.scope["query_string"].decode("ascii", "replace")
        try:
            pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=50)
        except ValueError as error:
            raise InvalidInput("The query is not valid; encode it as UTF-8.") from error
        if any("\x00" in value for _, value in pairs):
            raise InvalidInput("The query contains a NUL character (%00); remove it.")
        return dict(pairs)

    async def read_json(self, model: type[T]) -> T:
        """The JSON message in the body.

        Raises:
            UnsupportedMediaType: it says it is something else, or is compressed.
            TooLarge: it is larger than the limit, however it was sent.
            InvalidInput: it is not valid; `details` says where.
        """
        self.require_media_type("application/json")
        return strict_json.decode(await self.read_body(), model)

    def require_media_type(self, expected: str) -> str:
        """The content type's parameters, when the body is said to be of type `expected` and not compressed."""
        declared = (self.header(b"content-type") or b"").decode("latin-1")
        kind, _, parameters = declared.partition(";")
        if kind.strip().lower() != expected:
            raise UnsupportedMediaType(f"Send `Content-Type: {expected}`.", expected=expected)
        if (self.header(b"content-encoding") or b"identity").lower() != b"identity":
            raise UnsupportedMediaType("Send the body uncompressed.", expected="identity")
        return parameters

    async def read_body(self) -> bytes:
        """The whole body, at most `max_body_bytes` of it."""
        limit = self.max_body_bytes
        self.refuse_declared_over(limit)
        message = await self.receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            return _within(message["body"], limit)
        pieces = bytearray()
        while message["type"] == "http.request":
            pieces += message["body"]
            _within(pieces, limit)
            if not message.get("more_body", False):
                return bytes(pieces)
            message = await self.receive()
        raise ClientGone

    def refuse_declared_over(self, limit: int) -> None:
        """Refuse a body that declares itself larger than `limit` before any of it is read."""
        declared = self.header(b"content-length")
        if declared is not None and declared.isdigit() and int(declared) > limit:
            raise _too_large(limit)


def _within(body: bytes | bytearray, limit: int) -> bytes:
    if len(body) > limit:
        raise _too_large(limit)
    return body  # type: ignore[return-value]


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body is larger than {limit} bytes.", limit=limit)
