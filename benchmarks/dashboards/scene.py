"""What the pictures show: the real stack with courses and messages; a relay and a persistence-worker once stand still."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import httpx

from benchmarks.dashboards.asking import Answers, ask
from benchmarks.support.grounds import open_grounds
from benchmarks.sustained.traffic import wishes
from tests.support import tokens
from tests.support.papers import pdf_of_pictures
from tests.support.ports import pick
from tests.support.pretended_api import PretendedApi, pretended_api
from tests.support.prometheus import Prometheus, scraping
from tests.support.servers import REPOSITORY, server_folder
from tests.support.stack import Process, Stack
from tests.support.waiting import eventually
from tests.unit.operators.coursegen_operator.alerts.scene import GOOD_GROUP, NAMESPACE, policy

OUTBOX: Final = "config/grafana-dashboard.json"
OBJECTIVES: Final = "monitoring/grafana/objectives-dashboard.json"
MESSAGES: Final = "monitoring/grafana/phase3-queue-dashboard.json"
OPERATOR: Final = "monitoring/grafana/operator-dashboard.json"
SCRAPE_SECONDS: Final = 5
_RULES: Final = [REPOSITORY / "config" / name for name in ("alerts.yml", "alerts-coursegen.yml", "objectives.yml")]
_COURSES_A_SECOND, _REPEATED, _FAILED = 0.8, 4, 40
"""Each fourth course is asked for twice, each fortieth has nothing to read."""
_MESSAGES_A_SECOND, _MESSAGES_REPEATED = 8.0, 40
_STILL: Final = {"outbox_relay": (0.3, 20.0), "persistence_worker": (0.6, 15.0)}
"""Who stands still: from which share of the time on, and for how many seconds."""


async def look_at_stack(seconds: float) -> dict[str, Answers]:
    """Courses and messages for so long; what three dashboards show of that time."""
    with open_grounds() as grounds, server_folder() as folder:
        env = {"MESSAGES_REQUIRE_TOKEN": "false"}
        kinds = ("api", "outbox_relay", "stage_worker", "persistence_worker")
        started = [grounds.stack.spawn(kind, env=env) for kind in kinds]
        await asyncio.gather(*(each.ready() for each in started))
        targets = [f"127.0.0.1:{each.metrics_port}" for each in started]
        with scraping(
            Path(folder), *targets, rules=_RULES, seconds=SCRAPE_SECONDS, namespace="coursegen"
        ) as prometheus:
            await _loaded(grounds.stack, started[0], seconds)
            return await _asked(prometheus, (OUTBOX, OBJECTIVES, MESSAGES), seconds)


async def _asked(prometheus: Prometheus, paths: tuple[str, ...], seconds: float) -> dict[str, Answers]:
    end = time.time()
    return {
        path: await asyncio.to_thread(
            ask, prometheus, REPOSITORY / path, end=end, seconds=seconds, scrape=SCRAPE_SECONDS
        )
        for path in paths
    }


async def _loaded(stack: Stack, api: Process, seconds: float) -> None:
    work = [_courses(api.url), _messages(api.url), *(_stands_still(stack, kind, seconds) for kind in _STILL)]
    tasks = [asyncio.create_task(each) for each in work]
    try:
        done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        for each in done:
            each.result()
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _stands_still(stack: Stack, kind: Any, seconds: float) -> None:
    share, still = _STILL[kind]
    await asyncio.sleep(share * seconds)
    (process,) = stack.running(kind)
    process.pause()
    try:
        await asyncio.sleep(still)
    finally:
        process.resume()


async def _steadily(per_second: float, do: Callable[[int], Awaitable[None]]) -> None:
    """Do the next one at this rate, whatever becomes of the earlier ones, until cancelled."""
    number = 0
    async with asyncio.TaskGroup() as group:
        while True:
            group.create_task(_ignoring_silence(do(number)))
            number += 1
            await asyncio.sleep(1 / per_second)


async def _ignoring_silence(asked: Awaitable[None]) -> None:
    with suppress(httpx.TimeoutException):  # a part that stands still answers later
        await asked


async def _courses(url: str) -> None:
    wanted = wishes(1_000_000)
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:

        async def one(number: int) -> None:
            wish = next(wanted)
            headers = tokens.bearer(UUID(int=0xBEE5 + number % 5), tier=wish.tier)
            body = {"courseId": str(uuid4()), "title": wish.title, "style": wish.style}
            if number % _FAILED == _FAILED // 2:
                body = {"courseId": await _documented(client, headers, {"blank.pdf": pdf_of_pictures()})}
            elif wish.documents:
                files = {each.name: each.read_bytes() for each in wish.documents}
                body = {"courseId": await _documented(client, headers, files)}
            for _ in range(2 if number % _REPEATED == 0 else 1):
                await _generate(client, headers, body)

        await _steadily(_COURSES_A_SECOND, one)


async def _documented(client: httpx.AsyncClient, headers: dict[str, str], files: Mapping[str, bytes]) -> str:
    """A course with these documents."""
    made = await client.post("/api/courses", json={"title": "Keeping bees"}, headers=headers)
    course = str(made.raise_for_status().json()["id"])
    for name, content in files.items():
        sent = await client.post(f"/api/courses/{course}/documents", files={"file": (name, content)}, headers=headers)
        sent.raise_for_status()
    return course


async def _generate(client: httpx.AsyncClient, headers: dict[str, str], body: dict[str, str]) -> None:
    (await client.post("/api/trpc/generation.initiate", json=body, headers=headers)).raise_for_status()


async def _messages(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:

        async def one(number: int) -> None:
            said = number - 1 if number % _MESSAGES_REPEATED == 1 else number
            body = {
                "conversationId": f"talk-{said % 50}",
                "senderId": "alice",
                "content": "Hello",
                "clientMessageId": str(said),
            }
            (await client.post("/api/messages", json=body)).raise_for_status()

        await _steadily(_MESSAGES_A_SECOND, one)


async def look_at_operator(seconds: float) -> dict[str, Answers]:
    """The real operator beside an API server of ours with some policies that are changed now and then."""
    with server_folder() as folder:
        async with pretended_api() as api, _operator(api, Path(folder)) as port:
            with scraping(
                Path(folder), f"127.0.0.1:{port}", seconds=SCRAPE_SECONDS, namespace="operators"
            ) as prometheus:
                await _changing(api, seconds)
                return await _asked(prometheus, (OPERATOR,), seconds)


async def _changing(api: PretendedApi, seconds: float) -> None:
    policies = [
        policy(presets={"outbox": {}}),
        policy(presets={"api": {}}),
        policy(extraGroups=[{"name": "broken", "rules": [{}]}]),
    ]
    api.cluster.add(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "namespace": "", "labels": {}}}
    )
    for number, each in enumerate(policies):
        each["metadata"] |= {"name": f"platform-{number}", "uid": f"uid-{number}"}
        api.cluster.add(each)
    for number in range(int(seconds / 10)):
        await asyncio.sleep(10)
        for key in [key for key in api.cluster.objects if key.name == "platform-0"][:1]:
            groups = [GOOD_GROUP] if number % 2 == 0 else []
            api.cluster.edit(key, lambda item, groups=groups: item["spec"].update(extraGroups=groups))  # type: ignore[misc]


@asynccontextmanager
async def _operator(api: PretendedApi, folder: Path) -> AsyncIterator[int]:
    port = pick()
    ours = {"METRICS_PORT": str(port), "METRICS_HOST": "127.0.0.1", "KUBECONFIG": str(api.kubeconfig(folder))}
    with (folder / "operator.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "operators.coursegen_operator",
            env={**os.environ, **ours},
            cwd=REPOSITORY,
            stdout=log,
            stderr=log,
        )
        try:
            await eventually(lambda: _leads(port), within=60, every=0.2)
            yield port
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


async def _leads(port: int) -> bool:
    async with httpx.AsyncClient() as client:
        with suppress(httpx.HTTPError):
            answer = await client.get(f"http://127.0.0.1:{port}/metrics", timeout=2)
            return "coursegen_operator_is_leader 1.0" in answer.text
    return False
