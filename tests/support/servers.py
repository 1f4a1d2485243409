"""PostgreSQL and Redis for the tests: embedded ones of our own, or those that TEST_… variables name.

`Postgres` makes databases as copies of one migrated template, so that a test gets a fresh one in a few
hundredths of a second. `PrivatePostgres` and `PrivateRedis` are servers that a test may stop, kill and start
again. A server that a variable names is never flushed or dropped beyond the databases made here.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from services.cli.stack import accounts, postgres, redis, redis_binary
from services.cli.stack.spawn import kill_group
from tests.support.ports import claim

REPOSITORY = Path(__file__).parents[2]
APPLICATION_ROLE = "coursegen_app"

_TEMPLATE = "coursegen_template"
_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 8 * 1024**3
_REDIS_DATABASES = 512
_START_SECONDS = 60.0
"""One that was killed under half a million messages reads all it has written, while the others have the cores."""
_fresh: list[Path] = []
"""A data folder in which nobody has ever been, while the session's server runs: initdb is ten times the work of a copy."""


@contextlib.contextmanager
def server_folder(*, on_disk: bool = False) -> Iterator[Path]:
    """A temporary folder that a borrowed account can reach, removed afterwards; in memory where there is much of it.

    A database of a test's own is hundreds of small files: a file system on a disk takes four times as long to make them.
    """
    folder = Path(tempfile.mkdtemp(prefix="coursegen-tests-", dir=None if on_disk else _memory()))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _memory() -> Path | None:
    """The file system in memory, unless somebody has said where temporary files go, or it has little room."""
    if "TMPDIR" in os.environ or not _MEMORY.is_dir() or not os.access(_MEMORY, os.W_OK):
        return None
    return _MEMORY if shutil.disk_usage(_MEMORY).free > _ROOM_BYTES else None


def cache_folder() -> Path:
    """Where fetched and copied server binaries are kept between test runs."""
    return Path(tempfile.gettempdir()) / f"coursegen-tests-cache-{os.getuid()}"


class PrivatePostgres:
    """A PostgreSQL of the test's own."""

    def __init__(self, folder: Path, *, durable: bool = False, options: dict[str, str] | None = None) -> None:
        account = accounts.server_account()
        binaries = postgres.find_binaries().open_to(account, cache_folder())
        self.server = postgres.PostgresServer(
            folder / "postgres",
            port=claim(),
            binaries=binaries,
            account=account,
            durable=durable,
            options={"dynamic_shared_memory_type": "mmap", **(options or {})},  # else a killed one leaves it to nobody
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    def start(self) -> None:
        """Start it (again) and wait until it answers."""
        self.initialise()
        self._process = self.server.start()
        self.server.wait_ready(self._process, seconds=_START_SECONDS)

    def initialise(self) -> None:
        """Make its data folder unless it is there: as initdb does, or of what it has made for the session's server."""
        if _fresh and not self.server.data.exists():
            accounts.own_folder(self.server.folder, self.server.account)
            _copy(_fresh[-1], self.server.data)
        self.server.initialise()

    def stop(self) -> None:
        """Stop it as `pg_ctl stop -m fast` does."""
        self._end(signal.SIGINT)

    def abort(self) -> None:
        """Stop it as `pg_ctl stop -m immediate` does: it recovers from its log at the next start."""
        self._end(signal.SIGQUIT)

    def kill(self) -> None:
        """Kill the postmaster and its backends with SIGKILL."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Freeze every process of the server: it accepts connections and answers nothing."""
        for pid in self._family():
            os.kill(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on."""
        for pid in self._family():
            with contextlib.suppress(ProcessLookupError):  # a backend ends when its client has gone
                os.kill(pid, signal.SIGCONT)

    def _family(self) -> list[int]:
        """The postmaster and its backends, each of which leads a process group of its own."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text(encoding="ascii").split()
        return [self.pid, *map(int, children)]

    def url(self, database: str = "postgres", *, user: str = postgres.OWNER) -> str:
        """A connection string for a database on it."""
        return self.server.url(database, user=user)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        if how is signal.SIGKILL:
            kill_group(self._process.pid)
        else:
            self._process.send_signal(how)
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            kill_group(self._process.pid)
            self._process.wait()
        self._process = None


def other_redis() -> Path | None:
    """A Redis of another version than `find_server`'s, if there is one: in Debian's redis-tools, under another name.

    Since Redis 7 an error within a script reads differently, and a client takes it for something else.
    """
    checks = shutil.which("redis-check-rdb")  # does what it is called
    if checks is None:
        return None
    program = cache_folder() / "other-redis" / "redis-server"
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        unfinished = program.with_name(f".{os.getpid()}")
        shutil.copy(checks, unfinished)
        unfinished.rename(program)
    return program


class PrivateRedis:
    """A Redis of the test's own."""

    def __init__(self, folder: Path, *, options: dict[str, str] | None = None, program: Path | None = None) -> None:
        account = accounts.server_account()
        program = program or redis_binary.find_server(cache_folder())
        self.server = redis.RedisServer(
            folder / "redis",
            port=claim(),
            program=accounts.reachable_copy(program.parent, account, cache_folder()) / program.name,
            account=account,
            options={"appendonly": "no", "databases": str(_REDIS_DATABASES), **(options or {})},
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The server's process id."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    def start(self) -> None:
        """Start it (again, empty unless it keeps a file) and wait until it answers."""
        self._process = self.server.start()
        self.server.wait_ready(self._process, seconds=_START_SECONDS)

    def stop(self) -> None:
        """Stop it with SIGTERM."""
        self._end(signal.SIGTERM)

    def kill(self, *, with_its_data: bool = False) -> None:
        """Kill it with SIGKILL, and remove its folder when asked."""
        self._end(signal.SIGKILL)
        if with_its_data:
            shutil.rmtree(self.server.folder, ignore_errors=True)

    def pause(self) -> None:
        """Freeze it: it accepts connections and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on."""
        os.kill(self.pid, signal.SIGCONT)

    def url(self, database: int = 0) -> str:
        """A connection string for one of its numbered databases."""
        return self.server.url(database)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        self._process.wait(timeout=20)
        self._process = None


class Postgres:
    """The session's server: hands out databases that are copies of one migrated template.

    One of our own copies their files, which is half the work of writing each page into its log; it waits for no disk.
    """

    def __init__(self, admin_url: str, *, is_own: bool = False) -> None:
        self.admin_url = admin_url
        self._how = " STRATEGY FILE_COPY" if is_own else ""
        self._marker = uuid.uuid4().hex[:8]
        self._numbers = itertools.count(1)
        self._template: str | None = None

    def create(self, *, migrated: bool = True) -> str:
        """Make a database and return its connection string as the owner."""
        name = f"coursegen_test_{self._marker}_{next(self._numbers)}"
        template = self._migrated_template() if migrated else "template0"
        self.run_sql(f'CREATE DATABASE "{name}" TEMPLATE "{template}"{self._how}')
        return self.url(name)

    def drop(self, url: str) -> None:
        """Remove a database made here, whoever is still connected."""
        name = urlsplit(url).path.lstrip("/")
        assert self._marker in name, f"{name} was not made by these tests"
        self.run_sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def close(self) -> None:
        """Remove the template."""
        if self._template is not None:
            self.run_sql(f'DROP DATABASE IF EXISTS "{self._template}" WITH (FORCE)')

    def url(self, database: str, *, user: str | None = None) -> str:
        """A connection string for a database on this server."""
        return with_user(urlunsplit(urlsplit(self.admin_url)._replace(path=f"/{database}")), user)

    def run_sql(self, sql: str, *, url: str | None = None) -> str:
        """Run statements through `psql`; returns what they print, unaligned."""
        argv = [str(psql()), "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", url or self.admin_url, "-f", "-"]
        done = subprocess.run(argv, input=sql, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{done.stderr}\nwhile running: {sql[:500]}"
        return done.stdout.strip()

    def _migrated_template(self) -> str:
        if self._template is None:
            name = f"{_TEMPLATE}_{self._marker}"
            self.run_sql(f'CREATE DATABASE "{name}" TEMPLATE template0')
            with _alone("migrating"):  # roles belong to the whole server, which may be the one of other processes, too
                migrate(self, self.url(name))
            self._template = name
        return self._template


@contextlib.contextmanager
def _alone(name: str) -> Iterator[None]:
    """No other process of this user is in a block of this name."""
    cache_folder().mkdir(parents=True, exist_ok=True)
    with (cache_folder() / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def psql() -> Path:
    """The `psql` that comes with the tests."""
    return postgres.find_binaries().path("psql")


def with_user(url: str, user: str | None) -> str:
    """The same connection as another role (the tests' server asks for no password)."""
    if user is None:
        return url
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{user}@{parts.hostname}:{parts.port}"))


def migrate(server: Postgres, url: str) -> None:
    """Apply all migrations through the product's runner (or, while there is none, by `psql`, in order)."""
    try:
        from services.migrate import runner
    except ImportError:
        for path in sorted((REPOSITORY / "migrations").glob("*.sql")):
            server.run_sql(path.read_text(encoding="utf-8"), url=url)
        return
    _in_own_loop(runner, url)


def _in_own_loop(runner: object, url: str) -> None:
    """Run the runner's coroutine in a thread, since a test's event loop may already run in this one."""
    failures: list[BaseException] = []

    def work() -> None:
        try:
            asyncio.run(runner.apply_all(url))  # type: ignore[attr-defined]
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


@contextlib.contextmanager
def session_postgres() -> Iterator[Postgres]:
    """The server that TEST_DATABASE_URL names (as a superuser), else one of our own."""
    named = os.environ.get("TEST_DATABASE_URL")
    if named:
        server = Postgres(named)
        yield server
        server.close()
        return
    with server_folder() as folder:
        own = PrivatePostgres(folder, options={"max_wal_size": "256MB"})  # of memory
        own.initialise()
        fresh = folder / "fresh"
        _copy(own.server.data, fresh)
        _fresh.append(fresh)
        try:
            own.start()
            yield Postgres(own.url(), is_own=True)
        finally:
            _fresh.remove(fresh)
            own.stop()


def _copy(data: Path, to: Path) -> None:
    """A data folder with its owner; one that is copied half is no data folder."""
    unfinished = to.with_name(f"{to.name}.copied")
    subprocess.run(["cp", "-a", data, unfinished], check=True)
    unfinished.rename(to)


class Redis:
    """The session's server: hands out one numbered database per test, flushed before use."""

    def __init__(self, url: str, databases: Iterable[int]) -> None:
        self._base = base_url(url)
        self._numbers = itertools.cycle(databases)

    def next_url(self) -> str:
        """The connection string of the next database."""
        return f"{self._base}/{next(self._numbers)}"


def base_url(url: str) -> str:
    """A Redis address without the number of a database."""
    return urlunsplit(urlsplit(url)._replace(path=""))


def database_number(url: str) -> int:
    """The number of the database in a Redis address: a test's stream of messages lies in its own, beside its queues."""
    return int(urlsplit(url).path.lstrip("/") or 0)


def share_of(numbers: Iterable[int], environ: Mapping[str, str]) -> list[int]:
    """The numbers that belong to this process, when several run the tests side by side (pytest-xdist names them gw0, gw1…)."""
    place = int(environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return list(numbers)[place :: int(environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))]


def empty_databases(url: str) -> list[int]:
    """Those of our share of the databases 1 to 15 in which nothing is."""
    import redis as client_library

    found = []
    for number in share_of(range(1, 16), os.environ):
        with contextlib.closing(client_library.Redis.from_url(f"{base_url(url)}/{number}")) as client:
            if client.dbsize() == 0:
                found.append(number)
    return found


@contextlib.contextmanager
def session_redis() -> Iterator[Redis]:
    """The server that TEST_REDIS_URL names, of which only databases that are empty are used, else one of our own."""
    named = os.environ.get("TEST_REDIS_URL")
    if named:
        empty = empty_databases(named)
        assert empty, "the Redis that TEST_REDIS_URL names has too few empty databases among 1 to 15"
        yield Redis(named, empty)
        return
    with server_folder() as folder:
        own = PrivateRedis(folder)
        own.start()
        try:
            yield Redis(own.url(), range(1, _REDIS_DATABASES))
        finally:
            own.stop()
