"""What is to be generated, and how far it has come: written down after every step, so that it can be taken up again."""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from services.cli.api_client import ApiClient, ApiRefused
from services.cli.errors import StackError
from services.cli.stack.spawn import is_running
from services.cli.stack.state import StateFolder, read_json, write_private

_GONE = frozenset({403, 404})


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

    key: str = field(default_factory=lambda: str(uuid.uuid4()))
    """Under which the course is created and its run begins."""
    course_id: str | None = None
    pid: int = field(default_factory=os.getpid)
    """The process that works on it."""


class Notebook:
    """Keeps the record of one order that is not finished, in the state folder."""

    def __init__(self, state: StateFolder, order: Order, place: str = "") -> None:
        """Read and write nothing yet.

        Args:
            state: the folder.
            order: whose record this is.
            place: address of an api that is not the folder's own stack: an order there is another order.
        """
        self._state = state
        self._path = state.order(hashlib.sha256(f"{order.fingerprint()}\0{place}".encode()).hexdigest())
        self._is_ours = True

    def recall(self) -> Record | None:
        """The record of the same order, left by a process that has ended; None begins afresh.

        While another process works on the same order nothing is kept: its record is not ours to overwrite.
        """
        kept = read_json(self._path)
        if kept is None:
            return None
        with contextlib.suppress(TypeError):
            record = Record(**kept)
            if record.pid != os.getpid() and is_running(record.pid):
                self._is_ours = False
                return None
            record.pid = os.getpid()
            return record
        return None

    def keep(self, record: Record) -> None:
        """Write down how far the order has come; it is done without a note where the folder cannot be used."""
        if self._is_ours:
            with contextlib.suppress(StackError, OSError):
                self._state.open_for_notes()
                write_private(self._path, asdict(record))

    def forget(self) -> None:
        """The order is finished, or will never be."""
        if self._is_ours:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)


async def resume(notebook: Notebook, api: ApiClient) -> tuple[Record, bool]:
    """The record to go on with, and whether it is one of an earlier run whose course is still there."""
    record = notebook.recall()
    if record is None:
        return Record(), False
    if record.course_id is not None and await _is_gone(api, record.course_id):
        return Record(), False
    return record, True


async def _is_gone(api: ApiClient, course_id: str) -> bool:
    try:
        await api.course(course_id)
    except ApiRefused as refusal:
        if refusal.status in _GONE:
            return True
        raise
    return False


def sha256_of(path: Path) -> str:
    """The hash of a file's contents, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unusable(files: Sequence[Path]) -> str | None:
    """What is wrong with the files as files, or None."""
    for path in files:
        if not path.is_file():
            return f"{path} is no file. Name the documents to make the course from."
        if path.stat().st_size == 0:
            return f"{path} is empty."
    return None
