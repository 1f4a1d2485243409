"""What stage workers say of their jobs, from pages in Prometheus' text format."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

_SAMPLE = re.compile(r"^(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)\{(?P<labels>[^}]*)\}\s+(?P<value>\S+)", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_FIELDS = {
    "stage_job_duration_seconds_count": "jobs",
    "stage_job_duration_seconds_sum": "seconds",
    "stage_jobs_running": "running",
}
_FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Stage:
    """The jobs of one type, of all workers since each has started."""

    jobs: float = 0.0
    seconds: float = 0.0
    """Time from delivery to outcome, of all of them together."""
    running: float = 0.0
    failed: float = 0.0

    @property
    def mean(self) -> float | None:
        """Seconds a job; None before the first."""
        return self.seconds / self.jobs if self.jobs else None

    def since(self, earlier: Stage) -> Stage:
        """What came after `earlier`. A worker that started anew counts from nothing: less than before is nothing."""
        return Stage(
            jobs=max(0.0, self.jobs - earlier.jobs),
            seconds=max(0.0, self.seconds - earlier.seconds),
            running=self.running,
            failed=max(0.0, self.failed - earlier.failed),
        )


def stages(page: str) -> dict[str, Stage]:
    """Stages by type of their jobs, summed over the workers on the page."""
    found: dict[str, Stage] = {}
    for name, labels, value in _samples(page):
        job_type = labels.get("job_type")
        field = _FIELDS.get(name)
        if name == "stage_jobs_total" and labels.get("result") == _FAILED:
            field = _FAILED
        if job_type and field:
            stage = found.setdefault(job_type, Stage())
            found[job_type] = replace(stage, **{field: getattr(stage, field) + value})
    return found


def silent(page: str) -> list[str]:
    """Processes that did not answer whoever put the page together."""
    return [
        labels["process"]
        for name, labels, value in _samples(page)
        if name == "coursegen_process_up" and not value and "process" in labels
    ]


def _samples(page: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for sample in _SAMPLE.finditer(page):
        yield sample["name"], dict(_LABEL.findall(sample["labels"])), float(sample["value"])
