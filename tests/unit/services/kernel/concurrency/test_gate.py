"""The gate's decisions when Redis or PostgreSQL fail at the worst moment, on a Redis that does what the test says."""

from __future__ import annotations

import asyncio
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from services.kernel.commands import InitiationOutcome, InitiationRequest
from services.kernel.concurrency import Decision, Limits, Rebuilt, Verdict
from services.kernel.concurrency import gate as gate_module
from services.kernel.concurrency.gate import Gate
from services.kernel.concurrency.refusals import ConcurrencyLimitReached, Refusals
from services.kernel.concurrency.releases import Releases
from services.kernel.errors import BrokerUnavailable, DatabaseUnavailable, InvalidInput, PermanentError
from tests.support.clocks import StandingClock
from tests.support.waiting import eventually

USER = uuid4()
RUNNING = InitiationOutcome(status="accepted", running=True, run_number=1)
NOTHING = InitiationOutcome(status="failed", running=False)


class FakeSlots:
    """Takes everything down that it is asked, and answers as told."""

    def __init__(self, verdict: Verdict | None = None) -> None:
        self.verdict = verdict or Verdict(Decision.TAKEN, 1)
        self.down = False
        self.claimed: list[tuple[UUID, int]] = []
        self.released: list[tuple[UUID, int, str]] = []

    def _answer(self) -> None:
        if self.down:
            raise BrokerUnavailable("away")

    async def reserve(self, *_: Any) -> Verdict:
        """As told."""
        self._answer()
        return self.verdict

    async def claim(self, course: UUID, user: UUID, run: int) -> None:
        """Noted."""
        self._answer()
        self.claimed.append((course, run))

    async def release(self, course: UUID, run: int, holder: str = "") -> bool:
        """Noted."""
        self._answer()
        self.released.append((course, run, holder))
        return True

    async def drain(self) -> None:
        """Nothing is under way."""


class FakeBook:
    """Rebuilds as told."""

    def __init__(self) -> None:
        self.ready = True
        self.down = False
        self.rebuilt: list[Rebuilt | None] = []
        self.rebuilds = 0

    async def is_ready(self) -> bool:
        """As told."""
        if self.down:
            raise BrokerUnavailable("away")
        return self.ready

    async def distrust(self) -> None:
        """Nobody believes."""
        await self.is_ready()

    async def rebuild(self) -> Rebuilt | None:
        """Another count."""
        self.rebuilds += 1
        return self.rebuilt.pop(0) if self.rebuilt else Rebuilt(0, 0, 0, 0)


class FakeDatabase:
    """Has no changed limits; takes events unless it is away."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self.events: list[Any] = []
        self.changed: list[dict[str, Any]] = []

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        """The changed limits."""
        if self.errors:
            raise self.errors[0]
        return self.changed

    async def execute(self, query: str, *args: Any) -> str:
        """An event, or a change of a limit."""
        if self.errors:
            raise self.errors.pop(0)
        self.events.append(args)
        return "INSERT 0 1"


class Bench:
    """A gate and everything around it."""

    def __init__(self, verdict: Verdict | None = None) -> None:
        self.db, self.slots, self.book, self.clock = FakeDatabase(), FakeSlots(verdict), FakeBook(), StandingClock()
        limits = Limits(cast(Any, self.db))
        redis: Any = type("Redis", (), {"register_script": lambda _, text: text})()
        self.gate = Gate(cast(Any, self.db), redis, limits, book=cast(Any, self.book), clock=self.clock)
        self.gate._slots = cast(Any, self.slots)
        self.gate.releases = Releases(cast(Any, self.slots))
        self.request = InitiationRequest(course_id=uuid4(), user_id=USER, tier="BASIC")


async def test_a_run_that_began_keeps_the_slot_and_one_that_did_not_gives_it_back() -> None:
    """The common two cases: nothing more to do, and a release by the holder."""
    bench = Bench()
    permit = await bench.gate.admit(bench.request, 1)
    await bench.gate.settle(permit, RUNNING)
    kept = list(bench.slots.released), list(bench.slots.claimed)
    await bench.gate.settle(permit, NOTHING)

    assert kept == ([], [])
    assert bench.slots.released == [(bench.request.course_id, 1, permit.holder)]
    assert permit.limits is None


async def test_a_gate_that_was_told_of_an_outage_does_not_wait_for_redis_itself() -> None:
    """PostgreSQL counts at once, until the counters are rebuilt."""
    bench = Bench()
    bench.slots.down = True
    bench.gate.doubt("the cache has waited in vain")
    bench.slots.reserve = None  # type: ignore[method-assign, assignment]  # asking would fail
    permit = await bench.gate.admit(bench.request, 1)

    assert (permit.decision, bench.gate.is_counting_in_redis) == (Decision.NOT_READY, False)
    assert permit.limits is not None


async def test_whoever_found_the_slot_held_never_gives_it_back() -> None:
    """It is the other request's; but if this one began the run, the slot becomes the run's."""
    bench = Bench(Verdict(Decision.HELD))
    permit = await bench.gate.admit(bench.request, 1)
    await bench.gate.settle(permit, NOTHING)
    await bench.gate.settle(permit, InitiationOutcome(status="replay", running=True, run_number=1))
    before = list(bench.slots.claimed)
    await bench.gate.settle(permit, RUNNING)
    await bench.gate.drain()

    assert (bench.slots.released, before) == ([], [])
    assert bench.slots.claimed == [(bench.request.course_id, 1)]


async def test_a_slow_initiation_makes_sure_of_its_slot() -> None:
    """The leader may have freed a reservation that was seconds old before its commit."""
    bench = Bench()
    permit = await bench.gate.admit(bench.request, 1)
    bench.clock.pass_by(11)
    await bench.gate.settle(permit, RUNNING)
    await bench.gate.drain()

    assert bench.slots.claimed == [(bench.request.course_id, 1)]


async def test_without_redis_postgresql_is_told_the_limits() -> None:
    """The permit carries them; afterwards the run's slot is noted if Redis takes it, else the reservation is taken back."""
    bench = Bench()
    bench.slots.down = True
    permit = await bench.gate.admit(bench.request, 1)
    bench.slots.down = False
    await bench.gate.settle(permit, RUNNING)
    await bench.gate.drain()
    await bench.gate.settle(permit, NOTHING)
    owed = bench.gate.releases.owed
    await bench.gate.drain()

    assert permit.limits == {"user": 2, "global": 3}
    assert bench.gate.is_counting_in_redis is False
    assert bench.slots.claimed == [(bench.request.course_id, 1)]
    assert (owed, bench.slots.released) == (1, [(bench.request.course_id, 1, permit.holder)])


async def test_a_redis_that_was_away_is_asked_again_only_after_a_rebuild(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost counters, an outage, an answer that came too late: each time PostgreSQL counts until the rebuild has worked."""
    monkeypatch.setattr(gate_module, "WATCH_SECONDS", 0.01)
    bench = Bench(Verdict(Decision.NOT_READY))
    bench.book.down = True
    stopping = asyncio.Event()
    watching = asyncio.create_task(bench.gate.watch(stopping))
    await bench.gate.admit(bench.request, 1)
    bench.slots.verdict = Verdict(Decision.TAKEN)
    await asyncio.sleep(0.05)
    still = await bench.gate.admit(bench.request, 1)
    bench.book.rebuilt = [None]
    bench.book.down = False
    await eventually(lambda: bench.gate.is_counting_in_redis)
    after = await bench.gate.admit(bench.request, 1)
    stopping.set()
    await watching

    assert still.decision is Decision.NOT_READY
    assert bench.book.rebuilds == 2
    assert after.decision is Decision.TAKEN


async def test_a_doubt_during_the_rebuild_is_followed_by_another_rebuild_and_then_by_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A claim that failed while the counters were rebuilt: they are counted once more, and the watch sleeps between looks."""
    monkeypatch.setattr(gate_module, "WATCH_SECONDS", 0.01)
    bench = Bench()
    looks = 0

    async def doubted_rebuild() -> Rebuilt:
        bench.book.rebuilds += 1
        if bench.book.rebuilds == 1:
            bench.gate.doubt("a claim was not taken")
        return Rebuilt(0, 0, 0, 0)

    async def counted_fetch(*_: Any) -> list[Any]:
        nonlocal looks
        looks += 1
        return []

    monkeypatch.setattr(bench.book, "rebuild", doubted_rebuild)
    monkeypatch.setattr(bench.db, "fetch", counted_fetch)
    bench.gate.doubt("Redis does not answer")
    stopping = asyncio.Event()
    watching = asyncio.create_task(bench.gate.watch(stopping))
    await eventually(lambda: bench.gate.is_counting_in_redis)
    monkeypatch.setattr(gate_module, "WATCH_SECONDS", 60)
    await asyncio.sleep(0.03)
    before = looks
    await asyncio.sleep(0.1)
    stopping.set()
    await watching

    assert bench.book.rebuilds == 2
    assert looks == before


async def test_a_claim_that_redis_does_not_take_raises_doubts() -> None:
    """A run without a slot: the counters are not true, so they are not believed."""
    bench = Bench(Verdict(Decision.HELD))
    permit = await bench.gate.admit(bench.request, 1)
    bench.slots.down = True
    await bench.gate.settle(permit, RUNNING)
    await bench.gate.drain()

    assert bench.gate.is_counting_in_redis is False


async def test_opening_has_lost_counters_rebuilt_and_does_not_mind_an_outage() -> None:
    """Before the first request."""
    lost, away, fine = Bench(), Bench(), Bench()
    lost.book.ready, away.book.down = False, True
    for bench in (lost, away, fine):
        await bench.gate.open()

    assert [bench.book.rebuilds for bench in (lost, away, fine)] == [1, 0, 0]
    assert [bench.gate.is_counting_in_redis for bench in (lost, away, fine)] == [True, False, True]


async def test_watching_outlives_an_outage_of_postgresql(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits stay as they were; changed ones are followed when it is back."""
    monkeypatch.setattr(gate_module, "WATCH_SECONDS", 0.01)
    bench = Bench()
    bench.db.errors = [DatabaseUnavailable("away")]
    bench.db.changed = [{"scope": "BASIC", "slots": 7}]
    stopping = asyncio.Event()
    watching = asyncio.create_task(bench.gate.watch(stopping))
    await asyncio.sleep(0.05)
    before = bench.gate._limits.of_tier("BASIC")
    bench.db.errors.clear()
    await eventually(lambda: bench.gate._limits.of_tier("BASIC") == 7)
    stopping.set()
    await watching

    assert before == 2


@pytest.mark.parametrize(
    ("verdict", "limit_type", "limit", "words"),
    [
        (Verdict(Decision.USER_LIMIT, 2), "user", 2, "Tier BASIC may have 2 courses"),
        (Verdict(Decision.GLOBAL_LIMIT, 4), "global", 3, "3 courses may be in generation at once, of all users"),
    ],
)
async def test_a_refusal_says_which_limit_it_was(verdict: Verdict, limit_type: str, limit: int, words: str) -> None:
    """And is written down before it is told."""
    bench = Bench(verdict)
    with pytest.raises(ConcurrencyLimitReached, match=words) as refused:
        await bench.gate.admit(bench.request, 1)

    assert refused.value.details == {
        "limitType": limit_type, "tier": "BASIC", "limit": limit, "current": verdict.current, "retryAfterSeconds": 10,
    }  # fmt: skip
    assert [event["userId"] for event in bench.db.events[0][0]] == [USER]


async def test_a_refusal_that_cannot_be_written_is_told_and_written_later() -> None:
    """An outage of the database does not make room; what it refuses for good is given up, and said."""
    bench = Bench()
    refusals = Refusals(cast(Any, bench.db))
    refusal = ConcurrencyLimitReached.of("user", tier="FREE", limit=1, current=1)
    bench.db.errors = [DatabaseUnavailable("away"), DatabaseUnavailable("still")]
    await refusals.note(bench.request, refusal)
    await refusals.retry()
    nothing = list(bench.db.events)
    await refusals.retry()
    bench.db.errors = [PermanentError("no"), PermanentError("never")]
    await refusals.note(bench.request, refusal)
    await refusals.retry()
    await refusals.retry()

    assert nothing == []
    assert len(bench.db.events) == 1


async def test_releases_are_repeated_until_redis_takes_them() -> None:
    """Also the last ones, while the process stops; each once."""
    slots = FakeSlots()
    slots.down = True
    releases = Releases(cast(Any, slots))
    first, second = uuid4(), uuid4()
    await releases.release(first, 1)
    await releases.release(first, 1)
    await releases.release(second, 2)
    await releases.retry()
    owed = releases.owed
    stopping = asyncio.Event()
    trying = asyncio.create_task(releases.keep_trying(stopping))
    slots.down = False
    stopping.set()
    await trying

    assert owed == 2
    assert releases.owed == 0
    assert slots.released == [(first, 1, ""), (second, 2, "")]


async def test_a_flood_of_owed_releases_does_not_fill_the_memory() -> None:
    """The leader finds the rest."""
    releases = Releases(cast(Any, FakeSlots()))
    for number in range(10_050):
        releases.owe(UUID(int=number), 1)

    assert releases.owed == 10_000


async def test_a_limit_is_set_by_name_and_within_bounds() -> None:
    """In the caller's own transaction or at once; what cannot be meant is refused with what there is."""
    db = FakeDatabase()
    limits = Limits(cast(Any, db))
    session = FakeDatabase()
    await limits.set("Global", 12, USER, cast(Any, session))
    await limits.set("free", None, USER)

    assert session.events == [("global", 12, USER)]
    assert db.events == [("FREE",)]
    assert limits.in_force == limits.configured
    assert limits.of_tier("UNKNOWN") == limits.of_tier("FREE") == 1
    for scope, slots in (("GOLD", 1), ("global", 0), ("FREE", 10_001)):
        with pytest.raises(InvalidInput):
            await limits.set(scope, slots, USER)
