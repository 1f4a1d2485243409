"""The process's own Prometheus metrics: the one module that imports prometheus_client.

Names follow contract.md GAP11 and Prometheus' conventions (base units, `_total`, `_seconds`). These are the numbers of one
process; what must be counted across processes and restarts lives in `counters`. Who accepts OpenMetrics gets it, with exemplars:
the trace of one request, job or batch beside the bucket it fell into.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, disable_created_metrics
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as OPENMETRICS
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from services.kernel import tracing

disable_created_metrics()  # type: ignore[no-untyped-call]  # else each counter and histogram would have a second series that nobody asks for

REGISTRY = CollectorRegistry(auto_describe=True)
"""Every metric of this process."""

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
"""Content type of `render()`."""

SHARED_FROM_HERE = "# What all processes count together:\n"
"""On a page of metrics, between the process's own and what it knows of all."""

SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Bucket limits for durations from a database call to a stage, in seconds."""


def counter(name: str, doc: str, labels: Sequence[str] = ()) -> Counter:
    """A number that only rises; `name` without `_total`."""
    return Counter(name, doc, labels, registry=REGISTRY)


def gauge(name: str, doc: str, labels: Sequence[str] = ()) -> Gauge:
    """A number that rises and falls."""
    return Gauge(name, doc, labels, registry=REGISTRY)


def histogram(name: str, doc: str, labels: Sequence[str] = (), buckets: Sequence[float] = SECONDS_BUCKETS) -> Histogram:
    """A distribution, in seconds unless the name says otherwise."""
    return Histogram(name, doc, labels, registry=REGISTRY, buckets=buckets)


def describe_process(process: str, version: str) -> None:
    """Publish `coursegen_build_info`, and the memory, CPU and open files of this process."""
    Info("coursegen_build", "What runs here", registry=REGISTRY).info({"process": process, "version": version})
    ProcessCollector(registry=REGISTRY)
    PlatformCollector(registry=REGISTRY)
    GCCollector(registry=REGISTRY)


def render() -> bytes:
    """Everything in Prometheus' text format."""
    return generate_latest(REGISTRY)


class Page(NamedTuple):
    """What `/metrics` answers."""

    content_type: str
    body: bytes


def page(accept: str, shared: str = "") -> Page:
    """The metrics of this process and, where it knows them, those of all (text in Prometheus' format), as `accept` asks."""
    if prefers_openmetrics(accept):
        return Page(OPENMETRICS, generate_openmetrics(_Together(shared)))  # type: ignore[no-untyped-call]
    return Page(CONTENT_TYPE, render() + (SHARED_FROM_HERE + shared if shared else "").encode())


def shared_page(accept: str, shared: str) -> Page:
    """What is known of all processes, by itself."""
    if prefers_openmetrics(accept):
        return Page(OPENMETRICS, generate_openmetrics(_Together(shared, own=False)))  # type: ignore[no-untyped-call]
    return Page(CONTENT_TYPE, shared.encode())


def prefers_openmetrics(accept: str) -> bool:
    """Whether the header `Accept` puts OpenMetrics before Prometheus' older text format."""
    wanted, other = 0.0, 0.0
    for offer in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in offer.split(";"))
        quality = _quality(parameters)
        if kind == "application/openmetrics-text":
            wanted = max(wanted, quality)
        elif kind == "text/plain":
            other = max(other, quality)
    return wanted > 0 and wanted >= other


def exemplar() -> dict[str, str] | None:
    """Labels that name the trace this task works in, to hand to `observe`; None outside of any."""
    trace = tracing.current()
    return None if trace is None else {"trace_id": trace.trace_id}


def _quality(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return float(parameter[2:])
            except ValueError:
                return 0.0
    return 1.0


class _Together:
    """This process's families, and those of all that it does not have itself: in OpenMetrics a family may come only once."""

    def __init__(self, shared: str, *, own: bool = True) -> None:
        self._shared = shared
        self._own = own

    def collect(self) -> Iterator[Metric]:
        """All of them."""
        families = list(REGISTRY.collect()) if self._own else []
        yield from families
        names = {family.name for family in families}
        yield from (each for each in text_string_to_metric_families(self._shared) if each.name not in names)
