"""The process's own Prometheus metrics: the one module that imports prometheus_client.

Names follow contract.md GAP11 and Prometheus' conventions (base units, `_total`, `_seconds`). These are the numbers of one
process; what must be counted across processes and restarts lives in `counters`.
"""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

REGISTRY = CollectorRegistry(auto_describe=True)
"""Every metric of this process."""

CONTENT_TYPE = CONTENT_TYPE_LATEST
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
