"""The ten checks as pure functions: what is red, what is a warning, and what says nothing."""

from __future__ import annotations

import ast
import sys
from typing import Any

import pytest

from services.cli.verification import advice, checks, collecting, facts, redis_check, release, report
from services.cli.verification.advice import CLUSTER, ELSEWHERE, Place
from services.cli.verification.checks import NAMES, judge
from services.cli.verification.facts import Facts
from services.cli.verification.findings import FAIL, PASS, WARN, Finding, exit_code
from services.kernel import installation
from services.kernel.queries import Queries
from services.kernel.schema import FIRST, REVISION
from services.migrate.files import find_directory, read_directory
from tests.support.servers import REPOSITORY

Json = dict[str, Any]

_NUMBERS: Json = {
    "fsm": {
        "total": 10, "successRate": 100.0, "cacheHitRate": 0.0, "durations": {"p95": 20.0},
        "window": {"seconds": 900.0, "durations": {"p95": 20.0}},
    },
    "outbox": {
        "batchesProcessed": 3, "jobsCreated": 10, "oldestPendingSeconds": 0.0, "durations": {"p95": 20.0},
        "health": {"queueDepth": 0}, "window": {"seconds": 900.0, "durations": {"p95": 20.0}},
    },
    "fallbacks": {"layer2Activations": 0, "layer3Activations": 0, "recentActivations": 0},
}  # fmt: skip
_VERDICT: Json = {
    "healthy": True,
    "outboxAlive": True,
    "lastProcessedOk": True,
    "queueDepth": 0,
    "fsmSuccessRate": 100.0,
}
_WELL: dict[str, Json] = {
    facts.REDIS: {"redis_version": "7.2", "role": "master", "used_memory": 1, "maxmemory": 0, "maxmemory_policy": "noeviction"},
    facts.CONNECTION: {
        "user": "app", "version": "17.1", "versionNumber": 170001, "readOnly": False, "connections": 1, "mostConnections": 100,
    },
    facts.MIGRATIONS: {"applied": ["1", "2"]},
    facts.TABLES: {
        "tables": {name: {"rowSecurity": True, "policies": 1} for name in checks.TABLES},
        "indexes": list(checks.INDEXES),
        "function": {"definer": True, "searchPath": checks.SEARCH_PATH, "authenticated": True, "service": True},
        "jobs": dict.fromkeys(checks.CLEANUP_JOBS, True),
    },
    facts.OUTBOX: {
        "depth": 0, "dead": 0, "oldestSeconds": 0.0, "leader": "r", "epoch": 1, "heartbeatSeconds": 1.0, "progressSeconds": 1.0,
    },
    facts.QUEUES: {"paused": [{"queue": "quiz", "since": "2026-11-29T17:00:00Z", "jobs": 0}]},
    facts.FALLBACKS: {"lastHour": 0, "lastDay": 0},
    facts.EVENTS: {"lastHour": 5, "initiated": 5, "failed": 0, "givenUpLastDay": 0, "coursesWithoutHistory": 0},
    facts.HEALTH: {"status": 200, "seconds": 0.01, "body": _VERDICT},
    facts.NUMBERS: {"status": 200, "seconds": 0.01, "body": _NUMBERS},
    facts.STRANGER: {"status": 401, "seconds": 0.01, "body": {"error": {}}},
}  # fmt: skip
_FUNCTION: Json = _WELL[facts.TABLES]["function"]
_TABLES: Json = _WELL[facts.TABLES]["tables"]
_OPEN: Json = {"fsm_events": {"rowSecurity": True, "policies": 0}}
_PAUSED: Json = {"queue": "quiz", "since": "2026-11-29T17:00:00Z", "jobs": 46}
_FROM_API = (facts.HEALTH, facts.NUMBERS, facts.STRANGER)


def _judged(found: dict[str, Json], **faults: str) -> dict[str, Finding]:
    known = {name: {"value": value} for name, value in found.items()}
    known |= {name.replace("_", "."): {"fault": fault} for name, fault in faults.items()}
    return {each.name: each for each in judge(Facts(known, ["1", "2"]))}


def _changed(name: str, **changes: Any) -> dict[str, Json]:
    return {**_WELL, name: {**_WELL[name], **changes}}


def _statuses(findings: dict[str, Finding], status: str) -> set[str]:
    return {name for name, each in findings.items() if each.status == status}


def test_ten_checks_pass_where_all_is_well() -> None:
    """By these names, in this order."""
    found = _judged(_WELL)

    assert [(each.name, each.status, each.problems) for each in found.values()] == [(name, PASS, ()) for name in NAMES]
    assert NAMES == (
        "Redis", "Database", "Migrations", "Tables", "API", "Outbox", "FSM", "Fallbacks", "Pending Jobs", "Events",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("check", "status", "words", "name", "changes"),
    [
        ("Redis", FAIL, "replica", facts.REDIS, {"role": "slave"}),
        ("Redis", FAIL, "loading", facts.REDIS, {"loading": "1"}),
        ("Redis", WARN, "allkeys-lru", facts.REDIS, {"maxmemory_policy": "allkeys-lru"}),
        ("Redis", WARN, "appendonly yes", facts.REDIS, {"aof_enabled": 0}),
        ("Redis", WARN, "nearly full", facts.REDIS, {"used_memory": "95", "maxmemory": "100"}),
        ("Database", FAIL, "no writes", facts.CONNECTION, {"readOnly": True}),
        ("Database", FAIL, "oldest", facts.CONNECTION, {"versionNumber": 140010}),
        ("Database", WARN, "hardly any", facts.CONNECTION, {"connections": 95}),
        ("Migrations", FAIL, "1 of 2 not applied: 2", facts.MIGRATIONS, {"applied": ["1"]}),
        ("Tables", FAIL, "missing: job_outbox", facts.TABLES, {"tables": {}}),
        ("Tables", FAIL, "policies: fsm_events", facts.TABLES, {"tables": _TABLES | _OPEN}),
        ("Tables", FAIL, "valid index idx_fsm_events_failures", facts.TABLES, {"indexes": checks.INDEXES[:-1]}),
        ("Tables", FAIL, "missing", facts.TABLES, {"function": None}),
        ("Tables", FAIL, "fixed search path", facts.TABLES, {"function": _FUNCTION | {"searchPath": None}}),
        ("Tables", FAIL, "may not be called", facts.TABLES, {"function": _FUNCTION | {"authenticated": False}}),
        ("Tables", WARN, "cleanup_old_fsm_events", facts.TABLES, {"jobs": dict.fromkeys(checks.CLEANUP_JOBS[:2], True)}),
        ("API", FAIL, "is this coursegen?", facts.HEALTH, {"body": {"status": "ok"}}),
        ("API", FAIL, "is this coursegen?", facts.HEALTH, {"status": 404, "body": None}),
        ("API", FAIL, "answers 400, not 401", facts.STRANGER, {"status": 400}),
        ("API", FAIL, "metrics.getAll", facts.NUMBERS, {"status": 500}),
        ("API", WARN, "slower than a probe", facts.HEALTH, {"seconds": 1.5}),
        ("Outbox", FAIL, "no relay leads", facts.OUTBOX, {"leader": None}),
        ("Outbox", FAIL, "silent", facts.OUTBOX, {"heartbeatSeconds": 91.0}),
        ("Outbox", FAIL, "nothing was done", facts.OUTBOX, {"depth": 1, "progressSeconds": 301.0}),
        ("FSM", FAIL, "only 83.3 %", facts.EVENTS, {"failed": 1}),
        ("FSM", WARN, "98.0 %", facts.EVENTS, {"initiated": 98, "failed": 2}),
        ("Fallbacks", FAIL, "51 in the last hour", facts.FALLBACKS, {"lastHour": 51, "lastDay": 51}),
        ("Fallbacks", WARN, "10 in 24 hours", facts.FALLBACKS, {"lastDay": 10}),
        ("Pending Jobs", FAIL, "1001 rows wait", facts.OUTBOX, {"depth": 1001}),
        ("Pending Jobs", WARN, "100 rows wait", facts.OUTBOX, {"depth": 100}),
        ("Pending Jobs", WARN, "waited 61 s", facts.OUTBOX, {"depth": 1, "oldestSeconds": 61.0}),
        ("Pending Jobs", WARN, "1 rows are dead", facts.OUTBOX, {"depth": 1, "dead": 1}),
        ("Pending Jobs", WARN, "quiz is paused since 2026-11-29T17:00:00Z, and 46", facts.QUEUES, {"paused": [_PAUSED]}),
        ("Events", FAIL, "1 courses run", facts.EVENTS, {"coursesWithoutHistory": 1}),
        ("Events", WARN, "2 initiations were given up", facts.EVENTS, {"givenUpLastDay": 2}),
    ],
)  # fmt: skip
def test_each_limit_has_its_verdict(check: str, status: str, words: str, name: str, changes: Json) -> None:
    """In this check, in these words."""
    found = _judged(_changed(name, **changes))[check]

    assert found.status == status
    assert any(words in problem for problem in found.problems), found.problems


_SLOW = {
    "fsm": ("FSM", 501.0, "p95 is 501 ms, and 500"),
    "outbox": ("Outbox", 5001.0, "p95 is 5001 ms, and 5000"),
}
"""By the part of the numbers: its check, what is too slow, and what is said then."""


def _timed(part: str, of_all_time: float, lately: float | None) -> Finding:
    told = {name: value for name, value in _NUMBERS[part].items() if name != "window"}
    told["durations"] = {"p95": of_all_time}
    if lately is not None:
        told["window"] = {"seconds": 900.0, "durations": {"p95": lately}}
    return _judged(_changed(facts.NUMBERS, body={**_NUMBERS, part: told}))[_SLOW[part][0]]


@pytest.mark.parametrize("part", _SLOW)
def test_slow_is_what_was_slow_lately(part: str) -> None:
    """Beside a good history, which hides it; a bad hour that is over is none. An older api is judged by what it has."""
    _, slow, words = _SLOW[part]
    hour, past, older = _timed(part, 20.0, slow), _timed(part, slow, 20.0), _timed(part, slow, None)

    assert (hour.status, hour.values["p95Milliseconds"], past.values["p95Milliseconds"]) == (WARN, slow, 20.0)
    assert [words in problem for problem in hour.problems] == [words in problem for problem in older.problems] == [True]
    assert (past.status, _timed(part, 20.0, slow - 1).status) == (PASS, PASS)


_APART: dict[str, Json] = {
    **_WELL,
    facts.REDIS: _WELL[facts.REDIS] | {"aof_enabled": 0},
    facts.STREAM: _WELL[facts.REDIS] | {"aof_enabled": 1},
    facts.KEPT: {"by": "redis"},
    facts.APPENDING: {"appendonly": "yes", "appendfsync": "everysec"},
}
"""Messages have a Redis of their own, and that of the queues keeps no file."""


def test_of_two_servers_the_one_with_the_messages_must_keep_a_file() -> None:
    """The other one's jobs are made again from PostgreSQL."""
    found = _judged(_APART)["Redis"]

    assert (found.status, found.problems) == (PASS, ())
    assert (found.values["appendonly"], found.values["appendfsync"]) == ("yes", "everysec")


@pytest.mark.parametrize(
    ("status", "words", "name", "changes"),
    [
        (WARN, "that of the messages keeps messages in memory", facts.APPENDING, {"appendonly": "no"}),
        (WARN, "that of the messages leaves it to the system", facts.APPENDING, {"appendfsync": "no"}),
        (WARN, "that of the messages evicts messages", facts.STREAM, {"maxmemory_policy": "allkeys-lru"}),
        (FAIL, "that of the messages is a replica", facts.STREAM, {"role": "slave"}),
    ],
)
def test_the_redis_of_the_messages_is_judged_as_such(status: str, words: str, name: str, changes: Json) -> None:
    """By its own limits, and named."""
    found = _judged({**_APART, name: {**_APART[name], **changes}})["Redis"]

    assert found.status == status
    assert [problem for problem in found.problems if words in problem] == list(found.problems) != []


def test_a_redis_of_the_messages_that_is_gone_is_red() -> None:
    """Though that of the queues is well."""
    without = {name: value for name, value in _APART.items() if name != facts.STREAM}
    found = _judged(without, stream_info="Redis does not answer (ConnectionError)")["Redis"]

    assert found.status == FAIL
    assert found.problems == ("that of the messages does not answer: Redis does not answer (ConnectionError)",)


def test_how_often_a_file_is_flushed_may_stay_unseen() -> None:
    """A managed Redis refuses CONFIG GET: whether it keeps a file INFO says, and the rest is no warning."""
    without = {name: value for name, value in _APART.items() if name != facts.APPENDING}
    unseen = _judged(without, stream_config="NOPERM")["Redis"]
    no_file = _judged({**without, facts.STREAM: {**_APART[facts.STREAM], "aof_enabled": "0"}})["Redis"]

    assert (unseen.status, unseen.values["appendfsync"]) == (PASS, "unseen")
    assert no_file.status == WARN


@pytest.mark.parametrize("kept_by", ["postgres", "unknown"])
def test_a_file_is_asked_for_only_where_messages_are_kept_by_redis(kept_by: str) -> None:
    """Whatever the servers say."""
    found = _judged({**_APART, facts.KEPT: {"by": kept_by}, facts.APPENDING: {"appendonly": "no"}})["Redis"]

    assert (found.status, found.values["messagesKeptBy"]) == (PASS, kept_by)


_OURS = "2026-01-01T00:00:00.000000Z"
_THEIRS = "2020-01-01T00:00:00.000000Z"
_OWNED: dict[str, Json] = {
    **_changed(facts.MIGRATIONS, installation=_OURS),
    facts.OWNER: {"number": 4, "name": _OURS},
    facts.STREAM_OWNER: {"number": 5, "name": _OURS},
    facts.KEPT: {"by": "redis"},
}


@pytest.mark.parametrize(
    ("name", "command", "remedy"),
    [
        (facts.OWNER, "redis-cli -n 4 SET", installation.QUEUES),
        (facts.STREAM_OWNER, "redis-cli -n 5 SET", installation.STREAM),
    ],
)
def test_a_database_of_redis_that_is_another_installation_s_is_red(name: str, command: str, remedy: str) -> None:
    """As the processes say it: whose it is, whose this one would be, both remedies, and first who else is there."""
    found = _judged({**_OWNED, name: {**_OWNED[name], "name": _THEIRS}})
    lines = list(report.lines(list(found.values()), Place(CLUSTER, namespace="courses"), coloured=False))

    assert _statuses(found, FAIL) == {"Redis"}
    (problem,) = found["Redis"].problems
    for words in (_THEIRS, remedy, f"`{command} {installation.KEY} {_OURS}`"):
        assert words in problem
    assert found["Redis"].subject == advice.TAKEN
    assert any(line.strip().startswith("next: kubectl get deployments -A ") for line in lines)
    assert "        see:  docs/MESSAGES.md#looking-for-it" in lines


def test_whose_a_database_is_may_be_unknown() -> None:
    """It is nobody's yet, or PostgreSQL or Redis does not say: nothing is judged."""
    nobody = {**_OWNED, facts.OWNER: {"number": 0, "name": None}, facts.STREAM_OWNER: {"number": 1, "name": None}}
    nameless = {**_OWNED, **_changed(facts.MIGRATIONS, installation=None), facts.OWNER: {"number": 0, "name": _THEIRS}}
    silent = {name: value for name, value in _OWNED.items() if name != facts.OWNER}

    assert [_judged(found)["Redis"].problems for found in (_OWNED, nobody, nameless)] == [(), (), ()]
    assert _judged(silent, redis_owner="NOPERM")["Redis"].status == PASS


def test_of_a_redis_of_its_own_the_clients_of_that_one_are_asked_for() -> None:
    """Its address is in other variables."""
    found = _judged({**_APART, **_OWNED, facts.STREAM_OWNER: {"number": 1, "name": _THEIRS}})["Redis"]

    assert (found.status, found.subject) == (FAIL, advice.STREAM_TAKEN)
    assert "$REDIS_HOST" in advice.next_command(found.subject, Place(ELSEWHERE, url="https://api.example.org"))


def test_of_a_pause_its_page_is_advised_unless_rows_are_worse() -> None:
    """The outbox that is deep or has dead rows comes first; a question that is refused is told."""
    paused = {facts.QUEUES: {"paused": [_PAUSED]}}
    alone = _judged({**_WELL, **paused})["Pending Jobs"]
    beside = _judged({**_changed(facts.OUTBOX, depth=1001), **paused})["Pending Jobs"]
    refused = _judged(
        {name: value for name, value in _WELL.items() if name != facts.QUEUES}, database_queues="permission denied"
    )["Pending Jobs"]

    assert (alone.status, alone.subject) == (WARN, advice.PAUSED)
    assert (beside.status, beside.subject, len(beside.problems)) == (FAIL, "", 2)
    assert (refused.status, refused.problems) == (WARN, ("not seen which queues are paused: permission denied",))


def test_the_judge_has_the_names_of_the_kernel() -> None:
    """It needs none of it, and says the same."""
    assert redis_check.OWNER_KEY == collecting._OWNER == installation.KEY
    assert (redis_check.QUEUES_REMEDY, redis_check.STREAM_REMEDY) == (installation.QUEUES, installation.STREAM)
    script = (REPOSITORY / "scripts" / "verify-deployment.sh").read_text(encoding="utf-8")
    assert f"GET {installation.KEY}" in script
    assert f"version = '{FIRST}'" in Queries.load("services.cli", "verification.sql")["migrations"]


def test_a_database_that_is_ahead_is_right() -> None:
    """As after a return to the release before."""
    assert _judged(_changed(facts.MIGRATIONS, applied=["1", "2", "3"]))["Migrations"].status == PASS


@pytest.mark.parametrize(
    ("verdict", "status"),
    [
        ({"fsmSuccessRate": 0.0}, PASS),  # no traffic, TRAP18
        (
            {"fsmSuccessRate": 0.0, "healthy": False, "outboxAlive": False},
            PASS,
        ),  # the relay's fault, not the initiations'
        ({"fsmSuccessRate": 0.0, "healthy": False}, FAIL),  # nothing else is wrong: all of them failed
        ({"fsmSuccessRate": 90.0, "healthy": False}, FAIL),
        ({"fsmSuccessRate": 97.0}, WARN),
    ],
)
def test_an_address_alone_tells_how_initiations_go(verdict: Json, status: str) -> None:
    """From the api's own verdict, which has one number for none and for none that succeeded."""
    found = {name: _WELL[name] for name in _FROM_API}
    found[facts.HEALTH] = {**found[facts.HEALTH], "body": {**_VERDICT, **verdict}}

    assert _judged(found)["FSM"].status == status


def test_an_address_alone_tells_of_outbox_fallbacks_and_depth() -> None:
    """With the same limits."""
    numbers = {
        **_NUMBERS,
        "outbox": {**_NUMBERS["outbox"], "health": {"queueDepth": 1001}},
        "fallbacks": {**_NUMBERS["fallbacks"], "recentActivations": 10},
    }
    found = {name: _WELL[name] for name in _FROM_API}
    found[facts.NUMBERS] = {**found[facts.NUMBERS], "body": numbers}
    found[facts.HEALTH] = {**found[facts.HEALTH], "body": {**_VERDICT, "outboxAlive": False}}
    judged = _judged(found)

    assert _statuses(judged, FAIL) == {"Outbox", "Pending Jobs"}
    assert _statuses(judged, WARN) == {"Redis", "Migrations", "Tables", "Fallbacks", "Events"}


def test_without_postgresql_that_alone_is_red() -> None:
    """What only it knows is a warning; so is an api that cannot judge."""
    found = {facts.REDIS: _WELL[facts.REDIS], facts.STRANGER: _WELL[facts.STRANGER]}
    unknown = {**_VERDICT, "healthy": False, "error": {"message": "PostgreSQL does not answer"}}
    found[facts.HEALTH] = {"status": 503, "seconds": 0.1, "body": unknown}
    found[facts.NUMBERS] = {"status": 500, "seconds": 0.1, "body": {"error": {}}}
    judged = _judged(found, database_connection="PostgreSQL does not answer (OSError)")
    from_outside = _judged(found)

    assert _statuses(judged, FAIL) == _statuses(from_outside, FAIL) == {"Database"}
    assert _statuses(judged, PASS) == {"Redis"}
    assert judged["Tables"].problems == (checks.DATABASE_AWAY,)


def test_what_postgresql_refuses_to_show_is_red() -> None:
    """A table that is missing is not one that was not looked for."""
    found = {name: value for name, value in _WELL.items() if name != facts.EVENTS}
    judged = _judged(found, database_events="relation fsm_events does not exist")

    assert _statuses(judged, FAIL) == {"Events"}


def test_exit_codes() -> None:
    """0 all passed, 1 one failed, 2 warnings only."""
    warned = _changed(facts.FALLBACKS, lastDay=10)
    failed = {**warned, facts.OUTBOX: {**_WELL[facts.OUTBOX], "leader": None}}

    assert [exit_code(_judged(found).values()) for found in (_WELL, failed, warned)] == [0, 1, 2]


def test_the_release_wants_every_migration_that_does_not_wait_for_old_code_to_go() -> None:
    """The same files as the runner's, up to the revision that processes ask for."""
    files = read_directory(find_directory())

    assert release.wanted() == [each.version for each in files if each.phase == "expand"]
    assert release.wanted()[-1] == REVISION


def test_collectors_know_the_same_questions() -> None:
    """Statements and requests have the names that the checks ask for, and the script has the same paths."""
    statements = {f"database.{name}" for name in Queries.load("services.cli", "verification.sql")}
    script = (REPOSITORY / "scripts" / "verify-deployment.sh").read_text(encoding="utf-8")

    assert statements == {
        value for value in vars(facts).values() if isinstance(value, str) and value.startswith("database.")
    }
    assert set(collecting.REQUESTS) == {facts.HEALTH, facts.NUMBERS, facts.STRANGER}
    assert [
        name for name, (_, path) in collecting.REQUESTS.items() if f"{name} http request {path}" not in script
    ] == []
    assert (
        f"for name in {' '.join(name for name in Queries.load('services.cli', 'verification.sql') if name != 'connection')}; do"
        in script
    )
    assert f"# Ten checks of a running deployment: {', '.join(NAMES)}." in script


_JUDGE = ("__init__", "__main__", "advice", "checks", "facts", "findings", "folder", "redis_check", "release", "report")


@pytest.mark.parametrize("name", _JUDGE)
def test_the_judge_needs_nothing_but_python(name: str) -> None:
    """The script runs it by whatever Python 3.9 or newer is there: no library, no kernel, no newer grammar."""
    path = REPOSITORY / "services" / "cli" / "verification" / f"{name}.py"
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
    modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    modules += [each.name for node in ast.walk(tree) if isinstance(node, ast.Import) for each in node.names]

    ours = [each for each in modules if each.startswith("services")]
    assert [each for each in modules if each.partition(".")[0] not in {*sys.stdlib_module_names, "services"}] == []
    assert [each for each in ours if not each.startswith("services.cli.verification")] == []
    assert "services.cli.verification.collecting" not in ours
