"""Scaling looks at the lists that the queues really use."""

from __future__ import annotations

from services.kernel.queue.keys import QueueKeys
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


def test_cpu_is_that_of_the_process(render: Render) -> None:
    """The container that is measured is there; `behavior` is passed on; who scales has no number of replicas."""
    objects = render("ha", "api.autoscaling.behavior.scaleDown.stabilizationWindowSeconds=60")
    deployments = of_kind(objects, "Deployment")
    autoscalers = of_kind(objects, "HorizontalPodAutoscaler")

    assert autoscalers.keys() == {"cg-coursegen-api", "cg-coursegen-worker-generation"}
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

    assert budgets.keys() == {"cg-coursegen-api", "cg-coursegen-outbox-relay", "cg-coursegen-worker-generation"}
    assert len(of_kind(render("keda"), "PodDisruptionBudget")) == 6


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
