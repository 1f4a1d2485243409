"""A canary in every secret setting, all processes at work and in trouble: none of them turns up anywhere (S12).

Looked at: every line of every process at level debug, metrics, every row of every table (events and errors among them), what
Redis holds, every answer of the api, the webhook, and the arguments of every process. Each secret has to have been used.
"""

from __future__ import annotations

import asyncio
import base64
import subprocess
import sys
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

import boto3
import httpx
import jwt
import psutil
import pytest
from moto.server import ThreadedMotoServer
from redis.asyncio import Redis
from starlette.responses import Response

from services.api.settings import ApiSettings
from services.kernel.database import Database
from services.kernel.settings import declarations
from services.migrate.settings import MigrateSettings
from services.outbox_relay.settings import RelaySettings
from services.stage_worker.settings import WorkerSettings
from tests.support.conversations import message
from tests.support.courses import add_course
from tests.support.mailbox import open_mailbox
from tests.support.openai_server import ChatServer, chat_server
from tests.support.pipeline import wait_for_state
from tests.support.servers import APPLICATION_ROLE, REPOSITORY
from tests.support.stack import Stack
from tests.support.tokens import ADMIN, ORGANIZATION, USER
from tests.support.waiting import eventually

INITIATE = "/api/trpc/generation.initiate"
CANARIES = {
    "DATABASE_URL": "kanarie-database-7Jq2",
    "REDIS_URL": "kanarie-redis-9Xw4",
    "REDIS_PASSWORD": "kanarie-stream-6Hd3",
    "JWT_SECRET": "kanarie-jwt-5Rt8-0123456789-0123456789",
    "JWT_SECRET_PREVIOUS": "kanarie-jwt-before-2Fy6-0123456789-0123",
    "OPENAI_API_KEY": "sk-kanarie-openai-3Bn6",
    "OBJECT_STORE_ACCESS_KEY_ID": "KANARIEKEYID1Lm0",
    "OBJECT_STORE_SECRET_ACCESS_KEY": "kanarie-object-store-4Vc7",
    "WEBHOOK_ENCRYPTION_KEYS": base64.urlsafe_b64encode(b"kanarie-webhook-8Zp1-0123456789a").decode(),
}

PLAIN = ("JWT_SECRET", "JWT_SECRET_PREVIOUS", "OPENAI_API_KEY", "WEBHOOK_ENCRYPTION_KEYS")
"""Given as they are, and not as part of an address."""


def with_password(url: str, user: str, password: str) -> str:
    """The same server, with credentials that it does not ask for."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{user}:{password}@{parts.hostname}:{parts.port}"))


@pytest.fixture
def bucket() -> Iterator[str]:
    """The address of an S3-compatible store with a bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
    ).create_bucket(Bucket="documents")
    yield endpoint
    server.stop()


@dataclass
class Haystack:
    """Everything that was seen, by where."""

    seen: dict[str, str] = field(default_factory=dict)

    def add(self, where: str, text: str) -> None:
        """Remember `text`."""
        self.seen[where] = self.seen.get(where, "") + text

    def hits(self, needles: dict[str, str]) -> list[str]:
        """Which secret lies where."""
        return [
            f"{name} in {where}"
            for where, text in self.seen.items()
            for name, needle in needles.items()
            if needle in text
        ]


def environment(stack: Stack, bucket: str, chat: ChatServer) -> dict[str, str]:
    """A canary in every secret setting."""
    return {
        "DATABASE_URL": with_password(stack.environment["DATABASE_URL"], APPLICATION_ROLE, CANARIES["DATABASE_URL"]),
        "REDIS_URL": with_password(stack.environment["REDIS_URL"], "default", CANARIES["REDIS_URL"]),
        # A Redis without a password refuses one that comes without a name: so there is an error that could tell it.
        "REDIS_HOST": str(urlsplit(stack.environment["REDIS_URL"]).hostname),
        "REDIS_PORT": str(urlsplit(stack.environment["REDIS_URL"]).port),
        "REDIS_PASSWORD": CANARIES["REDIS_PASSWORD"],
        **{name: CANARIES[name] for name in PLAIN},
        "OBJECT_STORE": "s3://documents/x",
        "OBJECT_STORE_ENDPOINT": bucket,
        "OBJECT_STORE_ACCESS_KEY_ID": CANARIES["OBJECT_STORE_ACCESS_KEY_ID"],
        "OBJECT_STORE_SECRET_ACCESS_KEY": CANARIES["OBJECT_STORE_SECRET_ACCESS_KEY"],
        "ENGINE": "openai",
        "OPENAI_BASE_URL": chat.url,
        "OPENAI_ATTEMPTS": "2",
        "OPENAI_LONGEST_WAIT_SECONDS": "0",
        "LOG_LEVEL": "debug",
        "ACCESS_LOG": "true",
        "INITIATION_SECONDS": "1",
    }


def token(user: object = USER, **claims: object) -> str:
    """A token signed with the canary."""
    body = {
        "sub": str(user), "exp": 4_000_000_000, "user_metadata": {"tier": "PREMIUM"},
        "app_metadata": {"organization_id": str(ORGANIZATION)}, **claims,
    }  # fmt: skip
    return jwt.encode(body, CANARIES["JWT_SECRET"], algorithm="HS256")


def test_every_secret_setting_has_a_canary() -> None:
    """A new one fails here until it is tried below."""
    kinds = (ApiSettings, RelaySettings, WorkerSettings, MigrateSettings)
    secret = {
        each.env
        for kind in kinds
        for name, each in declarations(kind)
        if "Secret" in str(typing.get_type_hints(kind)[name])
    }
    assert secret == set(CANARIES)


def parrot(chat: ChatServer) -> None:
    """Has the endpoint refuse the next request and quote the key that came with it, as some do."""

    async def answer(_: object) -> Response:
        quoted = chat.headers[-1]["authorization"]
        return Response(f'{{"error":{{"message":"this key is odd: {quoted}","type":"odd"}}}}', 400)

    chat.faults.append(answer)  # type: ignore[arg-type]


async def arguments_of(stack: Stack, haystack: Haystack) -> None:
    """What `ps` shows of every process, children included."""
    for process in stack.running("api") + stack.running("outbox_relay") + stack.running("stage_worker"):
        parent = psutil.Process(process.pid)
        for each in [parent, *parent.children(recursive=True)]:
            haystack.add("process arguments", " ".join(each.cmdline()) + each.name())


async def shown_once(url: str) -> dict[str, str]:
    """The secrets that the api makes and tells one caller: a webhook secret, a ticket and a session."""
    async with httpx.AsyncClient(base_url=url, timeout=30, headers={"Authorization": f"Bearer {token()}"}) as client:
        issued = (await client.post("/api/webhooks/secret")).json()
        ticket = (await client.post("/api/tickets")).json()
        signed_in = await client.post("/api/sessions", json={"ticket": ticket["ticket"]}, headers={"Authorization": ""})
        assert signed_in.status_code in {200, 201}, signed_in.text
        assert (await client.post("/api/sessions", json={"ticket": ticket["ticket"]})).status_code == 401
        (cookie,) = (value for value in signed_in.cookies.values() if len(value) > 20)
        await client.get("/api/courses", headers={"Authorization": ""})
    return {"webhook secret": issued["secret"].removeprefix("whsec_"), "ticket": ticket["ticket"], "session": cookie}


async def use_everything(stack: Stack, db: Database, chat: ChatServer, haystack: Haystack) -> None:
    """A course from its documents to the webhook; then refusals of every kind, and a model that quotes its key."""
    (api,) = stack.running("api")
    bearer = {"Authorization": f"Bearer {token()}"}

    async def keep(answer: httpx.Response) -> None:
        haystack.add("answers", (await answer.aread()).decode() + repr(answer.headers))

    async with (
        open_mailbox() as mailbox,
        httpx.AsyncClient(base_url=api.url, timeout=30, headers=bearer, event_hooks={"response": [keep]}) as client,
    ):
        course = (await client.post("/api/courses", json={"title": "Canaries", "webhookUrl": mailbox.url})).json()
        path = f"/api/courses/{course['id']}"
        upload = {"file": ("a.md", b"# Canaries\n\nThey sing. They were taken into mines.", "text/markdown")}
        assert (await client.post(f"{path}/documents", files=upload)).status_code == 201
        assert (await client.post(INITIATE, json={"courseId": course["id"]})).status_code == 200
        await eventually(lambda: mailbox.letters, within=90)
        haystack.add("webhook", repr(mailbox.letters))
        odd = await add_course(db, title="Odd")
        parrot(chat)
        assert (await client.post(INITIATE, json={"courseId": str(odd)})).status_code == 200
        await wait_for_state(db, odd, "error")
        await client.get(f"/api/courses/{odd}")
        for wrong in (token() + "x", "x.y.z", token(exp=1)):
            await client.get("/api/courses", headers={"Authorization": f"Bearer {wrong}"})
        admin = {"Authorization": f"Bearer {token(ADMIN, app_metadata={'role': 'admin'})}"}
        for page in ("queues", "outbox", "leader", "concurrency", "events", "actions", "dead-letters"):
            await client.get(f"/api/admin/{page}", headers=admin)
        assert (await client.post("/api/messages", json=message(senderId=str(USER)))).status_code == 503
        for page in ("/openapi.json", "/docs", "/api/trpc/metrics.getAll", "/api/health/outbox", "/admin"):
            await client.get(page)
    assert any(CANARIES["OPENAI_API_KEY"] in each["authorization"] for each in chat.headers)


async def suffer(stack: Stack, haystack: Haystack) -> None:
    """Every process, and the migrations, with addresses where nobody answers, and with settings that cannot be right."""
    nowhere = {
        "DATABASE_URL": f"postgresql://u:{CANARIES['DATABASE_URL']}@127.0.0.1:1/x",
        "REDIS_URL": f"redis://u:{CANARIES['REDIS_URL']}@127.0.0.1:1/0",
    }
    wrong = {
        "DATABASE_URL": f"postgres:/u:{CANARIES['DATABASE_URL']}@h",
        "REDIS_URL": f"http://u:{CANARIES['REDIS_URL']}@h:x",
        "JWT_SECRET": CANARIES["JWT_SECRET"][:11],
        "JWT_SECRET_PREVIOUS": CANARIES["JWT_SECRET_PREVIOUS"][:18],
        "WEBHOOK_ENCRYPTION_KEYS": CANARIES["WEBHOOK_ENCRYPTION_KEYS"] + "x",
        "JWT_ALGORITHMS": "none",
    }

    async def start(kind: str, trouble: dict[str, str]) -> None:
        quick = {"DATABASE_ACQUIRE_SECONDS": "1", "START_WAIT_SECONDS": "2", "MIGRATE_CONNECT_SECONDS": "2"}
        variables = {**stack.environment, "PORT": "0", "METRICS_PORT": "0", **quick, **trouble}
        done = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-m", f"services.{kind}"], env=variables, cwd=REPOSITORY,
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode != 0, kind
        haystack.add(f"{kind} in trouble", done.stdout + done.stderr)

    kinds = ("api", "outbox_relay", "stage_worker", "migrate")
    await asyncio.gather(*(start(kind, trouble) for kind in kinds for trouble in (nowhere, wrong)))


async def look_into_stores(db: Database, redis_url: str, haystack: Haystack) -> None:
    """Every row of every table, and every value in Redis."""
    tables = await db.fetch(
        "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables"
        " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    )
    assert len(tables) > 15
    for table in tables:
        rows = await db.fetch(f"SELECT t::text AS row FROM {table['name']} AS t")
        haystack.add(f"table {table['name']}", "\n".join(row["row"] for row in rows))
    async with Redis.from_url(redis_url) as redis:
        async for key in redis.scan_iter("*", count=1000):
            value = await redis.dump(key)
            haystack.add("Redis", f"{key!r} {value!r}")


async def look_at_metrics(stack: Stack, haystack: Haystack) -> None:
    """What Prometheus would read."""
    async with httpx.AsyncClient(timeout=10) as client:
        for process in stack.processes:
            for page in ("metrics", "livez", "readyz"):
                answer = await client.get(f"http://127.0.0.1:{process.metrics_port}/{page}")
                haystack.add(f"{page} of {process.kind}", answer.text)


@pytest.mark.timeout(600)
async def test_no_secret_turns_up_anywhere(stack: Stack, db: Database, bucket: str) -> None:
    """Not while all is well, not when something fails, not when a stranger quotes it."""
    haystack = Haystack()
    redis_url = stack.environment["REDIS_URL"]
    async with chat_server() as chat:
        stack.environment |= environment(stack, bucket, chat)
        api, _, _ = await stack.start_all("api", "outbox_relay", "stage_worker")
        told = await shown_once(api.url)
        await use_everything(stack, db, chat, haystack)
        await arguments_of(stack, haystack)
        await look_at_metrics(stack, haystack)
        await look_into_stores(db, redis_url, haystack)
        await suffer(stack, haystack)
        for process in stack.processes:
            assert await process.stopped() == 0
            haystack.add(f"log of {process.kind}", process.log.read_text(encoding="utf-8"))

    needles = {**CANARIES, **told, "a user's token": token().rpartition(".")[2]}
    assert haystack.hits(needles) == []
    assert haystack.hits({"a word of the course": "Canaries"}) != []  # what is looked for would be found


def test_the_search_finds_what_is_there() -> None:
    """A search that finds nothing proves nothing."""
    haystack = Haystack()
    haystack.add("here", "xx kanarie-database-7Jq2 xx")

    assert haystack.hits(CANARIES) == ["DATABASE_URL in here"]
