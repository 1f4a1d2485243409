"""Events of a resource, as `kubectl describe` shows them; one that repeats word for word is one Event with a series.

The API server lets nothing but the series of an Event change. A resource that always has something else to say may say it
`BURST` times, and then once in `SPACING_SECONDS`.

Telling is never in the way: it does not wait and never raises. What cannot be written is dropped, and counted.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol, TypeVar

from operators.coursegen_operator.child import hash8, uid_of
from operators.coursegen_operator.errors import ObjectGone
from operators.coursegen_operator.figures import Figures
from operators.coursegen_operator.planning import Notice
from operators.coursegen_operator.resources import EVENT, FIELD_MANAGER, Object, ResourceType
from services.kernel.clock import Clock
from services.kernel.errors import CoursegenError
from services.kernel.logs import get_logger, scrub_text
from services.kernel.texts import shortened

_log = get_logger(__name__)

T = TypeVar("T")

SERIES_SECONDS: Final = 360.0
"""A notice that comes again within this time continues its series; the API server keeps Events for an hour."""
BURST: Final = 25
SPACING_SECONDS: Final = 60.0
WAITING: Final = 1_000
REMEMBERED: Final = 4_096
NOTE_BYTES: Final = 1_000
"""Kubernetes admits 1,024."""


class Writer(Protocol):
    """What of `Cluster` this needs."""

    async def create(self, resource_type: ResourceType, manifest: Object) -> Object:
        """Write a new object."""

    async def merge(self, resource_type: ResourceType, namespace: str, name: str, patch: Object) -> Object:
        """Replace fields of one."""


@dataclass(slots=True)
class _Allowance:
    """How much one resource has said of late."""

    said: float
    at: float


@dataclass(slots=True)
class _Series:
    """One Event that has been written."""

    name: str
    count: int
    told_at: float


class Recorder:
    """Writes Events in the background."""

    def __init__(self, cluster: Writer, clock: Clock, figures: Figures, instance: str) -> None:
        """`instance` is who tells: the pod."""
        self._cluster = cluster
        self._clock = clock
        self._figures = figures
        self._instance = shortened(instance, 128)
        self._waiting: asyncio.Queue[tuple[Object, Notice, datetime]] = asyncio.Queue(WAITING)
        self._series: OrderedDict[str, _Series] = OrderedDict()
        self._said: OrderedDict[str, _Allowance] = OrderedDict()

    def tell(self, resource: Object, notice: Notice) -> None:
        """Have an Event written about `resource`."""
        try:
            self._waiting.put_nowait((resource, notice, self._clock.now()))
        except asyncio.QueueFull:
            self._figures.event("dropped")

    async def run(self, stopping: asyncio.Event) -> None:
        """Write what is told until `stopping` is set; then what is left."""
        ending = asyncio.ensure_future(stopping.wait())
        try:
            while not (stopping.is_set() and self._waiting.empty()):
                telling = asyncio.ensure_future(self._waiting.get())
                await asyncio.wait({telling, ending}, return_when=asyncio.FIRST_COMPLETED)
                if telling.done():
                    await self._write(*telling.result())
                else:
                    telling.cancel()
        finally:
            ending.cancel()

    async def _write(self, resource: Object, notice: Notice, at: datetime) -> None:
        try:
            is_written = await self._record(resource, notice, at)
        except CoursegenError as error:
            _log.debug("an Event is dropped", reason=notice.reason, error=error.message)
            is_written = False
        except Exception:  # noqa: BLE001 - an Event is not worth anything else
            _log.exception("an Event is dropped", reason=notice.reason)
            is_written = False
        self._figures.event("written" if is_written else "dropped")

    async def _record(self, resource: Object, notice: Notice, at: datetime) -> bool:
        now = self._clock.monotonic()
        key = hash8(uid_of(resource), notice.reason, notice.warning, _note(notice))
        series = self._series.pop(key, None)
        if series is not None and now - series.told_at <= SERIES_SECONDS and await self._continue(resource, series, at):
            series.told_at = now
        elif self._may_say(uid_of(resource), now):
            series = _Series(await self._begin(resource, notice, at), 1, now)
        else:
            return False
        _remember(self._series, key, series)
        return True

    def _may_say(self, uid: str, now: float) -> bool:
        allowance = self._said.pop(uid, None) or _Allowance(0.0, now)
        said = max(0.0, allowance.said - (now - allowance.at) / SPACING_SECONDS)
        may = said + 1 <= BURST
        _remember(self._said, uid, _Allowance(said + 1 if may else said, now))
        return may

    async def _begin(self, resource: Object, notice: Notice, at: datetime) -> str:
        metadata = resource["metadata"]
        stem = str(metadata["name"])[:200].rstrip(".-")
        name = f"{stem}.{hash8(uid_of(resource), notice.reason, notice.message, at.isoformat())}"
        await self._cluster.create(
            EVENT,
            {
                "apiVersion": EVENT.api_version,
                "kind": EVENT.kind,
                "metadata": {"name": name, "namespace": metadata["namespace"]},
                "eventTime": micro_time(at),
                "reportingController": FIELD_MANAGER,
                "reportingInstance": self._instance,
                "action": "Reconcile",
                "reason": notice.reason[:128],
                "note": _note(notice),
                "type": "Warning" if notice.warning else "Normal",
                "regarding": {
                    "apiVersion": resource["apiVersion"],
                    "kind": resource["kind"],
                    "name": metadata["name"],
                    "namespace": metadata["namespace"],
                    "uid": uid_of(resource),
                    "resourceVersion": metadata.get("resourceVersion", ""),
                },
            },
        )
        return name

    async def _continue(self, resource: Object, series: _Series, at: datetime) -> bool:
        """Whether the Event was still there to be continued."""
        series.count += 1
        patch = {"series": {"count": series.count, "lastObservedTime": micro_time(at)}}
        try:
            await self._cluster.merge(EVENT, resource["metadata"]["namespace"], series.name, patch)
        except ObjectGone:
            return False
        return True


def micro_time(moment: datetime) -> str:
    """As the API server wants the time of an Event: UTC, with microseconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _note(notice: Notice) -> str:
    return shortened(scrub_text(notice.message), NOTE_BYTES)


def _remember(known: OrderedDict[str, T], key: str, value: T) -> None:
    known[key] = value
    while len(known) > REMEMBERED:
        known.popitem(last=False)
