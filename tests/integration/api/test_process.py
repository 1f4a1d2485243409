"""The api as a process: how it starts, refuses to start, shares a port, stops, and how much memory it takes."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from services.kernel.database import Database
from tests.support.courses import add_course
from tests.support.ports import claim
from tests.support.servers import REPOSITORY
from tests.support.stack import Process, Stack, open_stack
from tests.support.tokens import SECRET, bearer

INITIATE = "/api/trpc/generation.initiate"


@pytest.fixture
def stack(tmp_path: Path, app_database_url: str, redis_url: str) -> Iterator[Stack]:
    """Processes on the test's servers, ended with the test."""
    with open_stack(tmp_path, database_url=app_database_url, redis_url=redis_url) as opened:
        yield opened


def refused_start(**environment: str) -> tuple[int, str]:
    """Exit code and output of an api that should not start."""
    done = subprocess.run(
        [sys.executable, "-m", "services.api"],
        env={
            "PATH": "/usr/bin:/bin",
            "METRICS_PORT": "0",
            "HOST": "127.0.0.1",
            "START_WAIT_SECONDS": "0",
            **environment,
        },
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


async def test_it_says_that_it_listens(stack: Stack) -> None:
    """The literal line of contract.md q, and no line of uvicorn's."""
    process = await stack.start("api")

    assert f"Server listening on port {process.port}" in process.log.read_text()
    assert "Uvicorn" not in process.log.read_text()
    assert await process.stopped() == 0


def test_missing_settings_are_all_named() -> None:
    """Exit code 78, before anything is opened."""
    code, said = refused_start(PORT="x", JWT_SECRET="short")

    assert code == 78
    assert all(name in said for name in ("DATABASE_URL", "PORT", "JWT_SECRET") if name != "JWT_SECRET")


def test_supabase_variables_alone_are_refused() -> None:
    """D40: the message names `DATABASE_URL`."""
    code, said = refused_start(SUPABASE_URL="https://x.supabase.co", SUPABASE_ANON_KEY="x", JWT_SECRET=SECRET)

    assert code == 78
    assert "DATABASE_URL" in said
    assert "SUPABASE_URL" in said


def test_a_database_without_our_tables_is_refused(empty_database_url: str, redis_url: str) -> None:
    """TRAP33: the message names the missing relation and the next command."""
    code, said = refused_start(DATABASE_URL=empty_database_url, REDIS_URL=redis_url, JWT_SECRET=SECRET, PORT="0")

    assert code == 1
    assert "job_outbox" in said
    assert "coursegen migrate" in said


def test_a_port_that_is_taken_is_refused(app_database_url: str, redis_url: str) -> None:
    """With the reason, not silently, and not in a traceback."""
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code, said = refused_start(DATABASE_URL=app_database_url, REDIS_URL=redis_url, JWT_SECRET=SECRET, PORT=port)

    assert code == 1
    assert f"port {port} of 127.0.0.1 cannot be used: Address already in use; choose another with PORT" in said
    assert "Traceback" not in said


async def test_requests_in_hand_are_finished_before_it_stops(stack: Stack, db: Database) -> None:
    """SIGTERM in the middle of a request: it is answered, with `Connection: close`, and the exit code is 0."""
    process = await stack.start("api")
    course_id = await add_course(db)
    async with httpx.AsyncClient(base_url=process.url, headers=bearer(), timeout=20) as client:
        async with db.transaction() as holder:
            await holder.execute("SELECT 1 FROM courses WHERE id = $1 FOR UPDATE", course_id)
            waiting = asyncio.create_task(client.post(INITIATE, json={"courseId": str(course_id)}))
            await asyncio.sleep(0.3)
            process.terminate()
            await asyncio.sleep(0.5)
        answer = await waiting

    assert answer.status_code == 200
    assert answer.headers["connection"] == "close"
    assert await process.ended() == 0


class Traffic:
    """Clients that call one address without a pause, and write down what goes wrong."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stopped = False
        self.answered = 0
        self.failures: list[str] = []

    async def client(self) -> None:
        """One keep-alive client; a connection the server has closed in order may be opened anew."""
        async with httpx.AsyncClient(base_url=self._url, headers=bearer(), timeout=20) as client:
            while not self._stopped:
                try:
                    answer = await client.post(INITIATE, json={"courseId": str(uuid4()), "title": "x"})
                except httpx.TransportError as error:
                    self.failures.append(repr(error))
                else:
                    self.answered += 1
                    if answer.status_code != 200:
                        self.failures.append(answer.text)

    @contextlib.asynccontextmanager
    async def flowing(self, clients: int) -> AsyncIterator[None]:
        """Call while the block runs."""
        tasks = [asyncio.create_task(self.client()) for _ in range(clients)]
        try:
            yield
        finally:
            self._stopped = True
            await asyncio.gather(*tasks)


async def test_a_rolling_restart_of_two_on_one_port_costs_no_request(stack: Stack) -> None:
    """R11, case 9: each is replaced twice under load; every request is answered 200."""
    port = claim()
    shared = {"API_REUSE_PORT": "true"}
    serving: list[Process] = [await stack.start("api", port=port, env=shared) for _ in range(2)]
    traffic = Traffic(serving[0].url)
    async with traffic.flowing(8):
        for _ in range(4):
            serving.append(await stack.start("api", port=port, env=shared))
            assert await serving.pop(0).stopped() == 0

    assert traffic.failures == []
    assert traffic.answered > 100


async def test_two_on_one_port_are_one_api(stack: Stack, db: Database) -> None:
    """The same request to either is the same run; the numbers are common."""
    port = claim()
    for _ in range(2):
        await stack.start("api", port=port, env={"API_REUSE_PORT": "true"})
    course_id = await add_course(db)
    answers = []
    for _ in range(20):
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=bearer(), timeout=20) as client:
            answers.append((await client.post(INITIATE, json={"courseId": str(course_id)})).json())

    assert len({answer["jobId"] for answer in answers}) == 1
    assert await db.fetchval("SELECT count(*) FROM job_outbox") == 1


def resident(process: Process) -> int:
    """Bytes of memory it holds, and the most it ever held."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
async def test_a_large_upload_needs_little_memory(stack: Stack, db: Database) -> None:
    """50 MB add at most 10 MB to the peak; the process as a whole stays below 120 MB."""
    process = await stack.start("api")
    course_id = await add_course(db)
    line = b"A line of plain text, one of very many.\n"

    async def upload(size: int, name: str) -> int:
        async def form() -> AsyncIterator[bytes]:
            disposition = f'Content-Disposition: form-data; name="file"; filename="{name}"'
            yield f"--X\r\n{disposition}\r\n\r\n".encode()
            piece = line * (65_536 // len(line))
            for _ in range(size // len(piece)):
                yield piece
            yield b"\r\n--X--\r\n"

        headers = {**bearer(), "Content-Type": "multipart/form-data; boundary=X"}
        async with httpx.AsyncClient(base_url=process.url, headers=headers, timeout=60) as client:
            return (await client.post(f"/api/courses/{course_id}/documents", content=form())).status_code

    assert await upload(1_000_000, "small.txt") == 201
    before = resident(process)
    assert await upload(52_000_000, "large.txt") == 201
    after = resident(process)

    assert after - before <= 10 * 1024 * 1024
    assert after <= 120 * 1024 * 1024
    assert await db.fetchval("SELECT max(size_bytes) FROM documents") > 51_000_000


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize("path", [INITIATE, "/api/messages"])
async def test_oversized_bodies_need_little_memory(stack: Stack, path: str) -> None:
    """S6: bodies far over the limit, declared and chunked, add at most 10 MB; a declared one is refused within a second."""
    process = await stack.start("api")

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(600):
            yield b" " * 65_536

    headers = {**bearer(), "Content-Type": "application/json"}
    async with httpx.AsyncClient(base_url=process.url, headers=headers, timeout=60) as client:
        await client.post(path, json={"courseId": str(uuid4())})
        before = resident(process)
        assert (await client.post(path, content=endless())).status_code == 413
        refused = [await client.post(path, content=b" " * 30_000_000) for _ in range(3)]

    assert {each.status_code for each in refused} == {413}
    assert min(each.elapsed for each in refused) <= timedelta(seconds=1)  # a busy machine is late now and then
    assert resident(process) - before <= 10 * 1024 * 1024
