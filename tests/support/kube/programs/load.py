"""Runs in a pod: orders courses at a steady rate until told to stop, and says what came of each request.

Two clients: one keeps its connections, one opens a new one for every request. Without INSIST nothing is tried twice: a request
that fails is a request that failed. With it an order is repeated under its idempotency key until it is accepted, as a client
is expected to do, and failed is what was not accepted in a minute. With READS each accepted course is asked for once. With
DOCUMENTS_EVERY=4 every fourth order is for a course with a document of its own, which is made and given the document first. With
MESSAGES_PER_SECOND each client also talks, in conversations of its own: one message after the other, each when the one before
was accepted, every fourth twice; with READS it reads each conversation in the end, until all that was accepted is there.
The last line of the output is the report.
"""

import asyncio
import base64
import contextlib
import itertools
import json
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator

import httpx

URL = os.environ["API_URL"]
TOKEN = os.environ["API_TOKEN"]
PER_SECOND = float(os.environ.get("PER_SECOND", "5"))
LONGEST_SECONDS = float(os.environ.get("LONGEST_SECONDS", "1200"))
INSIST_SECONDS = 60.0 if os.environ.get("INSIST") == "true" else 0.0
WEBHOOK = {"webhookUrl": os.environ["WEBHOOK_URL"]} if os.environ.get("WEBHOOK_URL") else {}
READS = os.environ.get("READS") == "true"
DOCUMENTS_EVERY = int(os.environ.get("DOCUMENTS_EVERY", "0"))
MESSAGES_PER_SECOND = float(os.environ.get("MESSAGES_PER_SECOND", "0"))
CONVERSATIONS = 4
TWICE_EVERY = 4
READ_SECONDS = 60.0
PAUSE_SECONDS = 0.2


class Report:
    def __init__(self) -> None:
        self.journal = []
        self.accepted = []
        self.with_document = []
        self.messages = []
        self.read = {}
        self.failures = []
        self.attempts = 0
        self.longest_seconds = 0.0

    def text(self) -> str:
        """As the last line."""
        return json.dumps(vars(self), separators=(",", ":"))


async def ask(client: httpx.AsyncClient, report: Report, method: str, path: str, **what: object) -> tuple:
    """The answer's status and the answer; without one, None and a sentence."""
    began = time.monotonic()
    report.attempts += 1
    try:
        answer = await client.request(method, path, **what)
    except httpx.HTTPError as error:
        return None, f"{error!r} after {time.monotonic() - began:.2f} s"
    else:
        return answer.status_code, answer
    finally:
        report.longest_seconds = max(report.longest_seconds, time.monotonic() - began)


async def order(client: httpx.AsyncClient, report: Report, *, brings_document: bool) -> None:
    course = await prepared(client, report) if brings_document else str(uuid.uuid4())
    if course and await accepted(client, report, course) and READS:
        status, answer = await ask(client, report, "GET", f"/api/courses/{course}")
        if status != 200:
            report.failures.append([course, status, words(answer)])


async def prepared(client: httpx.AsyncClient, report: Report) -> str | None:
    """A course that has its document; None when that failed."""
    status, answer = await ask(client, report, "POST", "/api/courses", json={"title": "Under load", **WEBHOOK})
    if status != 201:
        report.failures.append([None, status, words(answer)])
        return None
    course = answer.json()["id"]
    text = f"# Canaries of {course}\n\nThey sing. They were taken into mines {course}."
    upload = {"file": ("canaries.md", text.encode(), "text/markdown")}
    status, answer = await ask(client, report, "POST", f"/api/courses/{course}/documents", files=upload)
    if status != 201:
        report.failures.append([course, status, words(answer)])
        return None
    report.with_document.append(course)
    return course


async def accepted(client: httpx.AsyncClient, report: Report, course: str) -> bool:
    body = {"courseId": course, "title": "Under load", "hasFiles": course in report.with_document, **WEBHOOK}
    headers = {"Idempotency-Key": f"load-{course}"} if INSIST_SECONDS else {}
    deadline = time.monotonic() + INSIST_SECONDS
    while True:
        status, answer = await ask(client, report, "POST", "/api/trpc/generation.initiate", json=body, headers=headers)
        job = answer.json().get("jobId") if status == 200 else None
        report.journal.append([course, status, job])
        if status == 200:
            report.accepted.append(course)
            return True
        if time.monotonic() > deadline:
            report.failures.append([course, status, words(answer)])
            return False
        await asyncio.sleep(PAUSE_SECONDS)


async def talk(client: httpx.AsyncClient, report: Report, enough: asyncio.Event) -> None:
    """One conversation."""
    conversation, said = f"load-{uuid.uuid4()}", []
    async for number in steps(MESSAGES_PER_SECOND, enough):
        first = await sent(client, report, conversation, number)
        if first and number % TWICE_EVERY == 0:
            again = await sent(client, report, conversation, number)
            if again and (again["messageId"], again["idempotentHit"]) != (first["messageId"], True):
                report.failures.append([conversation, 202, json.dumps([first, again])])
        if first:
            said.append(first["messageId"])
            report.messages.append([conversation, f"m-{number}", first["messageId"]])
    if READS and said:
        await read(client, report, conversation, said)


async def sent(client: httpx.AsyncClient, report: Report, conversation: str, number: int) -> dict | None:
    """The answer to a message that was accepted; None when it was not."""
    body = {"conversationId": conversation, "senderId": sender(), "content": f"Number {number}",
            "clientMessageId": f"m-{number}", "recipientIds": ["somebody"]}  # fmt: skip
    deadline = time.monotonic() + INSIST_SECONDS
    while True:
        status, answer = await ask(client, report, "POST", "/api/messages", json=body)
        if status == 202:
            return answer.json()
        if time.monotonic() > deadline:
            report.failures.append([f"{conversation} m-{number}", status, words(answer)])
            return None
        await asyncio.sleep(PAUSE_SECONDS)


async def read(client: httpx.AsyncClient, report: Report, conversation: str, said: list[str]) -> None:
    """Read the conversation again and again until all of it is there."""
    deadline = time.monotonic() + READ_SECONDS
    while True:
        shown = await pages(client, report, conversation)
        if shown is None or not set(said) - set(shown) or time.monotonic() > deadline:
            report.read[conversation] = shown
            return
        await asyncio.sleep(PAUSE_SECONDS)


async def pages(client: httpx.AsyncClient, report: Report, conversation: str) -> list[str] | None:
    """The ids that the conversation shows now, page by page; None when a page failed."""
    shown, cursor = [], {}
    while True:
        path = f"/api/conversations/{conversation}/messages"
        status, answer = await ask(client, report, "GET", path, params={"limit": 100, **cursor})
        if status == 404:  # nothing of it is persisted yet
            return shown
        if status != 200:
            report.failures.append([conversation, status, words(answer)])
            return None
        page = answer.json()
        shown += [each["messageId"] for each in page["messages"]]
        if page["nextCursor"] is None:
            return shown
        cursor = {"cursor": page["nextCursor"]}


def sender() -> str:
    """The user of the token."""
    claims = TOKEN.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["sub"]


def words(answer: object) -> str:
    return answer if isinstance(answer, str) else answer.text[:300]


async def steps(per_second: float, enough: asyncio.Event) -> AsyncIterator[int]:
    """1, 2, 3… at this rate, until it is enough; none at a rate of 0."""
    for number in itertools.count(1) if per_second else ():
        if enough.is_set():
            return
        yield number
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(enough.wait(), 1 / per_second)


async def load(*, keep: bool, enough: asyncio.Event, report: Report) -> None:
    limits = httpx.Limits(max_keepalive_connections=20 if keep else 0)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        httpx.AsyncClient(base_url=URL, headers=headers, limits=limits, timeout=30) as client,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(CONVERSATIONS if MESSAGES_PER_SECOND else 0):
            group.create_task(talk(client, report, enough))
        async for number in steps(PER_SECOND, enough):
            brings_document = DOCUMENTS_EVERY > 0 and number % DOCUMENTS_EVERY == 0
            group.create_task(order(client, report, brings_document=brings_document))


async def main() -> None:
    report = Report()
    enough = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, enough.set)
    loop.call_later(LONGEST_SECONDS, enough.set)
    print("loading", flush=True)
    await asyncio.gather(load(keep=True, enough=enough, report=report), load(keep=False, enough=enough, report=report))
    print(report.text(), flush=True)


asyncio.run(main())
