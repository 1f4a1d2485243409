"""The ten checks, in their order (contract.md l.1): pure functions from facts to findings.

A part that fails breaks others: what cannot be seen because PostgreSQL is away is a warning, so that the part to mend is the
red one. Without traffic nothing is wrong (TRAP18). Limits are those of the api's own verdict and of the alerts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from services.cli.verification import advice
from services.cli.verification import facts as names
from services.cli.verification.facts import Facts, Json
from services.cli.verification.findings import Case, Finding
from services.cli.verification.redis_check import not_looked_for, redis

ALIVE_SECONDS = 90.0
PROGRESS_SECONDS = 300.0
DEEPEST_QUEUE = 1000
USUAL_QUEUE = 100
LAG_SECONDS = 60.0
LOWEST_SUCCESS = 95.0
OBJECTIVE = 99.0
SLOWEST_INITIATION_MS = 500.0
SLOWEST_BATCH_MS = 5000.0
SLOWEST_PROBE_SECONDS = 1.0
"""What load balancers wait for a probe."""

FALLBACKS_A_DAY = 10
FALLBACKS_AN_HOUR = 50
OLDEST_POSTGRES = 150_000
BUSY = 0.9
"""Of the connections that PostgreSQL takes."""

TABLES = ("job_outbox", "idempotency_keys", "fsm_events")
INDEXES = (
    "idx_job_outbox_pending",
    "idx_job_outbox_unprocessed",
    "idx_job_outbox_entity",
    "idx_idempotency_created",
    "idx_idempotency_expires",
    "idx_fsm_events_entity",
    "idx_fsm_events_created",
    "idx_fsm_events_failures",
)
CLEANUP_JOBS = ("cleanup_processed_outbox_entries", "cleanup_expired_idempotency_keys", "cleanup_old_fsm_events")
SEARCH_PATH = "search_path=public, pg_temp"
VERDICT = ("healthy", "outboxAlive", "lastProcessedOk", "queueDepth", "fsmSuccessRate")

DATABASE_AWAY = "not seen: PostgreSQL does not answer"


def database(facts: Facts, case: Case) -> None:
    """It answers, takes writes, is new enough, and has connections left."""
    found, fault = facts.value(names.CONNECTION), facts.fault(names.CONNECTION)
    if found is not None:
        case.saw(version=found["version"], user=found["user"])
        case.saw(connections=found["connections"], mostConnections=found["mostConnections"])
        case.require(not found["readOnly"], "takes no writes")
        case.require(
            found["versionNumber"] >= OLDEST_POSTGRES, f"is {found['version']}, and 15 is the oldest that will do"
        )
        case.expect(found["connections"] < BUSY * found["mostConnections"], "has hardly any connection left")
        return
    if fault is not None:
        case.require(False, f"does not answer: {fault}")
        return
    error = (facts.body(names.HEALTH) or {}).get("error")
    case.require(error is None, f"does not answer the api: {(error or {}).get('message')}")
    case.saw(seenBy="api" if facts.numbers() is not None else None)
    if facts.numbers() is None and error is None:
        case.miss(_not_named(facts))


def migrations(facts: Facts, case: Case) -> None:
    """All of this release are applied. A database that is ahead, as after a return to an older release, is right."""
    found = _from_database(facts, names.MIGRATIONS, case)
    if found is None:
        return
    applied = [str(version) for version in found["applied"]]
    missing = [version for version in facts.release if version not in applied]
    case.saw(applied=len(applied), newest=max(applied, default=None))
    case.saw(ofAnotherRelease=len(set(applied) - set(facts.release)) or None)
    case.require(not missing, f"{len(missing)} of {len(facts.release)} not applied: {_few(missing)}")


def tables(facts: Facts, case: Case) -> None:
    """Tables, row security, indexes, function and cleanup jobs are as the migrations leave them (TRAP26)."""
    found = _from_database(facts, names.TABLES, case)
    if found is None:
        return
    missing = [table for table in TABLES if table not in found["tables"]]
    open_ones = [name for name, each in found["tables"].items() if not each["rowSecurity"] or not each["policies"]]
    unindexed = [index for index in INDEXES if index not in found["indexes"]]
    jobs = [job for job in CLEANUP_JOBS if not found["jobs"].get(job)]
    case.saw(
        tables=len(found["tables"]), indexes=len(INDEXES) - len(unindexed), cleanupJobs=len(CLEANUP_JOBS) - len(jobs)
    )
    case.require(not missing, f"missing: {_few(missing)}")
    case.require(not open_ones, f"without row security or policies: {_few(open_ones)}")
    case.require(not unindexed, f"without a valid index {_few(unindexed)}")
    case.expect(not jobs, f"not cleaned up by {_few(jobs)}")
    _judge_function(found["function"], case)


def api(facts: Facts, case: Case) -> None:
    """It answers bare JSON without a token (TRAP35), within a probe's time, and lets nobody begin a course without one."""
    answer, fault = facts.value(names.HEALTH), facts.fault(names.HEALTH)
    body = facts.body(names.HEALTH)
    if answer is None:
        case.require(False, f"does not answer: {fault or 'nobody asked it'}")
        return
    case.saw(
        status=answer["status"],
        milliseconds=round(1000 * float(answer["seconds"])),
        healthy=(body or {}).get("healthy"),
    )
    if body is None or any(name not in body for name in VERDICT):
        case.require(False, f"answers {answer['status']} without a verdict: is this coursegen?")
        return
    stranger = facts.value(names.STRANGER)
    if stranger is not None:
        case.require(
            stranger["status"] == 401, f"answers {stranger['status']}, not 401, to an initiation without a token"
        )
    case.expect(stranger is not None, f"not seen whether it refuses strangers: {facts.fault(names.STRANGER)}")
    case.expect("error" not in body, "cannot judge the system: PostgreSQL does not answer it")
    if "error" not in body:
        case.require(facts.numbers() is not None, "does not show its numbers on metrics.getAll")
    case.expect(float(answer["seconds"]) <= SLOWEST_PROBE_SECONDS, "is slower than a probe waits, 1 s")


def outbox(facts: Facts, case: Case) -> None:
    """One relay leads, is heard of, and does what there is to do (TRAP36), lately within its time."""
    found, verdict, numbers = facts.value(names.OUTBOX), facts.verdict(), facts.numbers()
    if found is not None:
        silent, idle = found["heartbeatSeconds"], found["progressSeconds"]
        alive = found["leader"] is not None and silent is not None and silent <= ALIVE_SECONDS
        moving = found["depth"] == 0 or (idle is not None and idle <= PROGRESS_SECONDS)
        case.saw(leader=found["leader"], epoch=found["epoch"])
        case.saw(silentSeconds=_rounded(silent), idleSeconds=_rounded(idle))
    elif verdict is not None:
        alive, moving = verdict["outboxAlive"], verdict["lastProcessedOk"]
    else:
        case.miss(_unseen(facts))
        return
    case.require(alive, "no relay leads, or the leader is silent")
    case.require(moving, "rows wait, and nothing was done about it for 5 minutes")
    if numbers is not None:
        p95 = _lately(numbers["outbox"])["durations"]["p95"]
        case.saw(
            batches=numbers["outbox"]["batchesProcessed"], jobs=numbers["outbox"]["jobsCreated"], p95Milliseconds=p95
        )
        case.expect(p95 <= SLOWEST_BATCH_MS, f"batches are slow: p95 is {p95:.0f} ms, and 5000 the objective")


def fsm(facts: Facts, case: Case) -> None:
    """Initiations of the last quarter of an hour succeed, and in time; without any nothing is wrong (TRAP18)."""
    found, verdict, numbers = facts.value(names.EVENTS), facts.verdict(), facts.numbers()
    if found is None and verdict is None:
        case.miss(_unseen(facts))
        return
    if found is not None:
        ended = found["initiated"] + found["failed"]
        rate = 100.0 * found["initiated"] / ended if ended else 100.0
        case.saw(initiated=found["initiated"], failed=found["failed"])
        _judge_rate(rate, case)
    elif verdict is not None:
        rate = verdict["fsmSuccessRate"]
        is_idle = rate == 0 and verdict["healthy"]
        case.saw(recentSuccessRate=rate)
        if not is_idle and (rate > 0 or _is_all_that_is_wrong(verdict)):
            _judge_rate(rate, case)
    if numbers is not None:
        told = numbers["fsm"]
        p95 = _lately(told)["durations"]["p95"]
        case.saw(
            total=told["total"], successRate=told["successRate"], cacheHitRate=told["cacheHitRate"], p95Milliseconds=p95
        )
        case.expect(p95 <= SLOWEST_INITIATION_MS, f"initiations are slow: p95 is {p95:.0f} ms, and 500 the objective")


def fallbacks(facts: Facts, case: Case) -> None:
    """Layers 2 and 3 rarely step in: fewer than ten a day are usual, more than fifty an hour are a spike (D33)."""
    found, numbers = facts.value(names.FALLBACKS), facts.numbers()
    if found is None and numbers is None:
        case.miss(_unseen(facts))
        return
    if numbers is not None:
        told = numbers["fallbacks"]
        case.saw(layer2=told["layer2Activations"], layer3=told["layer3Activations"])
    day = found["lastDay"] if found is not None else (numbers or {})["fallbacks"]["recentActivations"]
    case.saw(lastHour=found["lastHour"] if found is not None else None, lastDay=day)
    if found is not None:
        spike = f"{found['lastHour']} in the last hour: somebody writes jobs for courses that nobody initialised"
        case.require(found["lastHour"] <= FALLBACKS_AN_HOUR, spike)
    case.expect(day < FALLBACKS_A_DAY, f"{day} in 24 hours, and fewer than {FALLBACKS_A_DAY} are usual")


def pending_jobs(facts: Facts, case: Case) -> None:
    """The outbox is nearly empty, nothing in it is dead, and no queue was paused under the jobs that wait in it."""
    found, numbers = facts.value(names.OUTBOX), facts.numbers()
    if found is not None:
        depth, oldest, dead = found["depth"], found["oldestSeconds"], found["dead"]
    elif numbers is not None:
        told = numbers["outbox"]
        depth, oldest, dead = told["health"]["queueDepth"], told["oldestPendingSeconds"], None
    else:
        case.miss(_unseen(facts))
        return
    case.saw(depth=depth, dead=dead, oldestSeconds=round(oldest, 1))
    case.require(depth <= DEEPEST_QUEUE, f"{depth} rows wait, and more than {DEEPEST_QUEUE} are too many")
    case.expect(
        depth < USUAL_QUEUE or depth > DEEPEST_QUEUE, f"{depth} rows wait, and fewer than {USUAL_QUEUE} are usual"
    )
    case.expect(oldest <= LAG_SECONDS, f"the oldest row has waited {oldest:.0f} s")
    case.expect(not dead, f"{dead} rows are dead: nothing tries them again by itself")
    if _judge_pauses(facts, case) and not dead and depth < USUAL_QUEUE:
        case.seek(advice.PAUSED)


def events(facts: Facts, case: Case) -> None:
    """Every running course has a history, and no initiation was given up."""
    found = _from_database(facts, names.EVENTS, case)
    if found is None:
        return
    lost, given_up = found["coursesWithoutHistory"], found["givenUpLastDay"]
    case.saw(lastHour=found["lastHour"], givenUpLastDay=given_up)
    case.require(lost == 0, f"{lost} courses run and have no event")
    case.expect(given_up == 0, f"{given_up} initiations were given up in 24 hours")


CHECKS: tuple[tuple[str, Callable[[Facts, Case], None]], ...] = (
    ("Redis", redis),
    ("Database", database),
    ("Migrations", migrations),
    ("Tables", tables),
    ("API", api),
    ("Outbox", outbox),
    ("FSM", fsm),
    ("Fallbacks", fallbacks),
    ("Pending Jobs", pending_jobs),
    ("Events", events),
)
NAMES: tuple[str, ...] = tuple(name for name, _ in CHECKS)


def judge(facts: Facts) -> list[Finding]:
    """The ten findings, in their order."""
    return [_judge(name, check, facts) for name, check in CHECKS]


def _judge(name: str, check: Callable[[Facts, Case], None], facts: Facts) -> Finding:
    case = Case(name)
    check(facts, case)
    return case.close()


def _from_database(facts: Facts, name: str, case: Case) -> Json | None:
    """What PostgreSQL says; its refusal of this one question is a fault, its silence is not."""
    found, fault = facts.value(name), facts.fault(name)
    if found is not None:
        return found
    case.require(fault is None, f"cannot be read: {fault}")
    if fault is None:
        case.miss(_unseen(facts))
    return None


def _unseen(facts: Facts) -> str:
    is_away = facts.fault(names.CONNECTION) is not None or "error" in (facts.body(names.HEALTH) or {})
    return DATABASE_AWAY if is_away else _not_named(facts)


def _not_named(facts: Facts) -> str:
    return not_looked_for(facts, names.CONNECTION, "DATABASE_URL")


def _lately(part: Json) -> Json:
    """The numbers of the last quarter of an hour: those of all time hide a bad hour, and forget none. Older apis lack it."""
    found: Json = part.get("window") or part
    return found


def _judge_function(found: Json | None, case: Case) -> None:
    if found is None:
        case.require(False, "function initialize_fsm_with_outbox is missing")
        return
    is_safe = found["definer"] and found["searchPath"] == SEARCH_PATH
    case.require(is_safe, "function initialize_fsm_with_outbox does not run as its owner with a fixed search path")
    case.require(found["authenticated"] and found["service"], "function initialize_fsm_with_outbox may not be called")


def _judge_pauses(facts: Facts, case: Case) -> bool:
    """Whether jobs wait in a queue that somebody has paused; an empty one may stay so."""
    fault = facts.fault(names.QUEUES)
    case.expect(fault is None, f"not seen which queues are paused: {fault}")
    paused = [each for each in (facts.value(names.QUEUES) or {"paused": ()})["paused"] if each["jobs"]]
    for each in paused:
        case.expect(
            False, f"{each['queue']} is paused since {each['since']}, and {each['jobs']} of its jobs are not done"
        )
    return bool(paused)


def _judge_rate(rate: float, case: Case) -> None:
    case.require(rate >= LOWEST_SUCCESS, f"only {rate:.1f} % of the latest initiations succeeded")
    case.expect(
        rate >= OBJECTIVE or rate < LOWEST_SUCCESS,
        f"{rate:.1f} % of the latest initiations succeeded, and 99 is the objective",
    )


def _is_all_that_is_wrong(verdict: Json) -> bool:
    """Whether the other three criteria hold: of an unhealthy system without a success, that no traffic came is not the reason."""
    return bool(verdict["outboxAlive"] and verdict["lastProcessedOk"] and verdict["queueDepth"] <= DEEPEST_QUEUE)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def _few(found: Sequence[Any]) -> str:
    listed = ", ".join(str(each) for each in found[:3])
    return f"{listed}, …" if len(found) > 3 else listed
