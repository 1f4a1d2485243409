"""Every secret is rotated under load, as docs/SECRETS.md says: no request fails, no course and no webhook is lost (S12)."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid4

import httpx
import jwt as pyjwt
import pytest
from cryptography.fernet import Fernet, InvalidToken
from standardwebhooks.webhooks import Webhook

from tests.e2e.kubernetes.conftest import OUTSIDE, outside
from tests.support import tokens
from tests.support.kube.clients import PROGRAMS, Client, Load, client_pods, load_on
from tests.support.kube.commands import CommandFailed, Object, apply, get, kubectl
from tests.support.kube.installation import Installation, own_namespace, port_forward
from tests.support.kube.providers import BUCKET, ENGINE_PROGRAM, PORT, STORE_PROGRAM, Engine, Store
from tests.support.kube.values import Values
from tests.support.kube.verdicts import charged, judge
from tests.support.ledger import Fault
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.cluster, pytest.mark.rolling, pytest.mark.depth(2), pytest.mark.timeout(900)]

PER_SECOND = 1.5
"""Orders of each client; the end of each course is told to a receiver."""
SOME = 6
"""Orders that are accepted with nothing but the new credentials."""
DOCUMENTS_EVERY = 8
"""One order in so many brings a document: it goes into the store and out of it again."""
FIRST_LOGIN = "coursegen_app"
OWNER = "postgres"
USES_PROVIDERS = "api, worker-documents, worker-analysis, worker-generation, worker-webhooks"
ENGINE_SECRET, STORE_SECRET = "coursegen-engine", "coursegen-store"
RULES = [{"name": "expired", "target": "IdempotencyKeys", "keep": "7d"}]


@dataclass(frozen=True, slots=True)
class Credentials:
    """One of each."""

    tokens: str
    login: str
    password: str
    redis: str
    webhooks: str
    """The key that encrypts webhook secrets."""
    engine: str = field(default_factory=lambda: f"sk-{secrets.token_urlsafe(24)}")
    store: tuple[str, str] = field(default_factory=lambda: (secrets.token_hex(8).upper(), secrets.token_urlsafe(24)))
    """A key id and its key."""
    name: str = field(default_factory=lambda: secrets.token_hex(4))
    """Of the keys at the providers."""

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

    def __init__(self, installation: Installation, engine: Engine, store: Store) -> None:
        self._installation = installation
        self._engine = engine
        self._store = store
        self._leaving: list[str] = []
        self.seconds: list[float] = []

    def admit(self, new: Credentials, *, known: str) -> None:
        """Let the servers take the new ones beside the old; `known` is a password that Redis takes now."""
        password = f"LOGIN PASSWORD '{new.password}'"
        if new.login == FIRST_LOGIN:
            self._installation.sql(f"ALTER ROLE {new.login} {password}")
        else:
            self._installation.sql(f"CREATE ROLE {new.login} {password} IN ROLE service_role")
        self.tell_redis(known, f"ACL SETUSER default >{new.redis}")
        self.admit_at_providers(new)

    def admit_at_providers(self, new: Credentials) -> None:
        """Make the engine's and the store's key, beside those that are there."""
        self._engine.admit(new.name, new.engine)
        self._store.admit(new.name, new.store)

    def write_keys(self, new: Credentials) -> None:
        """Write the Secrets of the engine and of the store: an id and its key change together."""
        apply_secret(self._installation, ENGINE_SECRET, {"OPENAI_API_KEY": new.engine})
        key_id, key = new.store
        values = {"OBJECT_STORE_ACCESS_KEY_ID": key_id, "OBJECT_STORE_SECRET_ACCESS_KEY": key}
        apply_secret(self._installation, STORE_SECRET, values)

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
        self.write_keys(new)
        labels = f"{self._installation.selector},app.kubernetes.io/component in ({USES_PROVIDERS})"
        self._leaving = self._installation.kubectl("get", "pods", "-l", labels, "-o", "name").split()
        self.restart(*self._installation.processes())

    def retire(self, old: Credentials, *, known: str) -> None:
        """Have the servers refuse the old ones; nobody uses them any more."""
        using = f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{old.login}'"
        eventually_sync(lambda: self._installation.sql(using) == "0", within=40, every=1)
        self._installation.sql(f"ALTER ROLE {old.login} NOLOGIN")
        self.tell_redis(known, f"ACL SETUSER default <{old.redis}")
        assert "WRONGPASS" in self.tell_redis(old.redis, "PING")
        self._installation.kubectl("wait", *self._leaving, "--for=delete", "--timeout=60s")
        self._engine.delete(old.name)
        self._store.delete(old.name)
        assert self._engine.answer(old.engine) == 401
        assert self._store.answer(old.store) == "InvalidAccessKeyId"

    def put_back(self, first: Credentials, owner: str) -> None:
        """Have the servers and the Secret as they were, wherever a rotation has broken off."""
        known = urlsplit(self._installation.secret("redis-url")).password or ""  # Redis takes whatever the Secret says
        self.tell_redis(known, f"ACL SETUSER default >{first.redis}")
        roles = {FIRST_LOGIN: f"LOGIN PASSWORD '{first.password}'", OWNER: f"PASSWORD '{owner}'"}
        self._installation.sql("; ".join(f"ALTER ROLE {role} {what}" for role, what in roles.items()))
        urls = {
            "database-url": (first.login, first.password),
            "redis-url": ("", first.redis),
            "owner-database-url": (OWNER, owner),
        }
        there = {name: with_login(self._installation.secret(name), *login) for name, login in urls.items()}
        self.put({**there, "jwt-secret": first.tokens, "webhook-keys": first.webhooks, "owner-password": owner})

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


class OwnerLogin:
    """The login of those who migrate and remove old rows: one password, which only Jobs read."""

    def __init__(self, installation: Installation, rotation: Rotation, values: Values) -> None:
        """`values` are those of the release, on top of the installation's own."""
        self._installation = installation
        self._rotation = rotation
        self._values = values
        self._jobs: list[str] = []
        self.changes = 0

    def change(self, password: str) -> None:
        """Give the role a new password, and write it into the Secret."""
        self._installation.sql(f"ALTER ROLE {OWNER} PASSWORD '{password}'")
        url = with_login(self._installation.secret("owner-database-url"), OWNER, password)
        self._rotation.put({"owner-password": password, "owner-database-url": url})
        self.changes += 1

    def begin_jobs(self) -> None:
        """Have the next Jobs run, one that migrates and one of retention; nothing is restarted."""
        before, deployments = self._migration(), self._deployments()
        self._installation.install(self._values, {"migrations": {"rerun": f"password {self.changes}"}})
        migration, retention = self._migration(), f"{self._installation.fullname}-retention-{self.changes}"
        apply(json.dumps(self._retention(migration, retention)))
        self._jobs = [migration["metadata"]["name"], retention]
        assert migration["metadata"]["uid"] != before["metadata"]["uid"]
        assert self._deployments() == deployments

    def finish_jobs(self) -> None:
        """Return when both are done."""
        names = [f"job/{each}" for each in self._jobs]
        self._installation.kubectl("wait", *names, "--for=condition=Complete", "--timeout=90s")
        assert '"outcome":"succeeded"' in self._installation.kubectl("logs", names[1])
        self._installation.kubectl("delete", names[1], "--wait=false")

    def log_in(self, password: str) -> str:
        """What somebody with this password is told by psql, over the network.

        Raises:
            CommandFailed: he is refused.
        """
        program = (
            "read -r PGPASSWORD; export PGPASSWORD; exec psql -w -h $(hostname -i) -d coursegen -AtXc 'SELECT user' -U"
        )
        pod = f"{self._installation.fullname}-postgresql-0"
        return self._installation.kubectl(
            "exec", "-i", pod, "-c", "postgresql", "--", "sh", "-c", f"{program} {OWNER}", stdin=f"{password}\n"
        ).strip()

    def _migration(self) -> Object:
        labels = f"{self._installation.selector},app.kubernetes.io/component=migrate"
        found = self._installation.items("jobs", "-l", labels)
        (job,) = [each for each in found if "deletionTimestamp" not in each["metadata"]]
        return job

    def _deployments(self) -> dict[str, int]:
        """The generation of each Deployment: another one is another pod."""
        found = self._installation.items("deployments")
        return {each["metadata"]["name"]: each["metadata"]["generation"] for each in found}

    def _retention(self, migration: Object, name: str) -> Object:
        """A Job as the operator makes them for a RetentionPolicy: the migrations' image and Secret, another command."""
        (container,) = migration["spec"]["template"]["spec"]["containers"]
        (address,) = [each for each in container["env"] if each["name"] == "DATABASE_URL"]
        changed = container | {
            "command": ["python", "-m", "services.retention"],
            "env": [address, {"name": "RETENTION_RULES", "value": json.dumps(RULES)}],
        }
        labels = migration["spec"]["template"]["metadata"]["labels"]
        known = {each: labels[f"app.kubernetes.io/{each}"] for each in ("name", "instance")}
        pod = {
            "metadata": {"labels": {f"app.kubernetes.io/{each}": text for each, text in known.items()}
                         | {"app.kubernetes.io/component": "retention"}},
            "spec": migration["spec"]["template"]["spec"] | {"containers": [changed]},
        }  # fmt: skip
        place = {"name": name, "namespace": self._installation.namespace}
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": place,
            "spec": {"template": pod, "backoffLimit": 0},
        }


def apply_secret(installation: Installation, name: str, values: dict[str, str]) -> None:
    """`kubectl apply` of a Secret."""
    place = {"name": name, "namespace": installation.namespace}
    apply(json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": place, "stringData": values}))


def with_providers(engine: Engine, store: Store) -> Values:
    """Values of a release whose workers ask this engine, and whose documents lie in this store."""
    bucket = {"OBJECT_STORE": f"s3://{BUCKET}/courses", "OBJECT_STORE_ENDPOINT": store.url}
    way = {"enabled": True, "to": [outside("internet")], "port": PORT}
    return {
        "engine": {"openaiApiKey": {"existingSecret": ENGINE_SECRET}},
        "objectStore": {each: {"existingSecret": STORE_SECRET} for each in ("accessKeyId", "secretAccessKey")},
        "config": {"api": bucket, "worker": {**bucket, "ENGINE": "openai", "OPENAI_BASE_URL": f"{engine.url}/v1"}},
        "networkPolicy": {"engine": way, "objectStore": way},
    }


def with_login(url: str, user: str, password: str) -> str:
    """The same address with other credentials."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{user}:{password}@{parts.hostname}:{parts.port}"))


@dataclass(frozen=True, slots=True)
class Outside:
    """Who is there outside, each in a pod."""

    receiver: Client
    engine: Engine
    store: Store

    @property
    def address(self) -> str:
        """Where webhooks go."""
        pod = get("-n", self.receiver.namespace, "pod", self.receiver.name)
        return f"http://{pod['status']['podIP']}:{PORT}/hook"


@contextmanager
def others() -> Iterator[Outside]:
    """Somebody who takes webhooks, an engine and a store."""
    receiver = (PROGRAMS / "receiver.py").read_text(encoding="utf-8")
    programs = {"receiver": receiver, "engine": ENGINE_PROGRAM, "store": STORE_PROGRAM}
    with own_namespace("receiver") as namespace:
        kubectl("label", "namespace", namespace, f"{OUTSIDE}=internet")
        wanted: dict[str, dict[str, str]] = {name: {} for name in programs}
        with client_pods(namespace, wanted, programs=programs, environment={"PORT": str(PORT)}) as pods:
            yield Outside(pods[0], Engine(pods[1]), Store(pods[2]))


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
    """The shared installation, with an engine and a store for as long as the test lasts."""
    with others() as there:
        values, credentials = with_providers(there.engine, there.store), Credentials.present(whole)
        rotation, owner = Rotation(whole, there.engine, there.store), whole.secret("owner-password")
        rotation.admit_at_providers(credentials)
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
    """Each there and back: 0 failed requests, every course finished, every webhook signed with the same secret."""
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
            webhook_url=there.address, documents_every=DOCUMENTS_EVERY,
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
            rotation.admit(after, known=before.redis)
            rotation.change(before, after)
            following = load(stack, f"load-{number}")  # clients get new tokens while the old ones are good
            reports.append(running.report())
            running = following
            rotation.retire(before, known=after.redis)
            if not number:
                owner.finish_jobs()
            least, served = accepted(whole, user) + SOME, works_with(there, after)
            eventually_sync(lambda least=least: accepted(whole, user) >= least, within=60, every=0.5)
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
        verdict = judge(whole, journals, user, faults, within=90)
        courses = {course for report in reports for course in report["accepted"]}
        with_document = [course for report in reports for course in report["with_document"]]
        deliveries = received(there.receiver)
    requests, longest = sum(each["attempts"] for each in reports), max(each["longest_seconds"] for each in reports)
    print(f"\n{requests} requests, longest {longest:.2f} s; {len(deliveries)} webhooks", end="; ")
    print(
        f"{len(with_document)} documents; engine and store answered {[works_with(there, each) for each in (old, new)]}"
    )
    print(f"restarts {', '.join(f'{each:.0f} s' for each in rotation.seconds)}\n{verdict}")
    assert [report["failures"] for report in reports] == [[], [], []]
    assert verdict.passed, str(verdict)
    assert not verdict.failed, str(verdict)
    assert charged(whole, user) == []
    assert cited(whole, with_document) == set(with_document)
    assert (there.engine.refused(), there.store.refused()) == (2, 2)  # what the rotation itself has tried
    for headers, body in deliveries:
        Webhook(secret).verify(body, headers)
    assert {json.loads(body)["data"]["courseId"] for _, body in deliveries} == courses
    assert len({headers["webhook-id"] for headers, _ in deliveries}) == len(courses)
