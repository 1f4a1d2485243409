"""The job queue: saq's layout in Redis, made safe against lost, doubled, starved and unreadable jobs.

The only package that imports saq. PostgreSQL is the truth; what lies here is a convenience that may vanish at any moment.

Putting in (relay)::

    producer = Producer(redis)
    outcome = await producer.enqueue_batch(queue, [QueuedRow(key, body, priority), ...], epoch)
        # one EVALSHA per 500 rows; a key whose body is still in Redis is a duplicate, never a second job
        # raises StaleLeader (a higher epoch was here), BrokerUnavailable (nothing is wrong with the rows),
        # EnqueueRefused or EnqueueInterrupted (something may be wrong with a row)

Taking out (stage worker)::

    worker = QueueWorker(
        redis,                              # an open_redis() client; socket_timeout >= 5 s
        queues=["course-generation:documents", ...],
        handlers={"DOCUMENT_PROCESSING": process, ...},   # async def process(payload: dict[str, Any], job: JobContext)
        concurrency=4,
        worker_id=None,                     # made up when absent; unique per process start
        drain_seconds=20.0,
        dead_letter=None,                   # async def dead_letter(job: DeadJob) -> None
    )
    await worker.run(stopping)              # returns when `stopping` is set and the running jobs are through

A handler's outcome decides what becomes of its job:

==========================  =========================================================================================
returns                     done; the body stays for the job's `ttl`, so a late second delivery of its key is refused
raises `RetryableError`     back into its priority list after a growing delay; no attempt is charged, without limit
                            (`UpstreamUnavailable.retry_after` is honoured)
raises `PermanentError`     set aside at once and reported to `dead_letter`
raises anything else        charged an attempt and tried again; after `retries` attempts set aside and reported
runs longer than `timeout`  cancelled, then as any other error
is cut off by the drain     cancelled, back to the head of its list, no attempt charged
dies with its process       back to the head of its list within about 13 s; after `max_crashes` such deaths set aside
==========================  =========================================================================================

`payload` is the body's ``kwargs["payload"]``. `JobContext` has `key` (= outbox_id), `queue`, `function`, `attempt` (from
1), `attempts_left`, `priority`, `timeout`, `worker_id` and `draining` (an `asyncio.Event`). A delivery may come twice;
the effect ledger, not this package, makes it one effect.

`dead_letter` gets a `DeadJob` (queue, key, function, payload, reason, detail) and is repeated until it returns without an
error, possibly by another worker: it must be idempotent. Jobs whose body cannot be trusted (undecodable, wrong queue) are
set aside too but not reported: the relay's reconciler puts the true body from PostgreSQL in their place.

Looking: `Inspector(redis)`: `states(queue, keys)` (for the reconciler), `depths(queues)`, `dead_jobs(queue)`,
`discard(queue, keys)` (a deleted course), `replay(queue, key)`; for people `known_queues()`, `overview(queues)`,
`jobs(queue, state, limit, offset)`.

saq's own page: `saq_view.SaqPage(redis)`, which knows no web framework.

Pausing: `QueueControls(db, inspector)`: `set(queue, paused=…, by=…, reason=…)`, or `record` in the caller's transaction and
`apply` after it; `all()`. PostgreSQL is the truth, `Inspector.pause` and `resume` only reach Redis.
"""

from services.kernel.queue.controls import QueueControl, QueueControls
from services.kernel.queue.course_queue import CourseQueue
from services.kernel.queue.inspector import Inspector
from services.kernel.queue.jobs import (
    DeadJob,
    DeadLetter,
    DeadReason,
    EnqueueOutcome,
    Handler,
    JobContext,
    JobState,
    QueuedRow,
)
from services.kernel.queue.keys import PIPELINE_QUEUES, QueueKeys
from services.kernel.queue.producer import Batch, EnqueueInterrupted, EnqueueRefused, Producer
from services.kernel.queue.scripts import QueueDamaged
from services.kernel.queue.views import JobView, Place, QueueOverview
from services.kernel.queue.worker import QueueWorker

__all__ = (
    "PIPELINE_QUEUES",
    "Batch",
    "CourseQueue",
    "DeadJob",
    "DeadLetter",
    "DeadReason",
    "EnqueueInterrupted",
    "EnqueueOutcome",
    "EnqueueRefused",
    "Handler",
    "Inspector",
    "JobContext",
    "JobState",
    "JobView",
    "Place",
    "Producer",
    "QueueControl",
    "QueueControls",
    "QueueDamaged",
    "QueueKeys",
    "QueueOverview",
    "QueueWorker",
    "QueuedRow",
)
