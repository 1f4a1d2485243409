"""What we write is what the protocol's own library reads."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as TheirSpan

from services.kernel.spans import Attribute, Kind, Span
from services.kernel.spans.wire import export_request

_TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=300)
_VALUES = st.one_of(_TEXT, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False))
_IDS = st.binary(min_size=8, max_size=8).map(bytes.hex)
_TIMES = st.integers(0, 2**63)
_SPANS = st.builds(
    Span,
    st.binary(min_size=16, max_size=16).map(bytes.hex),
    _IDS,
    st.one_of(st.just(""), _IDS),
    _TEXT,
    st.sampled_from(Kind),
    _TIMES,
    _TIMES,
    st.dictionaries(_TEXT, _VALUES, max_size=5),
    st.booleans(),
)


@given(st.lists(_SPANS, max_size=5), st.dictionaries(_TEXT, _VALUES, max_size=3))
def test_the_protocols_own_library_reads_what_is_written(spans: list[Span], resource: dict[str, Attribute]) -> None:
    """Every field, whatever is in it."""
    request = ExportTraceServiceRequest.FromString(export_request(spans, resource, "coursegen"))
    (described,) = request.resource_spans
    (scope,) = described.scope_spans

    assert _read(described.resource.attributes) == resource
    assert scope.scope.name == "coursegen"
    assert [_back(span) for span in scope.spans] == spans


def test_kinds_bear_the_protocols_numbers() -> None:
    """By name."""
    assert {f"SPAN_KIND_{kind.name}": kind.value for kind in Kind}.items() <= dict(TheirSpan.SpanKind.items()).items()


def _back(span: TheirSpan) -> Span:
    return Span(
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.name,
        Kind(span.kind),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        _read(span.attributes),
        span.status.code == 2,
    )


def _read(pairs: object) -> dict[str, Attribute]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}  # type: ignore[attr-defined]
