"""What every process shows on its metrics port: Prometheus' conventions, bounded labels, and traces as examples."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final
from uuid import uuid4

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as text_families

from operators.coursegen_operator.figures import Figures
from services.cli.stack import ports
from services.kernel import metrics
from services.kernel.database import Database
from tests.integration.api.test_metrics import relay_lives
from tests.support.conversations import PARTITIONS
from tests.support.courses import add_course
from tests.support.pipeline import wait_for_state
from tests.support.prometheus import scraping
from tests.support.servers import REPOSITORY
from tests.support.stack import Process, Stack
from tests.support.tokens import bearer
from tests.support.waiting import eventually

OPENMETRICS: Final = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}
PROCESSES: Final = ("api", "outbox_relay", "stage_worker", "persistence_worker")
TRACE: Final = "4bf92f3577b34da6a3ce929d0e0e4736"

_BASE_UNITS: Final = re.compile(
    r"_(?:milli|micro|nano)?(?:ms|msec|minutes|hours|days|percent|kilobytes|megabytes|kb|mb)\b"
)
_VAGUE: Final = re.compile(r"(?:^|_)(?:counter|gauge|histogram|metric)(?:_|$)")
_UNLIKE_A_WORD: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}|/|\s|[0-9a-f]{20}")
_LIMIT: Final = 100
"""Most values of one label on one page: `route` has the most, since each operation shows from the first how often it failed."""

FREE: Final = {
    ("fsm_recent_failure_timestamp_seconds", "course"): "ten slots",
    ("fsm_recent_failure_timestamp_seconds", "reason"): "ten slots",
    ("python_info", "implementation"): "Python's own",
    ("python_info", "version"): "Python's own",
}
"""Labels whose values are no words of ours, and why they are bounded all the same."""


def test_the_page_names_what_is_free() -> None:
    """docs/METRICS.md, in the sentence that says that labels have few values: series and labels of ours."""
    told = (REPOSITORY / "docs" / "METRICS.md").read_text(encoding="utf-8").partition("\n## ")[0]
    ours = {(series, label) for series, label in FREE if not series.startswith("python_")}

    assert [each for each in ours if not all(f"`{name}`" in told for name in each)] == []
    assert set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", told)) == {series for series, _ in ours}


async def page_of(process: Process, **headers: str) -> str:
    """Its page of metrics."""
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http://{ports.LOOPBACK}:{process.metrics_port}/metrics", headers=headers)
    assert answer.status_code == 200
    return answer.text


def operator_page() -> str:
    """The operator's, whose process needs a cluster."""
    figures = Figures(["DatabaseMigration", "RetentionPolicy", "AlertPolicy"])
    figures.leads(True)
    return metrics.page("").body.decode()


def faults(families: Iterable[Metric]) -> list[str]:
    """What is against the conventions."""
    found = []
    for family in families:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found += [f"{name}: no help"] if not family.documentation else []
        found += [f"{name}: a name in small letters"] if not re.fullmatch(r"[a-z][a-z0-9_]*", name) else []
        found += [f"{name}: a base unit: seconds, bytes, ratio"] if _BASE_UNITS.search(name) else []
        found += [f"{name}: what it measures, not its type"] if _VAGUE.search(name) else []
        found += [f"{name}: _total is for counters"] if name.endswith("_total") and family.type != "counter" else []
        found += [f"{name}: a histogram bears its unit"] if _lacks_unit(name, family.type) else []
        found += [f"{name}: information bears _info"] if family.type == "info" and not _informs(family) else []
        found += [f"{name}: unknown type"] if family.type in {"unknown", "untyped"} else []
    return found


def _lacks_unit(name: str, kind: str) -> bool:
    return kind in {"histogram", "summary"} and not name.endswith(("_seconds", "_bytes"))


def _informs(family: Metric) -> bool:
    return all(sample.name.endswith("_info") and sample.value == 1 for sample in family.samples)


def unbounded(families: Iterable[Metric]) -> list[str]:
    """Labels that look as if each request could bring a new value."""
    values: dict[tuple[str, str], set[str]] = defaultdict(set)
    for family in families:
        for sample in family.samples:
            for label, value in sample.labels.items():
                values[family.name, label].add(value)
    return [
        f"{where}: {sorted(seen)[:5]}"
        for where, seen in values.items()
        if where not in FREE and (len(seen) > _LIMIT or any(_UNLIKE_A_WORD.search(value) for value in seen))
    ]


def series(page: str) -> set[tuple[str, frozenset[tuple[str, str]]]]:
    """Every series of a page."""
    return {(s.name, frozenset(s.labels.items())) for family in text_families(page) for s in family.samples}


async def strange_requests(url: str, *, times: int) -> None:
    """What a careless or hostile client sends: paths, methods, headers and bodies that nobody has seen before."""
    async with httpx.AsyncClient(base_url=url, headers=bearer(tier="PREMIUM"), timeout=20) as client:
        for _ in range(times):
            unique = str(uuid4())
            await client.get(f"/{unique}")
            await client.request("BREW", f"/api/courses/{unique}")
            await client.get(f"/api/courses/{unique}")
            await client.get("/api/trpc/metrics.getAll", headers={"Accept": unique})
            await client.post("/api/trpc/generation.initiate", json={"courseId": unique, "style": unique})
            await client.post("/api/messages", json={"conversationId": unique})
            await client.post("/api/trpc/generation.initiate", json={"courseId": unique, "title": unique})


async def test_every_process_keeps_to_the_conventions(stack: Stack, db: Database) -> None:
    """Base units, `_total`, `_seconds`, `_info`, a sentence of help; twice the traffic makes no series more."""
    processes = await stack.start_all(*PROCESSES)
    await strange_requests(processes[0].url, times=3)
    await eventually(lambda: _is_done(db), within=60)
    await eventually(lambda: _shows_lag(processes), within=30)
    before = {process.kind: await page_of(process) for process in processes}
    await strange_requests(processes[0].url, times=10)
    await eventually(lambda: _is_done(db), within=90)
    after = {process.kind: await page_of(process) for process in processes}

    for kind, page in {**after, "operator": operator_page()}.items():
        families = list(text_families(page))
        assert (kind, faults(families)) == (kind, [])
        assert (kind, unbounded(families)) == (kind, [])
        assert "coursegen_build_info{" in page or kind == "operator"
        assert lint(page) == "", kind
    for kind, page in after.items():
        more = {each for each in series(page) - series(before[kind]) if not _may_come(each[0])}
        assert (kind, more) == (kind, set())


async def _shows_lag(processes: Sequence[Process]) -> bool:
    """Whether the persistence-worker has measured every partition, which it does once a second, of those it has by then."""
    (worker,) = (each for each in processes if each.kind == "persistence_worker")
    return (await page_of(worker)).count("stream_partition_lag{") == PARTITIONS


async def _is_done(db: Database) -> bool:
    waiting = "SELECT count(*) FROM courses WHERE generation_status NOT IN ('completed', 'error')"
    return await db.fetchval(waiting) == 0


def _may_come(name: str) -> bool:
    """Series that appear with time, however much traffic there is: of garbage, of queues that were seen late."""
    return name.startswith(("python_gc", "process_", "queue_", "outbox_last_progress", "concurrency_slots"))


def lint(page: str) -> str:
    """What `promtool check metrics` says; nothing where there is none."""
    path = shutil.which("promtool")
    if path is None:
        return ""
    done = subprocess.run([path, "check", "metrics"], input=page, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("page", "found"),
    [
        ("# HELP a_ms Time\n# TYPE a_ms gauge\na_ms 1\n", "a base unit"),
        ("# TYPE a gauge\na 1\n", "no help"),
        ("# HELP a_total A\n# TYPE a_total gauge\na_total 1\n", "_total is for counters"),
        (
            '# HELP a_size A\n# TYPE a_size histogram\na_size_bucket{le="+Inf"} 1\na_size_sum 1\na_size_count 1\n',
            "its unit",
        ),
        ("# HELP jobs_gauge A\n# TYPE jobs_gauge gauge\njobs_gauge 1\n", "not its type"),
    ],
)
def test_the_rules_find_what_is_against_them(page: str, found: str) -> None:
    """Else they would prove nothing."""
    assert any(found in fault for fault in faults(text_families(page)))


def test_a_label_that_anybody_can_fill_is_found() -> None:
    """An id, a path, or too many words."""
    head = "# HELP a A\n# TYPE a gauge\n"
    assert unbounded(text_families(f'{head}a{{course="{uuid4()}"}} 1\n'))
    assert unbounded(text_families(f'{head}a{{path="/x/y"}} 1\n'))
    assert unbounded(text_families(head + "".join(f'a{{word="w{each}"}} 1\n' for each in range(_LIMIT + 1))))
    assert unbounded(text_families(f'{head}a{{route="get_all"}} 1\n')) == []


async def test_histograms_name_the_trace_of_a_request_a_batch_and_a_job(
    stack: Stack, db: Database, tmp_path: Path
) -> None:
    """Where OpenMetrics is asked for: the same trace on all three, on `metrics.getAll` a page that can be read; a Prometheus
    finds them, too.
    """
    await relay_lives(db)
    api, relay, worker = await stack.start_all("api", "outbox_relay", "stage_worker")
    course_id = await add_course(db)
    headers = {**bearer(), "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    async with httpx.AsyncClient(base_url=api.url, timeout=20) as client:
        await client.post("/api/trpc/generation.initiate", json={"courseId": str(course_id)}, headers=headers)
        await wait_for_state(db, course_id, "completed")
        everything = await client.get("/api/trpc/metrics.getAll", headers=OPENMETRICS)

    async def examples(process: Process) -> dict[str, set[str]]:
        found: dict[str, set[str]] = defaultdict(set)
        for family in openmetrics_families(await page_of(process, **OPENMETRICS)):
            for sample in family.samples:
                if sample.exemplar:
                    found[family.name].add(sample.exemplar.labels["trace_id"])
        return found

    shown = (await examples(api)) | (await examples(relay))
    measured = await eventually(lambda: examples(worker), within=10)
    assert shown["http_request_duration_seconds"] >= {TRACE}
    assert shown["outbox_batch_duration_seconds"] == shown["relay_stage_duration_seconds"] == {TRACE}
    assert measured["stage_job_duration_seconds"] == {TRACE}
    assert everything.headers["content-type"].startswith("application/openmetrics-text")
    assert {family.name for family in openmetrics_families(everything.text)} >= {
        "fsm_initializations",
        "system_healthy",
    }
    assert TRACE not in await page_of(api)

    targets = [f"{ports.LOOPBACK}:{process.metrics_port}" for process in (api, relay, worker)]
    with scraping(tmp_path, *targets) as prometheus:
        for name in ("http_request", "outbox_batch", "relay_stage", "stage_job"):

            async def found(series: str = f"{name}_duration_seconds_bucket") -> bool:
                kept = await asyncio.to_thread(prometheus.examples, series)
                return TRACE in {example["labels"]["trace_id"] for example in kept}

            await eventually(found, within=30, every=0.2)
