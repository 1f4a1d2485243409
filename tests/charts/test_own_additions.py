"""What users add to the chart's objects, and what makes pods start anew."""

from __future__ import annotations

import json
from collections.abc import Callable
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.charts.conftest import Object, Render
from tests.charts.objects import of_kind

Attempt = Callable[..., CompletedProcess[str]]

_ADDED = {
    "extraEnv": '[{"name":"MORE","value":"1"}]',
    "extraEnvFrom": '[{"configMapRef":{"name":"more"}}]',
    "extraVolumes": '[{"name":"more","emptyDir":{}}]',
    "extraVolumeMounts": '[{"name":"more","mountPath":"/more"}]',
    "extraContainers": '[{"name":"more","image":"more:1"}]',
    "podLabels": '{"more":"label"}',
    "podAnnotations": '{"more":"annotation"}',
    "nodeSelector": '{"more":"node"}',
    "tolerations": '[{"key":"more","operator":"Exists"}]',
    "affinity": '{"nodeAffinity":{}}',
    "priorityClassName": "more",
    "runtimeClassName": "more",
}
_PART_OF = {
    "outboxRelay": "outbox-relay",
    "stageWorker": "worker-analysis",
    "persistenceWorker": "persistence-worker",
    "api": "api",
    "migrations": "migrate",
}


def _template(objects: list[Object], component: str) -> dict[str, Any]:
    for each in objects:
        if (
            each["kind"] in {"Deployment", "Job"}
            and each["metadata"]["labels"]["app.kubernetes.io/component"] == component
        ):
            found: dict[str, Any] = each["spec"]["template"]
            return found
    raise AssertionError(component)


@pytest.mark.parametrize("part", _PART_OF)
def test_further_things_reach_every_pod(render: Render, part: str) -> None:
    """Variables, volumes, containers, labels, annotations, and where pods run."""
    wanted = {key: value for key, value in _ADDED.items() if (part, key) != ("migrations", "extraContainers")}
    sets = ("migrations.mode=job", *(f"{part}.{key}={value}" for key, value in wanted.items()))
    template = _template(render("minimal", *sets), _PART_OF[part])
    pod, container = template["spec"], template["spec"]["containers"][0]

    assert container["env"][-1] == {"name": "MORE", "value": "1"}
    assert container["envFrom"][-1] == {"configMapRef": {"name": "more"}}
    assert container["volumeMounts"][-1] == {"name": "more", "mountPath": "/more"}
    assert pod["volumes"][-1] == {"name": "more", "emptyDir": {}}
    assert len(pod["containers"]) == 1 or pod["containers"][1:] == [{"name": "more", "image": "more:1"}]
    assert (len(pod["containers"]) == 1) == (part == "migrations")
    assert template["metadata"]["labels"]["more"] == "label"
    assert template["metadata"]["annotations"]["more"] == "annotation"
    assert pod["nodeSelector"] == {"more": "node"}
    assert pod["tolerations"] == [{"key": "more", "operator": "Exists"}]
    assert pod["affinity"] == {"nodeAffinity": {}}
    assert (pod["priorityClassName"], pod["runtimeClassName"]) == ("more", "more")


def test_what_a_migration_by_the_operator_has_a_field_for_reaches_it(render: Render) -> None:
    """Labels of its pods beside the chart's own, where they run, and how long a statement may take."""
    sets = (
        *(f"migrations.{key}={_ADDED[key]}" for key in ("podLabels", "nodeSelector", "tolerations")),
        "config.migrate.MIGRATE_LOCK_SECONDS=7",
        "config.migrate.MIGRATE_STATEMENT_SECONDS=0.5",
        'migrations.resource.spec={"policy":{"destructive":"Allow"}}',
    )
    spec = of_kind(render("minimal", *sets), "DatabaseMigration")["main"]["spec"]
    plain = of_kind(render("minimal"), "DatabaseMigration")["main"]["spec"]

    assert spec["job"]["podLabels"] == {**plain["job"]["podLabels"], "more": "label"}
    assert plain["job"]["podLabels"]["app.kubernetes.io/component"] == "migrate"
    assert spec["job"]["nodeSelector"] == {"more": "node"}
    assert spec["job"]["tolerations"] == [{"key": "more", "operator": "Exists"}]
    assert spec["policy"] == {"lockTimeoutSeconds": 7, "statementTimeoutSeconds": 1, "destructive": "Allow"}
    assert "policy" not in plain


def test_a_rerun_by_the_operator_is_an_annotation(render: Render) -> None:
    """Another text, another round; beside annotations of one's own."""
    sets = ("migrations.rerun=after level 4", 'migrations.resource.annotations={"more":"annotation"}')
    plain, again = (of_kind(render("minimal", *each), "DatabaseMigration")["main"] for each in ((), sets))

    assert "annotations" not in plain["metadata"]
    assert again["metadata"]["annotations"] == {
        "more": "annotation",
        "ops.coursegen.dev/reconcile-at": "after level 4",
    }
    assert again["spec"] == plain["spec"]


def test_common_labels_and_annotations_are_everywhere(render: Render) -> None:
    """On objects and on pods; selectors stay as they are."""
    objects = [each for each in render("servicemonitor") if each["metadata"]["name"] not in {"more", "cg-text"}]

    for each in objects:
        assert each["metadata"]["labels"]["team"] == "learning", each["metadata"]["name"]
        assert each["metadata"]["annotations"]["owner"] == "learning", each["metadata"]["name"]
    for deployment in of_kind(objects, "Deployment").values():
        assert deployment["spec"]["template"]["metadata"]["labels"]["team"] == "learning"
        assert "team" not in deployment["spec"]["selector"]["matchLabels"]


@pytest.mark.parametrize(
    "value", ["commonLabels", "stageWorker.queues.analysis.podLabels", *(f"{each}.podLabels" for each in _PART_OF)]
)
def test_labels_of_the_charts_own_are_refused(render: Render, attempt: Attempt, value: str) -> None:
    """A key that is there twice is an error of YAML, far from the value that has made it."""
    own = _template(render("minimal"), "api")["metadata"]["labels"]
    done = attempt("minimal", f"{value}={json.dumps(dict.fromkeys(own, 'mine'))}")

    assert done.returncode != 0
    assert [key for key in own if f"{value}: {key} is a label of the chart's own" not in done.stderr] == []
    assert render("minimal", f'{value}={{"app.kubernetes.io/created-by":"me"}}')


def test_a_label_is_named_once(render: Render, attempt: Attempt) -> None:
    """For all objects or for pods of a part: both would be the same key twice."""
    done = attempt("minimal", "commonLabels.team=a", "api.podLabels.team=b")

    assert done.returncode != 0
    assert "api.podLabels: team is in commonLabels too" in done.stderr
    assert render("minimal", "commonLabels.team=a", "api.podLabels.tier=b")


def test_further_objects_are_templates(render: Render) -> None:
    """As YAML or as text."""
    made = of_kind(render("servicemonitor"), "ConfigMap")

    assert made["more"]["metadata"]["namespace"] == "elsewhere"
    assert "cg-text" in made


def test_pods_start_anew_for_other_settings_and_secrets(render: Render) -> None:
    """Each has its checksum in the pod's annotations; the same values give the same."""

    def sums(*sets: str) -> tuple[str, str]:
        annotations = _template(render("servicemonitor", *sets), "api")["metadata"]["annotations"]
        return annotations["checksum/config"], annotations["checksum/secret"]

    config, secret = sums()
    assert sums("config.api.PUBLIC_URL=https://other.example.org")[0] != config
    assert sums("config.api.PUBLIC_URL=https://other.example.org")[1] == secret
    assert sums("redis.url=redis://other:6379/0") != (config, secret)
    assert sums("redis.url=redis://other:6379/0")[0] == config


_SECRETS = {
    "database": "DATABASE_URL", "redis": "REDIS_URL", "auth.jwtSecret": "JWT_SECRET",
    "webhooks.encryptionKeys": "WEBHOOK_ENCRYPTION_KEYS", "engine.openaiApiKey": "OPENAI_API_KEY",
    "objectStore.accessKeyId": "OBJECT_STORE_ACCESS_KEY_ID", "objectStore.secretAccessKey": "OBJECT_STORE_SECRET_ACCESS_KEY",
    "database.migrations": "DATABASE_URL",
}  # fmt: skip


@pytest.mark.parametrize("value", _SECRETS)
def test_every_secret_may_be_yours(render: Render, value: str) -> None:
    """By the name of a Secret and the key in it, in each process that takes it."""
    objects = render("dev", f"{value}.existingSecret=mine", f"{value}.key=its-key")
    references = [
        variable["valueFrom"]["secretKeyRef"]
        for component in ("api", "outbox-relay", "worker-analysis", "persistence-worker", "migrate")
        for variable in _template(objects, component)["spec"]["containers"][0]["env"]
        if variable["name"] == _SECRETS[value] and variable["valueFrom"]["secretKeyRef"]["name"] == "mine"
    ]

    assert references
    assert all(each == {"name": "mine", "key": "its-key"} for each in references)
