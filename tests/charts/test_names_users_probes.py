"""Names that Kubernetes takes, users above 10000, probes that differ: kept, or refused with the value that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.charts.conftest import Render, values_files
from tests.charts.objects import of_kind, pods

_OFFICIAL = ("-postgresql", "-redis")
"""Pods of development that run official images, whose user is 999."""
_AS_LIVENESS = ("path=/livez", "periodSeconds=10", "timeoutSeconds=5", "failureThreshold=6")
_SAME = [f"api.probes.readiness.{'httpGet.' if each.startswith('path') else ''}{each}" for each in _AS_LIVENESS]


@pytest.mark.parametrize("file", values_files(), ids=lambda each: each.stem)
def test_users_are_above_10000(render: Render, file: Path) -> None:
    """No user of the node has such a number (reliability S9)."""
    users = {name: pod["securityContext"]["runAsUser"] for name, pod in pods(render(file))}

    assert users
    assert {name: user for name, user in users.items() if user < 10000 and not name.endswith(_OFFICIAL)} == {}


def test_the_longest_names_are_short_enough(render: Render) -> None:
    """A full name of any length leaves room for the longest queue's."""
    queue = "q" * 15
    objects = render("ha", f"fullnameOverride={'x' * 60}", f"stageWorker.queues.{queue}.tmpSize=1Gi")

    assert any(name.endswith(queue) for name in of_kind(objects, "Deployment"))
    assert max(len(each["metadata"]["name"]) for each in objects) <= 63


@pytest.mark.parametrize(
    ("sets", "says"),
    [
        (_SAME, "api.probes: liveness and readiness are the same"),
        (["stageWorker.probes.liveness.httpGet.path=/readyz"], "use /livez"),
        (["fullnameOverride=7courses"], "begin with a letter"),
        ([f"stageWorker.queues.{'q' * 16}.tmpSize=1Gi"], "q" * 16),
    ],
)
def test_what_cannot_hold_is_refused(attempt: Callable[..., CompletedProcess[str]], sets: list[str], says: str) -> None:
    """With a sentence, or by the schema, that names the value."""
    done = attempt("minimal", *sets)

    assert done.returncode != 0
    assert says in done.stderr
