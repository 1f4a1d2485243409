"""Every secret is rotated under load, as docs/SECRETS.md says: no request fails, no course, webhook or message is lost (S12)."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from uuid import UUID, uuid4

import httpx
import jwt as pyjwt
import pytest
from cryptography.fernet import Fernet, InvalidToken
from standardwebhooks.webhooks import Webhook

from tests.e2e.kubernetes.conftest import OUTSIDE, outside
from tests.support import tokens
from tests.support.kube.clients import PROGRAMS, Client, Load, client_pods, load_on
from tests.support.kube.commands import CommandFailed, kubectl
from tests.support.kube.conversations import judge_messages, rows_of
from tests.support.kube.installation import Installation, own_namespace, port_forward
from tests.support.kube.providers import BUCKET, ENGINE_PROGRAM, PORT, STORE_PROGRAM, Engine, Store
from tests.support.kube.rotation import (
    ENGINE_SECRET,
    OWNER,
    STORE_SECRET,
    STREAM_SECRET,
    Credentials,
    Outside,
    OwnerLogin,
    Rotation,
)
from tests.support.kube.stream_redis import PORT as STREAM_PORT
from tests.support.kube.stream_redis import stream_redis
from tests.support.kube.values import Values
from tests.support.kube.verdicts import charged, judge
from tests.support.ledger import Fault
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.cluster, pytest.mark.rolling, pytest.mark.depth(2), pytest.mark.timeout(900)]

PER_SECOND = 1.5
"""Orders of each client; the end of each course is told to a receiver."""
SOME = 6
"""Orders that are accepted with nothing but the new credentials, and messages that are persisted."""
MESSAGES_PER_SECOND = 0.25
"""Messages in each of eight conversations; the stream lies in a Redis of its own."""
DOCUMENTS_EVERY = 8
"""One order in so many brings a document: it goes into the store and out of it again."""


def with_providers(there: Outside) -> Values:
    """Values of a release whose workers ask this engine, whose documents lie in this store and whose messages in this Redis."""
    bucket = {"OBJECT_STORE": f"s3://{BUCKET}/courses", "OBJECT_STORE_ENDPOINT": there.store.url}
    engine = {"ENGINE": "openai", "OPENAI_BASE_URL": f"{there.engine.url}/v1"}
    way = {"enabled": True, "to": [outside("internet")], "port": PORT}
    return {
        "redis": {"streamPassword": {"existingSecret": STREAM_SECRET}},
        "engine": {"openaiApiKey": {"existingSecret": ENGINE_SECRET}},
        "objectStore": {each: {"existingSecret": STORE_SECRET} for each in ("accessKeyId", "secretAccessKey")},
        "config": {"api": bucket, "worker": {**bucket, **engine}, "stream": {"REDIS_HOST": there.stream.host}},
        "networkPolicy": {"engine": way, "objectStore": way, "stream": {**way, "port": STREAM_PORT}},
    }


@contextmanager
def others() -> Iterator[Outside]:
    """Somebody who takes webhooks, an engine, a store, and a Redis for the stream of messages."""
    receiver = (PROGRAMS / "receiver.py").read_text(encoding="utf-8")
    programs = {"receiver": receiver, "engine": ENGINE_PROGRAM, "store": STORE_PROGRAM}
    with own_namespace("receiver") as namespace:
        kubectl("label", "namespace", namespace, f"{OUTSIDE}=internet")
        wanted: dict[str, dict[str, str]] = {name: {} for name in programs}
        with client_pods(namespace, wanted, programs=programs, environment={"PORT": str(PORT)}) as pods:
            yield Outside(pods[0], Engine(pods[1]), Store(pods[2]), stream_redis(namespace))


@dataclass(frozen=True, slots=True)
class Provided:
    """An installation that depends on providers, and the credentials in force."""

    installation: Installation
    outside: Outside
    values: Values
    rotation: Rotation
    credentials: Credentials


@pytest.fixture
def provided(whole: Installation) -> Iterator[Provided]:
    """The shared installation, with an engine, a store and a Redis of the stream's own for as long as the test lasts."""
    with others() as there:
        values, credentials = with_providers(there), Credentials.present(whole)
        rotation, owner = Rotation(whole, there), whole.secret("owner-password")
        rotation.admit_at_providers(credentials)
        there.stream.begin(credentials.stream)
        rotation.write_keys(credentials)
        try:
            whole.install(values)
            whole.wait_ready()
            yield Provided(whole, there, values, rotation, credentials)
        finally:
            rotation.put_back(credentials, owner)
            whole.install()


def received(pod: Client) -> list[tuple[dict[str, str], bytes]]:
    """Headers and body of what came."""
    lines = kubectl("-n", pod.namespace, "logs", pod.name).splitlines()
    found = [json.loads(line) for line in lines if line.startswith("{")]
    return [(each["headers"], base64.b64decode(each["body"])) for each in found]


def accepted(installation: Installation, user: UUID) -> int:
    """How many courses the user has."""
    return int(installation.sql(f"SELECT count(*) FROM courses WHERE user_id = '{user}'"))


def works_with(there: Outside, key: Credentials) -> tuple[int, int]:
    """How many requests the engine and the store have answered that came with these keys."""
    return there.engine.served(key.name), there.store.served(key.name)


def are_more(now: tuple[int, int], before: tuple[int, int]) -> bool:
    """Whether both have grown."""
    return all(one > other for one, other in zip(now, before, strict=True))


def cited(installation: Installation, courses: Sequence[str]) -> set[str]:
    """Which of the courses were written from their document."""
    listed = ", ".join(f"'{each}'" for each in courses)
    found = installation.sql(
        "SELECT r.course_id FROM course_results AS r JOIN documents AS d USING (course_id)"
        f" WHERE r.course_id IN ({listed}) AND position(d.id::text IN r::text) > 0"
    )
    return set(found.split())


def signing_secret(installation: Installation, token: str) -> str:
    """A new secret that signs the organisation's webhooks."""
    with port_forward(installation, f"service/{installation.fullname}-api", 3000) as url:
        headers = {"Authorization": f"Bearer {token}"}
        answer = httpx.post(f"{url}/api/webhooks/secret", headers=headers, timeout=30).raise_for_status()
    return str(answer.json()["secret"])


def status(installation: Installation, token: str) -> int:
    """How somebody with this token is answered who asks for a course that is not there."""
    with port_forward(installation, f"service/{installation.fullname}-api", 3000) as url:
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.get(f"{url}/api/courses/{uuid4()}", headers=headers, timeout=30).status_code


def is_sealed_with(installation: Installation, organization: UUID, key: str) -> bool:
    """Whether this key alone opens the organisation's webhook secret as it is kept."""
    kept = installation.sql(f"SELECT ciphertext FROM webhook_secrets WHERE organization_id = '{organization}'")
    try:
        Fernet(key).decrypt(kept.encode())
    except InvalidToken:
        return False
    return True


def test_every_secret_is_rotated_under_load(provided: Provided) -> None:
    """Each there and back: 0 failed requests, every course finished, every webhook signed with the same secret.

    Every message is in the table once, in order, and its conversation shows it.
    """
    user, organization = uuid4(), uuid4()
    whole, there, rotation = provided.installation, provided.outside, provided.rotation
    old, new = provided.credentials, Credentials.fresh()
    owner = OwnerLogin(whole, rotation, provided.values)
    passwords = whole.secret("owner-password"), secrets.token_urlsafe(24)
    reports = []

    def load(stack: ExitStack, name: str) -> Load:
        token = whole.token(user, organization=organization)
        loading = load_on(
            whole.namespace, url=whole.url, token=token, per_second=PER_SECOND, name=name,
            webhook_url=there.address, documents_every=DOCUMENTS_EVERY, messages_per_second=MESSAGES_PER_SECOND, reads=True,
        )  # fmt: skip
        return stack.enter_context(loading)

    def change_owner(known: str, password: str) -> None:
        assert owner.log_in(known) == OWNER
        owner.change(password)
        owner.begin_jobs()
        with pytest.raises(CommandFailed, match="password authentication failed"):
            owner.log_in(known)

    with ExitStack() as stack:
        token = whole.token(user, organization=organization)
        secret = signing_secret(whole, token)
        running = load(stack, "load-old")
        change_owner(*passwords)
        for number, (before, after) in enumerate([(old, new), (new, old)]):
            rotation.admit(after, before)
            rotation.change(before, after)
            following = load(stack, f"load-{number}")  # clients get new tokens while the old ones are good
            reports.append(running.report())
            running = following
            rotation.retire(before, after)
            if not number:
                owner.finish_jobs()
            least, served, rows = (
                accepted(whole, user) + SOME,
                works_with(there, after),
                len(rows_of(whole, user)) + SOME,
            )
            eventually_sync(lambda least=least: accepted(whole, user) >= least, within=60, every=0.5)
            eventually_sync(lambda least=rows: len(rows_of(whole, user)) >= least, within=60, every=0.5)
            eventually_sync(lambda key=after.webhooks: is_sealed_with(whole, organization, key), within=60, every=1)
            eventually_sync(lambda key=after, n=served: are_more(works_with(there, key), n), within=60, every=1)
            newest = whole.token(user, organization=organization)
        stale = pyjwt.encode(tokens.claims(user, organization), new.tokens, algorithm="HS256")
        assert [status(whole, each) for each in (newest, stale)] == [404, 404]
        rotation.put({"jwt-secret-previous": None, "webhook-keys": old.webhooks})
        change_owner(*reversed(passwords))
        rotation.restart("api")
        owner.finish_jobs()
        reports.append(running.report())
        assert [status(whole, each) for each in (newest, stale)] == [404, 401]
        whole.sql(f"DROP ROLE {new.login}")

        journals = [report["journal"] for report in reports]
        faults = [Fault("rotation", 3, len(rotation.seconds)), Fault("owner", 2, owner.changes)]
        verdict, talk = judge(whole, journals, user, faults, within=90), judge_messages(whole, reports, user)
        in_stream = [int(there.stream.tell(old.stream, each)) for each in ("DBSIZE", "XLEN msg:dlq")]
        courses = {course for report in reports for course in report["accepted"]}
        with_document = [course for report in reports for course in report["with_document"]]
        deliveries = received(there.receiver)
    requests, longest = sum(each["attempts"] for each in reports), max(each["longest_seconds"] for each in reports)
    print(f"\n{requests} requests, longest {longest:.2f} s; {len(deliveries)} webhooks", end="; ")
    print(
        f"{len(with_document)} documents; engine and store answered {[works_with(there, each) for each in (old, new)]}"
    )
    print(f"restarts {', '.join(f'{each:.0f} s' for each in rotation.seconds)}\n{verdict}\n{talk}")
    assert [report["failures"] for report in reports] == [[], [], []]
    assert verdict.passed, str(verdict)
    assert not verdict.failed, str(verdict)
    assert charged(whole, user) == []
    assert talk.passed, talk
    assert talk.accepted > 2 * SOME
    assert (in_stream[0] > 0, in_stream[1]) == (True, 0)
    assert cited(whole, with_document) == set(with_document)
    assert (there.engine.refused(), there.store.refused()) == (2, 2)  # what the rotation itself has tried
    for headers, body in deliveries:
        Webhook(secret).verify(body, headers)
    assert {json.loads(body)["data"]["courseId"] for _, body in deliveries} == courses
    assert len({headers["webhook-id"] for headers, _ in deliveries}) == len(courses)
