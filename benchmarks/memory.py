"""Resident memory of api, relay and worker after a load of a hundred courses; what a 50 MB upload adds to the api."""

from __future__ import annotations

import asyncio
import io
import itertools
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from benchmarks.support import usage
from benchmarks.support.cases import Options, main
from benchmarks.support.grounds import Grounds, open_grounds
from benchmarks.support.machine import load
from benchmarks.support.tables import Table, verdict
from tests.support import tokens
from tests.support.servers import REPOSITORY
from tests.support.stack import Kind, Process
from tests.support.waiting import eventually

TITLE = "Memory: after a hundred courses, and during a 50 MB upload"
TITLED = 100
DOCUMENTED = 10
"""Courses made from the documents in `examples/`."""
GOALS_MB: dict[Kind, float] = {"api": 120, "outbox_relay": 100, "stage_worker": 250}
UPLOAD_BYTES = 50 * 1024 * 1024
UPLOAD_ADDS_MB = 10.0
_SECONDS = 900.0
_IDLE_SECONDS = 90.0

_UNFINISHED = "SELECT count(*) FROM courses WHERE generation_status NOT IN ('completed', 'error', 'cancelled')"
_COMPLETED = "SELECT count(*) FROM courses WHERE generation_status = 'completed'"


@dataclass(frozen=True, slots=True)
class _Scene:
    grounds: Grounds
    processes: Sequence[Process]
    client: httpx.AsyncClient

    @property
    def api(self) -> Process:
        return self.processes[0]

    async def initiate(self, course: str, **fields: Any) -> None:
        answer = await self.client.post("/api/trpc/generation.initiate", json={"courseId": course, **fields})
        assert answer.status_code == 200, answer.text

    async def create(self, title: str) -> str:
        answer = await self.client.post("/api/courses", json={"title": title})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def upload(self, course: str, name: str, content: io.BytesIO) -> None:
        answer = await self.client.post(f"/api/courses/{course}/documents", files={"file": (name, content)})
        assert answer.status_code == 201, answer.text

    async def finished(self) -> None:
        async def all_done() -> bool:
            return await asyncio.to_thread(self.grounds.sql, _UNFINISHED) == "0"

        await eventually(all_done, within=_SECONDS, every=0.5)


async def _open_scene(stack: AsyncExitStack) -> _Scene:
    grounds = stack.enter_context(open_grounds())
    processes = await grounds.stack.start_all(*GOALS_MB)
    client = httpx.AsyncClient(
        base_url=processes[0].url,
        headers=tokens.bearer(),
        timeout=120,
        limits=httpx.Limits(max_connections=100),
    )
    return _Scene(grounds, processes, await stack.enter_async_context(client))


async def measure(options: Options) -> Sequence[Table]:
    """Load the stack, wait until all courses are finished, and look at its processes; then upload."""
    table = Table(
        "Resident memory, MB",
        ("process", "at start", "after the load", "peak", "goal", ""),
    )
    families = Table("The worker and its sandbox, MB", ("when", "processes", "resident", "charged", "goal", ""))
    async with AsyncExitStack() as stack:
        scene = await _open_scene(stack)
        at_start = [usage.resident_megabytes(each.pid) for each in scene.processes]
        titled, documented = options.choose(TITLED, 20), options.choose(DOCUMENTED, 2)
        await _load(scene, titled, documented)
        for process, before in zip(scene.processes, at_start, strict=True):
            table.add(*_row(process, before))
        worker = scene.processes[-1]
        families.add("the last course has just ended", *_family(worker))
        await eventually(lambda: len(usage.family(worker.pid)) == 1, within=_IDLE_SECONDS, every=0.5)
        families.add("half a minute later", *_family(worker))
        completed = scene.grounds.sql(_COMPLETED)
        uploads = await _uploads(scene)
    table.notes.append(
        f"the load: {titled} courses from a title at once, then {documented} from the four examples each"
    )
    table.notes.append(f"{completed} of {titled + documented} courses completed; load average afterwards: {load()}")
    families.notes.append(
        "children read documents and run the offline engine, and end after 30 s without work; charged: shared pages divided "
        "among those that share them, about what a container's limit sees"
    )
    return [table, families, uploads]


async def _load(scene: _Scene, titled: int, documented: int) -> None:
    await asyncio.gather(
        *(scene.initiate(str(uuid4()), title=f"Load test course {number}", hasFiles=False) for number in range(titled))
    )
    for number in range(documented):
        course = await scene.create(f"Keeping bees {number}")
        for example in _examples():
            await scene.upload(course, example.name, io.BytesIO(example.read_bytes()))
        await scene.initiate(course)
    await scene.finished()


def _examples() -> list[Path]:
    return sorted(each for each in (REPOSITORY / "examples").iterdir() if each.is_file())


def _row(process: Process, before: float) -> Sequence[object]:
    now, goal = usage.resident_megabytes(process.pid), GOALS_MB[process.kind]
    return (
        process.kind,
        f"{before:.0f}",
        f"{now:.0f}",
        f"{usage.peak_megabytes(process.pid):.0f}",
        f"≤ {goal:.0f}",
        verdict(now, goal, at_least=False),
    )


def _family(process: Process) -> Sequence[object]:
    members, goal = usage.family(process.pid), GOALS_MB[process.kind]
    charged = sum(map(usage.proportional_megabytes, members))
    return (
        len(members),
        f"{sum(map(usage.resident_megabytes, members)):.0f}",
        f"{charged:.0f}",
        f"≤ {goal:.0f}",
        verdict(charged, goal, at_least=False),
    )


async def _uploads(scene: _Scene) -> Table:
    table = Table(
        "Uploads of 50 MB: peak resident memory of the api, MB", ("at once", "before", "peak", "added", "goal", "")
    )
    texts = itertools.count(1)
    for at_once in (1, 4):
        course = await scene.create(f"Upload {at_once}")
        files = [io.BytesIO(_text(next(texts))) for _ in range(at_once)]
        usage.reset_peak(scene.api.pid)
        before = usage.resident_megabytes(scene.api.pid)
        await asyncio.gather(*(scene.upload(course, f"large-{n}.md", file) for n, file in enumerate(files)))
        peak = usage.peak_megabytes(scene.api.pid)
        judged = (f"≤ {UPLOAD_ADDS_MB:.0f}", verdict(peak - before, UPLOAD_ADDS_MB, at_least=False))
        table.add(
            at_once, f"{before:.1f}", f"{peak:.1f}", f"{peak - before:.1f}", *(judged if at_once == 1 else ("–", ""))
        )
    return table


def _text(number: int) -> bytes:
    line = (
        f"# Chapter {number}\n\nA colony of honey bees lives through the winter on what it has gathered.\n\n".encode()
    )
    return (line * (UPLOAD_BYTES // len(line) + 1))[:UPLOAD_BYTES]


if __name__ == "__main__":
    raise SystemExit(main(measure, TITLE))
