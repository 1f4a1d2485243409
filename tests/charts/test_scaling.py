"""Scaling looks at the lists that the queues really use."""

from __future__ import annotations

from services.kernel.messages import names
from services.kernel.messages.settings import StreamSettings
from services.kernel.queue.keys import QueueKeys
from services.kernel.settings import declarations
from services.stage_worker.settings import queue_name
from tests.charts.conftest import Render
from tests.charts.objects import of_kind


def test_keda_follows_every_list_of_a_queue(render: Render) -> None:
    """One trigger for each list in which a job can wait, and at least one worker always."""
    objects = render("keda", "stageWorker.keda.redisDatabase=2", "stageWorker.keda.redisTLS=true")
    scaled = of_kind(objects, "ScaledObject")

    for queue in ("documents", "analysis", "generation", "webhooks"):
        spec = scaled[f"cg-coursegen-worker-{queue}"]["spec"]
        lists = [each["metadata"]["listName"] for each in spec["triggers"]]
        assert sorted(lists) == sorted(QueueKeys(queue_name(queue)).lists)
        assert {each["metadata"]["databaseIndex"] for each in spec["triggers"]} == {"2"}
        assert {each["metadata"]["enableTLS"] for each in spec["triggers"]} == {"true"}
        assert spec["minReplicaCount"] == 1
        assert spec["fallback"]["behavior"] == "currentReplicasIfHigher"
        assert "replicas" not in of_kind(objects, "Deployment")[f"cg-coursegen-worker-{queue}"]["spec"]


def test_keda_follows_every_partition_of_the_stream(render: Render) -> None:
    """One trigger for each, in the database and for the group that the process itself uses."""
    scaled = of_kind(render("keda", "config.stream.STREAM_PARTITIONS=32"), "ScaledObject")
    spec = scaled["cg-coursegen-persistence-worker"]["spec"]
    found = [each["metadata"] for each in spec["triggers"]]
    database = dict(declarations(StreamSettings))["redis_stream_db"].default

    assert {each["type"] for each in spec["triggers"]} == {"redis-streams"}
    assert [each["stream"] for each in found] == [names.stream(number) for number in range(32)]
    assert {each["consumerGroup"] for each in found} == {names.GROUP}
    assert {each["databaseIndex"] for each in found} == {str(database)}
    assert (spec["minReplicaCount"], spec["fallback"]["behavior"]) == (1, "currentReplicasIfHigher")
    other = of_kind(render("keda", "config.stream.REDIS_STREAM_DB=0"), "ScaledObject")
    triggers = other["cg-coursegen-persistence-worker"]["spec"]["triggers"]
    assert {each["metadata"]["databaseIndex"] for each in triggers} == {"0"}
    assert len(triggers) == dict(declarations(StreamSettings))["stream_partitions"].default


def test_cpu_is_that_of_the_process(render: Render) -> None:
    """The container that is measured is there; `behavior` is passed on; who scales has no number of replicas."""
    objects = render("ha", "api.autoscaling.behavior.scaleDown.stabilizationWindowSeconds=60")
    deployments = of_kind(objects, "Deployment")
    autoscalers = of_kind(objects, "HorizontalPodAutoscaler")

    assert autoscalers.keys() == {
        "cg-coursegen-api",
        "cg-coursegen-persistence-worker",
        "cg-coursegen-worker-generation",
    }
    for name, each in autoscalers.items():
        target = deployments[name]["spec"]
        (metric,) = each["spec"]["metrics"]
        assert metric["containerResource"]["container"] == target["template"]["spec"]["containers"][0]["name"]
        assert metric["containerResource"]["target"] == {"type": "Utilization", "averageUtilization": 70}
        assert each["spec"]["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
        assert "replicas" not in target
    assert autoscalers["cg-coursegen-api"]["spec"]["behavior"] == {"scaleDown": {"stabilizationWindowSeconds": 60}}


def test_a_budget_wherever_more_than_one_may_run(render: Render) -> None:
    """One pod more or less, whoever decides how many there are; a single pod that nothing scales has none."""
    scaled = [f"stageWorker.queues.generation.autoscaling.{each}" for each in ("enabled=true", "minReplicas=1")]
    budgets = of_kind(render("minimal", *scaled), "PodDisruptionBudget")

    assert budgets.keys() == {
        f"cg-coursegen-{each}" for each in ("api", "outbox-relay", "persistence-worker", "worker-generation")
    }
    assert len(of_kind(render("keda"), "PodDisruptionBudget")) == 7


def test_pods_are_spread_over_hosts(render: Render) -> None:
    """By default each component by itself and each revision by itself, never at the price of not starting; else as told."""
    objects = render("ha")
    spreads = {
        name: each["spec"]["template"]["spec"]["topologySpreadConstraints"]
        for name, each in of_kind(objects, "Deployment").items()
    }

    (given,) = spreads["cg-coursegen-api"]
    assert given["topologyKey"] == "topology.kubernetes.io/zone"
    (own,) = spreads["cg-coursegen-outbox-relay"]
    assert (own["topologyKey"], own["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "ScheduleAnyway")
    assert own["labelSelector"] == of_kind(objects, "Deployment")["cg-coursegen-outbox-relay"]["spec"]["selector"]
    assert own["matchLabelKeys"] == ["pod-template-hash"]
