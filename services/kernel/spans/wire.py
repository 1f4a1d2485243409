"""Spans as OTLP's protobuf: the request that a collector takes at `/v1/traces`.

The few messages of opentelemetry-proto that are needed are written out by hand: an exporter as a library would bring a second
HTTP client and a protobuf runtime into every image.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Final

from services.kernel.spans.span import Attribute, Span

_VARINT, _FIXED64, _BYTES = 0, 1, 2
_ERROR: Final = 2
"""`Status.STATUS_CODE_ERROR`."""


def export_request(spans: Iterable[Span], resource: Mapping[str, Attribute], scope: str) -> bytes:
    """`ExportTraceServiceRequest`: all spans of one process, which `resource` describes."""
    described = b"".join(_message(1, pair) for pair in _pairs(resource))
    scoped = _message(1, _text(1, scope)) + b"".join(_message(2, _span(span)) for span in spans)
    return _message(1, _message(1, described) + _message(2, scoped))


def _span(span: Span) -> bytes:
    parts = [
        _message(1, bytes.fromhex(span.trace_id)),
        _message(2, bytes.fromhex(span.span_id)),
        _message(4, bytes.fromhex(span.parent_id)) if span.parent_id else b"",
        _text(5, span.name),
        _tag(6, _VARINT) + _varint(span.kind),
        _tag(7, _FIXED64) + struct.pack("<Q", span.began),
        _tag(8, _FIXED64) + struct.pack("<Q", span.ended),
        *(_message(9, pair) for pair in _pairs(span.attributes)),
        _message(15, _tag(3, _VARINT) + _varint(_ERROR)) if span.has_failed else b"",
    ]
    return b"".join(parts)


def _pairs(attributes: Mapping[str, Attribute]) -> Iterable[bytes]:
    return (_text(1, key) + _message(2, _value(value)) for key, value in attributes.items())


def _value(value: Attribute) -> bytes:
    if isinstance(value, bool):  # before int, which it is too
        return _tag(2, _VARINT) + _varint(value)
    if isinstance(value, int):
        return _tag(3, _VARINT) + _varint(value & 0xFFFF_FFFF_FFFF_FFFF)
    if isinstance(value, float):
        return _tag(4, _FIXED64) + struct.pack("<d", value)
    return _text(1, value)


def _text(field: int, text: str) -> bytes:
    return _message(field, text.encode("utf-8", "replace"))


def _message(field: int, body: bytes) -> bytes:
    return _tag(field, _BYTES) + _varint(len(body)) + body


def _tag(field: int, kind: int) -> bytes:
    return _varint(field << 3 | kind)


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)
