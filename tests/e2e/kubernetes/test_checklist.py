"""docs/DEPLOYMENT-CHECKLIST.md on a real cluster: what only reads prints what the page says; the load test passes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support import checklist
from tests.support.kube.commands import run
from tests.support.kube.installation import Installation
from tests.support.kube.page import Shell

pytestmark = [pytest.mark.cluster, pytest.mark.install, pytest.mark.depth(3), pytest.mark.timeout(900)]

_AT_ONCE = 3
"""Blocks that run side by side: most of their time kubectl waits."""


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
