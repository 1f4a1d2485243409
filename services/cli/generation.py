"""One course from start to end, as a client: create, upload, initiate, watch, fetch.

What has been done is written down after every step, so that the same work can be taken up again after the command, the
api or the whole machine went down, without doing anything twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from services.cli.api_client import ApiClient, ApiRefused, Json, Uncertain
from services.cli.errors import StackError

TERMINAL = frozenset({"completed", "error", "cancelled"})
"""States in which nothing more happens."""

_POLL_SECONDS = 0.25
_ADOPT_TRIES = 3


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
class Order:
    """What is to be generated."""

    title: str
    files: tuple[Path, ...]
    style: str
    language: str | None

    def fingerprint(self) -> str:
        """The same for the same order: title, choices, and the files' contents."""
        digest = hashlib.sha256(f"{self.title}\0{self.style}\0{self.language}".encode())
        for path in self.files:
            digest.update(f"\0{path.name}\0{sha256_of(path)}".encode())
        return digest.hexdigest()


@dataclass(slots=True)
class Record:
    """How far an order has come."""

    fingerprint: str
    key: str = field(default_factory=lambda: str(uuid.uuid4()))
    started_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat())
    course_id: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For a file."""
        return asdict(self)


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
        await self._upload(course_id)
        await self._api.initiate(course_id, self._record.key)
        course = await self._watch(course_id)
        if course["status"] != "completed":
            raise GenerationFailed(_why(course), courseId=course_id, status=course["status"])
        return Finished(course, await self._api.result(course_id), await self._api.markdown(course_id))

    async def _course(self) -> str:
        """The order's course: the one written down, one that was made without our knowing, or a new one."""
        if self._record.course_id is None:
            for _ in range(_ADOPT_TRIES):
                try:
                    course = await self._orphan() or await self._api.create_course(
                        self._order.title, self._order.style, self._order.language
                    )
                except Uncertain:
                    continue
                self._record.course_id = str(course["id"])
                break
            else:
                raise StackError("The course could not be created: the api breaks off again and again.")
            self._keep(self._record)
        return self._record.course_id

    async def _orphan(self) -> Json | None:
        """A course that an earlier try of this order created without living to hear of it."""
        for course in await self._api.courses():
            if (
                course["title"] == self._order.title
                and course["status"] == "pending"
                and str(course["createdAt"])[:19] >= self._record.started_at[:19]
            ):
                return course
        return None

    async def _upload(self, course_id: str) -> None:
        course = await self._api.course(course_id)
        if course["status"] != "pending":
            return  # it is under way or done: the documents were all there
        present = {(document["filename"], document["sha256"]) for document in course["documents"]}
        refused = [path for path in self._order.files if not await self._upload_one(course_id, path, present)]
        if refused and len(refused) == len(self._order.files):
            raise GenerationFailed("None of the documents can be used.", courseId=course_id)

    async def _upload_one(self, course_id: str, path: Path, present: set[tuple[str, str]]) -> bool:
        identity = (path.name, sha256_of(path))
        for _ in range(_ADOPT_TRIES):
            if identity in present:
                return True
            try:
                await self._api.upload(course_id, path)
            except Uncertain:
                documents = await self._api.documents(course_id)
                present = {(document["filename"], document["sha256"]) for document in documents}
                continue
            except ApiRefused as refusal:
                self._display.say(f"{path.name}: {refusal.message}")
                return False
            self._display.say(f"uploaded {path.name} ({_size(path)})")
            return True
        raise StackError(f"{path.name} could not be uploaded: the api breaks off again and again.")

    async def _watch(self, course_id: str) -> Json:
        return await watch(self._api, course_id, self._display)


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


def sha256_of(path: Path) -> str:
    """The hash of a file's contents, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _why(course: Json) -> str:
    if course["status"] == "cancelled":
        return "The course was cancelled."
    error = course.get("error") or "no reason given"
    reasons = [
        f"  {document['filename']}: {document['failureReason']}"
        for document in course["documents"]
        if document.get("failureReason") and document["failureReason"] not in error
    ]
    return "\n".join([f"The course ended in an error: {error}", *reasons])


def unusable(files: Sequence[Path]) -> str | None:
    """What is wrong with the files as files, or None."""
    for path in files:
        if not path.is_file():
            return f"{path} is no file. Name the documents to make the course from."
        if path.stat().st_size == 0:
            return f"{path} is empty."
    return None
