"""The one folder that holds everything the local stack keeps: data, secrets, logs, and what runs now.

::

    <folder>/layout          version of this arrangement
            secrets.json     passwords and ports, made once (mode 0600)
            running.json     addresses of the stack that runs now (mode 0600)
            order-*.json     unfinished courses of `demo` and `generate`, one file per order
            postgres/ redis/ logs/ bin/ cache/

`COURSEGEN_HOME` names it; otherwise a checkout has one of its own below the user's state folder (below `/var/tmp`
for root, whose home a borrowed account cannot enter), and an installed coursegen has one per user.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from services.cli.errors import StackError
from services.cli.stack.accounts import server_account
from services.cli.stack.spawn import is_running

LAYOUT = 1
"""Version of the arrangement; a change of it needs a way to move the old one, or advice."""

_VARIABLE = "COURSEGEN_HOME"
_SECRETS = ("owner_password", "application_password", "redis_password", "jwt_secret")
_MADE: Mapping[str, Callable[[], str]] = {
    **dict.fromkeys(_SECRETS, partial(secrets.token_urlsafe, 32)),
    "stack_id": lambda: str(uuid.uuid4()),
    "webhook_key": lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode("ascii"),
}
"""What a stack makes for itself, by name."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """What one stack keeps for itself from its first start on."""

    owner_password: str
    application_password: str
    redis_password: str
    jwt_secret: str
    stack_id: str
    """Tells this stack's api from every other; no secret."""
    webhook_key: str
    """Encrypts the secrets that sign webhooks."""
    postgres_port: int = 0
    redis_port: int = 0


@dataclass(frozen=True, slots=True)
class Running:
    """The stack that runs now, as other commands need it."""

    pid: int
    api_url: str
    metrics_url: str
    database_url: str
    redis_url: str
    processes: dict[str, int]
    stack_id: str | None = None


def default_folder(environ: Mapping[str, str]) -> Path:
    """Where the state lives for this caller."""
    named = environ.get(_VARIABLE)
    if named:
        return Path(named).expanduser().absolute()
    name = _installation_name()
    if os.geteuid() == 0:
        return Path("/var/tmp") / f"coursegen-{os.geteuid()}-{name}"  # noqa: S108 - ownership is checked
    base = environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "coursegen" / name


def _installation_name() -> str:
    root = Path(__file__).resolve().parents[3]
    if not (root / "pyproject.toml").exists():
        return "default"
    return hashlib.sha256(str(root).encode()).hexdigest()[:8]


class StateFolder:
    """The folder itself: its paths, its lock, and what it remembers."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.postgres = root / "postgres"
        self.redis = root / "redis"
        self.logs = root / "logs"
        self.programs = root / "bin"
        self.cache = root / "cache"
        self._layout = root / "layout"
        self._secrets = root / "secrets.json"
        self._running = root / "running.json"
        self._lock = root / "lock"
        self._guests = root / "guests"

    def order(self, fingerprint: str) -> Path:
        """Where a command keeps how far the order with this fingerprint has come."""
        return self.root / f"order-{fingerprint[:16]}.json"

    def exists(self) -> bool:
        """Whether this is a state folder."""
        return self._layout.exists()

    def has_secrets(self) -> bool:
        """Whether a stack was ever started here."""
        return self._secrets.exists()

    def open(self) -> None:
        """Make the folder, or check that it is ours and of this layout.

        Raises:
            StackError: it cannot be made, belongs to someone else, is no state folder, or is of another layout.
        """
        self._make()
        if server_account() is not None:
            self._check_open_to_servers()
        self._check_layout()
        for folder in (self.logs, self.programs, self.cache):
            folder.mkdir(exist_ok=True)
        self.logs.chmod(0o700)

    def open_for_notes(self) -> None:
        """The same for a command that starts no server.

        Raises:
            StackError: as `open`.
        """
        self._make()
        self._check_layout()

    def secrets(self) -> Secrets:
        """Passwords and ports of this stack, made on first use."""
        kept = read_json(self._secrets) or {}
        made = {name: kept.get(name) or make() for name, make in _MADE.items()}
        names = {field.name for field in fields(Secrets)}
        known = Secrets(**{name: value for name, value in {**kept, **made}.items() if name in names})
        if any(name not in kept for name in _MADE):  # a stack of an earlier version gets what it lacks
            write_private(self._secrets, {**kept, **asdict(known)})
        return known

    def keep_ports(self, postgres: int, redis: int) -> None:
        """Remember the servers' ports, so that printed addresses stay true after a restart."""
        write_private(self._secrets, {**asdict(self.secrets()), "postgres_port": postgres, "redis_port": redis})

    def running(self) -> Running | None:
        """The stack that runs on this folder now, or None."""
        return self.last_running() if self.is_locked() else None

    def last_running(self) -> Running | None:
        """The addresses of the stack that runs, or ran last, on this folder."""
        kept = read_json(self._running)
        if kept is None:
            return None
        names = {field.name for field in fields(Running)}
        return Running(**{name: value for name, value in kept.items() if name in names})

    def announce(self, running: Running) -> None:
        """Tell other commands where the stack is."""
        write_private(self._running, asdict(running))

    def lock(self) -> int | None:
        """Take the folder for one stack; returns the lock's descriptor, or None when another holds it.

        The lock goes with the last process that has the descriptor: the guardian holds it too, so that a new stack cannot
        start while the remains of a killed one are still being stopped.
        """
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        return descriptor

    def holder(self) -> int | None:
        """The process that took the folder last, if it still runs."""
        with contextlib.suppress(OSError, ValueError):
            pid = int(self._lock.read_text(encoding="ascii"))
            if is_running(pid):
                return pid
        return None

    def is_locked(self) -> bool:
        """Whether a stack, or the guardian of one, holds the folder."""
        if not self._lock.exists():
            return False
        with self._lock.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    @contextlib.contextmanager
    def guest(self) -> Iterator[bool]:
        """Use the stack of another command for the length of the block; False while its owner is stopping it."""
        with self._held(self._guests, fcntl.LOCK_SH) as admitted:
            yield admitted

    @contextlib.contextmanager
    def without_guests(self) -> Iterator[bool]:
        """Admit no guest for the length of the block; False while there are some."""
        with self._held(self._guests, fcntl.LOCK_EX) as alone:
            yield alone

    @staticmethod
    @contextlib.contextmanager
    def _held(path: Path, kind: int) -> Iterator[bool]:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)  # goes with the process at the latest
        try:
            try:
                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)

    def purge(self) -> None:
        """Remove the folder with everything in it.

        Raises:
            StackError: it is not a state folder of ours.
        """
        if not self.root.exists():
            return
        self._check_owner()
        if not self.exists():
            raise StackError(f"{self.root} is no state folder of coursegen; nothing was removed.")
        shutil.rmtree(self.root)

    def _make(self) -> None:
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700 if server_account() is None else 0o711)
        except OSError as error:
            raise StackError(
                f"{self.root} cannot be made: {error.strerror}. Name another folder in {_VARIABLE}."
            ) from error
        self._check_owner()

    def _check_owner(self) -> None:
        found = self.root.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise StackError(f"{self.root} belongs to someone else. Name another folder in {_VARIABLE}.")

    def _check_open_to_servers(self) -> None:
        self.root.chmod(0o711)
        closed = next((each for each in self.root.parents if not each.stat().st_mode & stat.S_IXOTH), None)
        if closed is not None:
            raise StackError(
                f"PostgreSQL does not run as root, and the account it runs under cannot enter {closed}. "
                f"Name a folder outside it in {_VARIABLE}, or leave that variable unset."
            )

    def _check_layout(self) -> None:
        if not self._layout.exists():
            self._layout.write_text(f"{LAYOUT}\n", encoding="ascii")
        found = self._layout.read_text(encoding="ascii").strip()
        if found != str(LAYOUT):
            raise StackError(
                f"{self.root} has layout {found}, this coursegen knows layout {LAYOUT}. Run it with the coursegen "
                f"that made it, name another folder in {_VARIABLE}, or drop it with `coursegen down --purge`."
            )


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in the file, or None when there is none that can be read."""
    with contextlib.suppress(OSError, ValueError):
        value = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(value, dict):
            return value
    return None


def write_private(path: Path, value: Mapping[str, Any]) -> None:
    """Replace the file as a whole, readable by its owner alone."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.touch(mode=0o600)
    unfinished.write_text(json.dumps(dict(value), indent=2) + "\n", encoding="utf-8")
    unfinished.replace(path)
