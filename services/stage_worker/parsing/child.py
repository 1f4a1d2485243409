"""The child process of the sandbox: does one task after another, within limits it has set for itself.

It dies with its parent: the kernel is asked to kill it then (Linux), and the closing pipe ends it anywhere. It gets no
part of the parent's environment, so no secret. Nothing here is imported by the parent.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import msgspec

from services.kernel.errors import CoursegenError
from services.stage_worker.parsing.messages import HEADER, Outcome, ParseArgument, Request, Response, encode

_PR_SET_PDEATHSIG = 1
_TIRED_FROM = 0.5
"""Of the memory allowed: a child that once used so much is replaced, since it does not give it back."""
_OPEN_FILES = 128
_MESSAGE_LENGTH = 2_000


def main(arguments: list[str]) -> int:
    """Serve until the pipe closes. Arguments: bytes of memory allowed, and the parent's process id."""
    memory, parent = int(arguments[0]), int(arguments[1])
    _limit(memory)
    if not _die_with(parent):
        return 1
    incoming, outgoing = _private_pipes()
    while True:
        header = incoming.read(HEADER.size)
        if len(header) < HEADER.size:
            return 0
        request = msgspec.msgpack.decode(incoming.read(HEADER.unpack(header)[0]), type=Request)
        outgoing.write(encode(_respond(request, memory)))
        outgoing.flush()


def _limit(memory: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(_OPEN_FILES, hard), hard))


def _die_with(parent: int) -> bool:
    """Ask to be killed when the parent ends; false if it has ended already."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    return os.getppid() == parent


def _private_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Our pipes under new numbers, so that a library that prints cannot disturb the conversation."""
    incoming, outgoing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    return incoming, outgoing


def _respond(request: Request, memory: int) -> Response:
    try:
        answer = _TASKS[request.task](request.argument)
        return Response(Outcome.DONE, answer=answer, tired=_is_tired(memory))
    except CoursegenError as error:
        trace = "".join(traceback.format_exception(error.__cause__))[-_MESSAGE_LENGTH:] if error.__cause__ else ""
        return Response(Outcome.REFUSED, message=error.message, trace=trace, tired=_is_tired(memory))
    except MemoryError:
        return Response(Outcome.OUT_OF_MEMORY, tired=True)
    except Exception:  # noqa: BLE001 - it is reported, and the child goes on
        return Response(Outcome.FAILED, trace=traceback.format_exc()[-_MESSAGE_LENGTH:], tired=True)


def _is_tired(memory: int) -> bool:
    return _peak() > _TIRED_FROM * memory


def _peak() -> int:
    """Most bytes of memory this program ever held. `getrusage` would count the parent's, inherited through exec."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = next((line for line in status.splitlines() if line.startswith("VmHWM:")), "VmHWM: 0 kB")
    return int(found.split()[1]) * 1024


def _parse(argument: bytes) -> bytes:
    from services.stage_worker.parsing.parser import parse

    asked = msgspec.msgpack.decode(argument, type=ParseArgument)
    content = Path(asked.path) if asked.path is not None else asked.content or b""
    return msgspec.msgpack.encode(parse(content, asked.media_type, asked.filename))


def _analyse(argument: bytes) -> bytes:
    from services.stage_worker.engines.material import Material
    from services.stage_worker.engines.offline.engine import analyse_sync

    return msgspec.msgpack.encode(analyse_sync(msgspec.msgpack.decode(argument, type=Material)))


def _generate(argument: bytes) -> bytes:
    from services.stage_worker.engines.offline.engine import WritingTask, generate_sync

    asked = msgspec.msgpack.decode(argument, type=WritingTask)
    return msgspec.msgpack.encode(generate_sync(asked.material, asked.structure))


def _misbehave(argument: bytes) -> bytes:
    """What a bad document can do to its reader, for the tests of the sandbox."""
    kind = argument.decode()
    if kind == "loop":
        while True:
            pass
    if kind == "memory":
        hoard = []
        while True:
            hoard.append(bytearray(16_000_000))
    if kind == "crash":
        os.abort()
    if kind == "print":
        print("noise")
    if kind == "error":
        raise ValueError("unexpected")
    return msgspec.msgpack.encode(os.getpid())


_TASKS: dict[str, Callable[[bytes], bytes]] = {
    "parse": _parse,
    "analyse": _analyse,
    "generate": _generate,
    "misbehave": _misbehave,
}


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
