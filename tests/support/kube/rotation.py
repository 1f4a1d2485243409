"""The secrets of an installation, and how an operator changes each while it works: docs/SECRETS.md as a program."""

from __future__ import annotations

import base64
import json
import secrets
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

from cryptography.fernet import Fernet

from tests.support.kube.clients import Client
from tests.support.kube.commands import Object, apply, get
from tests.support.kube.installation import Installation
from tests.support.kube.providers import PORT, Engine, Store
from tests.support.kube.stream_redis import StreamRedis
from tests.support.kube.values import Values
from tests.support.waiting import eventually_sync

FIRST_LOGIN = "coursegen_app"
OWNER = "postgres"
USES_PROVIDERS = "api, worker-documents, worker-analysis, worker-generation, worker-webhooks"
ENGINE_SECRET, STORE_SECRET, STREAM_SECRET = "coursegen-engine", "coursegen-store", "coursegen-stream"
RULES = [{"name": "expired", "target": "IdempotencyKeys", "keep": "7d"}]


@dataclass(frozen=True, slots=True)
class Outside:
    """Who is there outside, each in a pod."""

    receiver: Client
    engine: Engine
    store: Store
    stream: StreamRedis

    @property
    def address(self) -> str:
        """Where webhooks go."""
        pod = get("-n", self.receiver.namespace, "pod", self.receiver.name)
        return f"http://{pod['status']['podIP']}:{PORT}/hook"


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
    stream: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    """The password of the Redis that holds the stream of messages."""
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

    def __init__(self, installation: Installation, there: Outside) -> None:
        self._installation = installation
        self._engine = there.engine
        self._store = there.store
        self._stream = there.stream
        self._leaving: list[str] = []
        self.seconds: list[float] = []

    def admit(self, new: Credentials, old: Credentials) -> None:
        """Let the servers take the new ones beside the old."""
        password = f"LOGIN PASSWORD '{new.password}'"
        if new.login == FIRST_LOGIN:
            self._installation.sql(f"ALTER ROLE {new.login} {password}")
        else:
            self._installation.sql(f"CREATE ROLE {new.login} {password} IN ROLE service_role")
        self.tell_redis(old.redis, f"ACL SETUSER default >{new.redis}")
        self._stream.admit(new.stream, known=old.stream)
        self.admit_at_providers(new)

    def admit_at_providers(self, new: Credentials) -> None:
        """Make the engine's and the store's key, beside those that are there."""
        self._engine.admit(new.name, new.engine)
        self._store.admit(new.name, new.store)

    def write_keys(self, new: Credentials) -> None:
        """Write the Secrets of the engine, the stream and the store: an id and its key change together."""
        apply_secret(self._installation, ENGINE_SECRET, {"OPENAI_API_KEY": new.engine})
        apply_secret(self._installation, STREAM_SECRET, {"REDIS_PASSWORD": new.stream})
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

    def retire(self, old: Credentials, new: Credentials) -> None:
        """Have the servers refuse the old ones; nobody uses them any more."""
        using = f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{old.login}'"
        eventually_sync(lambda: self._installation.sql(using) == "0", within=40, every=1)
        self._installation.sql(f"ALTER ROLE {old.login} NOLOGIN")
        self.tell_redis(new.redis, f"ACL SETUSER default <{old.redis}")
        assert "WRONGPASS" in self.tell_redis(old.redis, "PING")
        self._stream.retire(old.stream, known=new.stream)
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
        """A Job as the operator makes them for a RetentionPolicy: the migrations' image and Secret, another command.

        Without an operator only pods that migrate are let to PostgreSQL, so it goes by their name.
        """
        (container,) = migration["spec"]["template"]["spec"]["containers"]
        (address,) = [each for each in container["env"] if each["name"] == "DATABASE_URL"]
        changed = container | {
            "command": ["python", "-m", "services.retention"],
            "env": [address, {"name": "RETENTION_RULES", "value": json.dumps(RULES)}],
        }
        labels = migration["spec"]["template"]["metadata"]["labels"]
        known = {f"app.kubernetes.io/{each}" for each in ("name", "instance", "component")}
        pod = {
            "metadata": {"labels": {name: text for name, text in labels.items() if name in known}},
            "spec": migration["spec"]["template"]["spec"] | {"containers": [changed]},
        }
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


def with_login(url: str, user: str, password: str) -> str:
    """The same address with other credentials."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{user}:{password}@{parts.hostname}:{parts.port}"))
