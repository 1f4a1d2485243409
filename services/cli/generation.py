"""One course from start to end, as a client: create, upload, initiate, watch, fetch.

What has been done is written down after every step (`orders`), so that the same work can be taken up again after the
command, the api or the whole machine went down, without doing anything twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from services.cli.api_client import ApiClient, ApiRefused, Json, Uncertain
from services.cli.errors import StackError
from services.cli.orders import Order, Record, sha256_of
from services.kernel.states import TERMINAL, Status

_POLL_SECONDS = 0.25
_LONGEST_WAIT_SECONDS = 30.0
_UPLOAD_TRIES = 3
_LIMITED = 429
_UNUSABLE = frozenset({400, 413, 415, 422})
"""What the api answers to a document that it cannot use; every other refusal is about the caller or the course."""


class GenerationFailed(StackError):
    """The course could not be generated."""

    code = "generation_failed"


class Display(Protocol):
    """What shows the work to the caller."""

    def say(self, text: str) -> None:
        """A line that stays."""

    def advance(self, event: Json) -> None:
        """The course has changed its state."""

    def show(self, course: Json) -> None:
        """How the course and its documents stand now."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The outcome."""

    course: Json
    json: bytes
    markdown: bytes


class Generation:
    """Carries one order through."""

    def __init__(
        self, api: ApiClient, order: Order, record: Record, *, display: Display, keep: Callable[[Record], None]
    ) -> None:
        """Do nothing yet.

        Args:
            api: whom to ask.
            order: what to make.
            record: how far it has come; a fresh one begins.
            display: shows the work.
            keep: writes the record down.
        """
        self._api = api
        self._order = order
        self._record = record
        self._display = display
        self._keep = keep

    async def run(self) -> Finished:
        """Carry the order through; returns the finished course.

        Raises:
            GenerationFailed: with the reason the api gives.
            ApiRefused: the api refuses a step.
        """
        course_id = await self._course()
        if (await self._api.course(course_id))["status"] == Status.PENDING:  # else its run has begun: all was there
            await self._upload(course_id)
            await self._initiate(course_id)
        course = await watch(self._api, course_id, self._display)
        if course["status"] != Status.COMPLETED:
            raise GenerationFailed(_why(course), courseId=course_id, status=course["status"])
        return Finished(course, await self._api.result(course_id), await self._api.markdown(course_id))

    async def _course(self) -> str:
        """The order's course: the one written down, or the one that the order's key stands for."""
        if self._record.course_id is None:
            self._keep(self._record)  # the key, before anything is made under it
            order = self._order
            course = await self._api.create_course(order.title, order.style, order.language, self._record.key)
            self._record.course_id = str(course["id"])
            self._keep(self._record)
        return self._record.course_id

    async def _initiate(self, course_id: str) -> None:
        """Begin the run; where the caller's courses are limited, as soon as one of them has ended."""
        told = False
        while True:
            try:
                await self._api.initiate(course_id, self._record.key)
            except ApiRefused as refusal:
                if refusal.status != _LIMITED:
                    raise
                if not told:
                    self._display.say(f"{refusal.message} Waiting for its turn.")
                    told = True
                await asyncio.sleep(min(max(refusal.retry_after, _POLL_SECONDS), _LONGEST_WAIT_SECONDS))
            else:
                return

    async def _upload(self, course_id: str) -> None:
        documents = await self._api.documents(course_id)
        present = {(document["filename"], document["sha256"]) for document in documents}
        refused = [path for path in self._order.files if not await self._upload_one(course_id, path, present)]
        if refused and len(refused) == len(self._order.files):
            await self._api.delete_course(course_id)
            raise GenerationFailed("None of the documents can be used; nothing was kept.", courseId=course_id)

    async def _upload_one(self, course_id: str, path: Path, present: set[tuple[str, str]]) -> bool:
        identity = (path.name, sha256_of(path))
        for _ in range(_UPLOAD_TRIES):
            if identity in present:
                return True
            try:
                await self._api.upload(course_id, path)
            except Uncertain:
                documents = await self._api.documents(course_id)
                present = {(document["filename"], document["sha256"]) for document in documents}
                continue
            except ApiRefused as refusal:
                if refusal.status not in _UNUSABLE:
                    raise
                self._display.say(f"{path.name}: {refusal.message}")
                return False
            self._display.say(f"uploaded {path.name} ({_size(path)})")
            return True
        raise StackError(f"{path.name} could not be uploaded: the api breaks off again and again.")


async def watch(api: ApiClient, course_id: str, display: Display) -> Json:
    """Show a course's way until nothing more happens to it; returns the course as it ended."""
    cursor: str | None = None
    shown = 0
    while True:
        course = await api.course(course_id)
        events, following = await api.events(course_id, cursor)
        events = [event for event in events if event["position"] > shown]
        for event in events:
            display.advance(event)
            shown = event["position"]
        cursor = following or cursor
        display.show(course)
        if course["status"] in TERMINAL and not events:
            return course
        if not events:
            await asyncio.sleep(_POLL_SECONDS)


def _size(path: Path) -> str:
    return f"{path.stat().st_size:,} bytes"


def _why(course: Json) -> str:
    if course["status"] == Status.CANCELLED:
        return "The course was cancelled."
    error = course.get("error") or "no reason given"
    reasons = [
        f"  {document['filename']}: {document['failureReason']}"
        for document in course["documents"]
        if document.get("failureReason") and document["failureReason"] not in error
    ]
    return "\n".join([f"The course ended in an error: {error}", *reasons])
