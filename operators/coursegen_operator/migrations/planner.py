"""What a DatabaseMigration should have next. What it goes by is read here; what follows from it says `turn`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from operators.coursegen_operator.errors import NotPermitted
from operators.coursegen_operator.migrations.facts import DEPLOYMENTS, DEPLOYMENTS_REFUSED, PODS, Facts
from operators.coursegen_operator.migrations.rollout import INSTANCE
from operators.coursegen_operator.migrations.status import Memory
from operators.coursegen_operator.migrations.turn import Turn
from operators.coursegen_operator.planning import Observed, Plan, Reader
from operators.coursegen_operator.resources import (
    DATABASE_MIGRATION,
    DEPLOYMENT,
    JOB,
    LABEL_OWNER_UID,
    POD,
    Object,
    ResourceType,
)


class MigrationKind:
    """Looks after DatabaseMigrations."""

    type: ResourceType = DATABASE_MIGRATION
    child_types: tuple[ResourceType, ...] = (JOB,)

    async def observe(self, cluster: Reader, resource: Object) -> Mapping[str, list[Object]]:
        """The pods of its Jobs, and the Deployments if the contract phase may wait for them."""
        namespace = resource["metadata"]["namespace"]
        facts = Facts.of(resource, Observed(datetime.min))
        found = {PODS: await cluster.list(POD, namespace, labels={LABEL_OWNER_UID: facts.uid})}
        if not Memory.of(resource.get("status") or {}).contract_pending or facts.spec.contract.mode == "Never":
            return found
        try:
            found[DEPLOYMENTS] = await _deployments(cluster, facts, namespace)
        except NotPermitted as error:
            found[DEPLOYMENTS_REFUSED] = [{"message": error.message}]
        return found

    def plan(self, resource: Object, observed: Observed) -> Plan:
        """What it should have next."""
        facts = Facts.of(resource, observed)
        return Turn(facts, Memory.of(resource.get("status") or {})).plan()


async def _deployments(cluster: Reader, facts: Facts, namespace: str) -> list[Object]:
    if facts.spec.contract.wait_for is not None:
        found = [await cluster.get(DEPLOYMENT, namespace, name) for name in facts.spec.contract.wait_for]
        return [each for each in found if each is not None]
    instance = (facts.resource["metadata"].get("labels") or {}).get(INSTANCE)
    return await cluster.list(DEPLOYMENT, namespace, labels={INSTANCE: instance}) if instance else []
