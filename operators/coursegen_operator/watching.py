"""The watches: the one module that speaks kopf.

kopf opens a watch for each kind in each namespace, and opens it anew for as long as it lives. Of all it could do, it does no
more: its handlers hand each event on, so that it writes no annotation and no finalizer. It runs in a thread with an event
loop of its own, because it cancels every task of its loop when it ends; and it may end by any error of any watch, so that
whoever started it starts it anew.

A sign of life is a request that opens a watch: the API server ends each watch after `SERVER_SECONDS`, and kopf one that
says nothing, so that each must be opened anew at least that often.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final, Protocol

import aiohttp
import kopf
from kopf._core.engines.peering import Identity

from operators.coursegen_operator.cluster import Access
from operators.coursegen_operator.resources import FIELD_MANAGER, LABEL_MANAGED_BY, OWN_TYPES, Object, ResourceType
from services.kernel.clock import Clock
from services.kernel.logs import get_logger

_log = get_logger(__name__)

SERVER_SECONDS: Final = 300
INACTIVITY_SECONDS: Final = 70.0
"""The API server sends a bookmark every 60 s."""
REQUEST_SECONDS: Final = 30.0
LONGEST_SILENCE_SECONDS: Final = SERVER_SECONDS + INACTIVITY_SECONDS + REQUEST_SECONDS
"""A watch that has not been opened for so long is dead."""
STOP_SECONDS: Final = 8.0
"""kopf waits up to 5 s for what hangs."""
CLOSING_SECONDS: Final = 0.25
"""An encrypted connection takes a moment to close."""
_IDENTITY: Final = Identity(FIELD_MANAGER)
"""Who this is among kopf's peers, of whom there are none. Left to itself it asks for the user's name, and a user of a
container may have none."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What is watched."""

    types: tuple[ResourceType, ...]
    namespaces: tuple[str, ...] = ()
    """All of them when empty."""


class Listener(Protocol):
    """Who is told what the watches say; always in the event loop that started them."""

    def seen(self, item: Object) -> None:
        """An object is there, new, or different."""

    def gone(self, item: Object) -> None:
        """An object was deleted."""


class Watch:
    """One life of kopf."""

    def __init__(self, access: Access, selection: Selection, listener: Listener, clock: Clock) -> None:
        self.selection = selection
        self.ended = asyncio.Event()
        """It watches no more, or not everything, for whatever reason."""
        self.listed = asyncio.Event()
        """A kind was listed anew: what was deleted meanwhile, nobody has said."""
        self._access = access
        self._listener = listener
        self._clock = clock
        self._opened: dict[str, float] = {}
        self._since = clock.monotonic()
        self._home = asyncio.get_running_loop()
        self._stop: Callable[[], object] = lambda: None
        self._is_stopping = False
        self._session: aiohttp.ClientSession | None = None
        self._thread = threading.Thread(target=self._live, name="watching", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def let_go(self) -> None:
        """Have it watch no more, some time soon."""
        self._is_stopping = True
        self._stop()

    async def stop(self) -> None:
        """Watch no more, and wait for that; a thread that hangs is left behind."""
        self.let_go()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await self.ended.wait()

    @property
    def is_alive(self) -> bool:
        """Whether its thread is there: for some seconds more than it watches."""
        return self._thread.is_alive()

    def age(self) -> float:
        """Since when the quietest watch has not been opened."""
        return self._clock.monotonic() - min(list(self._opened.values()), default=self._since)

    def _live(self) -> None:
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda _, context: _log.debug("kopf stumbles", what=str(context.get("message"))))
        try:
            loop.run_until_complete(self._watch())
        except Exception as error:  # noqa: BLE001 - whoever started this starts another one
            _log.warning("the watches have ended", reason=f"{type(error).__name__}: {error}")
        finally:
            self._say(self.ended.set)
            _abandon(loop, self._session)

    async def _watch(self) -> None:
        flag = asyncio.Event()
        loop = asyncio.get_running_loop()

        def stop() -> None:
            with suppress(RuntimeError):  # the loop is closed: it has ended already
                loop.call_soon_threadsafe(flag.set)

        self._stop = stop
        if self._is_stopping:
            return
        logging.getLogger("kopf").setLevel(logging.CRITICAL)  # what ends the watches is logged here, in one line
        home = asyncio.all_tasks()
        parts = await kopf.spawn_tasks(
            registry=self._registry(),
            settings=kopf.OperatorSettings(),
            identity=_IDENTITY,
            standalone=True,
            clusterwide=not self.selection.namespaces,
            namespaces=list(self.selection.namespaces),
            stop_flag=flag,
        )
        running = asyncio.ensure_future(kopf.run_tasks(parts, ignored=home))
        await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        self._say(self.ended.set)  # one part has ended, and so will the others: or hang, when a watch has failed
        await asyncio.wait({running}, timeout=STOP_SECONDS)
        for part in parts:
            if part.done() and not part.cancelled() and (error := part.exception()) is not None:
                raise error

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.startup(registry=registry)(self._configure)
        kopf.on.login(registry=registry)(self._log_in)
        kopf.on.cleanup(registry=registry)(self._say_goodbye)
        for each in self.selection.types:
            kopf.on.event(each.group, each.version, each.plural, id=each.plural, registry=registry)(self._hand_on)
        return registry

    async def _configure(self, settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.posting.enabled = False
        settings.scanning.disabled = True
        settings.watching.server_timeout = SERVER_SECONDS
        settings.watching.inactivity_timeout = INACTIVITY_SECONDS
        settings.networking.request_timeout = REQUEST_SECONDS
        own = {each.plural for each in OWN_TYPES}
        for each in self.selection.types:
            if each.plural not in own:  # children and their pods, chosen by the API server
                selector = f"{LABEL_MANAGED_BY}={FIELD_MANAGER}"
                settings.watching.label_selectors[each.group, each.version, each.plural] = selector

    async def _log_in(self, **_: Any) -> kopf.AiohttpSession:
        """One session, each of whose requests shows the token that the file has by then."""
        trace = aiohttp.TraceConfig()
        trace.on_request_start.append(self._asked)
        self._session = session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._access.trust),
            middlewares=(self._authorize,),
            trace_configs=[trace],
        )
        return kopf.AiohttpSession(server=self._access.server, aiohttp_session=session)

    async def _authorize(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        authorization = self._access.authorization()
        if authorization is not None:
            request.headers["Authorization"] = authorization
        return await handler(request)

    async def _say_goodbye(self, **_: Any) -> None:
        _log.debug("watched no more")

    async def _asked(
        self, _session: aiohttp.ClientSession, _context: SimpleNamespace, request: aiohttp.TraceRequestStartParams
    ) -> None:
        path = request.url.path
        if request.url.query.get("watch"):
            self._opened[path] = self._clock.monotonic()
        elif path in self._opened:
            self._say(self.listed.set)

    async def _hand_on(self, event: Any, **_: Any) -> None:
        tell = self._listener.gone if event["type"] == "DELETED" else self._listener.seen
        self._say(lambda: tell(event["object"]))

    def _say(self, what: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # nobody is at home any more
            self._home.call_soon_threadsafe(what)


def _abandon(loop: asyncio.AbstractEventLoop, session: aiohttp.ClientSession | None) -> None:
    """Close a loop some of whose tasks may not heed that they are cancelled, and its connections."""
    try:
        for _ in range(3):
            if tasks := asyncio.all_tasks(loop):
                for task in tasks:
                    task.cancel()
                loop.run_until_complete(asyncio.wait(tasks, timeout=1))
        loop.run_until_complete(_hang_up(session))
    finally:
        loop.close()


async def _hang_up(session: aiohttp.ClientSession | None) -> None:
    if session is not None:
        await session.close()
    await asyncio.sleep(CLOSING_SECONDS)
