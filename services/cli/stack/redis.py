"""An embedded Redis on its own port and folder, on the loopback address only.

Its folder may vanish at any time: `prepare` makes it again, and jobs that Redis held are made anew from PostgreSQL.
Accepted messages that have no row yet are in Redis alone: what it was told in its last second may be lost when it is killed.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from services.cli.errors import StackError
from services.cli.stack import spawn
from services.cli.stack.accounts import Account, own_folder
from services.cli.stack.ports import LOOPBACK

_SETTINGS: Mapping[str, str] = {
    "bind": LOOPBACK,
    "daemonize": "no",
    "save": '""',
    "appendonly": "yes",
    "appendfsync": "everysec",
    "stop-writes-on-bgsave-error": "no",
    "maxmemory-policy": "volatile-lru",  # jobs have no expiry and must never be evicted
}


class RedisServer:
    """One folder and the server on it."""

    def __init__(
        self,
        folder: Path,
        *,
        port: int,
        program: Path,
        account: Account | None = None,
        password: str | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        """Describe the server; nothing starts yet.

        Args:
            folder: holds its configuration and its data.
            port: on the loopback address.
            program: the `redis-server` or `valkey-server` to run.
            account: whom to run as, when this process is root.
            password: asked of every connection; None asks for none.
            options: further settings.
        """
        self.folder = folder
        self.port = port
        self.program = program
        self.account = account
        self._password = password
        self._options = {**_SETTINGS, "port": str(port), **(options or {})}

    def url(self, database: int = 0) -> str:
        """A connection string for one of its numbered databases."""
        credentials = f"default:{self._password}@" if self._password else ""
        return f"redis://{credentials}{LOOPBACK}:{self.port}/{database}"

    def prepare(self) -> None:
        """Make the folder and the configuration anew; what data there is stays."""
        data = own_folder(self.folder, self.account) / "data"
        own_folder(data, self.account)
        settings = {**self._options, "dir": f'"{data}"'}
        if self._password:
            settings["requirepass"] = self._password
        path = self.folder / "redis.conf"
        path.touch(mode=0o600)
        path.write_text("".join(f"{name} {value}\n" for name, value in settings.items()), encoding="utf-8")
        if self.account is not None:
            os.chown(path, self.account.uid, self.account.gid)

    def set_data_aside(self) -> None:
        """Start empty next time: what the server cannot read is kept beside it, and PostgreSQL has the truth."""
        data = self.folder / "data"
        if data.exists():
            data.rename(self.folder / f"unreadable-{time.time_ns()}")

    def argv(self) -> list[str]:
        """The server in the foreground."""
        return [str(self.program), str(self.folder / "redis.conf")]

    def env(self) -> dict[str, str]:
        """What the server needs from the environment."""
        return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}

    def start(self, *, log: Path | None = None) -> subprocess.Popen[bytes]:
        """Prepare, start the server and return its process; `wait_ready` tells when it answers."""
        self.prepare()
        with (log or self.folder / "redis.log").open("ab") as output:
            return spawn.spawn(
                self.argv(),
                env=self.env(),
                folder=self.folder,
                output=output,
                account=self.account,
                death_signal=signal.SIGTERM,
            )

    def is_ready(self) -> bool:
        """Whether the server answers PING (and is not still loading its data)."""
        login = f"AUTH {self._password}\r\n" if self._password else ""
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=0.5) as connection:
                connection.sendall(f"{login}PING\r\n".encode())
                answer = b""
                while answer.count(b"\r\n") < (2 if login else 1):
                    received = connection.recv(512)
                    if not received:
                        break
                    answer += received
        except OSError:
            return False
        return b"+PONG" in answer

    def wait_ready(self, process: subprocess.Popen[bytes], *, seconds: float = 15) -> None:
        """Block until the server answers.

        Raises:
            StackError: it ended, or did not answer in time.
        """
        deadline = time.monotonic() + seconds
        while not self.is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise StackError(f"Redis did not start; its log is in {self.folder}")
            time.sleep(0.02)
