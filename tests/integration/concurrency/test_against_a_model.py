"""The scripts against a model of a few lines: any order of requests, deaths, losses and repairs, step by step the same."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar, cast
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from redis.asyncio import Redis

from services.kernel.concurrency import Book, Claim, Decision, Slots
from tests.support import servers

T = TypeVar("T")
USERS = [UUID(int=number) for number in (1, 2, 3)]
COURSES = [UUID(int=100 + number) for number in range(6)]
OWNERS = {course: USERS[place % len(USERS)] for place, course in enumerate(COURSES)}
courses = st.sampled_from(COURSES)
GLOBAL_LIMIT, USER_LIMIT = 4, 2


class Truth:
    """Stands for PostgreSQL: which courses run, and in which run."""

    def __init__(self) -> None:
        self.runs: dict[UUID, int] = {}

    async def fetch(self, query: str, *args: Any) -> Sequence[dict[str, Any]]:
        """All that run, or those of them that are asked for."""
        wanted = args[0] if args else list(self.runs)
        return [
            {"id": course, "user_id": OWNERS[course], "run_number": run, "tier": "FREE"}
            for course, run in self.runs.items()
            if course in wanted
        ]


class Machine(RuleBasedStateMachine):
    """Does to the scripts what it does to a dictionary."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.redis: Any = Redis.from_url(url)
        self.truth = Truth()
        self.slots: dict[UUID, tuple[int, str]] = {}
        """Course: the run that holds its slot, and who reserved it ('' once it is the run's own)."""
        self.unverified: set[UUID] = set()
        self.ready = True
        self.next_run = dict.fromkeys(COURSES, 1)
        self.ended: list[tuple[UUID, int]] = []
        self.names = iter(range(10**6))
        self.do(self._open())

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end."""
        return self.loop.run_until_complete(work)

    async def _open(self) -> None:
        await self.redis.flushdb()
        self.keys = Slots(self.redis, wait_seconds=30)
        self.book = Book(cast(Any, self.truth), self.redis)
        await self.book.rebuild()

    def expected(self, course: UUID, run: int) -> Decision:
        """What the model would decide."""
        if not self.ready:
            return Decision.NOT_READY
        if course in self.slots:
            return Decision.HELD if run <= self.slots[course][0] else Decision.TAKEN
        if sum(OWNERS[each] == OWNERS[course] for each in self.slots) >= USER_LIMIT:
            return Decision.USER_LIMIT
        return Decision.GLOBAL_LIMIT if len(self.slots) >= GLOBAL_LIMIT else Decision.TAKEN

    @rule(course=courses, fate=st.sampled_from(["commits", "fails", "dies"]))
    def request(self, course: UUID, fate: str) -> None:
        """The api begins a run; it is written, or not, or the api dies in between."""
        if course in self.truth.runs:
            return  # the probe would have said so
        run, holder = self.next_run[course], f"h{next(self.names)}"
        expected = self.expected(course, run)
        verdict = self.do(self.keys.reserve(Claim(course, OWNERS[course], run, USER_LIMIT, holder), GLOBAL_LIMIT))
        assert verdict.decision is expected
        if expected is Decision.TAKEN:
            self.slots[course] = (run, holder)
            self.unverified.add(course)
        if expected not in {Decision.TAKEN, Decision.HELD} or fate == "dies":
            return
        if fate == "commits":
            self.truth.runs[course] = run
            if expected is Decision.HELD:
                self.claim(course)
        elif expected is Decision.TAKEN:
            assert self.do(self.keys.release(course, run, holder)) is True
            self.forget(course)

    @rule(course=courses)
    def claim(self, course: UUID) -> None:
        """The slot of a run that has begun is noted, whatever the limits are."""
        run = self.truth.runs.get(course)
        if run is None:
            return
        self.do(self.keys.claim(course, OWNERS[course], run))
        self.slots[course] = (run, "")
        self.unverified.add(course)

    @rule(course=courses)
    def end(self, course: UUID) -> None:
        """A run ends; its slot is given back later, once or often, or never."""
        run = self.truth.runs.pop(course, None)
        if run is not None:
            self.ended.append((course, run))
            self.next_run[course] = run + 1

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        """Some run that has ended is released: in time, late, or again."""
        if not self.ended:
            return
        course, run = data.draw(st.sampled_from(self.ended))
        frees = course in self.slots and self.slots[course][0] <= run
        assert self.do(self.keys.release(course, run)) is frees
        if frees:
            self.forget(course)

    @rule(user=st.sampled_from(USERS))
    def lose_counter(self, user: UUID) -> None:
        """A counter is deleted, evicted, or expires."""
        self.do(self.redis.delete("concurrency:global", f"concurrency:user:{user}"))

    @rule()
    def lose_everything(self) -> None:
        """Redis comes back empty."""
        self.do(self.redis.flushdb())
        self.slots.clear()
        self.unverified.clear()
        self.ready = False

    @rule()
    def rebuild(self) -> None:
        """The leader counts anew; young reservations stay."""
        assert self.do(self.book.rebuild()) is not None
        kept = {
            course: slot for course, slot in self.slots.items() if course in self.unverified | self.truth.runs.keys()
        }
        for course, run in self.truth.runs.items():
            if course not in kept or kept[course][0] <= run:
                kept[course] = (run, "")
                self.unverified.discard(course)
        self.slots, self.ready = kept, True

    @rule()
    def verify(self) -> None:
        """The leader looks at every reservation."""
        abandoned = [course for course in self.unverified if course not in self.truth.runs]
        assert self.do(self.book.verify(0)) == len(abandoned)
        for course in abandoned:
            del self.slots[course]
        self.slots |= {course: (self.truth.runs[course], "") for course in self.unverified - set(abandoned)}
        self.unverified.clear()

    @invariant()
    def counters_are_what_the_model_has(self) -> None:
        """Shown counters, whether they lie in Redis or are counted from the sets; none below zero."""
        view = self.do(self.book.snapshot())
        owners = Counter(OWNERS[course] for course in self.slots)
        assert view.ready is self.ready
        assert view.global_counter == len(self.slots)
        assert {each.user_id: each.counter for each in view.users if each.counter} == dict(owners)

    def forget(self, course: UUID) -> None:
        """The slot is free."""
        del self.slots[course]
        self.unverified.discard(course)

    def teardown(self) -> None:
        """At the end one rebuild and one verification make the counters equal to the truth, whatever happened before."""
        self.do(self.book.rebuild())
        self.do(self.book.verify(0))
        self.do(self.book.rebuild())
        view = self.do(self.book.snapshot())
        self.do(self.redis.aclose())
        self.loop.close()
        assert view.drift == 0
        assert [user.drift for user in view.users if user.drift] == []


def test_the_scripts_do_what_the_model_does(redis_server: servers.Redis) -> None:
    """Every step of every sequence."""
    url = redis_server.next_url()

    run_state_machine_as_test(
        lambda: Machine(url),  # type: ignore[arg-type]
        settings=settings(
            max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
