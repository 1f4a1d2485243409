"""What helm prints after an installation."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.charts.conftest import CHART


@pytest.fixture(scope="session")
def notes(helm: str) -> Callable[..., str]:
    """The notes for a file of values. Helm 3 asks a cluster for every kind first, and one may have none of the operator's."""
    is_third = Path(helm).name == "helm3"
    if is_third and not os.environ.get("KUBECONFIG"):
        pytest.skip("Helm 3 asks a cluster before it shows notes, and KUBECONFIG names none")
    always = ("--set", "migrations.mode=job") if is_third else ()

    def printed(file: str, *sets: str) -> str:
        values = str(CHART / "ci" / f"{file}-values.yaml")
        further = [part for each in sets for part in ("--set", each)]
        done = subprocess.run(
            [helm, "install", "cg", str(CHART), "-n", "courses", "-f", values, "--dry-run=client", *further, *always],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.partition("NOTES:\n")[2]

    return printed


def test_the_commands_that_watch_it_come_up(notes: Callable[..., str]) -> None:
    """Three, in the namespace of the release, then how to reach the api; the schema's end is the Job's."""
    job = notes("minimal", "migrations.mode=job")
    watch, _, reach = job.partition("Try it:")
    assert "wait job -l app.kubernetes.io/instance=cg" in job

    assert [line.split()[3] for line in watch.splitlines() if line.startswith("  kubectl -n courses ")] == [
        "get",
        "wait",
        "wait",
    ]
    assert "app.kubernetes.io/instance=cg" in watch
    assert "helm test cg -n courses" in reach
    assert re.search(r"port-forward svc/cg-coursegen-api 3000:3000 +# then http://localhost:3000/docs", reach)


def test_with_the_operator_the_resource_is_waited_for(helm: str, notes: Callable[..., str]) -> None:
    """Instead of the Job, and no less is waited for."""
    if Path(helm).name == "helm3":
        pytest.skip("Helm 3 shows the notes of kinds that its cluster has")
    job, operator = notes("minimal", "migrations.mode=job"), notes("minimal")

    assert "wait dbm/main --for=condition=Ready" in operator
    assert "wait job" not in operator
    assert job.count("  kubectl -n courses wait ") == operator.count("  kubectl -n courses wait ")


def test_secrets_of_yours_need_a_restart(notes: Callable[..., str]) -> None:
    """And the command for it is there."""
    assert "kubectl -n courses rollout restart deployment -l app.kubernetes.io/instance=cg" in notes("minimal")


def test_what_is_missing_is_said(notes: Callable[..., str]) -> None:
    """Warnings only where they hold."""
    minimal, closed = notes("minimal"), notes("networkpolicy", "webhooks.encryptionKeys.existingSecret=keys")

    assert "WARNING: without webhooks.encryptionKeys" in minimal
    assert "networkPolicy.enabled is false" in minimal
    assert "WARNING" not in closed
    assert "networkPolicy.enabled is false" not in closed
    assert "get lease cg-coursegen-outbox-relay" in closed


def test_one_relay_with_a_lease_is_told_of_the_other_way(notes: Callable[..., str]) -> None:
    """It would wait out its own Lease after a kill: only where there is one, and it elects by a Lease."""
    one, lock = "outboxRelay.replicaCount=1", "leaderElection.mode=postgres"
    (warned,) = (line for line in notes("minimal", one).splitlines() if "Lease" in line and line.startswith("WARNING"))

    assert "Set leaderElection.mode: postgres" in warned
    for sets in ((), (one, lock), (one, "leaderElection.mode=none"), (lock,)):
        assert "leaderElection" not in notes("minimal", *sets), sets


def test_where_messages_go_is_said(notes: Callable[..., str]) -> None:
    """When nobody writes them from the stream: that the api does, or that they wait."""
    assert "messages" not in notes("minimal")
    assert "# a message and a course through everything\n" in notes("minimal")
    assert "# a course through everything\n" in notes("minimal", "persistenceWorker.enabled=false")
    assert "the api writes each message into PostgreSQL" in notes("minimal", "persistenceWorker.enabled=false")
    assert "messages wait in the stream" in notes("minimal", "config.persistence.ENABLE_STREAM_CONSUMERS=false")


_OUTSIDE = {
    "networkPolicy.engine.enabled": ("config.worker.ENGINE=openai", "stageWorker.queues.analysis.config.ENGINE=openai"),
    "networkPolicy.objectStore.enabled": ("config.api.OBJECT_STORE=s3://courses", "config.worker.OBJECT_STORE=s3://courses"),
    "networkPolicy.stream.enabled": ("config.stream.REDIS_HOST=stream",),
    "networkPolicy.traces.enabled": ("config.common.OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318",),
    "networkPolicy.jwks.enabled": ("config.api.JWT_JWKS_URL=https://id.example.org/keys",),
}  # fmt: skip


@pytest.mark.parametrize(
    ("opening", "setting"), [(opening, each) for opening, settings in _OUTSIDE.items() for each in settings]
)
def test_a_way_that_is_closed_is_said(notes: Callable[..., str], opening: str, setting: str) -> None:
    """What is set to be outside, while policies let nobody go there."""
    keys = "webhooks.encryptionKeys.existingSecret=keys"
    warned = [line for line in notes("networkpolicy", keys, setting).splitlines() if line.startswith("WARNING")]

    assert len(warned) == 1
    assert opening in warned[0]
    assert setting.partition("=")[0].rpartition(".")[2] in warned[0]
    assert "WARNING" not in notes("networkpolicy", keys, setting, f"{opening}=true")
    assert "WARNING" not in notes("networkpolicy", keys, setting, "networkPolicy.enabled=false")
