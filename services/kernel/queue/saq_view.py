"""saq's own web page over our queues: its files, and the answers its script asks for; nothing that changes anything.

saq counts one list per queue, ours have one per priority: `SaqView` is a saq queue that counts and lists them all. `SaqPage` is
what a web server needs to serve the page without knowing saq: a document, a folder of static files, three JSON answers.

::

    GET {root}/  {root}/queues/{queue}  {root}/queues/{queue}/jobs/{job}     html(root)
    GET {root}/api/queues                                                    await queues()
    GET {root}/api/queues/{queue}                                            await queue(queue)       None: 404
    GET {root}/api/queues/{queue}/jobs/{job}                                 await job(queue, job)    None: 404
    GET {root}/static/…                                                      static (the larger files only as .gz)
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import ResponseError
from saq.web.common import STATIC_PATH, job_dict, render

from services.kernel.queue.course_queue import CourseQueue
from services.kernel.queue.inspector import Inspector
from services.kernel.queue.views import JobView, Place, parsed
from services.kernel.redis_connection import translated

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from saq.job import Job
    from saq.types import QueueInfo

LISTED: Final = 50
"""Jobs of each place on a queue's page."""
_PLACES: Final = (Place.RUNNING, Place.WAITING, Place.SCHEDULED, Place.DEAD)
_STATUS: Final = {Place.RUNNING: "active", Place.WAITING: "queued", Place.SCHEDULED: "queued", Place.DEAD: "aborted"}


class SaqView(CourseQueue):
    """One queue as saq's page sees it."""

    def __init__(self, redis: Redis, name: str) -> None:
        """Look at `name`; `redis` must answer in bytes."""
        super().__init__(redis, name)
        self._inspector = Inspector(redis)

    async def info(self, jobs: bool = False, offset: int = 0, limit: int = LISTED) -> QueueInfo:
        """Figures, workers and, if asked for, `limit` jobs of each place; running ones first, then as they will be served."""
        (seen,) = await self._inspector.overview([self.name])
        listed: list[dict[str, Any]] = []
        for place in _PLACES if jobs else ():
            listed += [_line(job) for job in await self._inspector.jobs(self.name, place, limit, offset)]
        return {
            "workers": await self._workers(),
            "name": self.name,
            "queued": seen.depth,
            "active": seen.running,
            "scheduled": seen.scheduled,
            "jobs": listed,
        }

    async def job(self, job_key: str) -> Job | None:
        """The job of this key; None when there is none, or when it cannot be read."""
        with translated():
            try:
                body = await self.redis.get(self.keys.job_id(job_key))
                return None if body is None else self._read(body)
            except (ResponseError, ValueError, TypeError, AttributeError, KeyError):
                return None

    async def _workers(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        with translated():
            try:
                ids: list[bytes] = await self.redis.zrange(self.keys.workers, 0, -1)
            except ResponseError:
                return found
            for each in ids:
                name = each.decode("utf-8", "replace")
                about = parsed(await self.redis.get(self.namespace(f"worker_info:{name}")))
                stats = about.get("stats")
                found[name] = {**about, "stats": stats if isinstance(stats, dict) else {}}
        return found


class SaqPage:
    """What it takes to serve saq's page."""

    static: Final = Path(STATIC_PATH)
    """The folder of the page's files; some are there only compressed, with `.gz` behind their name."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._inspector = Inspector(redis)

    def html(self, root_path: str) -> str:
        """The document, for a page mounted at `root_path`."""
        return render(root_path=root_path)

    async def queues(self) -> dict[str, Any]:
        """Every known queue in figures."""
        names = await self._inspector.known_queues()
        return {"queues": [await SaqView(self._redis, name).info() for name in names]}

    async def queue(self, name: str) -> dict[str, Any] | None:
        """One queue with its jobs; None when nobody knows it."""
        if name not in await self._inspector.known_queues():
            return None
        return {"queue": await SaqView(self._redis, name).info(jobs=True)}

    async def job(self, queue: str, key: str) -> dict[str, Any] | None:
        """One job in full; None when there is none."""
        job = await SaqView(self._redis, queue).job(key)
        return None if job is None else {"job": job_dict(job)}


def _line(job: JobView) -> dict[str, Any]:
    """A job in saq's words: times in milliseconds."""
    about = {"courseId": job.course_id, "runNumber": job.run_number, "priority": job.priority, "detail": job.detail}
    return {
        "key": job.key,
        "queue": job.queue,
        "function": job.function or "",
        "kwargs": " ".join(f"{name}={value}" for name, value in about.items() if value is not None),
        "queued": _milliseconds(job.queued_at),
        "started": _milliseconds(job.started_at),
        "completed": 0,
        "attempts": job.attempts,
        "status": _STATUS[job.status],
        "priority": job.priority or 0,
    }


def _milliseconds(moment: datetime | None) -> int:
    return 0 if moment is None else int(moment.timestamp() * 1000)
