"""What the sandbox and its child processes say to each other: length-prefixed MessagePack over two pipes."""

from __future__ import annotations

import struct
from enum import Enum

import msgspec

HEADER = struct.Struct(">I")
"""Before each message: its length in bytes."""


class Request(msgspec.Struct, frozen=True, array_like=True):
    """One task."""

    task: str
    argument: bytes
    """The task's own argument, encoded."""


class Outcome(Enum):
    """How a task ended in the child."""

    DONE = "done"
    REFUSED = "refused"
    """With an error of ours: the message is for the user."""
    OUT_OF_MEMORY = "out_of_memory"
    FAILED = "failed"
    """With an error nobody expected."""


class Response(msgspec.Struct, frozen=True, array_like=True):
    """What became of it."""

    outcome: Outcome
    answer: bytes = b""
    message: str = ""
    """For the user."""
    trace: str = ""
    """For the log: what was raised underneath."""
    tired: bool = False
    """The child has used so much memory that it should be replaced."""


class ParseArgument(msgspec.Struct, frozen=True, array_like=True):
    """The argument of the task `parse`: a file by its path, or its bytes."""

    media_type: str
    filename: str
    path: str | None = None
    content: bytes | None = None


def encode(message: msgspec.Struct) -> bytes:
    """A message with its length before it."""
    body = msgspec.msgpack.encode(message)
    return HEADER.pack(len(body)) + body
