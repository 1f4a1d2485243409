"""The operator process: waits to lead, then keeps every resource as it should be until it leads no more.

A leader that is told to stop finishes what is in hand and gives its Lease back; one that has lost it cancels what is in hand
and ends with exit code 1, so that it comes back as a standby that knows nothing.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from operators.coursegen_operator.cluster import Cluster
from operators.coursegen_operator.figures import Figures
from operators.coursegen_operator.health import Vital
from operators.coursegen_operator.inventory import Inventory
from operators.coursegen_operator.keeper import Keeper, first
from operators.coursegen_operator.keyed_queue import KeyedQueue
from operators.coursegen_operator.kinds import all_kinds
from operators.coursegen_operator.leadership import Elector, open_elector, until_lost
from operators.coursegen_operator.planning import Kind
from operators.coursegen_operator.reconciler import Reconciler
from operators.coursegen_operator.recorder import Recorder
from operators.coursegen_operator.resources import Object
from operators.coursegen_operator.settings import OperatorSettings
from operators.coursegen_operator.store import Store
from operators.coursegen_operator.watching import Selection, Watch
from services.kernel.clock import Clock, SystemClock
from services.kernel.health import HealthRegistry
from services.kernel.lifecycle import together
from services.kernel.logs import get_logger

_log = get_logger(__name__)


class Operator:
    """One replica."""

    def __init__(
        self,
        settings: OperatorSettings,
        health: HealthRegistry,
        cluster: Cluster,
        elector: Elector,
        kinds: Sequence[Kind],
        figures: Figures,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._health = health
        self._cluster = cluster
        self._elector = elector
        self._kinds = kinds
        self._figures = figures
        self._clock = clock

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: OperatorSettings, health: HealthRegistry, kinds: Sequence[Kind] | None = None
    ) -> AsyncIterator[Operator]:
        """Prepare everything; nothing is sent yet.

        Raises:
            SettingsInvalid: there is no cluster to speak to.
        """
        clock = SystemClock()
        kinds = all_kinds(settings.watch_namespaces) if kinds is None else kinds
        figures = Figures([kind.type.kind for kind in kinds])
        async with (
            Cluster.open(settings.call_seconds, figures, settings.pod_name) as cluster,
            open_elector(settings, figures, clock) as elector,
        ):
            yield cls(settings, health, cluster, elector, kinds, figures, clock)

    async def serve(self, stopping: asyncio.Event) -> None:
        """Stand by, lead, and stop.

        Raises:
            LeadershipLost: another one leads.
        """
        async with self._elector.term(stopping) as term:
            if term is None:
                return
            self._cluster.guard = term.check
            _log.info("leading")
            self._figures.leads(True)
            try:
                await until_lost(term.lost, self._lead(stopping))
            finally:
                self._figures.leads(False)
                self._figures.forget_all()
                _log.info("stepping down")

    async def _lead(self, stopping: asyncio.Event) -> None:
        leader = Leader(self._settings, self._cluster, self._kinds, self._figures, self._clock)
        await leader.run(stopping, self._health)


class Leader:
    """What a replica is made of for as long as it leads."""

    def __init__(
        self, settings: OperatorSettings, cluster: Cluster, kinds: Sequence[Kind], figures: Figures, clock: Clock
    ) -> None:
        self._cluster = cluster
        self._clock = clock
        self._store = Store()
        self._recorder = Recorder(cluster, clock, figures, settings.instance)
        self._reconciler = Reconciler(
            cluster,
            self._store,
            kinds,
            self._recorder,
            figures,
            clock,
            identity=cluster.identity,
            is_confined=bool(settings.watch_namespaces),
        )
        self._queue = KeyedQueue(
            self._reconciler.look, clock, workers=settings.workers, resync_seconds=settings.resync_seconds
        )
        inventory = Inventory(cluster, self._store, kinds, settings.watch_namespaces, self._queue.add)
        self._keeper = Keeper(inventory, self._watch, self._watched, figures, clock, settings.resync_seconds)
        self._reconciler.missed = self._keeper.miss
        figures.queue(self._queue.depth, self._queue.age)
        figures.watching(self._keeper.age)

    async def run(self, stopping: asyncio.Event, health: HealthRegistry) -> None:
        """Reconcile until `stopping` is set; then finish what is in hand, and what is to be told."""
        vital = Vital(health, self._standstill, self._keeper.age, lambda: self._keeper.obstacle)
        quiet = asyncio.Event()
        await together(
            stopping,
            ("inventory and watches", self._keeper.run(stopping)),
            ("signs of life", vital.run(stopping)),
            ("reconciling", self._reconcile(stopping, quiet)),
            ("events", self._recorder.run(quiet)),
        )

    def seen(self, item: Object) -> None:
        """As `watching.Listener.seen`."""
        for key in self._store.put(item):
            self._queue.add(key)

    def gone(self, item: Object) -> None:
        """As `watching.Listener.gone`."""
        for key in self._store.remove(item):
            self._queue.add(key)

    async def _reconcile(self, stopping: asyncio.Event, quiet: asyncio.Event) -> None:
        try:
            await first(math.inf, stopping, self._keeper.ready)
            await self._queue.run(stopping)
        finally:
            quiet.set()

    def _standstill(self) -> float:
        """Before the first inventory nothing can move."""
        return self._queue.standstill() if self._keeper.ready.is_set() else 0.0

    def _watch(self, selection: Selection) -> Watch:
        return Watch(self._cluster.access, selection, self, self._clock)

    def _watched(self, selection: Selection) -> None:
        self._reconciler.watched = frozenset(each.kind for each in selection.types)
