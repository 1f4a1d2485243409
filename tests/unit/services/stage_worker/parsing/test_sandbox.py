"""The child processes: whatever a document does, the worker goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import psutil
import pytest

from services.kernel.errors import DocumentRejected, PermanentError
from services.stage_worker.parsing.sandbox import Sandbox, SandboxLimits
from tests.support.material import EXAMPLES, MEDIA_TYPES, ROOT
from tests.support.papers import PDF, pdf_of_pictures
from tests.support.waiting import eventually

LIMITS = SandboxLimits(processes=2, memory_bytes=512 << 20, parse_seconds=30, engine_seconds=2, idle_seconds=30)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox with small limits."""
    async with Sandbox(LIMITS) as opened:
        yield opened


async def misbehave(sandbox: Sandbox, kind: str) -> int:
    """Let a child do something bad; gives its process id if it survives."""
    return await sandbox.call("misbehave", kind.encode(), int)  # type: ignore[arg-type]


async def test_a_document_is_read_in_another_process(sandbox: Sandbox) -> None:
    """By its path or its bytes, with the same result."""
    path = EXAMPLES[0]
    by_path = await sandbox.parse(path, MEDIA_TYPES[path.suffix], path.name)
    by_bytes = await sandbox.parse(path.read_bytes(), MEDIA_TYPES[path.suffix], path.name)

    assert by_path == by_bytes
    assert by_path.title == "Transactions and the log"


async def test_a_rejection_comes_back_as_it_was_raised(sandbox: Sandbox) -> None:
    """The reason crosses the process boundary."""
    with pytest.raises(DocumentRejected, match="OCR"):
        await sandbox.parse(pdf_of_pictures(), PDF, "scan.pdf")


@pytest.mark.parametrize("kind", ["loop", "memory", "crash"])
async def test_a_bad_task_fails_alone_and_the_next_one_works(sandbox: Sandbox, kind: str) -> None:
    """An endless loop, a memory bomb and a crash end as permanent errors; the next task gets a fresh child."""
    with pytest.raises(PermanentError):
        await misbehave(sandbox, kind)

    assert await misbehave(sandbox, "nothing") > 0


async def test_a_bad_document_does_not_hold_up_the_others(sandbox: Sandbox) -> None:
    """While one child loops, another goes on reading."""
    looping = asyncio.ensure_future(misbehave(sandbox, "loop"))
    path = EXAMPLES[2]
    document = await sandbox.parse(path, MEDIA_TYPES[path.suffix], path.name)

    assert document.language == "en"
    assert not looping.done()
    with pytest.raises(PermanentError):
        await looping


async def test_what_a_library_prints_does_not_disturb(sandbox: Sandbox) -> None:
    """The conversation has pipes of its own."""
    assert await misbehave(sandbox, "print") > 0


async def test_an_unexpected_error_is_permanent_and_says_nothing_of_the_inside(sandbox: Sandbox) -> None:
    """The trace goes to the log, not to the user."""
    with pytest.raises(PermanentError) as failure:
        await misbehave(sandbox, "error")

    assert "unexpected" not in failure.value.message


async def test_a_child_killed_from_outside_is_replaced_and_the_task_repeated(sandbox: Sandbox) -> None:
    """An operator's or the kernel's kill costs nobody a document."""
    first = await misbehave(sandbox, "nothing")
    os.kill(first, signal.SIGKILL)

    second = await misbehave(sandbox, "nothing")

    assert second != first


async def test_children_are_used_again(sandbox: Sandbox) -> None:
    """Starting a process for each document would cost more than reading it."""
    assert await misbehave(sandbox, "nothing") == await misbehave(sandbox, "nothing")


async def test_cancelling_a_task_ends_its_child(sandbox: Sandbox) -> None:
    """A job that is taken back leaves no process at work."""
    task = asyncio.ensure_future(misbehave(sandbox, "loop"))
    await eventually(lambda: len(_children()) > 0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await eventually(lambda: not _children())


async def test_idle_children_end() -> None:
    """After a quiet while nothing of the heavy libraries is left in memory."""
    async with Sandbox(SandboxLimits(processes=1, memory_bytes=512 << 20, idle_seconds=0.2)) as sandbox:
        child = await misbehave(sandbox, "nothing")

        await eventually(lambda: not psutil.pid_exists(child))


async def test_closing_ends_every_child() -> None:
    """Nothing is left running."""
    sandbox = Sandbox(LIMITS)
    child = await misbehave(sandbox, "nothing")
    await sandbox.close()

    assert not psutil.pid_exists(child)


async def test_children_get_nothing_of_the_environment(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """No secret of the worker is in a process that reads hostile files."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://secret@nowhere/none")
    child = await misbehave(sandbox, "nothing")

    assert b"secret" not in Path(f"/proc/{child}/environ").read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel kills orphans on Linux only")
async def test_children_die_with_their_parent() -> None:
    """Even in the middle of an endless loop, and even if the parent is killed."""
    program = (
        "import asyncio, sys\n"
        "from services.stage_worker.parsing.sandbox import Sandbox, SandboxLimits\n"
        "async def main():\n"
        "    sandbox = Sandbox(SandboxLimits(engine_seconds=300))\n"
        "    print(await sandbox.call('misbehave', b'nothing', int), flush=True)\n"
        "    await sandbox.call('misbehave', b'loop', int)\n"
        "asyncio.run(main())\n"
    )
    parent = subprocess.Popen(  # noqa: ASYNC220 - it is the parent that is tried here
        [sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}
    )
    assert parent.stdout is not None
    child = int(await asyncio.to_thread(parent.stdout.readline))
    parent.kill()
    parent.wait()
    parent.stdout.close()

    await eventually(lambda: not psutil.pid_exists(child))


def test_messages_survive_the_pipe() -> None:
    """Lone surrogates cannot occur in parsed text, so every document can be sent."""
    from services.stage_worker.parsing import parse

    document = parse("Text \ud800 with a broken half.".encode("utf-8", "surrogatepass"), "text/plain", "a.txt")

    assert msgspec.msgpack.decode(msgspec.msgpack.encode(document), type=type(document)) == document


def _children() -> list[psutil.Process]:
    return [each for each in psutil.Process().children() if "parsing.child" in " ".join(each.cmdline())]
