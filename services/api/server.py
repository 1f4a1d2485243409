"""uvicorn, driven from outside: it owns sockets and parsing, the process's lifecycle stays with `kernel.lifecycle`.

Promises: no signal handler of its own; several api processes may share a port; when told to stop it first tells busy
clients to go elsewhere (`Connection: close` on every answer), takes no new connection, lets requests in hand finish, and only
then closes what is idle, so that a rolling restart costs no request.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any, cast

import uvicorn

from services.api.connections import Patience, PatientProtocol, protocol_factory, sweep
from services.api.settings import ApiSettings
from services.kernel.errors import OperatorError
from services.kernel.logs import get_logger

LAME_DUCK_SECONDS = 1.0
"""How long busy clients are told to go elsewhere before idle connections are closed."""
_BACKLOG = 2048
_VANISHED_MILLISECONDS = 60_000
"""How long what was sent may stay unacknowledged: the reader of a stream whose network went away says no good-bye."""
_CLOSE: tuple[bytes, bytes] = (b"connection", b"close")

_log = get_logger(__name__)


def patience_of(settings: ApiSettings) -> Patience:
    """The deadlines that the settings name."""
    return Patience(
        header_seconds=settings.header_seconds,
        body_seconds=settings.body_seconds,
        answer_seconds=settings.answer_seconds,
        upload_bytes_per_second=settings.upload_bytes_per_second,
        most_connections=settings.max_connections,
    )


def bind(settings: ApiSettings) -> socket.socket:
    """The listening socket, not yet accepting.

    Raises:
        OperatorError: the port is taken, or may not be used.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        # An answer is two writes, head and body: with Nagle's algorithm the second waits 40 ms for the client's ACK.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; elsewhere a vanished reader is noticed after some minutes
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _VANISHED_MILLISECONDS)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if settings.reuse_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        where = f"port {settings.port} of {settings.host}"
        raise OperatorError(f"{where} cannot be used: {error.strerror}; choose another with PORT") from error
    listener.setblocking(False)
    return listener


class HttpServer:
    """Serves one application on one socket until told to stop."""

    def __init__(self, app: Any, settings: ApiSettings) -> None:
        self._settings = settings
        self._patience = patience_of(settings)
        self._config = uvicorn.Config(
            app,
            http=cast(Any, protocol_factory(self._patience)),
            ws="none",
            lifespan="off",
            interface="asgi3",
            loop="none",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=settings.keep_alive_seconds,
            headers=[("X-Stack-Id", settings.stack_id)] if settings.stack_id else [],
        )
        self._server = _QuietServer(self._config)
        self.port = settings.port
        """The port in use, once it serves."""

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._server.server_state.connections)

    @property
    def is_accepting(self) -> bool:
        """Whether connections are accepted."""
        return self._server.accepting.is_set() and not self._server.should_exit

    async def serve(self, stopping: asyncio.Event) -> None:
        """Accept and answer until `stopping` is set and the requests in hand are answered.

        Raises:
            OperatorError: the port is taken, or may not be used.
        """
        listener = bind(self._settings)
        self.port = listener.getsockname()[1]
        serving = asyncio.create_task(self._server.serve([listener]), name="uvicorn")
        sweeping = asyncio.create_task(sweep(lambda: self._server.server_state.connections, stopping), name="sweep")
        asked = asyncio.create_task(stopping.wait(), name="asked")
        starting = asyncio.create_task(self._server.accepting.wait(), name="starting")
        try:
            await asyncio.wait({serving, starting}, return_when=asyncio.FIRST_COMPLETED)
            _log.info(f"Server listening on port {self.port}", port=self.port)  # the literal line of contract.md q
            await asyncio.wait({serving, asked}, return_when=asyncio.FIRST_COMPLETED)
            if not serving.done():
                await self._retire()
            await serving
        finally:
            tasks = (asked, starting, sweeping, serving)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            listener.close()

    async def _retire(self) -> None:
        """Stop accepting; let clients that are busy leave by themselves; then have uvicorn close the rest."""
        await asyncio.sleep(0)  # what the kernel has queued is accepted in this turn
        for server in self._server.servers:
            server.close()
        self._config.encoded_headers.append(_CLOSE)
        self._server.server_state.default_headers.append(_CLOSE)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + LAME_DUCK_SECONDS
        while self.connections and loop.time() < deadline:  # noqa: ASYNC110 - uvicorn does not say when one ends
            await asyncio.sleep(0.02)
        for connection in list(self._server.server_state.connections):
            if isinstance(connection, PatientProtocol):
                connection.abandon_stream()
        self._server.should_exit = True


class _QuietServer(uvicorn.Server):
    """uvicorn's server without signal handlers, which says when it accepts."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.accepting = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept."""
        await super().startup(sockets)
        self.accepting.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `kernel.lifecycle`."""
        yield
