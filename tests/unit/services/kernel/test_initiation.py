"""The command handler's decisions, on a database that does what the test says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from services.kernel import initiation
from services.kernel.commands import InitializeFSMCommand, Initiation, InitiationOutcome, InitiationRequest
from services.kernel.concurrency import Decision
from services.kernel.concurrency.gate import Gate, Permit
from services.kernel.concurrency.refusals import ConcurrencyLimitReached
from services.kernel.errors import (
    CourseBusy,
    CoursegenError,
    DatabaseUnavailable,
    Forbidden,
    InvalidInput,
    KeyConflict,
    NotFound,
    SchemaMissing,
)
from services.kernel.idempotency import RememberedResult, ResultCache
from services.kernel.initiation import CommandHandler, InitiationFailed

USER = uuid4()
Decide = Callable[[Sequence[dict[str, Any]]], Sequence[dict[str, Any]]]


class FakeDatabase:
    """Answers `initiate_generation` by a function, and writes down what it was asked."""

    def __init__(self, decide: Decide) -> None:
        self.decide = decide
        self.batches: list[list[dict[str, Any]]] = []
        self.witnesses: list[tuple[Any, ...]] = []
        self.witness_errors: list[CoursegenError] = []
        self.stands = True

    async def fetchval(self, query: str, *args: Any) -> Any:
        """initiate_generation or initialize_fsm_with_outbox; a lost transaction has ended and left nothing."""
        await asyncio.sleep(0)
        if query == initiation._QUERIES["have_ended"]:
            return True
        if query == initiation._QUERIES["initiate"]:
            return [{"status": "clear", "courseId": row["courseId"]} for row in args[0]]
        if len(args) > 1:
            return {
                "fsmState": {"courseId": str(args[0])},
                "outboxEntries": [{"outbox_id": str(uuid4())}] * len(args[6]),
            }
        self.batches.append(list(args[0]))
        return self.decide(args[0])

    async def fetch(self, query: str, *args: Any) -> list[dict[str, Any]]:
        """The check of remembered results."""
        if not self.batches and self.stands is None:
            raise DatabaseUnavailable
        return [{"stands": self.stands} for _ in args[0]]

    async def execute(self, query: str, *args: Any) -> str:
        """The witness of a failure."""
        if self.witness_errors:
            raise self.witness_errors.pop(0)
        self.witnesses.append(args)
        return "INSERT 0 1"


class FakeCache:
    """Remembers in a dictionary."""

    def __init__(self) -> None:
        self.entries: dict[str, RememberedResult] = {}

    async def recall(self, key: str) -> RememberedResult | None:
        """Look up."""
        return self.entries.get(key)

    async def remember(self, key: str, result: RememberedResult) -> None:
        """Keep."""
        self.entries[key] = result


class Tally:
    """Counts, and counts rings."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str], float] = {}
        self.durations: list[float] = []
        self.rings = 0

    def add(self, name: str, label: str = "", amount: float = 1) -> None:
        """Count."""
        self.counts[name, label] = self.counts.get((name, label), 0) + amount

    def observe(self, name: str, seconds: float) -> None:
        """Measure."""
        self.durations.append(seconds)

    def notify(self) -> None:
        """Ring."""
        self.rings += 1


def accept(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every request is accepted."""
    return [
        {
            "status": "accepted",
            "courseId": row["courseId"],
            "jobId": str(uuid4()),
            "idempotencyKey": "k",
            "runNumber": 1,
            "entries": 1,
        }
        for row in rows
    ]


def refuse(status: str, **more: Any) -> Decide:
    """Every request ends in this status."""
    return lambda rows: [{"status": status, "courseId": row["courseId"], **more} for row in rows]


def request(course_id: UUID | None = None, **changes: Any) -> InitiationRequest:
    """A request to begin."""
    return InitiationRequest(course_id=course_id or uuid4(), user_id=USER, **changes)


class Bench:
    """A handler and everything around it."""

    def __init__(self, decide: Decide = accept, *, deadline_seconds: float = 10) -> None:
        self.db, self.cache, self.tally = FakeDatabase(decide), FakeCache(), Tally()
        self.handler = CommandHandler(
            cast(Any, self.db),
            cache=cast(ResultCache, self.cache),
            counters=self.tally,
            bell=self.tally,
            deadline_seconds=deadline_seconds,
        )

    async def begin(self, course_id: UUID | None = None, **changes: Any) -> Initiation:
        """Initiate."""
        return await self.handler.initiate(request(course_id, **changes))


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(initiation, "_BACKOFF_SECONDS", (0.001, 0.001, 0.001))
    monkeypatch.setattr(initiation, "_WITNESS_RETRY_SECONDS", 0.001)


async def test_an_accepted_request_is_counted_remembered_and_announced() -> None:
    """One operation, one miss, one ring, one entry."""
    bench = Bench()
    course_id = uuid4()
    begun = await bench.begin(course_id)

    assert begun.from_cache is False
    assert bench.tally.counts == {("fsm_cache", "miss"): 1, ("fsm_total", "success"): 1}
    assert bench.tally.rings == 1
    assert bench.cache.entries[f"derived:{USER}:{course_id}:auto"].job_id == begun.job_id


async def test_a_remembered_request_is_answered_without_writing() -> None:
    """A hit is no operation (TRAP14)."""
    bench = Bench()
    course_id = uuid4()
    first = await bench.begin(course_id)
    second = await bench.begin(course_id)

    assert (second.job_id, second.from_cache) == (first.job_id, True)
    assert len(bench.db.batches) == 1
    assert bench.tally.counts == {("fsm_cache", "miss"): 1, ("fsm_total", "success"): 1, ("fsm_cache", "hit"): 1}


async def test_a_remembered_result_whose_row_is_gone_is_not_believed() -> None:
    """TRAP45: a deleted course, or a restored database, gets a new job."""
    bench = Bench()
    course_id = uuid4()
    first = await bench.begin(course_id)
    bench.db.stands = False
    second = await bench.begin(course_id)

    assert second.job_id != first.job_id
    assert second.from_cache is False


async def test_a_remembered_result_of_another_course_is_not_believed() -> None:
    """One key for two courses is the database's to judge."""
    bench = Bench()
    await bench.begin(client_key="user:x:key")
    await bench.begin(client_key="user:x:key")

    assert len(bench.db.batches) == 2


async def test_a_check_that_fails_leaves_the_decision_to_the_write() -> None:
    """The write path owns the retries."""
    bench = Bench()
    course_id = uuid4()
    bench.cache.entries[f"derived:{USER}:{course_id}:auto"] = RememberedResult(
        job_id=None, course_id=course_id, idempotency_key="k"
    )
    bench.db.stands = cast(Any, None)

    assert (await bench.begin(course_id)).from_cache is False


async def test_a_replay_found_by_the_database_counts_as_a_hit() -> None:
    """Whoever recognises it, it is a replay."""
    bench = Bench(refuse("replay", jobId=str(uuid4()), idempotencyKey="k", runNumber=2, entries=1))
    begun = await bench.begin()

    assert begun.from_cache is True
    assert begun.run_number == 2
    assert bench.tally.counts == {("fsm_cache", "hit"): 1}
    assert bench.tally.rings == 0


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("not_found", NotFound),
        ("forbidden", Forbidden),
        ("busy", CourseBusy),
        ("key_conflict", KeyConflict),
        ("no_documents", InvalidInput),
        ("organization_required", InvalidInput),
    ],
)
async def test_a_refusal_is_an_error_with_a_name_and_is_not_remembered(
    status: str, error: type[CoursegenError]
) -> None:
    """Refusals are neither operations nor results."""
    bench = Bench(refuse(status))
    with pytest.raises(error):
        await bench.begin()

    assert bench.cache.entries == {}
    assert bench.tally.counts == {}
    assert len(bench.db.batches) == 1


async def test_busy_names_the_running_job() -> None:
    """GAP8: the 409 carries the `jobId`."""
    job = str(uuid4())
    with pytest.raises(CourseBusy) as caught:
        await Bench(refuse("busy", jobId=job)).begin()

    assert caught.value.details["jobId"] == job


async def test_a_transient_fault_is_retried_three_times_then_given_up() -> None:
    """Four tries in all; then one clean error, in Russian, a failed operation and a witness; nothing is remembered."""

    def break_down(rows: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
        raise DatabaseUnavailable

    bench = Bench(break_down)
    course_id = uuid4()
    with pytest.raises(InitiationFailed, match="Не удалось"):
        await bench.begin(course_id, request_id="r")
    await bench.handler.drain()

    assert len(bench.db.batches) == 4
    assert bench.tally.counts == {("fsm_cache", "miss"): 1, ("fsm_total", "failed"): 1}
    assert bench.cache.entries == {}
    assert [each[0] for each in bench.db.witnesses] == [course_id]


@pytest.mark.parametrize("failures", [1, 2, 3])
async def test_a_fault_that_passes_costs_only_time(failures: int) -> None:
    """Any of the four tries may succeed."""
    left = [failures]

    def waver(rows: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
        left[0] -= 1
        if left[0] >= 0:
            raise DatabaseUnavailable
        return accept(rows)

    bench = Bench(waver)

    assert (await bench.begin()).from_cache is False
    assert bench.tally.counts["fsm_total", "success"] == 1


async def test_an_item_that_fails_is_retried_without_its_neighbours() -> None:
    """What failed in company is tried alone, and the neighbours have long been answered."""
    bad = uuid4()

    def fail_one(rows: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
        return [
            {"status": "failed", "courseId": row["courseId"], "error": "XX000: no"}
            if row["courseId"] == str(bad)
            else accept([row])[0]
            for row in rows
        ]

    bench = Bench(fail_one)
    answers = await asyncio.gather(bench.begin(), bench.begin(bad), bench.begin(), return_exceptions=True)

    assert [isinstance(each, InitiationFailed) for each in answers] == [False, True, False]
    assert [len(each) for each in bench.db.batches] == [3, 1, 1, 1]


async def test_a_missing_function_is_the_same_clean_error() -> None:
    """Whatever the database says, the caller gets one 500."""

    def vanish(rows: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
        raise SchemaMissing

    with pytest.raises(InitiationFailed):
        await Bench(vanish).begin()


async def test_all_tries_together_have_a_deadline() -> None:
    """A server that hangs costs the caller the deadline, no more."""
    bench = Bench(deadline_seconds=0.05)
    hanging = asyncio.Event()

    async def hang(*_: Any) -> Any:
        await hanging.wait()

    bench.db.fetchval = hang  # type: ignore[method-assign, assignment]
    with pytest.raises(InitiationFailed):
        await bench.begin()
    hanging.set()


async def test_a_witness_waits_for_the_database() -> None:
    """D15: written as soon as the database answers; refused for good, it is only logged."""

    def break_down(rows: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
        raise DatabaseUnavailable

    bench = Bench(break_down)
    bench.db.witness_errors = [DatabaseUnavailable(), DatabaseUnavailable()]
    with pytest.raises(InitiationFailed):
        await bench.begin()
    await bench.handler.drain()
    assert len(bench.db.witnesses) == 1
    bench.db.witness_errors = [SchemaMissing()]
    with pytest.raises(InitiationFailed):
        await bench.begin()
    await bench.handler.drain()

    assert len(bench.db.witnesses) == 1


async def test_a_handler_without_a_cache_works() -> None:
    """Layer 1 may be left out."""
    tally = Tally()
    handler = CommandHandler(cast(Any, FakeDatabase(accept)), cache=None, counters=tally, bell=tally)

    assert (await handler.initiate(request())).from_cache is False


async def test_a_direct_call_rings_only_when_there_is_a_job() -> None:
    """TRAP34: with an empty job list there is nothing to relay."""
    bench = Bench()
    fields: dict[str, Any] = {
        "entity_id": uuid4(),
        "user_id": USER,
        "organization_id": uuid4(),
        "idempotency_key": "k",
        "initiated_by": "QUEUE_ADDED",
        "initial_state": "stage_4_init",
    }
    await bench.handler.initialize(InitializeFSMCommand(**fields))
    assert bench.tally.rings == 0
    await bench.handler.initialize(InitializeFSMCommand(**fields, job_data=[{"queue": "q"}]))

    assert bench.tally.rings == 1


async def test_abandoned_witnesses_do_not_outlive_the_process() -> None:
    """At the end of a shutdown the rest is given up."""

    def break_down(rows: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
        raise DatabaseUnavailable

    bench = Bench(break_down)
    bench.db.witness_errors = [DatabaseUnavailable() for _ in range(100_000)]
    with pytest.raises(InitiationFailed):
        await bench.begin()
    bench.handler.abandon()
    await bench.handler.drain()

    assert bench.db.witnesses == []


class FakeGate:
    """Lets everyone in, and writes down what became of them."""

    def __init__(self, limits: dict[str, int] | None = None) -> None:
        self.limits = limits
        self.settled: list[bool | None] = []
        self.refused: list[tuple[str, int, int]] = []
        self.admitted: list[int] = []

    async def admit(self, request: InitiationRequest, run_number: int) -> Permit:
        """A permit."""
        self.admitted.append(run_number)
        return Permit(request.course_id, request.user_id, run_number, "me", Decision.TAKEN, self.limits, 0.0)

    async def settle(self, permit: Permit, outcome: InitiationOutcome) -> None:
        """Noted."""
        self.settled.append(outcome.running)

    async def refuse(self, request: InitiationRequest, limit_type: str, limit: int, current: int) -> None:
        """As the gate does."""
        self.refused.append((limit_type, limit, current))
        raise ConcurrencyLimitReached.of("user", tier=request.tier, limit=limit, current=current)

    async def drain(self) -> None:
        """Nothing is under way."""


class GatedDatabase(FakeDatabase):
    """Answers probes as told, or with `clear`; says whether lost transactions have ended."""

    def __init__(self, decide: Decide) -> None:
        super().__init__(decide)
        self.probes: list[Sequence[dict[str, Any]] | Exception] = []
        self.ended: list[bool | Exception] = []

    async def fetchval(self, query: str, *args: Any) -> Any:
        """A probe, the question whether transactions have ended, or a write."""
        if query == initiation._QUERIES["have_ended"]:
            return _take(self.ended) if self.ended else True
        if args[0][0].get("probe"):
            if self.probes:
                return _take(self.probes)
            return [{"status": "clear", "courseId": row["courseId"], "runNumber": 3} for row in args[0]]
        return await super().fetchval(query, *args)


def _take(answers: list[Any]) -> Any:
    answer = answers.pop(0)
    if isinstance(answer, Exception):
        raise answer
    return answer


def unavailable(rows: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    """No answer; nobody knows whether it was committed."""
    raise DatabaseUnavailable("away")


def gated(decide: Decide = accept, limits: dict[str, int] | None = None) -> tuple[Bench, GatedDatabase, FakeGate]:
    """A handler behind a gate."""
    bench, gate = Bench(decide), FakeGate(limits)
    bench.db = database = GatedDatabase(decide)
    bench.handler = CommandHandler(
        cast(Any, database),
        cache=cast(ResultCache, bench.cache),
        counters=bench.tally,
        bell=bench.tally,
        gate=cast(Gate, gate),
    )
    return bench, database, gate


async def test_a_probe_comes_before_the_gate_and_the_gate_before_the_write() -> None:
    """The run that would begin is what a slot is asked for; what was written decides whose it is."""
    bench, _, gate = gated(lambda rows: [{**accept(rows)[0], "running": True}])
    await bench.begin()

    assert gate.admitted == [3]
    assert gate.settled == [True]
    assert "limits" not in bench.db.batches[0][0]


async def test_a_repeat_and_a_refusal_never_reach_the_gate() -> None:
    """TRAP3; and nothing is written for them."""
    bench, database, gate = gated()
    again = {"status": "replay", "jobId": str(uuid4()), "idempotencyKey": "k", "runNumber": 1}
    database.probes = [[again], [{"status": "not_found"}]]
    repeated = await bench.begin()
    with pytest.raises(NotFound):
        await bench.begin()

    assert repeated.from_cache is True
    assert (gate.admitted, bench.db.batches) == ([], [])


async def test_limits_that_postgresql_is_to_count_against_travel_with_the_write() -> None:
    """And what it finds is refused in the same words."""
    bench, _, gate = gated(refuse("limited", limitType="user", limit=1, current=2), {"user": 1, "global": 3})
    with pytest.raises(ConcurrencyLimitReached):
        await bench.begin()

    assert bench.db.batches[0][0]["limits"] == {"user": 1, "global": 3}
    assert (gate.settled, gate.refused) == ([None], [("user", 1, 2)])


async def test_a_probe_that_fails_is_repeated_like_a_write() -> None:
    """A slot is asked for once the database answers."""
    bench, database, gate = gated()
    database.probes = [DatabaseUnavailable("away"), [{"status": "failed", "error": "40001"}]]
    await bench.begin()

    assert gate.admitted == [3]


async def test_a_slot_is_asked_for_once_however_often_the_write_is_tried() -> None:
    """And given back at once when the database has said that nothing runs."""
    bench, _, gate = gated(refuse("failed", error="P0001: broken", running=False))
    with pytest.raises(InitiationFailed):
        await bench.begin()
    await bench.handler.drain()

    assert gate.admitted == [3]
    assert gate.settled == [False]
    assert len(bench.db.witnesses) == 1


AGAIN: dict[str, Any] = {"status": "replay", "idempotencyKey": "k", "runNumber": 3, "running": True}


async def test_when_nobody_knows_what_was_committed_postgresql_is_asked_later() -> None:
    """The slot is kept until it answers; there is one witness, however often it takes."""
    bench, database, gate = gated(unavailable)
    database.ended = [DatabaseUnavailable("still"), False, True]
    database.witness_errors = [DatabaseUnavailable("again")]
    with pytest.raises(InitiationFailed, match="повтор безопасен") as caught:
        await bench.begin()
    before = list(gate.settled)
    await bench.handler.drain()

    assert "ничего не изменил" not in caught.value.message
    assert before == []
    assert gate.settled == [False]
    assert len(bench.db.witnesses) == 1
    assert bench.tally.counts == {("fsm_cache", "miss"): 1, ("fsm_total", "failed"): 1}


async def test_a_lost_answer_to_a_run_that_began_is_no_failure() -> None:
    """Its slot is kept, and nobody writes that it was given up."""
    bench, database, gate = gated(unavailable)
    database.probes = [[{"status": "clear", "runNumber": 3}], DatabaseUnavailable("still"), [AGAIN]]
    with pytest.raises(InitiationFailed):
        await bench.begin()
    await bench.handler.drain()

    assert gate.settled == [True]
    assert bench.db.witnesses == []
    assert bench.tally.counts == {("fsm_cache", "miss"): 1, ("fsm_total", "success"): 1}


@pytest.mark.parametrize("accepted", [True, False])
async def test_a_write_under_way_at_the_deadline_is_followed_to_its_end(accepted: bool) -> None:
    """The caller is answered in time; what the transaction then did decides about slot, event and counters."""
    bench, database, gate = gated()
    bench.handler._deadline_seconds = 0.05
    released, ask = asyncio.Event(), database.fetchval

    async def slow(query: str, *args: Any) -> Any:
        if query != initiation._QUERIES["write"]:
            return await ask(query, *args)
        await released.wait()
        return [{**accept(args[0])[0], "running": True}] if accepted else [{"status": "failed", "running": False}]

    database.fetchval = slow  # type: ignore[method-assign]
    with pytest.raises(InitiationFailed, match="повтор безопасен"):
        await bench.begin()
    await asyncio.sleep(0.02)
    before = (list(gate.settled), list(database.witnesses), ("fsm_total", "failed") in bench.tally.counts)
    released.set()
    await bench.handler.drain()

    assert before == ([], [], False)
    assert gate.settled == [accepted]
    assert len(database.witnesses) == (0 if accepted else 1)
    assert bench.tally.counts["fsm_total", "success" if accepted else "failed"] == 1


async def test_a_write_that_has_not_left_at_the_deadline_never_does() -> None:
    """Nothing is begun for a caller who was told that it failed."""
    bench = Bench(deadline_seconds=0.05)
    hanging = asyncio.Event()
    sent: list[Any] = []

    async def hang(query: str, *args: Any) -> Any:
        sent.extend(args[0] if query == initiation._QUERIES["write"] else [])
        await hanging.wait()
        return accept(args[0])

    bench.db.fetchval = hang  # type: ignore[method-assign]
    bench.handler._writes._free = 1
    answers = await asyncio.gather(bench.begin(), _later(bench), return_exceptions=True)
    hanging.set()
    await bench.handler.drain()

    assert [type(each) for each in answers] == [InitiationFailed] * 2
    assert len(sent) == 1
    assert [str(each).count("ничего не изменил") for each in answers] == [0, 1]


async def _later(bench: Bench) -> Initiation:
    """A request whose batch finds no place."""
    await asyncio.sleep(0.01)
    return await bench.begin()
