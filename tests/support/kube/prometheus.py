"""The Prometheus of the cluster under test: what it is to scrape, and what it says.

Scraped by names in the DNS: a PodMonitor needs a Prometheus that was built to ask the API server for pods, and Debian's was not.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from tests.support.kube.commands import Object, apply, await_what_comes, kubectl, run
from tests.support.waiting import eventually_sync

_READ = "/api/v1/namespaces/monitoring/services/prometheus-operated:9090/proxy/api/v1"
_NAME = "metrics"
_CHOSEN = {"release": "prometheus"}

FIRED_SECONDS = 90.0
"""To an alert that an AlertPolicy has made quick, and to its end."""
PROCESSES = (
    "api",
    "outbox-relay",
    "persistence-worker",
    "worker-documents",
    "worker-analysis",
    "worker-generation",
    "worker-webhooks",
)
"""The components of the application that show metrics: its PostgreSQL and Redis do not."""


def has_prometheus() -> bool:
    """Whether Prometheus Operator is on the cluster, and a Prometheus; what is still being brought is waited for."""
    ask = ["kubectl", "get", "prometheus", "-A", "-o", "name"]
    return await_what_comes(lambda: bool(run(ask, check=False).stdout.strip()))


def has_prometheus_operator() -> bool:
    """Whether the cluster knows PrometheusRules; what is still being brought is waited for."""
    ask = ["kubectl", "get", "crd", "prometheusrules.monitoring.coreos.com", "-o", "name"]
    return await_what_comes(lambda: bool(run(ask, check=False).stdout.strip()))


def prometheus_says(what: str) -> Any:
    """The data of an answer of its API: "alerts", "rules"…"""
    return json.loads(kubectl("get", "--raw", f"{_READ}/{what}"))["data"]


def prometheus_finds(expression: str) -> list[dict[str, Any]]:
    """The series that an expression finds now, each with `metric` and `value`.

    Raises:
        CommandFailed: it cannot be evaluated.
    """
    found: list[dict[str, Any]] = prometheus_says(f"query?query={quote(expression, safe='')}")["result"]
    return found


def firing(namespace: str) -> set[str]:
    """The names of the alerts that fire for a namespace."""
    alerts = prometheus_says("alerts")["alerts"]
    ours = [each for each in alerts if each["labels"].get("namespace") == namespace and each["state"] == "firing"]
    return {each["labels"]["alertname"] for each in ours}


def fires(namespace: str, *alerts: str) -> None:
    """Return when all of the alerts fire for a namespace."""
    eventually_sync(lambda: set(alerts) <= firing(namespace), within=FIRED_SECONDS, every=1)


def is_quiet(namespace: str, *alerts: str) -> None:
    """Return when none of the alerts fires for a namespace."""
    eventually_sync(lambda: not set(alerts) & firing(namespace), within=FIRED_SECONDS, every=1)


def hurry() -> None:
    """Have the kubelet bring it its new configuration and rules now: else they come with its next look, within two minutes."""
    pods = ["-l", "app.kubernetes.io/name=prometheus"]
    kubectl("-n", "monitoring", "annotate", "pod", *pods, "--overwrite", f"coursegen.dev/looked-at={time.time()}")


def targets(namespace: str) -> list[dict[str, Any]]:
    """Every pod of a namespace that it asks, with its `health`."""
    found = prometheus_says("targets?state=active")["activeTargets"]
    return [each for each in found if each["labels"].get("namespace") == namespace]


def is_scraped(namespace: str) -> bool:
    """Whether a pod of a namespace has answered it."""
    hurry()
    return any(each["health"] == "up" for each in targets(namespace))


@contextmanager
def scraped(namespace: str, release: str, components: Sequence[str] = ()) -> Iterator[None]:
    """Have the pods of a Helm release scraped every five seconds, while the block lasts or the namespace does.

    Args:
        namespace: the release's.
        release: its name.
        components: those whose pods are asked; all by default.
    """
    _choose({"matchLabels": _CHOSEN}, {})
    instance = {"app.kubernetes.io/instance": release}
    selectors = {f"{_NAME}-{each}": {**instance, "app.kubernetes.io/component": each} for each in components}
    services = [_service(namespace, *each) for each in (selectors or {_NAME: instance}).items()]
    for each in (*services, _scrape_config(namespace, release, [each["metadata"]["name"] for each in services])):
        apply(json.dumps(each))
    yield
    names = [f"service/{each['metadata']['name']}" for each in services]
    kubectl("-n", namespace, "delete", *names, f"scrapeconfig/{_NAME}", "--ignore-not-found")


def _choose(selector: Object, namespaces: Object) -> None:
    """Have it take up ScrapeConfigs as it does PodMonitors."""
    spec = {"scrapeConfigSelector": selector, "scrapeConfigNamespaceSelector": namespaces}
    kubectl("-n", "monitoring", "patch", "prometheus", "k8s", "--type=merge", "-p", json.dumps({"spec": spec}))


def _service(namespace: str, name: str, selector: Object) -> Object:
    """Its name has an address for each pod."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": selector,
            "ports": [{"name": "metrics", "port": 9090}],
        },
    }


def _scrape_config(namespace: str, release: str, services: Sequence[str]) -> Object:
    where = {
        "names": [f"{each}.{namespace}.svc.cluster.local" for each in services],
        "type": "A",
        "port": 9090,
        "refreshInterval": "5s",
    }
    return {
        "apiVersion": "monitoring.coreos.com/v1alpha1",
        "kind": "ScrapeConfig",
        "metadata": {"name": _NAME, "namespace": namespace, "labels": _CHOSEN},
        "spec": {
            "dnsSDConfigs": [where],
            "scrapeInterval": "5s",
            "scrapeTimeout": "4s",
            "relabelings": [
                {"targetLabel": "namespace", "replacement": namespace},
                {"targetLabel": "job", "replacement": f"{namespace}/{release}"},
            ],
        },
    }
