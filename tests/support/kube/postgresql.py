"""A PostgreSQL that knows nothing of coursegen, as somebody who installs it has one: no database of its, and no role."""

from __future__ import annotations

import secrets

from tests.support.kube.commands import Object, get, kubectl
from tests.support.kube.server_pod import server_pod, start

OWNER = "owner"
DATABASE = "courses"
_NAME = "elsewhere"
_PORT = 5432
_IS_READY = ["pg_isready", "-h", "127.0.0.1", "-U", "postgres"]
_FOLDERS = {"data": "/var/lib/postgresql/data", "run": "/var/run/postgresql", "tmp": "/tmp"}


class OwnPostgresql:
    """The server, with a database whose owner is no superuser and may make roles."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._host = str(get("-n", namespace, "pod", _NAME)["status"]["podIP"])
        self._password = secrets.token_hex(12)
        self.sql(
            f"CREATE ROLE {OWNER} LOGIN CREATEROLE PASSWORD '{self._password}'", user="postgres", database="postgres"
        )
        self.sql(f"CREATE DATABASE {DATABASE} OWNER {OWNER}", user="postgres", database="postgres")

    @property
    def owner_url(self) -> str:
        """Where its owner finds the database."""
        return self.url(OWNER, self._password)

    def url(self, user: str, password: str) -> str:
        """Where somebody finds the database."""
        return f"postgresql://{user}:{password}@{self._host}:{_PORT}/{DATABASE}"

    def sql(self, statement: str, *, user: str = OWNER, database: str = DATABASE) -> str:
        """What psql prints for a statement, rows as lines: said by its owner, on the machine of the server."""
        psql = ["psql", "-U", user, "-d", database, "-qAtX", "-v", "ON_ERROR_STOP=1"]
        return kubectl("-n", self._namespace, "exec", "-i", _NAME, "--", *psql, stdin=statement).strip()


def own_postgresql(namespace: str) -> OwnPostgresql:
    """Such a PostgreSQL, ready; it goes with its namespace."""
    start(_pod(namespace))
    return OwnPostgresql(namespace)


def _pod(namespace: str) -> Object:
    container = {
        "env": [
            {"name": "POSTGRES_PASSWORD", "value": secrets.token_hex(12)},
            {"name": "PGDATA", "value": f"{_FOLDERS['data']}/pgdata"},
        ],
        "readinessProbe": {"exec": {"command": _IS_READY}, "periodSeconds": 1, "timeoutSeconds": 5},
        "resources": {"requests": {"cpu": "5m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
    }
    whole = {"shareProcessNamespace": True}  # as in the chart: orphans of `kubectl exec` are not PostgreSQL's
    return server_pod(namespace, _NAME, "postgresql", _PORT, container, folders=_FOLDERS, pod=whole)
