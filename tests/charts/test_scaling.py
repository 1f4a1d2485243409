"""Scaling looks at the lists that the queues really use."""

from __future__ import annotations

from services.kernel.queue.keys import QueueKeys
from services.kernel.tiers import PRIORITIES
from services.stage_worker.settings import queue_name
from tests.charts.conftest import Render
from tests.charts.objects import of_kind


def test_keda_follows_every_list_of_a_queue(render: Render) -> None:
    """One trigger for each priority that a tier has, and at least one worker always."""
    objects = render("keda")
    scaled = of_kind(objects, "ScaledObject")

    for queue in ("documents", "analysis", "generation", "webhooks"):
        spec = scaled[f"cg-coursegen-worker-{queue}"]["spec"]
        keys = QueueKeys(queue_name(queue))
        lists = {each["metadata"]["listName"] for each in spec["triggers"]}
        assert lists == {keys.waiting(priority) for priority in PRIORITIES.values()}
        assert spec["minReplicaCount"] == 1
        assert spec["fallback"]["behavior"] == "currentReplicasIfHigher"
        assert "replicas" not in of_kind(objects, "Deployment")[f"cg-coursegen-worker-{queue}"]["spec"]
