"""A Prometheus of the test's own: it scrapes what it is told, and answers what dashboards and alerts ask."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from services.cli.stack import ports
from tests.support.ports import claim
from tests.support.waiting import eventually_sync

SCRAPE_SECONDS = 1


class Prometheus:
    """A running one."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, expression: str, at: float | None = None) -> list[dict[str, Any]]:
        """The series that an expression finds now, or at a Unix time, each with `metric` and `value`.

        Raises:
            AssertionError: it cannot be evaluated.
        """
        return self._asked("query", {"query": expression, **({"time": str(at)} if at is not None else {})})

    def ask_range(self, expression: str, begin: float, end: float, step: float) -> list[dict[str, Any]]:
        """The series that an expression finds between two Unix times, each with `metric` and `values`.

        Raises:
            AssertionError: it cannot be evaluated.
        """
        return self._asked(
            "query_range", {"query": expression, "start": str(begin), "end": str(end), "step": str(step)}
        )

    def _asked(self, path: str, asked: dict[str, str]) -> list[dict[str, Any]]:
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=asked, timeout=10).json()
        assert answer["status"] == "success", f"{answer.get('error')}\nasked: {asked['query']}"
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def examples(self, series: str) -> list[dict[str, Any]]:
        """The exemplars of these series in the last ten minutes, each with `labels`."""
        end = time.time()
        asked = {"query": series, "start": str(end - 600), "end": str(end)}
        answer = httpx.get(f"{self.url}/api/v1/query_exemplars", params=asked, timeout=10).json()
        assert answer["status"] == "success", answer
        return [example for each in answer["data"] for example in each["exemplars"]]

    def is_ready(self) -> bool:
        """Whether it answers."""
        try:
            return httpx.get(f"{self.url}/-/ready", timeout=2).status_code == 200
        except httpx.TransportError:
            return False


def program() -> str:
    """The path of Prometheus; without it the test is skipped, or fails with CI=true."""
    path = shutil.which("prometheus")
    if path is None:
        reason = "prometheus is missing: scripts/promtool.sh FOLDER gets it, put FOLDER on PATH"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{reason} (CI=true: it must be there)")
        pytest.skip(reason)
    return path


@contextmanager
def scraping(
    folder: Path,
    *targets: str,
    rules: Sequence[Path] = (),
    loads: Path | None = None,
    seconds: int = SCRAPE_SECONDS,
    **labels: str,
) -> Iterator[Prometheus]:
    """One that asks these (host:port) every second, or every so many, while the block lasts, and evaluates `rules` each second.

    `labels` are those of the targets: in a cluster each has its namespace. Whenever it reloads it takes what lies in `loads`.
    """
    path, port = program(), claim()
    job = {"job_name": "coursegen", "static_configs": [{"targets": list(targets), "labels": labels}]}
    times = {"scrape_interval": f"{seconds}s", "scrape_timeout": f"{seconds}s"}
    files = [*(str(_hurried(folder, each)) for each in rules), *([f"{loads}/*.yml"] if loads else [])]
    configuration = folder / "prometheus.yml"
    whole = {"global": times, "scrape_configs": [job], "rule_files": files}
    configuration.write_text(yaml.safe_dump(whole), encoding="utf-8")
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                path,
                f"--config.file={configuration}",
                f"--storage.tsdb.path={folder / 'prometheus'}",
                f"--web.listen-address={ports.LOOPBACK}:{port}",
                "--enable-feature=exemplar-storage",
                "--web.enable-lifecycle",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            found = Prometheus(f"http://{ports.LOOPBACK}:{port}")
            assert eventually_sync(lambda: process.poll() is not None or found.is_ready(), within=30)
            assert process.poll() is None, (folder / "prometheus.log").read_text(encoding="utf-8")
            yield found
        finally:
            process.terminate()
            process.wait(timeout=20)


def _hurried(folder: Path, rules: Path) -> Path:
    """The same rules, evaluated every second."""
    groups = yaml.safe_load(rules.read_text(encoding="utf-8"))["groups"]
    copy = folder / rules.name
    copy.write_text(yaml.safe_dump({"groups": [{**each, "interval": "1s"} for each in groups]}), encoding="utf-8")
    return copy
