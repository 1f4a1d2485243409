"""The streams as administrators see and steer them: by the api's endpoints, and by `coursegen messages …`."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from services.kernel import metrics
from services.kernel.database import Database
from services.kernel.messages import dead_letters, names
from services.kernel.messages.dead_letters import DeadMessage, DeadMessages
from services.kernel.messages.envelope import encode
from tests.integration.api.test_dead_letters import administrator
from tests.integration.persistence_worker.conftest import Persisting
from tests.integration.persistence_worker.test_later_versions import LATER
from tests.integration.persistence_worker.test_poison import REFUSE
from tests.support.api import RunningApi, running_api
from tests.support.ports import pick
from tests.support.servers import REPOSITORY, PrivateRedis
from tests.support.streamed import PARTITIONS, Ledger, envelope, partition_of, settled
from tests.support.tokens import ADMIN, mint
from tests.support.waiting import eventually

Command = Callable[..., Awaitable[subprocess.CompletedProcess[str]]]


@pytest.fixture
async def api(app_database_url: str, redis_url: str) -> AsyncIterator[RunningApi]:
    """An api beside the worker, as the chart sets it up: tokens are needed."""
    async with running_api(app_database_url, redis_url) as running:
        yield running


@pytest.fixture
async def admin(api: RunningApi) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the role."""
    async with administrator(api) as client:
        yield client


@pytest.fixture
def command(api: RunningApi, tmp_path: Path) -> Command:
    """Runs `coursegen messages …` as administrator."""

    async def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "services.cli", "messages", *arguments],
            env={
                "PATH": "/usr/bin:/bin",
                "API_URL": api.url,
                "API_TOKEN": mint(ADMIN, role="admin"),
                "COURSEGEN_HOME": str(tmp_path),
                "COLUMNS": "200",
            },
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run


async def _die(db: Database, redis: Redis, ledger: Ledger, persisting: Persisting, *client_ids: str) -> None:
    """Have these messages die; afterwards the same ones would be taken."""
    await db.execute(REFUSE)
    await ledger.send(*(envelope("talk", each, f"poison {each}") for each in client_ids))
    async with persisting():
        await eventually(lambda: _are_dead(redis, len(client_ids)))
    await db.execute("DROP TRIGGER refuse ON messages")


async def _are_dead(redis: Redis, number: int) -> bool:
    return bool(await redis.xlen(names.DEAD_LETTERS) == number)


async def _page(admin: httpx.AsyncClient, **query: Any) -> dict[str, Any]:
    answer = await admin.get("messages/dead-letters", params=query)
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


async def _overview(admin: httpx.AsyncClient) -> dict[str, Any]:
    answer = await admin.get("messages")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_what_waits_and_who_persists_it_is_shown(
    admin: httpx.AsyncClient, db: Database, ledger: Ledger, persisting: Persisting
) -> None:
    """First nobody and three messages in one partition; then a worker that owns all, and nothing that waits."""
    await ledger.send(*(envelope("talk", f"m-{number}") for number in range(3)))
    waiting = await _overview(admin)
    async with persisting():
        await ledger.persisted(db)

        async def owned() -> bool:
            found = await _overview(admin)
            return found["lag"] == 0 and all(each["owned"] for each in found["partitions"])

        await eventually(owned)
        served = await _overview(admin)

    lags = {each["partition"]: each["lag"] for each in waiting["partitions"]}
    assert lags == dict.fromkeys(range(PARTITIONS), 0) | {partition_of("talk"): 3}
    assert (waiting["lag"], waiting["deadLetters"], waiting["workers"]) == (3, 0, [])
    (worker,) = served["workers"]
    assert (worker["alive"], worker["partitions"]) == (True, PARTITIONS)
    assert {each["owner"] for each in served["partitions"]} == {worker["node"]}


async def test_who_is_seen_seldom_lives_as_long_as_his_leases_hold(
    admin: httpx.AsyncClient, command: Command, db: Database
) -> None:
    """With STREAM_LEASE_SECONDS=600 a worker is seen every two minutes; once its leases have run out nobody persists."""
    await db.execute(
        "INSERT INTO message_workers VALUES ('seldom', now() - interval '1 minute'), ('gone', now() - interval '1 minute')"
    )
    await db.execute("INSERT INTO message_partitions VALUES (0, 'seldom', 1, now() + interval '9 minutes')")
    found, said = await _overview(admin), await command("status")
    await db.execute("UPDATE message_partitions SET expires_at = now() - interval '1 second'")
    later = await command("status")

    assert {each["node"]: each["alive"] for each in found["workers"]} == {"seldom": True, "gone": False}
    assert "nobody persists" not in said.stdout
    assert "nobody persists" in later.stdout


async def test_dead_letters_are_listed_without_what_they_say(
    admin: httpx.AsyncClient, db: Database, redis: Redis, ledger: Ledger, persisting: Persisting
) -> None:
    """The oldest first, in pages, each with its reason and its message's names."""
    await _die(db, redis, ledger, persisting, "a", "b", "c")
    first = await _page(admin, limit=2)
    rest = await _page(admin, limit=2, cursor=first["nextCursor"])
    letters = first["deadLetters"] + rest["deadLetters"]

    assert [each["clientMessageId"] for each in letters] == ["a", "b", "c"]
    assert (first["total"], rest["nextCursor"]) == (3, None)
    assert {(each["reason"], each["detail"], each["attempts"]) for each in letters} == {("refused", "poisonous", 3)}
    assert {(each["conversationId"], each["senderId"]) for each in letters} == {("talk", "alice")}
    assert "poison a" not in json.dumps(first)
    assert (await admin.get("messages/dead-letters", params={"cursor": "next"})).status_code == 400


async def test_replayed_letters_become_rows_once_and_it_is_recorded(
    admin: httpx.AsyncClient, db: Database, redis: Redis, ledger: Ledger, persisting: Persisting
) -> None:
    """By name, one of them twice and one that is not there; then all that are left."""
    await _die(db, redis, ledger, persisting, "a", "b", "c")
    ids = [each["id"] for each in (await _page(admin))["deadLetters"]]
    named = await admin.post("messages/dead-letters/replay", json={"ids": [ids[0], ids[0], "1-1"]})
    every = await admin.post("messages/dead-letters/replay", json={"all": True})
    async with persisting():
        await ledger.persisted(db)
        await eventually(lambda: settled(redis))
    actions = (await admin.get("actions", params={"action": "messages.replay"})).json()["actions"]

    assert named.json() == {"replayed": 1, "missing": ["1-1"]}
    assert every.json() == {"replayed": 2, "missing": []}
    assert (await _page(admin))["message"] == "There are no dead letters."
    assert [each["detail"]["result"]["replayed"] for each in actions] == [2, 1]
    for body in ({}, {"ids": ids, "all": True}, {"ids": []}, {"ids": ["x"]}):
        assert (await admin.post("messages/dead-letters/replay", json=body)).status_code == 400, body


async def test_what_is_no_message_is_discarded_once_and_it_is_recorded(
    admin: httpx.AsyncClient, db: Database, redis: Redis, ledger: Ledger, persisting: Persisting
) -> None:
    """By name, with a message, one of a later release and one that is not there; then all. Messages stay, and are replayed."""
    await _die(db, redis, ledger, persisting, "a")
    (message,) = [each["id"] for each in (await _page(admin))["deadLetters"]]
    later = await redis.xadd(names.DEAD_LETTERS, {"reason": "crashes", "envelope": LATER})
    torn = {"reason": "undecodable", "entry": "7-1", "partition": "3", "envelope": b"{"}
    bad = [await redis.xadd(names.DEAD_LETTERS, torn) for _ in range(3)]
    lost = await redis.xadd(
        names.DEAD_LETTERS, {"reason": "missing", "entry": "9-1", "partition": "5", "envelope": b""}
    )
    ids = [each.decode() for each in (bad[0], bad[0], later)]
    named = await admin.post("messages/dead-letters/discard", json={"ids": [*ids, message, "1-1"]})
    every = [await admin.post("messages/dead-letters/discard", json={"all": True}) for _ in range(2)]
    left = [each["id"] for each in (await _page(admin))["deadLetters"]]
    actions = (await admin.get("actions", params={"action": "messages.discard"})).json()["actions"]

    assert named.json() == {"discarded": 1, "missing": ["1-1"], "kept": [later.decode(), message]}
    assert [each.json()["discarded"] for each in every] == [3, 0]
    assert left == [message, later.decode()]
    assert [each["detail"]["result"]["discarded"] for each in actions] == [0, 3, 1]
    assert actions[2]["detail"]["ids"] == [*ids, message, "1-1"]
    assert [each["detail"]["count"] for each in actions] == [0, 3, 1]
    assert actions[2]["detail"]["letters"] == [_trace(bad[0], "7-1", 3, "undecodable")]
    assert actions[1]["detail"]["letters"] == [
        *(_trace(each, "7-1", 3, "undecodable") for each in bad[1:]),
        _trace(lost, "9-1", 5, "missing"),
    ]
    for body in ({}, {"ids": ids, "all": True}, {"ids": []}, {"ids": ["x"]}):
        assert (await admin.post("messages/dead-letters/discard", json=body)).status_code == 400, body


def _trace(letter: bytes, entry: str, partition: int, reason: str) -> dict[str, Any]:
    return {"id": letter.decode(), "entry": entry, "partition": partition, "reason": reason}


@pytest.fixture
async def fragile(app_database_url: str, private_redis: PrivateRedis) -> AsyncIterator[tuple[httpx.AsyncClient, Redis]]:
    """An administrator of an api whose Redis the test may kill, and a client of that Redis."""
    async with (
        running_api(app_database_url, private_redis.url()) as api,
        administrator(api) as admin,
        Redis.from_url(private_redis.url()) as redis,
    ):
        yield admin, redis


async def test_the_record_has_what_was_discarded_when_redis_breaks_off(
    fragile: tuple[httpx.AsyncClient, Redis], private_redis: PrivateRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which were to go is written down before the first of them goes, and how many went, although it was answered 503."""
    discard = DeadMessages.discard

    async def killed_at_the_second(self: DeadMessages, letter_id: str) -> bool:
        if letter_id == ids[1].decode():
            private_redis.kill()
        return await discard(self, letter_id)

    monkeypatch.setattr(DeadMessages, "discard", killed_at_the_second)
    admin, redis = fragile
    letter = {"reason": "missing", "entry": "9-1", "partition": "5", "envelope": b""}
    ids = [await redis.xadd(names.DEAD_LETTERS, letter) for _ in range(3)]
    answer = await admin.post("messages/dead-letters/discard", json={"all": True})
    (action,) = (await admin.get("actions", params={"action": "messages.discard"})).json()["actions"]

    assert answer.status_code == 503
    assert action["detail"] == {
        "ids": None,
        "count": 3,
        "letters": [_trace(each, "9-1", 5, "missing") for each in ids],
        "result": {"discarded": 1, "missing": [], "kept": []},
    }


@pytest.mark.parametrize("every", [True, False])
async def test_the_record_says_how_many_went_back_when_redis_breaks_off(
    every: bool,
    fragile: tuple[httpx.AsyncClient, Redis],
    private_redis: PrivateRedis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Although it was answered 503."""
    replay, asked = DeadMessages._replay, 0

    async def killed_at_the_third(self: DeadMessages, letter: DeadMessage) -> bool:
        nonlocal asked
        asked += 1
        if asked == 3:
            private_redis.kill()
        return await replay(self, letter)

    monkeypatch.setattr(DeadMessages, "_replay", killed_at_the_third)
    admin, redis = fragile
    letter = {"reason": "refused", "entry": "9-1", "partition": "5", "envelope": encode(envelope("talk", "a"))}
    ids = [(await redis.xadd(names.DEAD_LETTERS, letter)).decode() for _ in range(4)]
    body = {"all": True} if every else {"ids": ["1-1", *ids]}
    answer = await admin.post("messages/dead-letters/replay", json=body)
    (action,) = (await admin.get("actions", params={"action": "messages.replay"})).json()["actions"]

    assert answer.status_code == 503
    assert action["detail"]["result"] == {"replayed": 2, "missing": [] if every else ["1-1"]}


async def test_of_very_many_the_record_has_the_first(
    admin: httpx.AsyncClient, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And how many there were; what somebody has written by hand is cut, and is no reason not to record it."""
    monkeypatch.setattr(dead_letters, "MOST_TOLD", 2)
    by_hand = {"reason": b"x\0" * 1000, "entry": b"\xff", "partition": b"?", "envelope": b"\0"}
    ids = [await redis.xadd(names.DEAD_LETTERS, by_hand) for _ in range(3)]
    answer = await admin.post("messages/dead-letters/discard", json={"all": True})
    (action,) = (await admin.get("actions", params={"action": "messages.discard"})).json()["actions"]

    assert answer.json()["discarded"] == 3
    assert action["detail"]["letters"] == [_trace(each, "\ufffd", 0, "x\ufffd" * 20) for each in ids[:2]]
    assert (action["detail"]["count"], action["detail"]["result"]["discarded"]) == (3, 3)


async def test_partitions_are_divided_once_and_it_is_recorded(
    admin: httpx.AsyncClient, db: Database, redis: Redis, ledger: Ledger, persisting: Persisting
) -> None:
    """Twice as many and no other number; messages before and after it keep their order."""
    announced = _announced("messages.divide")
    await ledger.talk(20, 3)
    done = await admin.put("messages/partitions", json={"partitions": 2 * PARTITIONS})
    again = await admin.put("messages/partitions", json={"partitions": 2 * PARTITIONS})
    await ledger.talk(20, 3, first=3)
    async with persisting():
        await ledger.persisted(db)
        await eventually(lambda: settled(redis))

    assert done.json() == {"partitions": 2 * PARTITIONS, "changed": True}
    assert again.json() == {"partitions": 2 * PARTITIONS, "changed": False}
    for count in (PARTITIONS, 3 * PARTITIONS, 8 * PARTITIONS, 0):
        assert (await admin.put("messages/partitions", json={"partitions": count})).status_code == 400, count
    assert len((await _overview(admin))["partitions"]) == 2 * PARTITIONS
    actions = (await admin.get("actions", params={"action": "messages.divide"})).json()["actions"]
    assert {"from": PARTITIONS, "to": 2 * PARTITIONS, "result": {"partitions": 2 * PARTITIONS}} in [
        each["detail"] for each in actions
    ]
    refused = next(each["detail"] for each in actions if each["detail"]["to"] == 3 * PARTITIONS)
    assert f"{4 * PARTITIONS} at a time" in refused["result"]["error"]
    assert _announced("messages.divide") - announced == 2


def _announced(action: str) -> float:
    series = f'admin_actions_total{{action="{action}"}} '
    lines = metrics.render().decode().splitlines()
    return sum(float(line.removeprefix(series)) for line in lines if line.startswith(series))


async def test_without_redis_the_owners_are_shown_and_nothing_is_replayed(
    app_database_url: str, redis_url: str
) -> None:
    """What is not known is said; what would change something is 503."""
    async with (
        running_api(app_database_url, redis_url, redis_host="127.0.0.1", redis_port=pick()) as api,
        administrator(api) as admin,
    ):
        found = await _overview(admin)
        letters = await admin.get("messages/dead-letters")
        replayed = await admin.post("messages/dead-letters/replay", json={"all": True})
        discarded = await admin.post("messages/dead-letters/discard", json={"ids": ["1-1"]})

    assert (found["lag"], found["deadLetters"]) == (None, None)
    assert "Redis does not answer" in found["message"]
    assert (letters.status_code, replayed.status_code, discarded.status_code) == (503, 503, 503)


async def test_only_administrators(api: RunningApi) -> None:
    """A user's token is refused before anything is looked at."""
    for method, path in (
        ("GET", ""),
        ("GET", "/dead-letters"),
        ("POST", "/dead-letters/replay"),
        ("POST", "/dead-letters/discard"),
        ("PUT", "/partitions"),
    ):
        answer = await api.client.request(method, f"/api/admin/messages{path}", json={} if method[0] == "P" else None)
        assert answer.status_code == 403, path


async def test_the_command_sends_lists_and_looks_after_the_stream(
    command: Command, db: Database, redis: Redis, persisting: Persisting
) -> None:
    """Sent twice with one id it is one message; it waits, and then it is listed; more partitions are made."""
    first = await command("send", "course-1", "Hello", "--to", "bob", "--id", "m-1", "--json")
    again = await command("send", "course-1", "Hello", "--to", "bob", "--id", "m-1")
    other = await command("send", "course-1", "Bye", "--to", "bob", "--id", "m-1")
    message = json.loads(first.stdout)["messageId"]
    waits, alone = await command("status", message), await command("status")
    async with persisting():
        await eventually(lambda: db.fetchval("SELECT count(*) FROM messages"))
        served = await command("status")
    listed, done = await command("list", "course-1"), await command("status", message)
    divided, refused = await command("repartition", "32"), await command("repartition", "48")

    assert again.stdout == f"{message} is pending (it was there before)\n"
    assert "says something else" in other.stderr
    assert waits.stdout == f"{message} is pending\n"
    assert "1 messages wait; 0 are dead letters" in alone.stdout
    assert "nobody persists. Start a persistence-worker" in alone.stdout
    assert "alive" in served.stdout
    assert str(ADMIN) in listed.stdout
    assert "Hello" in listed.stdout
    assert done.stdout == f"{message} is persisted\n"
    assert "there are 32 partitions" in divided.stdout
    assert refused.returncode == 1
    assert "64 at a time" in refused.stderr


async def test_the_command_shows_discards_and_replays_the_dead(
    command: Command, db: Database, redis: Redis, ledger: Ledger, persisting: Persisting
) -> None:
    """Each with its reason; what is no message goes; one that is not there is an exit code of 1."""
    await _die(db, redis, ledger, persisting, "a", "b")
    bad = (await redis.xadd(names.DEAD_LETTERS, {"reason": "undecodable", "envelope": b"{"})).decode()
    shown = await command("dead-letters", "--limit", "1")
    message = shown.stdout.split()[0]
    kept, gone = await command("discard", message, bad, "1-1"), await command("discard", "--all")
    none, unnamed = await command("replay", "1-1"), await command("replay")
    done = await command("replay", "--all", "--json")

    assert "refused: poisonous" in shown.stdout
    assert "... of 3; more: --limit 3" in shown.stdout
    assert kept.stdout.splitlines() == [
        "1 discarded",
        "not found  1-1",
        f"kept       {message} is a message: coursegen messages replay {message}",
    ]
    assert (kept.returncode, gone.returncode, gone.stdout) == (1, 0, "0 discarded\n")
    assert none.returncode == 1
    assert none.stdout.startswith("0 replayed\nnot replayed  1-1: not there, or nothing is left of its entry; ")
    assert unnamed.returncode == 2
    assert json.loads(done.stdout) == {"replayed": 2, "missing": []}
    assert "There are no dead letters." in (await command("dead-letters")).stdout
