"""What the relay counts: for Prometheus in this process, for the API in the shared counters."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache

from services.kernel import metrics
from services.kernel.counters import Counters
from services.kernel.queue import QueueOverview
from services.outbox_relay.outbox import Backlog


class _Instruments:
    """What Prometheus sees of this process."""

    def __init__(self) -> None:
        self.jobs = metrics.counter("outbox_jobs", "Outbox rows settled, by result", ["result"])
        for result in ("created", "failed"):
            self.jobs.labels(result)
        self.batches = metrics.histogram("outbox_batch_duration_seconds", "From claim to mark of one batch")
        self.depth = metrics.gauge("outbox_queue_depth", "Outbox rows not processed, dead ones included")
        self.dead = metrics.gauge("outbox_dead_rows", "Outbox rows that nothing will try again by itself")
        self.oldest = metrics.gauge("outbox_oldest_pending_seconds", "Age of the oldest row that is still to go")
        self.progress = metrics.gauge("outbox_last_progress_timestamp_seconds", "When the relay loop last came round")
        self.progress.set(math.nan)  # it has not yet: 0 would be a stall of half a century
        self.stages = metrics.histogram("relay_stage_duration_seconds", "Time in one stage of the pipeline", ["stage"])
        self.duplicates = metrics.counter("relay_duplicates", "Rows whose job Redis knew already")
        self.revived = metrics.counter("relay_revived_jobs", "Jobs put back that Redis had lost")
        self.paused = metrics.gauge("queue_paused", "1 while workers take nothing from the queue", ["queue"])
        self.waiting = metrics.gauge("queue_waiting_jobs", "Jobs that wait for a worker", ["queue", "priority"])
        self.places = metrics.gauge("queue_jobs", "Jobs scheduled, running or set aside", ["queue", "place"])
        self.workers = metrics.gauge("queue_workers", "Worker processes that serve the queue", ["queue"])
        self.longest = metrics.gauge(
            "queue_oldest_waiting_seconds", "Age of the oldest job that waits for a worker", ["queue"]
        )
        self.leader = metrics.gauge("relay_is_leader", "1 while this relay leads")
        self.epoch = metrics.gauge("relay_epoch", "Epoch under which this relay leads, or led last")
        self.transitions = metrics.counter("relay_leader_transitions", "Terms that this relay has begun")
        self.renewals = metrics.histogram("relay_lease_renew_seconds", "Time in which the API server renewed the Lease")
        self.lease_failures = metrics.counter("relay_lease_failures", "Calls about the Lease that failed", ["reason"])
        for reason in ("conflict", "timeout", "unavailable"):
            self.lease_failures.labels(reason)
        self.broker = metrics.gauge("relay_broker_up", "1 while Redis takes jobs")

    def forget(self) -> None:
        """Take back what the leader has seen: the next one shows it, and two would contradict each other."""
        for backlog in (self.depth, self.dead, self.oldest):
            backlog.set(0)
        for queues in (self.paused, self.waiting, self.places, self.workers, self.longest):
            queues.clear()


@cache
def _instruments() -> _Instruments:
    """Made once, when first needed: a process has one registry."""
    return _Instruments()


class Figures:
    """The relay's numbers (contract.md i, GAP11)."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._show = _instruments()
        self._priorities: defaultdict[str, set[int]] = defaultdict(set)

    def batch(self, *, created: int, dead: int, seconds: float, trace_id: str | None = None) -> None:
        """One batch is settled: `created` rows were put and marked, `dead` ones given up; `trace_id` is that of one of them."""
        self._counters.add("outbox_batches")
        self._counters.observe("outbox_batch_duration", seconds)
        self._show.batches.observe(seconds, _exemplar(trace_id))
        self._settled("created", created)
        self._settled("failed", dead)

    def returned_dead(self, amount: int) -> None:
        """So many rows, whose jobs no worker can run, have come back from Redis as dead ones."""
        self._settled("failed", amount)

    def stage(self, name: str, seconds: float, trace_id: str | None = None) -> None:
        """One stage took so long for one batch, in which is a row of the trace `trace_id`."""
        self._show.stages.labels(name).observe(seconds, _exemplar(trace_id))

    def duplicates(self, amount: int) -> None:
        """So many rows were in Redis already."""
        if amount:
            self._show.duplicates.inc(amount)

    def revived(self, amount: int) -> None:
        """So many lost jobs were put back."""
        self._show.revived.inc(amount)

    def paused(self, queues: Mapping[str, bool]) -> None:
        """Which queues are paused; those that were never paused are not listed."""
        for queue, is_paused in queues.items():
            self._show.paused.labels(queue).set(1 if is_paused else 0)

    def queues(self, overviews: Sequence[QueueOverview]) -> None:
        """What is in the queues; a priority that has no jobs any more shows nought."""
        for each in overviews:
            for priority in self._priorities[each.queue] | each.waiting.keys():
                self._show.waiting.labels(each.queue, priority).set(each.waiting.get(priority, 0))
            self._priorities[each.queue] |= each.waiting.keys()
            for place, jobs in (("scheduled", each.scheduled), ("running", each.running), ("dead", each.dead)):
                self._show.places.labels(each.queue, place).set(jobs)
            self._show.workers.labels(each.queue).set(each.workers)
            self._show.longest.labels(each.queue).set(each.oldest_seconds)

    def progress(self) -> None:
        """The loop has come round."""
        self._show.progress.set(time.time())

    def backlog(self, backlog: Backlog) -> None:
        """So much waits."""
        self._show.depth.set(backlog.depth)
        self._show.dead.set(backlog.dead)
        self._show.oldest.set(backlog.oldest_seconds)

    def leading(self, epoch: int | None) -> None:
        """This relay leads under `epoch`; None when it does not, and then it says nothing more of what only a leader sees."""
        self._show.leader.set(0 if epoch is None else 1)
        if epoch is None:
            self._show.forget()
            self._priorities.clear()
        else:
            self._show.epoch.set(epoch)
            self._show.transitions.inc()

    def lease_renewed(self, seconds: float) -> None:
        """The API server took so long to renew the Lease."""
        self._show.renewals.observe(seconds)

    def lease_failed(self, reason: str) -> None:
        """A call about the Lease failed: "conflict", "timeout" or "unavailable"."""
        self._show.lease_failures.labels(reason).inc()

    def broker(self, *, is_up: bool) -> None:
        """Whether Redis takes jobs."""
        self._show.broker.set(1 if is_up else 0)

    def _settled(self, result: str, amount: int) -> None:
        if amount:
            self._counters.add("outbox_jobs", result, amount)
            self._show.jobs.labels(result).inc(amount)


def _exemplar(trace_id: str | None) -> dict[str, str] | None:
    return None if trace_id is None else {"trace_id": trace_id}
