"""Every secret is rotated under load, as docs/SECRETS.md says: no request fails, no webhook is lost (S12)."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid4

import httpx
import jwt as pyjwt
import pytest
from cryptography.fernet import Fernet, InvalidToken
from standardwebhooks.webhooks import Webhook

from tests.e2e.kubernetes.conftest import OUTSIDE
from tests.support import tokens
from tests.support.kube.clients import PROGRAMS, Client, Load, client_pod, load_on
from tests.support.kube.commands import get, kubectl
from tests.support.kube.installation import Installation, own_namespace, port_forward
from tests.support.kube.verdicts import charged, judge
from tests.support.ledger import Fault
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.cluster, pytest.mark.rolling, pytest.mark.depth(2), pytest.mark.timeout(900)]

PER_SECOND = 1.5
"""Orders of each client; the end of each course is told to a receiver."""
SOME = 6
"""Orders that are accepted with nothing but the new credentials."""
FIRST_LOGIN = "coursegen_app"


@dataclass(frozen=True, slots=True)
class Credentials:
    """One of each."""

    tokens: str
    login: str
    password: str
    redis: str
    webhooks: str
    """The key that encrypts webhook secrets."""

    @classmethod
    def present(cls, installation: Installation) -> Credentials:
        """Those in force."""
        return cls(
            tokens=installation.secret("jwt-secret"),
            login=FIRST_LOGIN,
            password=installation.secret("app-password"),
            redis=installation.secret("redis-password"),
            webhooks=installation.secret("webhook-keys"),
        )

    @classmethod
    def fresh(cls) -> Credentials:
        """New ones."""
        return cls(
            tokens=secrets.token_urlsafe(48),
            login=f"{FIRST_LOGIN}_{secrets.token_hex(3)}",
            password=secrets.token_urlsafe(24),
            redis=secrets.token_urlsafe(24),
            webhooks=Fernet.generate_key().decode(),
        )


class Rotation:
    """What an operator does to an installation whose Secret `dev.enabled` has made."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self.seconds: list[float] = []

    def admit(self, new: Credentials, *, known: str) -> None:
        """Let the servers take the new ones beside the old; `known` is a password that Redis takes now."""
        password = f"LOGIN PASSWORD '{new.password}'"
        if new.login == FIRST_LOGIN:
            self._installation.sql(f"ALTER ROLE {new.login} {password}")
        else:
            self._installation.sql(f"CREATE ROLE {new.login} {password} IN ROLE service_role")
        self.tell_redis(known, f"ACL SETUSER default >{new.redis}")

    def change(self, old: Credentials, new: Credentials) -> None:
        """Put the new ones into the Secret, and restart what reads it."""
        before = {key: self._installation.secret(key) for key in ("database-url", "redis-url")}
        self.put(
            {
                "jwt-secret": new.tokens,
                "jwt-secret-previous": old.tokens,
                "database-url": with_login(before["database-url"], new.login, new.password),
                "redis-url": with_login(before["redis-url"], "", new.redis),
                "webhook-keys": f"{new.webhooks},{old.webhooks}",
            }
        )
        self.restart(*self._installation.processes())

    def retire(self, old: Credentials, *, known: str) -> None:
        """Have the servers refuse the old ones; nobody uses them any more."""
        using = f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{old.login}'"
        eventually_sync(lambda: self._installation.sql(using) == "0", within=40, every=1)
        self._installation.sql(f"ALTER ROLE {old.login} NOLOGIN")
        self.tell_redis(known, f"ACL SETUSER default <{old.redis}")
        assert "WRONGPASS" in self.tell_redis(old.redis, "PING")

    def restart(self, *parts: str) -> None:
        """`kubectl rollout restart`, as NOTES.txt says."""
        begun = time.monotonic()
        names = [f"deployment/{self._installation.fullname}-{part}" for part in parts]
        self._installation.kubectl("rollout", "restart", *names)
        self._installation.rolled_out(*parts)
        self.seconds.append(time.monotonic() - begun)

    def put(self, values: dict[str, str | None]) -> None:
        """Write keys of the Secret; None takes one out."""
        data = {
            key: None if value is None else base64.b64encode(value.encode()).decode() for key, value in values.items()
        }
        name = f"{self._installation.fullname}-dev"
        self._installation.kubectl(
            "patch", "secret", name, "--type=merge", "--patch-file=/dev/stdin", stdin=json.dumps({"data": data})
        )

    def tell_redis(self, password: str, command: str) -> str:
        """What Redis answers to somebody with this password."""
        deployment = f"deployment/{self._installation.fullname}-redis"
        return self._installation.kubectl(
            "exec", "-i", deployment, "-c", "redis", "--", "env", "-u", "REDISCLI_AUTH", "redis-cli", "--raw",
            stdin=f"AUTH {password}\n{command}\n",
        )  # fmt: skip


def with_login(url: str, user: str, password: str) -> str:
    """The same address with other credentials."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{user}:{password}@{parts.hostname}:{parts.port}"))


@contextmanager
def receiver() -> Iterator[tuple[Client, str]]:
    """Somebody outside who takes webhooks, and his address."""
    program = (PROGRAMS / "receiver.py").read_text(encoding="utf-8")
    with own_namespace("receiver") as namespace:
        kubectl("label", "namespace", namespace, f"{OUTSIDE}=internet")
        with client_pod(namespace, "receiver", program=program, environment={"PORT": "443"}) as pod:
            address = get("-n", namespace, "pod", pod.name)["status"]["podIP"]
            yield pod, f"http://{address}:443/hook"


def received(pod: Client) -> list[tuple[dict[str, str], bytes]]:
    """Headers and body of what came."""
    lines = kubectl("-n", pod.namespace, "logs", pod.name).splitlines()
    found = [json.loads(line) for line in lines if line.startswith("{")]
    return [(each["headers"], base64.b64decode(each["body"])) for each in found]


def accepted(installation: Installation, user: UUID) -> int:
    """How many courses the user has."""
    return int(installation.sql(f"SELECT count(*) FROM courses WHERE user_id = '{user}'"))


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


def test_every_secret_is_rotated_under_load(whole: Installation) -> None:
    """Tokens', database's, Redis' and webhooks', there and back: 0 failed requests, every webhook signed with the same secret."""
    user, organization = uuid4(), uuid4()
    rotation, old, new = Rotation(whole), Credentials.present(whole), Credentials.fresh()
    reports = []

    def load(stack: ExitStack, name: str) -> Load:
        token = whole.token(user, organization=organization)
        loading = load_on(
            whole.namespace, url=whole.url, token=token, per_second=PER_SECOND, name=name, webhook_url=address
        )
        return stack.enter_context(loading)

    with receiver() as (pod, address), ExitStack() as stack:
        token = whole.token(user, organization=organization)
        secret = signing_secret(whole, token)
        running = load(stack, "load-old")
        for number, (before, after) in enumerate([(old, new), (new, old)]):
            rotation.admit(after, known=before.redis)
            rotation.change(before, after)
            following = load(stack, f"load-{number}")  # clients get new tokens while the old ones are good
            reports.append(running.report())
            running = following
            rotation.retire(before, known=after.redis)
            least = accepted(whole, user) + SOME
            eventually_sync(lambda least=least: accepted(whole, user) >= least, within=60, every=0.5)
            eventually_sync(lambda key=after.webhooks: is_sealed_with(whole, organization, key), within=60, every=1)
            newest = whole.token(user, organization=organization)
        stale = pyjwt.encode(tokens.claims(user, organization), new.tokens, algorithm="HS256")
        assert [status(whole, each) for each in (newest, stale)] == [404, 404]
        rotation.put({"jwt-secret-previous": None, "webhook-keys": old.webhooks})
        rotation.restart("api")
        reports.append(running.report())
        assert [status(whole, each) for each in (newest, stale)] == [404, 401]
        whole.sql(f"DROP ROLE {new.login}")

        journals = [report["journal"] for report in reports]
        verdict = judge(whole, journals, user, [Fault("rotation", 3, len(rotation.seconds))], within=90)
        courses = {course for report in reports for course in report["accepted"]}
        deliveries = received(pod)
    requests, longest = sum(each["attempts"] for each in reports), max(each["longest_seconds"] for each in reports)
    print(f"\n{requests} requests, longest {longest:.2f} s; {len(deliveries)} webhooks", end="; ")
    print(f"restarts {', '.join(f'{each:.0f} s' for each in rotation.seconds)}\n{verdict}")
    assert [report["failures"] for report in reports] == [[], [], []]
    assert verdict.passed, str(verdict)
    assert not verdict.failed, str(verdict)
    assert charged(whole, user) == []
    for headers, body in deliveries:
        Webhook(secret).verify(body, headers)
    assert {json.loads(body)["data"]["courseId"] for _, body in deliveries} == courses
    assert len({headers["webhook-id"] for headers, _ in deliveries}) == len(courses)
