"""Five hundred resources in fifty namespaces: looked after within a minute of a cold start, and then next to nothing.

Left out of `make test`; `make prove-operator` runs it, against the cluster that KUBECONFIG names.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from operators.coursegen_operator.resources import LABEL_MANAGED_BY, Object
from tests.support.kube.commands import items, kubectl
from tests.support.servers import REPOSITORY
from tests.support.waiting import eventually_sync

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not os.environ.get("PROVE_OPERATOR"), reason="a proof that runs by hand: make prove-operator"),
]

NAMESPACES = 50
POLICIES = 9
"""RetentionPolicies in each namespace, beside one AlertPolicy."""
RESOURCES = NAMESPACES * (POLICIES + 1)
COLD_SECONDS = 60.0
CORES = 0.02
MEGABYTES = 120.0
SETTLED_SECONDS = 30.0
IDLE_SECONDS = 60.0


class Process:
    """The operator as a process of its own, and its figures."""

    def __init__(self, log: Path) -> None:
        self._port = _free_port()
        self.began = time.monotonic()
        with log.open("w") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "operators.coursegen_operator"],
                cwd=REPOSITORY,
                env={
                    **os.environ,
                    "OPERATOR_ELECTION": "none",
                    "METRICS_PORT": str(self._port),
                    "METRICS_HOST": "127.0.0.1",
                },
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def figures(self) -> dict[tuple[str, str], float]:
        """The sum of each metric's samples, by its name and the label `type` where it has one."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        found: dict[tuple[str, str], float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                key = (sample.name, sample.labels.get("type", ""))
                found[key] = found.get(key, 0.0) + sample.value
        return found

    def ready(self) -> float:
        """How many resources it has made Ready; none before it answers."""
        try:
            return self.figures().get(("coursegen_operator_resource_condition", "Ready"), 0.0)
        except OSError:
            return 0.0

    def calls(self) -> float:
        """How often it has asked the API server, not counting the watches."""
        return self.figures()["coursegen_operator_api_calls_total", ""]

    def cpu_seconds(self) -> float:
        """What it has used of a core."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def megabytes(self) -> float:
        """What it has in memory."""
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))

    def end(self) -> int:
        """Told to stop; its exit code."""
        self._process.terminate()
        return self._process.wait(30)


@contextmanager
def many_namespaces() -> Iterator[list[str]]:
    """Deleted when the block ends."""
    stem = secrets.token_hex(3)
    names = [f"scale-{stem}-{number:02}" for number in range(NAMESPACES)]
    made = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in names]
    try:
        _create(made)
        yield names
    finally:
        kubectl("delete", "namespace", *names, "--wait=false", "--ignore-not-found", seconds=300)


def resources(namespace: str) -> list[Object]:
    """What a namespace gets: policies that never run."""
    retention = {
        "schedule": "0 2 * * *",
        "suspend": True,
        "databaseSecretRef": {"name": "none"},
        "image": "registry.example/migrate:1",
        "rules": [{"name": "outbox", "target": "OutboxPublished", "keep": "30d"}],
    }
    alerts = {"runbookBaseURL": "https://runbooks.example/", "presets": {"outbox": {}}}
    specs = [("RetentionPolicy", f"policy-{number}", retention) for number in range(POLICIES)]
    return [
        {
            "apiVersion": "ops.coursegen.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name, "namespace": namespace},
            "spec": spec,
        }
        for kind, name, spec in [*specs, ("AlertPolicy", "platform", alerts)]
    ]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def _create(objects: list[Object]) -> None:
    listed = {"apiVersion": "v1", "kind": "List", "items": objects}
    kubectl("create", "-f", "-", stdin=json.dumps(listed), seconds=300)


def test_five_hundred_resources_are_looked_after(kinds: None, tmp_path: Path) -> None:
    """All Ready within a minute of a cold start; idle, it costs what is said of it."""
    del kinds
    with many_namespaces() as names:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda name: _create(resources(name)), names))
        process = Process(tmp_path / "operator.log")
        try:
            eventually_sync(lambda: process.ready() >= RESOURCES, within=4 * COLD_SECONDS, every=0.5)
            cold, work, busy = time.monotonic() - process.began, process.calls(), process.megabytes()
            children = items("-A", "cronjobs", "-l", f"{LABEL_MANAGED_BY}=coursegen-operator")
            ours = [each for each in children if each["metadata"]["namespace"] in names]
            time.sleep(SETTLED_SECONDS)
            cpu, calls, began = process.cpu_seconds(), process.calls(), time.monotonic()
            time.sleep(IDLE_SECONDS)
            idle = time.monotonic() - began
            cores, asked = (process.cpu_seconds() - cpu) / idle, (process.calls() - calls) * 60 / idle
            memory = process.megabytes()
        finally:
            code = process.end()
    print(
        f"{RESOURCES} resources in {NAMESPACES} namespaces: Ready {cold:.1f} s after a cold start with {work:.0f} calls; "
        f"idle: {cores:.4f} cores, {memory:.0f} MB ({busy:.0f} MB at work), {asked:.1f} calls of the API server a minute"
    )

    assert len(ours) == NAMESPACES * POLICIES
    assert cold <= COLD_SECONDS
    assert cores <= CORES
    assert max(memory, busy) <= MEGABYTES
    assert code == 0
