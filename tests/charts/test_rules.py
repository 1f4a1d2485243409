"""What every object of the chart has, whatever the values."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from subprocess import CompletedProcess
from typing import NamedTuple

import pytest

from services.api import server
from services.api.settings import ApiSettings
from services.kernel import lifecycle
from services.kernel.queue import worker
from services.kernel.settings import CommonSettings, declarations
from services.outbox_relay.settings import RelaySettings
from services.persistence_worker.settings import PersistenceSettings
from services.stage_worker.settings import WorkerSettings
from tests.charts.conftest import CHART, Render, values_files
from tests.charts.objects import Object, of_kind, pods, settings
from tests.charts.standards import assert_labelled, assert_memory_is_reserved, assert_restricted, assert_spread

_JOB = "migrations.mode=job"
_PROCESSES: dict[str, type[CommonSettings]] = {
    "api": ApiSettings,
    "outbox-relay": RelaySettings,
    "stage-worker": WorkerSettings,
    "persistence-worker": PersistenceSettings,
}
_LONGEST_END = 28.0
"""Seconds that a process may take to its exit (reliability.md R11)."""
_ALL = pytest.mark.parametrize("file", values_files(), ids=lambda each: each.stem)


@_ALL
def test_pods_are_restricted(render: Render, file: Path) -> None:
    """The restricted standard, a root that cannot be written, and no token but of the relay that has a Lease."""
    objects = render(file)
    for name, pod in pods(objects):
        assert_restricted(name, pod, token=_elects_by_lease(objects, name))
        if file.stem != "dev-values":
            assert_memory_is_reserved(name, pod)


def _elects_by_lease(objects: list[Object], name: str) -> bool:
    return name.endswith("outbox-relay") and settings(objects, name)["RELAY_ELECTION"] == "lease"


@_ALL
def test_a_test_pod_has_a_token_of_ten_minutes_or_none(render: Render, file: Path) -> None:
    """The one that asks for the release's resources, when there are any: of its pod alone. No other pod is given one so."""
    objects = render(file)
    projected = {name: found for name, pod in pods(objects) if (found := _projected_tokens(pod))}
    asking = {name for name, _ in pods(objects) if name.endswith("test-resources")}

    assert projected.keys() == asking
    assert bool(asking) == (any(each["kind"] == "DatabaseMigration" for each in objects) and _has_tests(objects))
    for tokens in projected.values():
        assert tokens == [{"path": "token", "expirationSeconds": 600}]  # the shortest that Kubernetes gives


def _projected_tokens(pod: Object) -> list[Object]:
    return [
        source["serviceAccountToken"]
        for volume in pod.get("volumes", [])
        for source in volume.get("projected", {}).get("sources", [])
        if "serviceAccountToken" in source
    ]


def _has_tests(objects: list[Object]) -> bool:
    return any(name.endswith("-test-health") for name, _ in pods(objects))


@_ALL
def test_objects_bear_the_labels_and_a_namespace(render: Render, file: Path) -> None:
    """The recommended ones; names of at most 63 characters; selectors of three labels that never change."""
    for each in render(file):
        if each["metadata"]["name"] not in {"more", "cg-text"}:  # the user's own
            assert_labelled(each, {"courses", "elsewhere"})


def test_processes_are_spread_over_hosts(render: Render) -> None:
    """Unless values say otherwise."""
    found = of_kind(render("minimal"), "Deployment").values()

    assert len(found) == 7
    for each in found:
        assert_spread(each)


def test_long_names_stay_short(render: Render) -> None:
    """A full name of any length leaves room for the component's."""
    objects = render("ha", f"fullnameOverride={'x' * 60}")

    assert max(len(each["metadata"]["name"]) for each in objects) <= 63


@_ALL
def test_the_three_probes_differ(render: Render, file: Path) -> None:
    """Startup is patient, liveness asks the process only, readiness asks for database and queue."""
    for name, deployment in of_kind(render(file), "Deployment").items():
        container = deployment["spec"]["template"]["spec"]["containers"][0]
        if container["name"] not in _PROCESSES:
            continue
        startup, live, ready = (container[f"{each}Probe"] for each in ("startup", "liveness", "readiness"))
        assert (live["httpGet"]["path"], ready["httpGet"]["path"]) == ("/livez", "/readyz"), name
        assert startup != live != ready, name
        assert startup["periodSeconds"] * startup["failureThreshold"] >= 120, name


@_ALL
def test_the_end_fits_into_the_grace_period(render: Render, file: Path) -> None:
    """The sleep of preStop + the drain that the process itself knows + its closing < terminationGracePeriodSeconds."""
    objects = render(file)
    for name, deployment in of_kind(objects, "Deployment").items():
        pod = deployment["spec"]["template"]["spec"]
        container = pod["containers"][0]
        if container["name"] not in _PROCESSES:
            continue
        end = _end(container, settings(objects, name))
        assert sum(end) < pod["terminationGracePeriodSeconds"], name
        assert sum(end) <= _LONGEST_END, name
        assert end.before >= 5 or container["name"] != "api"


def test_the_drain_leaves_room_for_what_happens_in_it(render: Render) -> None:
    """Telling busy clients to go elsewhere, and giving unfinished jobs back, are parts of the drain; work comes first."""
    objects = render("minimal")
    for name, share in (("api", server.LAME_DUCK_SECONDS), ("worker-documents", worker.GIVE_BACK_SECONDS)):
        drain = float(settings(objects, f"cg-coursegen-{name}")["DRAIN_SECONDS"])
        assert share <= drain / 4, name


@pytest.mark.parametrize(
    ("value", "before"),
    [("api", 5), ("outboxRelay", 0), ("stageWorker", 0), ("stageWorker.queues.documents", 0), ("persistenceWorker", 0)],
)
def test_a_grace_period_without_room_is_refused(
    attempt: Callable[..., CompletedProcess[str]], value: str, before: int
) -> None:
    """The chart reckons with the closing time of the processes; one second more, and it is taken."""
    drain = 40
    least = before + drain + math.ceil(lifecycle.CLOSE_SECONDS)

    tight, roomy = (
        attempt("minimal", f"{value}.drainSeconds={drain}", f"{value}.terminationGracePeriodSeconds={grace}")
        for grace in (least, least + 1)
    )

    assert tight.returncode != 0
    assert "terminationGracePeriodSeconds: must be more than preStopSeconds" in tight.stderr
    assert roomy.returncode == 0, roomy.stderr


def test_the_development_postgresql_ends_within_its_grace(render: Render) -> None:
    """A stop that waits for its checkpoint, and not for SIGKILL."""
    (stateful,) = of_kind(render("dev"), "StatefulSet").values()
    pod = stateful["spec"]["template"]["spec"]
    stop = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]

    assert int(stop[stop.index("-t") + 1]) < pod["terminationGracePeriodSeconds"]


def test_the_secret_before_may_be_put_beside_at_any_time(render: Render) -> None:
    """Rotating the secret of tokens is a change of the Secret alone: what is not there yet keeps no pod from starting."""
    found = {}
    for file, sets in (
        ("minimal", []),
        ("dev", []),
        ("minimal", ["auth.jwtSecret.previousKey="]),
        ("servicemonitor", []),
    ):
        (api,) = (each for name, each in of_kind(render(file, *sets), "Deployment").items() if name.endswith("-api"))
        variables = {each["name"]: each for each in api["spec"]["template"]["spec"]["containers"][0]["env"]}
        found[(file, *sets)] = variables.get("JWT_SECRET_PREVIOUS", {}).get("valueFrom", {}).get("secretKeyRef")

    assert list(found.values()) == [
        {"name": "coursegen-jwt", "key": "JWT_SECRET_PREVIOUS", "optional": True},
        {"name": "cg-coursegen-dev", "key": "jwt-secret-previous", "optional": True},
        None,
        None,
    ]


def test_processes_wait_at_their_start_as_long_as_a_migration_may_take(render: Render) -> None:
    """A pod that gave up earlier would be restarted for nothing; whoever names a time gets his own."""
    objects = render("minimal", "migrations.activeDeadlineSeconds=7200", "config.worker.START_WAIT_SECONDS=5")

    assert settings(objects, "cg-coursegen-api")["START_WAIT_SECONDS"] == "7200"
    assert settings(objects, "cg-coursegen-outbox-relay")["START_WAIT_SECONDS"] == "7200"
    assert settings(objects, "cg-coursegen-worker-documents")["START_WAIT_SECONDS"] == "5"
    longest = render("minimal", "migrations.activeDeadlineSeconds=1000000")
    most = dict(declarations(CommonSettings))["start_wait_seconds"].maximum
    assert float(settings(longest, "cg-coursegen-api")["START_WAIT_SECONDS"]) == most


def test_a_rollout_is_given_up_after_the_migration_it_waits_for(render: Render) -> None:
    """Both kstatus and `helm --wait` take a Deployment whose progress is overdue for failed: not before its pods have waited."""
    for seconds, deadline in (("7200", 7800), ("1000000", 87_000)):
        objects = render("minimal", f"migrations.activeDeadlineSeconds={seconds}")
        found = {name: each["spec"] for name, each in of_kind(objects, "Deployment").items()}
        assert {"cg-coursegen-api", "cg-coursegen-persistence-worker"} <= found.keys()
        assert {name: each["progressDeadlineSeconds"] for name, each in found.items()} == dict.fromkeys(found, deadline)


@pytest.mark.parametrize(("sets", "seconds"), [((), "600"), (("config.migrate.MIGRATE_CONNECT_SECONDS=7",), "7")])
def test_the_migration_waits_for_its_server(render: Render, sets: tuple[str, ...], seconds: str) -> None:
    """Ten minutes, in one try of the Job's and within its deadline, unless somebody says otherwise."""
    job = next(iter(of_kind(render("minimal", _JOB, *sets), "Job").values()))["spec"]
    variables = {each["name"]: each.get("value") for each in job["template"]["spec"]["containers"][0]["env"]}

    assert variables["MIGRATE_CONNECT_SECONDS"] == seconds
    assert float(seconds) < job["activeDeadlineSeconds"]


def test_a_migration_that_failed_keeps_its_log(render: Render) -> None:
    """Each try leaves its pod; all pauses, which Kubernetes doubles from 10 s to 6 min, are as long as one try waits."""
    job = next(iter(of_kind(render("minimal", _JOB), "Job").values()))["spec"]
    variables = {each["name"]: each.get("value") for each in job["template"]["spec"]["containers"][0]["env"]}
    pauses = sum(min(10 * 2**each, 360) for each in range(job["backoffLimit"]))

    assert job["template"]["spec"]["restartPolicy"] == "Never"
    assert float(variables["MIGRATE_CONNECT_SECONDS"]) <= pauses < job["activeDeadlineSeconds"] / 4


def test_settings_are_plain_text(render: Render) -> None:
    """Large numbers keep their digits, switches are words, and each part gets its own."""
    objects = render("servicemonitor")

    api = settings(objects, "courses-api")
    assert (api["MAX_UPLOAD_BYTES"], api["JWT_LEEWAY_SECONDS"], api["ACCESS_LOG"]) == ("104857600", "0.5", "true")
    assert api["LOG_LEVEL"] == settings(objects, "courses-outbox-relay")["LOG_LEVEL"] == "debug"
    assert "MAX_UPLOAD_BYTES" not in settings(objects, "courses-outbox-relay")
    assert settings(objects, "courses-worker-documents")["STAGE_WORKER_QUEUES"] == "documents"
    assert "courses-worker-webhooks" not in of_kind(objects, "Deployment")


@_ALL
def test_every_object_but_tests_is_no_hook(render: Render, file: Path) -> None:
    """Only the pods of `helm test` are hooks."""
    for each in render(file):
        hook = each["metadata"].get("annotations", {}).get("helm.sh/hook")
        is_test = each["kind"] == "Pod" and "-test-" in each["metadata"]["name"]
        assert (hook == "test") == is_test, each["metadata"]["name"]


def test_postgresql_is_no_first_process(render: Render) -> None:
    """It takes the end of a child it does not know for a crash, and a first process is given the orphans of `kubectl exec`."""
    (stateful,) = of_kind(render("dev"), "StatefulSet").values()

    assert stateful["spec"]["template"]["spec"]["shareProcessNamespace"] is True


def test_another_image_is_another_job(render: Render) -> None:
    """A Job cannot be changed: its name says what it runs, and the same values give the same name."""
    names = [
        next(iter(of_kind(render("minimal", _JOB, *sets), "Job")))
        for sets in ((), (), ("image.tag=other",), ("migrations.rerun=a",))
    ]

    assert names[0] == names[1]
    assert len(set(names)) == 3


def test_images_by_digest_and_registry(render: Render) -> None:
    """Every image of ours may be named by digest, which follows the tag and wins; the global registry replaces the chart's."""
    digest = f"sha256:{'0' * 64}"
    parts = ("api", "outboxRelay", "stageWorker", "persistenceWorker", "migrations")
    objects = render(
        "ha", _JOB, "global.imageRegistry=mirror.example.org", *(f"{each}.image.digest={digest}" for each in parts)
    )

    images = {container["image"] for _, pod in pods(objects) for container in pod["containers"]}
    assert images == {
        f"mirror.example.org/coursegen/coursegen-{each}:0.1.0@{digest}"
        for each in ("api", "outbox-relay", "stage-worker", "persistence-worker", "migrate")
    }


def test_images_of_development_by_digest(render: Render) -> None:
    """PostgreSQL and Redis are named as a whole, a digest included."""
    name = f"registry.example.org/redis@sha256:{'0' * 64}"
    (redis,) = of_kind(render("dev", f"dev.redis.image={name}"), "Deployment")["cg-coursegen-redis"]["spec"][
        "template"
    ]["spec"]["containers"]

    assert redis["image"] == name


def test_every_pod_pulls_with_the_secrets(render: Render) -> None:
    """PostgreSQL and Redis of development too: a mirror of their images may be a private one."""
    found = {
        name: pod.get("imagePullSecrets")
        for name, pod in pods(render("dev", 'imagePullSecrets=["registry","mirror"]', "tools.enabled=true"))
    }

    assert {"cg-coursegen-postgresql", "cg-coursegen-redis", "cg-coursegen-tools"} <= found.keys()
    assert {
        name: secrets for name, secrets in found.items() if secrets != [{"name": "registry"}, {"name": "mirror"}]
    } == {}


def test_a_document_passes_the_ingress(render: Render) -> None:
    """Controllers take 1 MiB unless told otherwise: the largest document, and at most what a form may put around it."""
    (ingress,) = of_kind(render("ha"), "Ingress").values()
    size = ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-body-size"]
    largest = dict(declarations(ApiSettings))["max_upload_bytes"].default

    assert size.endswith("m")
    assert largest < int(size.removesuffix("m")) * 2**20 <= largest + 2**20


def test_budgets_where_more_than_one_runs(render: Render) -> None:
    """PodDisruptionBudgets, and no number of replicas where something scales."""
    objects = render("ha")
    budgets = of_kind(objects, "PodDisruptionBudget")
    scaled = of_kind(objects, "HorizontalPodAutoscaler").keys()

    assert {
        f"cg-coursegen-{each}" for each in ("api", "outbox-relay", "persistence-worker", "worker-generation")
    } <= budgets.keys()
    for budget in budgets.values():
        assert budget["spec"]["maxUnavailable"] == 1
        assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    assert of_kind(render("dev"), "PodDisruptionBudget") == {}
    assert scaled == {"cg-coursegen-api", "cg-coursegen-persistence-worker", "cg-coursegen-worker-generation"}
    for name, deployment in of_kind(objects, "Deployment").items():
        assert ("replicas" not in deployment["spec"]) == (name in scaled), name


@pytest.mark.parametrize(
    ("file", "sets", "says"),
    [
        ("minimal", ["leaderElection.mode=none"], "outboxRelay/replicaCount"),
        ("minimal", ["leaderElection.mode=raft"], "leaderElection/mode"),
        ("keda", ["stageWorker.autoscaling.enabled=true"], "stageWorker"),
        ("keda", ["stageWorker.queues.documents.autoscaling.enabled=true"], "autoscaling and keda"),
        ("keda", ["stageWorker.keda.redisAddress="], "stageWorker.queues.documents.keda.redisAddress"),
        ("keda", ["persistenceWorker.keda.redisAddress="], "persistenceWorker.keda.redisAddress"),
        ("keda", ["persistenceWorker.autoscaling.enabled=true"], "persistenceWorker"),
        ("keda", ["persistenceWorker.keda.messagesPerPod=0"], "messagesPerPod"),
        ("minimal", ["config.api.STREAM_PARTITIONS=8"], "STREAM_PARTITIONS"),
        ("minimal", ["config.persistence.REDIS_HOST=other"], "REDIS_HOST"),
        ("dev", ["dev.redis.appendfsync=no"], "appendfsync"),
        ("operator", ["config.api.MESSAGES_DURABILITY=redis"], "leaves messages in a stream that nobody empties"),
        ("keda", ["stageWorker.keda.minReplicas=0"], "minReplicas"),
        ("ha", ["api.autoscaling.maxReplicas=2"], "api.autoscaling.maxReplicas"),
        ("minimal", ["config.api.NO_SUCH_SETTING=1"], "NO_SUCH_SETTING"),
        ("minimal", ["config.api.JWT_SECRET=plain"], "JWT_SECRET"),
        ("minimal", ["api.replicas=3"], "replicas"),
        ("minimal", ["api.image.digest=latest"], "digest"),
        ("minimal", ["stageWorker.queues.documents.tmpsize=1Gi"], "tmpsize"),
        ("minimal", ["api.drainSeconds=25"], "terminationGracePeriodSeconds"),
        ("minimal", ["stageWorker.queues.documents.drainSeconds=60"], "terminationGracePeriodSeconds"),
        ("minimal", ["database.existingSecret="], "database.existingSecret"),
        ("minimal", ["auth.jwtSecret.existingSecret="], "auth.jwtSecret"),
        ("monitoring", ["metrics.serviceMonitor.enabled=true"], "podMonitor and serviceMonitor"),
        ("monitoring", ["metrics.podMonitor.interval=5s"], "podMonitor.scrapeTimeout: 10s is longer than interval, 5s"),
        (
            "monitoring",
            ["metrics.podMonitor.interval=1m", "metrics.podMonitor.scrapeTimeout=1m1s"],
            "1m1s is longer than interval, 1m,",
        ),
        ("monitoring", ["metrics.podMonitor.interval=soon"], "metrics.podMonitor.interval: soon is no duration"),
        (
            "minimal",
            ["metrics.serviceMonitor.enabled=true", "metrics.serviceMonitor.interval=9999ms"],
            "serviceMonitor.scrapeTimeout: 10s is longer than interval, 9999ms",
        ),
        ("operator", ["alerts.presets.outbox.lagSecond=1"], "lagSecond"),
        ("operator", ["alerts.presets.outboxes.enabled=true"], "outboxes"),
        ("operator", ["alerts.spec.keepFiringfor=0s"], "keepFiringfor"),
        ("operator", ["retention.policies.idempotency.schedul=daily"], "schedul"),
        ("operator", ['retention.policies.idempotency.rules=[{"name":"old","target":"IdempotencyKeys"}]'], "keep"),
        ("operator", ["migrations.resource.spec.aproval=Manual"], "aproval"),
        ("operator", ["migrations.resource.spec.retry.maxAttempts=many"], "maxAttempts"),
        ("minimal", ["ingress.enabled=true"], "ingress.hosts: name the hosts"),
        ("minimal", ["httpRoute.enabled=true"], "httpRoute.parentRefs: name the Gateway"),
        *(
            ("minimal", [f"migrations.{each}"], f"migrations.{each.partition('=')[0]}: only with migrations.mode: job")
            for each in (
                'extraEnv=[{"name":"MORE","value":"1"}]',
                'extraEnvFrom=[{"configMapRef":{"name":"more"}}]',
                'extraVolumes=[{"name":"more","emptyDir":{}}]',
                'extraVolumeMounts=[{"name":"more","mountPath":"/more"}]',
                'podAnnotations={"more":"annotation"}',
                'affinity={"nodeAffinity":{}}',
                "priorityClassName=more",
                "runtimeClassName=more",
                "backoffLimit=3",
            )
        ),
        ("minimal", ["config.migrate.MIGRATE_WAIT_SECONDS=9"], "MIGRATE_WAIT_SECONDS: only with migrations.mode: job"),
    ],
)
def test_what_cannot_work_is_refused(
    attempt: Callable[..., CompletedProcess[str]], file: str, sets: list[str], says: str
) -> None:
    """By the schema or by a sentence, either of which names the value."""
    done = attempt(file, *sets)

    assert done.returncode != 0
    assert says in done.stderr


def test_comments_say_which_values_of_migrations_one_mode_only_knows() -> None:
    """Those of the Job's are the ones that the chart refuses with the operator; the others are those of the resource."""
    values = (
        (CHART / "values.yaml")
        .read_text(encoding="utf-8")
        .partition("\nmigrations:\n")[2]
        .partition("\nretention:\n")[0]
    )
    said = {
        mode: set(re.findall(rf"# -- Only with `mode: {mode}`.*\n(?: +#.*\n)* +(\w+):", values))
        for mode in ("job", "operator")
    }
    checks = (CHART / "templates" / "_validate.tpl").read_text(encoding="utf-8").partition('mode "operator"')[2]
    listed = re.search(r"range \$each := list (.*?) -", checks)

    assert listed is not None
    assert said["job"] == {*re.findall(r'"(\w+)"', listed[1]), "backoffLimit"}
    assert said["operator"] == {"name", "annotations", "spec", "requireKinds"}


@pytest.mark.parametrize(
    "sets",
    [
        ["metrics.podMonitor.interval=10s"],
        ["metrics.podMonitor.interval=1m", "metrics.podMonitor.scrapeTimeout=59s"],
        ["metrics.podMonitor.interval=", "metrics.podMonitor.scrapeTimeout=1h"],
        ["metrics.podMonitor.enabled=false", "metrics.podMonitor.interval=1s"],
    ],
)
def test_an_interval_with_room_for_its_answer_passes(
    attempt: Callable[..., CompletedProcess[str]], sets: list[str]
) -> None:
    """As long as the timeout is enough, in whatever units; left empty, it is Prometheus' own."""
    assert attempt("monitoring", *sets).returncode == 0


class _End(NamedTuple):
    """How the end of a process goes by, in seconds."""

    before: float
    drain: float
    closing: float


def _end(container: Object, given: Mapping[str, str]) -> _End:
    before = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    drain = dict(declarations(_PROCESSES[container["name"]]))["drain_seconds"]
    return _End(before, float(given.get(drain.env, drain.default)), lifecycle.CLOSE_SECONDS)
