"""The check of Redis: that of the queues, and that of the messages, which may be another one (`REDIS_HOST`).

What is in the queues can be made again from PostgreSQL; a message that was accepted and has no row yet is in Redis alone. So
only of the server that has the messages it is asked how it brings them onto its disk, and only where messages are kept there.
A database of Redis belongs to one installation (`services/kernel/installation.py`): what is another's is not worked with.
"""

from __future__ import annotations

from services.cli.verification import advice
from services.cli.verification import facts as names
from services.cli.verification.facts import Facts, Json
from services.cli.verification.findings import Case

FULL = 0.9
"""Of the memory that Redis may use."""
NO_FILE = (
    "keeps messages in memory only, and a restart loses what has no row yet: set appendonly yes"
    " and appendfsync always or everysec there, or MESSAGES_DURABILITY=postgres"
)
NO_FLUSH = (
    "leaves it to the system when messages come onto the disk (appendfsync no), and a power cut loses what has no row yet:"
    " set appendfsync always or everysec there, or MESSAGES_DURABILITY=postgres"
)
UNSEEN = "unseen"
"""Said of a figure that the server does not show, as managed ones do: CONFIG GET is refused."""
OF_MESSAGES = "that of the messages "
"""Begins what is said of it where it is another one."""
OWNER_KEY = "coursegen:installation"
QUEUES_REMEDY = "another number in REDIS_URL, or another server"
STREAM_REMEDY = "another REDIS_STREAM_DB, or another server by REDIS_HOST (config.stream in the chart)"
"""As `services/kernel/installation.py` has them; a test compares them."""


def not_looked_for(facts: Facts, name: str, variable: str) -> str:
    """Why nobody has looked: for want of a program, or of the variable that names the server."""
    program = facts.missing(name)
    return f"not seen; set {variable} to look at it" if program is None else f"not seen: {program} is not on the PATH"


def redis(facts: Facts, case: Case) -> None:
    """Each answers, is this installation's, takes writes, evicts nothing (TRAP13); that of the messages appends to a file."""
    found, fault = facts.value(names.REDIS), facts.fault(names.REDIS)
    if found is not None:
        case.saw(
            version=found.get("redis_version"), policy=found.get("maxmemory_policy"), **_memory(found, "used", "most")
        )
        _judge(found, case, "", "jobs")
    elif fault is None:
        case.miss(not_looked_for(facts, names.REDIS, "REDIS_URL"))
    else:
        case.require(False, f"does not answer: {fault}")
    _judge_owners(facts, case)
    apart = facts.value(names.STREAM)
    if apart is not None:
        case.saw(streamVersion=apart.get("redis_version"), **_memory(apart, "streamUsed", "streamMost"))
        _judge(apart, case, OF_MESSAGES, "messages")
    elif facts.fault(names.STREAM) is not None:
        case.require(False, f"{OF_MESSAGES}does not answer: {facts.fault(names.STREAM)}")
        return
    _judge_keeping(facts, apart if apart is not None else found, case, OF_MESSAGES if apart is not None else "")


def _judge_owners(facts: Facts, case: Case) -> None:
    """Where PostgreSQL does not say whose it is, nothing is judged."""
    ours = (facts.value(names.MIGRATIONS) or {}).get("installation")
    stream_subject = advice.STREAM_TAKEN if facts.is_known(names.STREAM) else advice.TAKEN
    for name, work, remedy, subject in (
        (names.OWNER, "jobs", QUEUES_REMEDY, advice.TAKEN),
        (names.STREAM_OWNER, "messages", STREAM_REMEDY, stream_subject),
    ):
        found = facts.value(name)
        owner = None if found is None else found["name"]
        if found is not None and ours and owner not in (None, ours):
            case.seek(subject)
            case.require(False, _taken(found["number"], owner, ours, work, remedy))


def _taken(number: int, owner: str, ours: str, work: str, remedy: str) -> str:
    return (
        f"database {number}, where {work} are, belongs to another installation, whose PostgreSQL database was begun at {owner}; "
        f"this one's was begun at {ours}, and its {work} wait. See who is there. If the other one lives, give this one {remedy}; "
        f"if it is gone for good, or was this one before its list of migrations was begun anew, what is there is this one's "
        f"after `redis-cli -n {number} SET {OWNER_KEY} {ours}`"
    )


def _memory(found: Json, used: str, most: str) -> dict[str, float | None]:
    bytes_used, bytes_most = int(found.get("used_memory", 0)), int(found.get("maxmemory", 0))
    return {
        f"{used}Megabytes": round(bytes_used / 2**20, 1),
        f"{most}Megabytes": round(bytes_most / 2**20, 1) if bytes_most else None,
    }


def _judge(found: Json, case: Case, which: str, what: str) -> None:
    used, most = int(found.get("used_memory", 0)), int(found.get("maxmemory", 0))
    policy = str(found.get("maxmemory_policy", ""))
    case.require(str(found.get("role", "master")) == "master", f"{which}is a replica and takes no {what}")
    case.require(str(found.get("loading", 0)) == "0", f"{which}is loading its data")
    case.expect(not policy.startswith("allkeys"), f"{which}evicts {what} when it is full, by its policy {policy}")
    case.expect(most == 0 or used < FULL * most, f"{which}is nearly full: {used} of {most} bytes")


def _judge_keeping(facts: Facts, info: Json | None, case: Case, which: str) -> None:
    kept_by = (facts.value(names.KEPT) or {}).get("by", "redis")
    if info is None or kept_by != "redis":
        case.saw(messagesKeptBy=kept_by if info is not None else None)
        return
    told = facts.value(names.APPENDING) or {}
    appends = str(told.get("appendonly") or ("no" if str(info.get("aof_enabled", 1)) == "0" else "yes"))
    flushes = str(told.get("appendfsync", UNSEEN))
    case.saw(appendonly=appends, appendfsync=flushes if appends == "yes" else None)
    case.expect(appends == "yes", f"{which}{NO_FILE}")
    case.expect(appends != "yes" or flushes != "no", f"{which}{NO_FLUSH}")
