"""The Prometheus of the cluster under test: what it is to scrape, and what it says.

Scraped by names in the DNS: a PodMonitor needs a Prometheus that was built to ask the API server for pods, and Debian's was not.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.kube.commands import Object, apply, await_what_comes, kubectl, run

_READ = "/api/v1/namespaces/monitoring/services/prometheus-operated:9090/proxy/api/v1"
_NAME = "metrics"
_CHOSEN = {"release": "prometheus"}


def has_prometheus() -> bool:
    """Whether Prometheus Operator is on the cluster, and a Prometheus; what is still being brought is waited for."""
    ask = ["kubectl", "get", "prometheus", "-A", "-o", "name"]
    return await_what_comes(lambda: bool(run(ask, check=False).stdout.strip()))


def prometheus_says(what: str) -> Any:
    """The data of an answer of its API: "alerts", "rules"…"""
    return json.loads(kubectl("get", "--raw", f"{_READ}/{what}"))["data"]


def hurry() -> None:
    """Have the kubelet bring it its new configuration and rules now: else they come with its next look, within two minutes."""
    pods = ["-l", "app.kubernetes.io/name=prometheus"]
    kubectl("-n", "monitoring", "annotate", "pod", *pods, "--overwrite", f"coursegen.dev/looked-at={time.time()}")


def is_scraped(namespace: str) -> bool:
    """Whether a pod of a namespace has answered it."""
    hurry()
    targets = prometheus_says("targets?state=active")["activeTargets"]
    return any((each["labels"].get("namespace"), each["health"]) == (namespace, "up") for each in targets)


@contextmanager
def scraped(namespace: str, release: str) -> Iterator[None]:
    """Have the pods of a Helm release scraped every five seconds, while the block lasts or the namespace does."""
    _choose({"matchLabels": _CHOSEN}, {})
    for each in (_service(namespace, release), _scrape_config(namespace, release)):
        apply(json.dumps(each))
    yield
    kubectl("-n", namespace, "delete", f"service/{_NAME}", f"scrapeconfig/{_NAME}", "--ignore-not-found")


def _choose(selector: Object, namespaces: Object) -> None:
    """Have it take up ScrapeConfigs as it does PodMonitors."""
    spec = {"scrapeConfigSelector": selector, "scrapeConfigNamespaceSelector": namespaces}
    kubectl("-n", "monitoring", "patch", "prometheus", "k8s", "--type=merge", "-p", json.dumps({"spec": spec}))


def _service(namespace: str, release: str) -> Object:
    """Its name has an address for each pod."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": _NAME, "namespace": namespace},
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {"app.kubernetes.io/instance": release},
            "ports": [{"name": "metrics", "port": 9090}],
        },
    }


def _scrape_config(namespace: str, release: str) -> Object:
    where = {
        "names": [f"{_NAME}.{namespace}.svc.cluster.local"],
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
