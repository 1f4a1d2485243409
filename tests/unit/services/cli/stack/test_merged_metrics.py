"""The metrics of all processes on one page: no number hides another."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from services.cli.stack.merged_metrics import collect, merge
from services.kernel.metrics import SHARED_FROM_HERE
from tests.support.ports import pick

_API = """\
# HELP requests_total Requests
# TYPE requests_total counter
requests_total{path="/a b",code="200"} 3.0
# HELP memory_bytes Memory
# TYPE memory_bytes gauge
memory_bytes 10.0
# HELP coursegen_build_info What runs here
# TYPE coursegen_build_info gauge
coursegen_build_info{process="api"} 1.0
"""
_RELAY = """\
# HELP memory_bytes Memory
# TYPE memory_bytes gauge
memory_bytes 20.0
# HELP batch_seconds Time
# TYPE batch_seconds histogram
batch_seconds_bucket{le="+Inf"} 2.0
batch_seconds_count 2.0
batch_seconds_sum 0.5
# HELP coursegen_build_info What runs here
# TYPE coursegen_build_info gauge
coursegen_build_info{process="outbox-relay"} 1.0
"""


def _samples(page: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def test_series_of_one_process_stay_as_they_are() -> None:
    """Names and labels that the dashboards know do not change."""
    samples = _samples(merge({"api": _API, "relay": _RELAY}))

    assert samples["requests_total", (("code", "200"), ("path", "/a b"))] == 3
    assert samples["batch_seconds_bucket", (("le", "+Inf"),)] == 2


def test_series_of_two_processes_get_the_name_of_the_process() -> None:
    """Both are there, apart."""
    samples = _samples(merge({"api": _API, "relay": _RELAY}))

    assert samples["memory_bytes", (("process", "api"),)] == 10
    assert samples["memory_bytes", (("process", "relay"),)] == 20
    assert ("memory_bytes", ()) not in samples


def test_a_family_is_described_once() -> None:
    """Prometheus refuses a page with two TYPE lines for one name."""
    page = merge({"api": _API, "relay": _RELAY})

    assert page.count("# TYPE memory_bytes ") == 1
    assert page.count("# HELP coursegen_build_info ") == 1
    assert page.count("coursegen_build_info{") == 2


def test_what_is_counted_together_fills_what_no_process_shows() -> None:
    """A family that a process shows itself, with its buckets, is not shown twice."""
    shared = "# TYPE fsm_total counter\nfsm_total 7\n# TYPE batch_seconds summary\nbatch_seconds_count 9\n"

    page = merge({"api": _API + SHARED_FROM_HERE + shared, "relay": _RELAY})

    assert _samples(page)["fsm_total", ()] == 7
    assert _samples(page)["batch_seconds_count", ()] == 2
    assert "summary" not in page
    assert _samples(page)["memory_bytes", (("process", "api"),)] == 10


async def test_a_process_that_does_not_answer_is_shown_as_down() -> None:
    """The page is still a page."""
    samples = _samples((await collect({"gone": pick()})).body.decode())

    assert samples == {("coursegen_process_up", (("process", "gone"),)): 0}
