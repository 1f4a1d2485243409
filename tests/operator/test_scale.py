"""Five hundred resources in fifty namespaces: looked after within a minute of a cold start, and then next to nothing.

Of ten in a namespace eight are RetentionPolicies, one is an AlertPolicy and one a DatabaseMigration. What they come to:

- RetentionPolicies, suspended: Ready, each with its CronJob. They would run at night all the same.
- AlertPolicies: Ready, with a PrometheusRule where the cluster has the kind.
- DatabaseMigrations, suspended before anything is known of their database: Stalled (Suspended), without a Job. There is no
  database that fifty could migrate, and an image that is not there would have the kubelet ask for it all the while.
- Of those, one in ten namespaces is not suspended and has a Job whose pod no node takes: at work for ever, looked at every
  few seconds, as migrations are that run.

Left out of `make test`; `make prove-operator` runs it, against the cluster that KUBECONFIG names. What it prints is what
docs/OPERATOR.md has.
"""

from __future__ import annotations

import json
import os
import re
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
POLICIES = 8
"""RetentionPolicies in each namespace, beside one AlertPolicy and one DatabaseMigration."""
WORKING = NAMESPACES // 10
"""DatabaseMigrations with a Job that waits for a node."""
RESOURCES = NAMESPACES * (POLICIES + 2)
READY, STALLED = NAMESPACES * (POLICIES + 1), NAMESPACES - WORKING
COLD_SECONDS = 60.0
CORES = 0.02
MEGABYTES = 120.0
SETTLED_SECONDS = 75.0
"""A rule that was just written is looked at every few seconds for a minute: so long it is not idle."""
IDLE_SECONDS = 60.0
RESYNC_SECONDS = 600.0
"""The default of OPERATOR_RESYNC_SECONDS."""
OFTEN_SECONDS = 60.0
"""For the second process, so that a whole resync can be waited for, with its spread of a tenth."""


class Process:
    """The operator as a process of its own, and its figures."""

    def __init__(self, log: Path, **environment: str) -> None:
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
                    **_of_the_image(),
                    **environment,
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

    def told(self, condition: str) -> float:
        """Of how many resources it says this condition; none before it answers."""
        try:
            return self.figures().get(("coursegen_operator_resource_condition", condition), 0.0)
        except OSError:
            return 0.0

    def has_settled(self) -> bool:
        """Whether it has come to say of each resource what it is to say in the end."""
        return self.told("Ready") >= READY and self.told("Stalled") >= STALLED

    def calls(self) -> float:
        """How often it has asked the API server, not counting the watches."""
        return self.figures()["coursegen_operator_api_calls_total", ""]

    def cpu_seconds(self) -> float:
        """What it has used of a core."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def megabytes(self, what: str = "VmRSS") -> float:
        """What it has in memory; with `VmHWM`, the most that it ever had."""
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(what))

    def idle(self, seconds: float) -> tuple[float, float]:
        """What it has used of a core, in seconds, and asked the API server, in so many seconds from now."""
        cpu, calls, began = self.cpu_seconds(), self.calls(), time.monotonic()
        time.sleep(seconds)
        passed = (time.monotonic() - began) / seconds
        return (self.cpu_seconds() - cpu) / passed, (self.calls() - calls) / passed

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


def resources(namespace: str, *, is_working: bool) -> list[Object]:
    """What a namespace gets: policies that never run, and a migration that does not, or is at work for ever."""
    retention = {
        "schedule": "0 2 * * *",
        "suspend": True,
        "databaseSecretRef": {"name": "none"},
        "image": "registry.example/migrate:1",
        "rules": [{"name": "outbox", "target": "OutboxPublished", "keep": "30d"}],
    }
    alerts = {"runbookBaseURL": "https://runbooks.example/", "presets": {"outbox": {}}}
    pinned = {"nodeSelector": {"coursegen.example/node": "none"}}
    migration = {
        "databaseSecretRef": {"name": "none"},
        "image": "registry.example/migrate:1",
        **({"job": pinned} if is_working else {"suspend": True}),
    }
    specs: list[tuple[str, str, Object]] = [
        ("DatabaseMigration", "main", migration),
        *(("RetentionPolicy", f"policy-{number}", retention) for number in range(POLICIES)),
    ]
    return [
        {
            "apiVersion": "ops.coursegen.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name, "namespace": namespace},
            "spec": spec,
        }
        for kind, name, spec in [*specs, ("AlertPolicy", "platform", alerts)]
    ]


def _of_the_image() -> dict[str, str]:
    """What the Dockerfile sets for the operator alone."""
    stage = (
        (REPOSITORY / "Dockerfile").read_text(encoding="utf-8").partition(" AS operator\n")[2].partition("\nFROM ")[0]
    )
    found = dict(re.findall(r"^ENV (\w+)=(\S+)$", stage, re.MULTILINE))
    assert found, "the operator's stage in the Dockerfile sets nothing"
    return found


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def _create(objects: list[Object]) -> None:
    listed = {"apiVersion": "v1", "kind": "List", "items": objects}
    kubectl("create", "-f", "-", stdin=json.dumps(listed), seconds=300)


def test_five_hundred_resources_are_looked_after(kinds: None, tmp_path: Path) -> None:
    """All as they are to be within a minute of a cold start; then it costs what is said of it, with a resync and without."""
    del kinds
    with many_namespaces() as names:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda item: _create(resources(item[1], is_working=item[0] < WORKING)), enumerate(names)))
        process = Process(tmp_path / "first.log")
        try:
            cold, work = _settled(process)
            children = [*_ours(names, "cronjobs"), *_ours(names, "jobs")]
            time.sleep(SETTLED_SECONDS)
            cpu, calls = process.idle(IDLE_SECONDS)
            memory, most = process.megabytes(), process.megabytes("VmHWM")
        finally:
            code = process.end()
        process = Process(tmp_path / "second.log", OPERATOR_RESYNC_SECONDS=f"{OFTEN_SECONDS:g}")
        try:
            again, _ = _settled(process)
            window = OFTEN_SECONDS * 1.2  # each is looked at once, and what there is is listed once
            resync_cpu, resync_calls = process.idle(window)
            most = max(most, process.megabytes("VmHWM"))
        finally:
            code = max(code, process.end())
    resync = max(0.0, resync_cpu - cpu * window / IDLE_SECONDS)
    cores = cpu / IDLE_SECONDS + resync / RESYNC_SECONDS
    print(
        f"{RESOURCES} resources in {NAMESPACES} namespaces, {NAMESPACES} of them migrations: settled {cold:.1f} s after a cold "
        f"start with {work:.0f} calls, {again:.1f} s after another; idle between two resyncs: {cpu / IDLE_SECONDS:.4f} cores, "
        f"{calls * 60 / IDLE_SECONDS:.1f} calls of the API server a minute; a resync: {resync:.2f} s of a core, "
        f"{resync_calls * 60 / window:.1f} calls a minute with one each minute; with one in {RESYNC_SECONDS:g} s: "
        f"{cores:.4f} cores; {memory:.0f} MB, {most:.0f} MB at the most (VmHWM)"
    )

    assert len(children) == NAMESPACES * POLICIES + WORKING
    assert max(cold, again) <= COLD_SECONDS
    assert cores <= CORES
    assert most <= MEGABYTES
    assert code == 0


def _settled(process: Process) -> tuple[float, float]:
    """Return when it has come to rest: after how many seconds, and with how many calls."""
    eventually_sync(process.has_settled, within=4 * COLD_SECONDS, every=0.5)
    return time.monotonic() - process.began, process.calls()


def _ours(names: list[str], plural: str) -> list[Object]:
    found = items("-A", plural, "-l", f"{LABEL_MANAGED_BY}=coursegen-operator")
    return [each for each in found if each["metadata"]["namespace"] in names]
