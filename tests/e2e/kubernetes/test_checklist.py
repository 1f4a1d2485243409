"""docs/DEPLOYMENT-CHECKLIST.md on a real cluster: what only reads prints what the page says; the load test passes."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.kubernetes.conftest import SHARED
from tests.support import checklist
from tests.support.kube.commands import run
from tests.support.kube.installation import Installation
from tests.support.kube.values import Values, for_cluster
from tests.support.servers import REPOSITORY

pytestmark = [pytest.mark.cluster, pytest.mark.install, pytest.mark.depth(3), pytest.mark.timeout(900)]

Shell = Callable[[str], subprocess.CompletedProcess[str]]

_AT_ONCE = 3
"""Blocks that run side by side: most of their time kubectl waits."""


def _tools() -> Values:
    """The tools take the images of the servers that the cluster has."""
    dev = for_cluster(SHARED).get("dev", {})
    images = {f"{kind}Image": dev[kind]["image"] for kind in ("postgresql", "redis") if "image" in dev.get(kind, {})}
    return {"tools": images}


@pytest.fixture
def shell(whole: Installation, tmp_path: Path) -> Iterator[Shell]:
    """Runs commands of the page in bash, behind its own words, for the shared installation; with the tools pod of step 0.4."""
    values = tmp_path / "values.yaml"
    values.write_text(json.dumps(for_cluster(SHARED, _tools())), encoding="utf-8")
    names = {
        "NS": whole.namespace,
        "RELEASE": whole.release,
        "NAME": whole.fullname,
        "CHART": str(whole.chart),
        "VALUES": str(values),
    }
    given = "".join(f"export {name}={value}\n" for name, value in names.items())
    variables, functions, *_ = (block.commands for block in checklist.blocks())
    selector = next(line for line in variables.splitlines() if line.startswith("export PROCESSES="))

    def run_block(commands: str) -> subprocess.CompletedProcess[str]:
        script = f"set -eo pipefail\n{given}{selector}\n{functions}\n{commands}"
        return subprocess.run(
            ["bash"],
            input=script,
            cwd=REPOSITORY,
            env=os.environ,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    (making,) = [block for block in checklist.blocks() if "templates/tools.yaml" in block.commands]
    made = run_block(making.commands)
    assert made.returncode == 0, made.stderr
    assert checklist.unseen(making, made.stdout, whole.fullname) == []
    yield run_block
    component = f"app.kubernetes.io/instance={whole.release},app.kubernetes.io/component=tools"
    whole.kubectl("delete", "pod,networkpolicy", "-l", component, "--wait=false")


def test_what_reads_prints_what_the_page_says(shell: Shell, whole: Installation) -> None:
    """Every block marked `reads`, as printed: it ends well, and headings, words and rows that matter are there."""
    reading = checklist.readings()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        done = list(pool.map(lambda block: shell(block.commands), reading))

    failed = {each.where: end.stderr for each, end in zip(reading, done, strict=True) if end.returncode != 0}
    assert failed == {}
    missing = {
        each.where: (lines, end.stdout)
        for each, end in zip(reading, done, strict=True)
        if (lines := checklist.unseen(each, end.stdout, whole.fullname))
    }
    assert missing == {}
    assert len(reading) > 20


def test_the_load_test_passes_and_leaves_nothing(whole: Installation) -> None:
    """Courses at once, each accepted, queued and begun; then they are deleted, and the limits are as before."""
    whole.install({"tests": {"load": {"enabled": True, "courses": 20}}})
    try:
        said = run(
            [
                "helm",
                "test",
                whole.release,
                "-n",
                whole.namespace,
                "--logs",
                "--filter",
                f"name={whole.fullname}-test-load",
            ],
            seconds=300,
        ).stdout
    finally:
        whole.install()

    assert "load test: passed" in said
    assert "every request is answered with success ({'success': 20})" in said
    assert whole.sql("SELECT count(*) FROM courses WHERE id::text LIKE '10ad7e57-%'") == "0"
    assert whole.sql("SELECT count(*) FROM concurrency_limits") == "0"
