"""What a kind of resource must answer: what should be there, given what is there.

A plan is pure: it reads nothing but its arguments, and planning again on what a plan has brought about changes
nothing. The reconciler carries it out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from operators.coursegen_operator.resources import Object, ResourceType


@dataclass(frozen=True, slots=True)
class Child:
    """An object that a resource owns."""

    type: ResourceType
    manifest: Object
    """Name, labels, annotations and spec; `child.adopt` adds namespace, owner and the common labels."""
    once: bool = False
    """Created when absent and never changed afterwards: a Job."""

    @property
    def name(self) -> str:
        """Its name, in the namespace of its owner."""
        return str(self.manifest["metadata"]["name"])


@dataclass(frozen=True, slots=True)
class Notice:
    """Something worth an Event. It is told only with a change of the status."""

    reason: str
    message: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Observed:
    """What is there at one moment."""

    now: datetime
    """Aware, in UTC."""
    children: Sequence[Object] = ()
    """What the resource owns, of every type of child, in any state."""
    around: Mapping[str, Sequence[Object]] = field(default_factory=dict)
    """What the kind has asked for in `observe`."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What should be there."""

    status: Object
    """The complete new status; its conditions are those of `conditions`, without times."""
    children: tuple[Child, ...] = ()
    """What must exist, and look like this."""
    obsolete: tuple[Object, ...] = ()
    """Children that must go."""
    notices: tuple[Notice, ...] = ()
    look_again_seconds: float | None = None
    """When to look again, if that is sooner than the resync."""


class Reader(Protocol):
    """Reads the cluster. Every call is bounded in time.

    Every method raises:
        NotPermitted: RBAC refuses.
        KindAbsent: the API server does not know the kind.
        ClusterUnavailable: no answer; the resource is looked at again later.
    """

    async def get(self, resource_type: ResourceType, namespace: str, name: str) -> Object | None:
        """The object, or None when there is none."""

    async def list(
        self, resource_type: ResourceType, namespace: str | None, *, labels: Mapping[str, str] | None = None
    ) -> list[Object]:
        """The objects with all of `labels` in `namespace`, or in all namespaces."""


class Kind(Protocol):
    """A kind of resource that the operator looks after."""

    @property
    def type(self) -> ResourceType:
        """Its own type."""

    @property
    def child_types(self) -> tuple[ResourceType, ...]:
        """The types of what it may own."""

    async def observe(self, cluster: Reader, resource: Object) -> Mapping[str, Sequence[Object]]:
        """What `plan` needs to know beside the children; reads only."""

    def plan(self, resource: Object, observed: Observed) -> Plan:
        """What should be there: pure, and total for whatever the schema admits."""
