"""What load generators share: each is a module that runs in a process of its own, with a plan as input and a result as output."""

from __future__ import annotations

import asyncio
import resource
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import msgspec

P = TypeVar("P")
R = TypeVar("R")

_REPOSITORY = Path(__file__).parents[2]


async def carry_out_beside(module: str, plan: msgspec.Struct, result: type[R]) -> R:
    """Carry a plan out by `python -m MODULE`, in a process of its own.

    The result lies in a file: of megabytes in a pipe uvloop now and then forgets the end when the process is gone.
    """
    with tempfile.NamedTemporaryFile() as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, stdin=asyncio.subprocess.PIPE, stdout=output, cwd=_REPOSITORY
        )
        await process.communicate(msgspec.json.encode(plan))
        assert process.returncode == 0, f"the load generator ended with {process.returncode}"
        output.seek(0)  # the file is one, and the other process has written to its end
        return msgspec.json.decode(output.read(), type=result)


def main(plan: type[P], carry_out: Callable[[P], Coroutine[Any, Any, msgspec.Struct]]) -> int:
    """Carry out the plan that stands on the standard input."""
    import uvloop

    found = uvloop.run(carry_out(msgspec.json.decode(sys.stdin.buffer.read(), type=plan)))
    sys.stdout.buffer.write(msgspec.json.encode(found))
    return 0


def cpu_seconds() -> float:
    """CPU time of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def is_whole(received: bytes) -> bool:
    """Whether these bytes are an answer of HTTP/1.1 to its end."""
    head = received.find(b"\r\n\r\n")
    return head >= 0 and len(received) >= head + 4 + _content_length(received[:head])


def _content_length(head: bytes) -> int:
    start = head.index(b"content-length: ") + 16
    end = head.find(b"\r\n", start)
    return int(head[start:] if end < 0 else head[start:end])
