"""The page of metrics: in two formats, with traces as examples in the one that knows them."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as text_families

from services.kernel import metrics, tracing
from services.kernel.health import HealthRegistry
from services.kernel.probes import serve_probes

SHARED = (
    "# HELP shared_jobs_total Jobs\n# TYPE shared_jobs_total counter\nshared_jobs_total 3\n"
    "# HELP shared_seconds Time\n# TYPE shared_seconds histogram\n"
    'shared_seconds_bucket{le="1.0"} 1\nshared_seconds_bucket{le="+Inf"} 2\nshared_seconds_sum 3.5\nshared_seconds_count 2\n'
)
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
"""What a Prometheus sends."""

_SECONDS = metrics.histogram("test_page_seconds", "Only here")


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        (PROMETHEUS, True),
        ("Application/OpenMetrics-Text", True),
        ("text/plain;version=0.0.4,application/openmetrics-text;q=0.5", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=x", False),
    ],
)
def test_openmetrics_is_for_who_prefers_it(accept: str, expected: bool) -> None:
    """By the header, weights included."""
    assert metrics.prefers_openmetrics(accept) is expected


def test_both_formats_hold_the_same() -> None:
    """This process's families and those of all; in OpenMetrics each once, and nothing that comes of the client library alone."""
    plain, modern = metrics.page("", SHARED), metrics.page(PROMETHEUS, SHARED)
    old = {family.name: family.type for family in text_families(plain.body.decode())}
    new = [(family.name, family.type) for family in openmetrics_families(modern.body.decode())]

    assert plain.content_type.startswith("text/plain; version=0.0.4")
    assert modern.content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert len(new) == len(dict(new))
    assert dict(new) == old
    assert (
        old.items()
        >= {"shared_jobs": "counter", "shared_seconds": "histogram", "test_page_seconds": "histogram"}.items()
    )
    assert b"_created" not in plain.body + modern.body


def test_a_family_that_this_process_has_is_its_own() -> None:
    """OpenMetrics forbids it a second time."""
    twice = "# HELP test_page_seconds Other\n# TYPE test_page_seconds gauge\ntest_page_seconds 1\n"
    found = list(openmetrics_families(metrics.page(PROMETHEUS, twice).body.decode()))

    assert [family.type for family in found if family.name == "test_page_seconds"] == ["histogram"]


def test_what_is_known_of_all_stands_alone() -> None:
    """As `metrics.getAll` shows it, in either format."""
    modern = metrics.shared_page(PROMETHEUS, SHARED).body.decode()

    assert {family.name for family in openmetrics_families(modern)} == {"shared_jobs", "shared_seconds"}
    assert metrics.shared_page("text/plain", SHARED).body.decode() == SHARED


def test_a_measurement_names_its_trace() -> None:
    """In OpenMetrics only: the older format has no room for it."""
    trace = tracing.begin()
    with tracing.working_in(trace):
        _SECONDS.observe(0.3, metrics.exemplar())
    _SECONDS.observe(7.0, metrics.exemplar())
    families = openmetrics_families(metrics.page(PROMETHEUS).body.decode())
    named = {
        sample.labels["le"]: (sample.exemplar.labels, sample.exemplar.value)
        for family in families
        for sample in family.samples
        if family.name == "test_page_seconds" and sample.exemplar
    }

    assert named == {"0.5": ({"trace_id": trace.trace_id}, 0.3)}
    assert trace.trace_id.encode() not in metrics.page("").body


async def test_the_metrics_port_answers_as_asked() -> None:
    """The same on every process: the header decides, whatever its case."""

    async def get(port: int, header: str) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET /metrics HTTP/1.1\r\nHost: x\r\n{header}\r\n".encode())
        answer = (await asyncio.wait_for(reader.read(), 5)).decode()
        writer.close()
        return answer

    async with serve_probes(HealthRegistry(), "127.0.0.1", 0) as port:
        plain, modern = await get(port, ""), await get(port, f"ACCEPT: {PROMETHEUS}\r\n")

    assert "Content-Type: text/plain; version=0.0.4" in plain
    assert "Content-Type: application/openmetrics-text" in modern
    assert modern.endswith("# EOF\n")
    assert "# EOF" not in plain
