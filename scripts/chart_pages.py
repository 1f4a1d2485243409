"""Write the README.md and values.schema.json of both charts: ``.venv/bin/python scripts/chart_pages.py``.

Values and their meaning are read from each chart's values.yaml (`# --` above a value), settings from the code that declares
them. Tests compare the files with what this makes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from operators.coursegen_operator.alerts import schema as alerts
from operators.coursegen_operator.migrations import schema as migrations
from operators.coursegen_operator.retention import schema as retention
from operators.coursegen_operator.settings import OperatorSettings
from services.api.settings import ApiSettings
from services.kernel.messages.settings import StreamSettings
from services.kernel.settings import CommonSettings, declarations
from services.migrate.settings import MigrateSettings
from services.outbox_relay.settings import RelaySettings
from services.persistence_worker.settings import PersistenceSettings
from services.stage_worker.settings import WorkerSettings

CHARTS = Path(__file__).resolve().parents[1] / "charts"
SETTINGS: dict[str, type[Any]] = {
    "config.common": CommonSettings,
    "config.api": ApiSettings,
    "config.relay": RelaySettings,
    "config.worker": WorkerSettings,
    "config.persistence": PersistenceSettings,
    "config.stream": StreamSettings,
    "config.migrate": MigrateSettings,
}
SECRETS = {
    "DATABASE_URL", "REDIS_URL", "JWT_SECRET", "JWT_SECRET_PREVIOUS", "WEBHOOK_ENCRYPTION_KEYS", "OPENAI_API_KEY",
    "OBJECT_STORE_ACCESS_KEY_ID", "OBJECT_STORE_SECRET_ACCESS_KEY", "REDIS_PASSWORD",
}  # fmt: skip
"""Given by references to Secrets, never under `config`."""
OWNED = {
    "PORT", "METRICS_PORT", "DRAIN_SECONDS", "UPLOAD_FOLDER", "STAGE_WORKER_QUEUES", "RELAY_ELECTION", "RELAY_REPLICAS",
    "RELAY_LEASE_NAME", "RELAY_LEASE_NAMESPACE", "RELAY_NODE_ID", "STREAM_WORKER_ID", "OPERATOR_WATCH_NAMESPACES",
    "OPERATOR_LEASE_NAME", "OPERATOR_LEASE_NAMESPACE", "OPERATOR_POD_NAME", "OPERATOR_REPLICAS", "REPORT_FILE",
}  # fmt: skip
"""Decided by values of the charts' own, because other objects depend on them."""

SHARED = frozenset(each.env for _, each in declarations(StreamSettings))
"""Under `config.stream`, so that the api and the persistence-workers are told the same."""

_TEXT = {"type": "string"}
_FREE = {"type": "object"}
_ENUMS = {
    "image.pullPolicy": ["Always", "IfNotPresent", "Never"],
    "migrations.mode": ["job", "operator"],
    "leaderElection.mode": ["lease", "postgres", "none"],
    "api.service.type": ["ClusterIP", "NodePort", "LoadBalancer"],
    "dev.redis.appendfsync": ["always", "everysec"],
    "scope": ["cluster", "namespaced"],
}
_OPEN = re.compile(
    r"(^global|resources|nodeSelector|affinity|[aA]nnotations|[lL]abels|probes\.\w+|podSecurityContext|securityContext|behavior)$"
)
"""Maps whose keys are the user's, or Kubernetes'."""

_KINDS: dict[str, dict[str, Any]] = {
    "migrations.resource.spec": migrations.SPEC,
    "retention.policies": {"type": "object", "additionalProperties": {**retention.SPEC, "nullable": True}},
    "alerts.presets": alerts.SPEC["properties"]["presets"],
    "alerts.spec": alerts.SPEC,
}
"""Values that become fields of the operator's kinds."""
_KEPT = (
    "type",
    "enum",
    "pattern",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "maxProperties",
)

_AT_LEAST_ONE = ("minReplicas", "maxReplicas", "jobsPerPod", "messagesPerPod")
"""Scaling to none is nobody's: Redis' lists would not bring a worker back."""


@dataclass(frozen=True)
class Pages:
    """What is made from one chart's values."""

    chart: Path
    settings: Mapping[str, type[Any]]
    """The settings that a map of values takes, by its path."""
    text: str
    """The README around the table of values."""

    def values(self) -> dict[str, Any]:
        """The chart's values.yaml."""
        values: dict[str, Any] = yaml.safe_load((self.chart / "values.yaml").read_text(encoding="utf-8"))
        return values

    def schema(self) -> dict[str, Any]:
        """The schema of values.yaml."""
        return {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "title": f"Values of the chart {self.chart.name}",
            **self.node(self.values(), ""),
        }

    def node(self, value: Any, path: str) -> dict[str, Any]:  # noqa: PLR0911 - one line for each kind of value
        """The schema of a value."""
        if path in _ENUMS:
            return {"enum": _ENUMS[path]}
        if path in _KINDS:
            return fields_of(_KINDS[path], nullable=path == "alerts.presets")
        if path in self.settings:
            return self.config(path)
        if path.endswith("maxUnavailable"):
            return {"type": ["integer", "string"]}
        if isinstance(value, bool):
            return {"type": "boolean"}
        if isinstance(value, int):
            return {"type": "integer", "minimum": int(path.endswith(_AT_LEAST_ONE))}
        if isinstance(value, str):
            is_digest = path.endswith("digest")
            return {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"} if is_digest else dict(_TEXT)
        if isinstance(value, list):
            return {"type": "array"}
        if _OPEN.search(path):
            return dict(_FREE)
        properties = {key: self.node(each, f"{path}.{key}" if path else key) for key, each in value.items()}
        return {"type": "object", "additionalProperties": False, "properties": properties}

    def config(self, path: str) -> dict[str, Any]:
        """The schema of the settings at a path."""
        kinds = ["string", "number", "boolean", "null"]
        shared = SHARED if path in {"config.api", "config.persistence"} else frozenset[str]()
        left_out = SECRETS | OWNED | shared
        known = {env: {"type": kinds, "description": doc} for env, doc in settings_of(self.settings[path], left_out)}
        return {"type": "object", "additionalProperties": False, "properties": known}

    def described(self) -> Iterator[tuple[str, str, str]]:
        """Path, default and meaning of each value, in the file's order; a map in one line describes itself."""
        path: list[str] = []
        doc: list[str] = []
        for line in (self.chart / "values.yaml").read_text(encoding="utf-8").splitlines():
            comment = re.fullmatch(r"\s*# (?:-- )?(.*)", line)
            if comment:
                doc = [comment[1]] if "# -- " in line else [*doc, comment[1]] if doc else []
                continue
            entry = re.fullmatch(r"( *)([\w-]+):(?: (.*))?", line)
            if entry:
                depth = len(entry[1]) // 2
                path = [*path[:depth], entry[2]]
                if entry[3] or doc:
                    yield ".".join(path), entry[3] or "see values.yaml", " ".join(doc)
            doc = []

    def readme(self) -> str:
        """The chart's README."""
        rows = "\n".join(f"| `{path}` | `{value}` | {doc} |" for path, value, doc in self.described())
        return self.text.replace("@VALUES@", rows.replace("\\", "\\\\"))

    def write(self) -> None:
        """Both files."""
        schema = json.dumps(self.schema(), indent=2, ensure_ascii=False) + "\n"
        (self.chart / "values.schema.json").write_text(schema, encoding="utf-8")
        (self.chart / "README.md").write_text(self.readme(), encoding="utf-8")


def settings_of(declared: type[Any], left_out: Collection[str] = SECRETS | OWNED) -> Iterator[tuple[str, str]]:
    """The settings that are values, with their meaning."""
    for _, each in declarations(declared):
        if each.env not in left_out:
            yield each.env, each.doc


def fields_of(schema: Mapping[str, Any], *, nullable: bool = False, whole: bool = False) -> dict[str, Any]:
    """What a kind knows as values: no other field, and none that must be there, since the chart has others to add.

    Args:
        schema: a part of the kind's definition.
        nullable: whether each field may be null, which leaves it out.
        whole: whether it is an item of a list, to which nothing is added.
    """
    known = {key: schema[key] for key in _KEPT if key in schema}
    if schema.get("x-kubernetes-int-or-string"):
        known["type"] = ["integer", "string"]
    if schema.get("nullable"):
        known["type"] = [known["type"], "null"]
    if "properties" in schema:
        fields = {name: {**each, "nullable": nullable} for name, each in schema["properties"].items()}
        known |= {
            "additionalProperties": False,
            "properties": {name: fields_of(each, whole=whole) for name, each in fields.items()},
        }
        if whole and "required" in schema:
            known["required"] = schema["required"]
    elif "additionalProperties" in schema:
        known["additionalProperties"] = fields_of(schema["additionalProperties"])
    if "items" in schema:
        known["items"] = fields_of(schema["items"], whole=True)
    return known


class ApplicationPages(Pages):
    """Those of the chart coursegen, whose queues are a map of the user's own."""

    def values(self) -> dict[str, Any]:
        """The chart's values.yaml without the queues: their schema is no list of names."""
        values = super().values()
        values["stageWorker"].pop("queues")
        return values

    def schema(self) -> dict[str, Any]:
        """The schema of values.yaml."""
        root = super().schema()
        worker = root["properties"]["stageWorker"]["properties"]
        own = {
            "type": ["object", "null"],
            "additionalProperties": False,
            "properties": {**worker, "config": self.config("config.worker")},
        }
        both = {
            "properties": {
                kind: {"properties": {"enabled": {"const": True}}, "required": ["enabled"]}
                for kind in ("autoscaling", "keda")
            }
        }
        forbidden = {"not": {**both, "required": ["autoscaling", "keda"]}}
        root["properties"]["stageWorker"] |= {
            **forbidden,
            "properties": {
                **worker,
                "queues": {
                    "type": "object",
                    "minProperties": 1,
                    "propertyNames": {"pattern": "^[a-z]([-a-z0-9]{0,13}[a-z0-9])?$"},
                    "additionalProperties": {"$ref": "#/definitions/queue"},
                },
            },
        }
        root["properties"]["persistenceWorker"] |= forbidden
        alone = {"properties": {"leaderElection": {"properties": {"mode": {"const": "none"}}, "required": ["mode"]}}}
        root["allOf"] = [
            {
                "if": {**alone, "required": ["leaderElection"]},
                "then": {"properties": {"outboxRelay": {"properties": {"replicaCount": {"maximum": 1}}}}},
            }
        ]
        return {**root, "definitions": {"queue": {**own, **forbidden}}}


_README = """# coursegen

The api, the outbox-relay, one Deployment of stage-workers for each queue, the persistence-workers, and what migrates the
database: a resource for the operator, or a Job. This file is made from values.yaml by `scripts/chart_pages.py`.

## Try it

PostgreSQL and Redis come along, with passwords made at install; nothing is backed up. With these values pods ask for 4.8 GiB of
memory and take at most 6.3 GiB; with the chart's own, which are for production, they ask for 10.2 GiB.

```bash
helm install coursegen charts/coursegen --namespace coursegen --create-namespace -f charts/coursegen/ci/dev-values.yaml
kubectl -n coursegen wait deployment -l app.kubernetes.io/instance=coursegen --for=condition=Available --timeout=15m
helm test coursegen --namespace coursegen --logs
```

## Install it

1. The operator, once per cluster: it migrates, removes old rows and writes alerting rules. Without it set `migrations.mode: job`;
   then a Job of the release migrates, and the rest is yours to do.
2. Two logins to one PostgreSQL: its owner, who migrates, and `coursegen_app`, as whom the processes connect.
   The owner must be able to create roles, since the first migration does: `ALTER ROLE owner CREATEROLE`, unless it is a
   superuser. The other login is the owner's to make, in psql, before anything is installed:
   `CREATE ROLE coursegen_app LOGIN;`, then `\\password coursegen_app`, which asks for the password and shows the server only its
   hash, so that no log has it. The migration leaves the login as it is; one that it had to make itself would have no password,
   and no process would get in.
3. Their addresses, Redis' and the tokens' secret as Secrets of yours, from files with one line each (arguments of a command can
   be read by others). Remove the files afterwards:

```bash
helm upgrade --install coursegen-operator charts/coursegen-operator --namespace coursegen-system --create-namespace --wait
kubectl create namespace courses
kubectl -n courses create secret generic coursegen-database --from-env-file=database.env      # DATABASE_URL=postgresql://coursegen_app:…@host:5432/courses
kubectl -n courses create secret generic coursegen-database-owner --from-env-file=owner.env   # DATABASE_URL=postgresql://owner:…@host:5432/courses
kubectl -n courses create secret generic coursegen-redis --from-env-file=redis.env            # REDIS_URL=redis://:…@host:6379/0
kubectl -n courses create secret generic coursegen-jwt --from-env-file=tokens.env             # JWT_SECRET=…
helm install coursegen charts/coursegen --namespace courses -f charts/coursegen/ci/minimal-values.yaml
kubectl -n courses wait dbm/main --for=condition=Ready --timeout=10m  # why not: kubectl -n courses describe dbm main
```

Without the operator the first line falls away and the last two are:

```bash
helm install coursegen charts/coursegen --namespace courses -f charts/coursegen/ci/minimal-values.yaml --set migrations.mode=job
kubectl -n courses wait job -l app.kubernetes.io/component=migrate --for=condition=Complete --timeout=10m
```

`examples/` has the values for CloudNativePG, and for a Redis that Sentinel watches and a proxy stands before.

- **Migrations** are the operator's: the release has a DatabaseMigration, `main`, and `kubectl describe dbm main` says how it
  stands and what to do ([OPERATOR.md](../../docs/OPERATOR.md)). Where the operator's kinds are missing `helm install` and
  `helm upgrade` refuse. What renders both charts before it applies either (Argo CD with two sources, the first `helmfile apply`,
  `helm diff`) would be refused, too: set `migrations.requireKinds: false`, and apply the operator's chart first.
  With `migrations.mode: job` they run as a Job whose name says what it runs, so that another image is
  another Job; there is no hook. When it has failed, `kubectl logs job/…` says why and what to do. Values of `migrations` or
  `database.migrations` that are corrected make another Job at `helm upgrade`; where only the Secret was wrong, any new text as
  `migrations.rerun` does. Either way pods wait until the schema is there, alive and not Ready, and the pods before them go on.
- **Messages** go through a stream in Redis and are written by the persistence-workers, which share its partitions. A message
  is as safe as that Redis until it has its row: have it append with `appendfsync always`, or set
  `config.api.MESSAGES_DURABILITY: postgres`. `kubectl scale deployment/coursegen-persistence-worker --replicas=0` leaves
  messages in the stream and loses none; `persistenceWorker.enabled: false` does without the stream.
  [MESSAGES.md](../../docs/MESSAGES.md) has the steps of a roll-out.
- **Upgrade and rollback**: `helm upgrade`, `helm rollback`. Old pods leave only when new ones are Ready, and orders are taken
  all the while. PostgreSQL and Redis of `dev.enabled` restart only when their own pods change, and with PostgreSQL away
  orders fail.
- **Secrets** that you change are read at the next start:
  `kubectl rollout restart deployment -l app.kubernetes.io/instance=coursegen`. [SECRETS.md](../../docs/SECRETS.md) says how to
  change each without a failed request.
- **Uninstall**: `helm uninstall coursegen`. With `dev.enabled` the volume claim of PostgreSQL goes with its StatefulSet, and the
  data with it. What Helm did not install stays: your Secrets, the relays' Lease
  (`kubectl delete lease coursegen-outbox-relay`), the pods of the last `helm test`, for their logs, and the tools pod of the
  checklist with its NetworkPolicy (`kubectl delete pod,networkpolicy -l app.kubernetes.io/instance=coursegen`).
  `kubectl delete namespace` takes all of it.
  What becomes of a volume whose claim is gone, its `reclaimPolicy` says.
- **Pods**: restricted, as user 10001, nothing to write but `/tmp`, no token but the relays' with a Lease and that of
  the test that reads the resources. PostgreSQL and Redis of `dev.enabled` run as user 999, as their official images want it.
- **Network**: with `networkPolicy.enabled` only the paths that are needed are open; name your clients in `networkPolicy.apiFrom`
  and your Prometheus in `networkPolicy.metricsFrom`. The relay's way to the API server is open to every address until
  `networkPolicy.kubernetesApi.to` names it, since no chart knows it.
- **Scaling by CPU** (`autoscaling`) needs a metrics API such as metrics-server; **by waiting jobs or messages**
  (`stageWorker.keda`, `persistenceWorker.keda`) it needs KEDA, which must reach Redis. The number of pods is then theirs:
  upgrades leave it alone. Kubernetes goes back to one pod when a number that Helm has set is left out, so before you turn it
  on under load, with Helm 4, scale by hand to another number: `kubectl scale deployment/coursegen-api --replicas=3`. To turn
  it off: `helm upgrade --force-conflicts`.
- **Scaling by hand**: `kubectl scale`. A Deployment that was scaled to 0, and from there to any number, the next upgrade puts
  back to its values. Any other number Helm 4 refuses until the values say the same (a conflict on `.spec.replicas`: Kubernetes
  notes who set a number, not who set none): scale back first, or `--force-conflicts`. Helm 3 returns to the values unasked.
- Helm 3 and 4; Kubernetes 1.31 or newer; a namespace that enforces the restricted Pod Security Standard.

## Values

Settings under `config` bear the names of [docs/SETTINGS.md](../../docs/SETTINGS.md); the schema knows them and refuses others.

| value | default | meaning |
|---|---|---|
@VALUES@
"""

_OPERATOR_README = """# coursegen-operator

The operator of coursegen and its three kinds: **DatabaseMigration** brings a database up to date and watches that it stays as
it was made, **RetentionPolicy** removes what is no longer needed, **AlertPolicy** writes alerting rules and says whether a
Prometheus has loaded them. The chart coursegen brings the resources; this one comes first, once per cluster.
[OPERATOR.md](../../docs/OPERATOR.md) shows how to work with the kinds. This file is made from values.yaml by
`scripts/chart_pages.py`.

## Install it

```bash
helm install coursegen-operator charts/coursegen-operator --namespace coursegen-system --create-namespace --wait
kubectl explain databasemigration.spec
```

- **Two pods**, one of which reconciles; who, the Lease says: `kubectl -n coursegen-system get lease`. Both are Ready.
- **Without rights over the cluster**: `--set scope=namespaced --set watchNamespaces={courses}` makes one Role in each namespace
  and no ClusterRole. The three kinds belong to the cluster whoever installs them; with `crds.enabled=false` an administrator
  does: `kubectl apply --server-side -f charts/coursegen-operator/files/crds`.
- **It reads no Secret.** Jobs mount the database's address by the name that a resource gives.
- **Upgrade**: `helm upgrade`; the kinds are upgraded with it. Jobs that run go on, and the next pod takes their result.
- **Uninstall**, in any order: nothing waits for a finalizer, since there is none. The kinds and every resource of theirs stay
  (`crds.keep`); to remove them: `kubectl delete crd databasemigrations.ops.coursegen.dev retentionpolicies.ops.coursegen.dev
  alertpolicies.ops.coursegen.dev`. Installed anew it takes up what is there; kinds that `kubectl apply` has brought it takes over
  with `helm install --take-ownership` (Helm 3.17 or newer).
- **Prometheus Operator** is not needed; without it an AlertPolicy says so and holds nothing up.
- Helm 3 and 4; Kubernetes 1.31 or newer; a namespace that enforces the restricted Pod Security Standard.

## Values

Settings under `config` bear the names of [docs/SETTINGS.md](../../docs/SETTINGS.md); the schema knows them and refuses others.

| value | default | meaning |
|---|---|---|
@VALUES@
"""

APPLICATION = ApplicationPages(CHARTS / "coursegen", SETTINGS, _README)
OPERATOR = Pages(CHARTS / "coursegen-operator", {"config": OperatorSettings}, _OPERATOR_README)


def main() -> None:
    """Write the pages of both charts."""
    for pages in (APPLICATION, OPERATOR):
        pages.write()


if __name__ == "__main__":
    main()
