"""Names of a queue's keys in Redis: saq's own, and ours beside them under the same prefix.

A job waits in one list per priority (0 to 10); saq's own list is served after all of them, so that jobs put there by plain
saq still run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

HIGHEST_PRIORITY: Final = 10
LOWEST_PRIORITY: Final = 0
JOB_PREFIX: Final = "saq:job:"
KNOWN_QUEUES: Final = "saq:queues"
"""The sorted set of queues that were served or filled in the last thirty days, by the epoch second of the last time."""
PIPELINE_QUEUES: Final = ("course-generation:documents", "course-generation:analysis", "course-generation:generation")
"""The queues of the three stages, in the order of the pipeline."""


def clamp_priority(priority: int) -> int:
    """The list a job of this priority waits in: what lies outside 0 to 10 counts as the nearest of them."""
    return max(LOWEST_PRIORITY, min(HIGHEST_PRIORITY, priority))


def by_priority(lengths: Sequence[int]) -> tuple[int, ...]:
    """The lengths of `QueueKeys.lists`, as the scripts give them, by priority from 0; saq's own list counts as 0."""
    *ours, plain = lengths
    lowest = ours.pop()
    return (lowest + plain, *reversed(ours))


@dataclass(frozen=True)
class QueueKeys:
    """The keys of one saq queue."""

    queue: str

    @cached_property
    def prefix(self) -> str:
        """What every key of the queue begins with, job bodies apart."""
        return f"saq:{self.queue}"

    @cached_property
    def job_prefix(self) -> str:
        """What the key of every job body begins with."""
        return f"{JOB_PREFIX}{self.queue}:"

    def job_id(self, key: str) -> str:
        """The Redis key of a job's body; also the member that stands for the job in every list."""
        return self.job_prefix + key

    def job_key(self, job_id: str) -> str:
        """The job key inside `job_id`, or all of it when it is not one of this queue's."""
        return job_id.removeprefix(self.job_prefix)

    def waiting(self, priority: int) -> str:
        """The list of jobs of this priority that wait for a worker."""
        return f"{self.prefix}:queued:{clamp_priority(priority)}"

    @cached_property
    def plain(self) -> str:
        """The list of waiting jobs that saq itself uses."""
        return f"{self.prefix}:queued"

    @cached_property
    def lists(self) -> tuple[str, ...]:
        """Every list in which a job can wait, the first to be served first."""
        ours = [self.waiting(priority) for priority in range(HIGHEST_PRIORITY, LOWEST_PRIORITY - 1, -1)]
        return (*ours, self.plain)

    @cached_property
    def active(self) -> str:
        """The list of jobs that a worker has taken."""
        return f"{self.prefix}:active"

    @cached_property
    def incomplete(self) -> str:
        """The sorted set of unfinished jobs; score 0 = waiting or active, else the epoch second they are due."""
        return f"{self.prefix}:incomplete"

    @cached_property
    def wake(self) -> str:
        """The list whose elements wake workers that found nothing to do."""
        return f"{self.prefix}:wake"

    @cached_property
    def owners(self) -> str:
        """The hash that says which worker has which active job."""
        return f"{self.prefix}:owners"

    def lease(self, worker_id: str) -> str:
        """The key that lives as long as the worker does, and a few seconds longer."""
        return f"{self.prefix}:lease:{worker_id}"

    @cached_property
    def workers(self) -> str:
        """The sorted set of workers that serve the queue, by the epoch second at which they count as dead.

        It is there as long as one of them lives, by Redis' own clock.
        """
        return f"{self.prefix}:workers"

    @cached_property
    def paused(self) -> str:
        """The key that exists while nothing is to be taken from the queue."""
        return f"{self.prefix}:paused"

    @cached_property
    def poison(self) -> str:
        """The hash of jobs set aside: why."""
        return f"{self.prefix}:poison"

    @cached_property
    def poison_bodies(self) -> str:
        """The hash of jobs set aside: what they were, byte for byte."""
        return f"{self.prefix}:poison:bodies"

    @cached_property
    def unreported(self) -> str:
        """The list of jobs set aside that the dead-letter function has not seen yet."""
        return f"{self.prefix}:unreported"

    @cached_property
    def crashes(self) -> str:
        """The hash that counts how often a worker died with a job."""
        return f"{self.prefix}:crashes"

    @cached_property
    def epoch(self) -> str:
        """The highest leader epoch that has put jobs into this queue."""
        return f"{self.prefix}:epoch"

    @cached_property
    def announcements(self) -> str:
        """The channel on which new jobs are announced: one for all stages of a queue (contract.md g)."""
        return f"{self.queue.partition(':')[0]}:added"
