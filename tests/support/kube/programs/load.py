"""Runs in a pod: orders courses at a steady rate until told to stop, and says what came of each request.

Two clients: one keeps its connections, one opens a new one for every request. Nothing is tried twice: a request that
fails is a request that failed. The last line of the output is the report.
"""

import asyncio
import json
import os
import signal
import time
import uuid

import httpx

URL = os.environ["API_URL"]
TOKEN = os.environ["API_TOKEN"]
PER_SECOND = float(os.environ.get("PER_SECOND", "5"))
LONGEST_SECONDS = float(os.environ.get("LONGEST_SECONDS", "1200"))


async def order(client: httpx.AsyncClient, report: dict) -> None:
    course = str(uuid.uuid4())
    began = time.monotonic()
    report["attempts"] += 1
    try:
        answer = await client.post(
            "/api/trpc/generation.initiate", json={"courseId": course, "title": "Under load", "hasFiles": False}
        )
        if answer.status_code != 200:
            report["failures"].append([course, answer.status_code, answer.text[:300]])
            return
        report["accepted"].append(course)
    except httpx.HTTPError as error:
        report["failures"].append([course, repr(error), round(time.monotonic() - began, 2)])
    finally:
        report["longest_seconds"] = max(report["longest_seconds"], time.monotonic() - began)


async def load(*, keep: bool, enough: asyncio.Event, report: dict) -> None:
    limits = httpx.Limits(max_keepalive_connections=20 if keep else 0)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        httpx.AsyncClient(base_url=URL, headers=headers, limits=limits, timeout=30) as client,
        asyncio.TaskGroup() as group,
    ):
        while not enough.is_set():
            group.create_task(order(client, report))
            try:
                await asyncio.wait_for(enough.wait(), 1 / PER_SECOND)
            except TimeoutError:
                continue


async def main() -> None:
    report = {"attempts": 0, "accepted": [], "failures": [], "longest_seconds": 0.0}
    enough = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, enough.set)
    loop.call_later(LONGEST_SECONDS, enough.set)
    print("loading", flush=True)
    await asyncio.gather(load(keep=True, enough=enough, report=report), load(keep=False, enough=enough, report=report))
    print(json.dumps(report), flush=True)


asyncio.run(main())
