"""What a resource owns, brought in line with a plan: made, put right, deleted.

Nothing is touched that belongs to somebody else: of an object that has the name of a child and another owner, or none, the
resource's status says so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from operators.coursegen_operator.child import adopt, controller_of, hash8, is_owned_by, uid_of
from operators.coursegen_operator.comparison import differs, spec_differs, without_nothing
from operators.coursegen_operator.errors import AlreadyThere, ClusterUnavailable, WriteConflict
from operators.coursegen_operator.planning import Child, Plan
from operators.coursegen_operator.resources import (
    ANNOTATION_RECONCILE_AT,
    LABEL_OWNER_UID,
    Object,
    ObjectKey,
    ResourceType,
    key_of,
)
from operators.coursegen_operator.store import Store, version_of
from services.kernel.clock import Clock
from services.kernel.errors import CoursegenError, PermanentError

_KEPT: Final = frozenset({"apiVersion", "kind", "metadata", "status"})
"""What of an object is not its content."""
BELIEVED_SECONDS: Final = 300.0
"""So long what came of a write is taken for what would come of the next: shorter than a resync, each of which asks anew."""


class ChildRefused(PermanentError):
    """The name of a child is taken."""

    code = "child_refused"


class Writer(Protocol):
    """What of `Cluster` this needs."""

    async def get(self, resource_type: ResourceType, namespace: str, name: str) -> Object | None:
        """The object, if there is one."""

    async def create(self, resource_type: ResourceType, manifest: Object) -> Object:
        """Write a new object."""

    async def apply(self, resource_type: ResourceType, manifest: Object) -> Object:
        """Make an object have these fields."""

    async def merge(self, resource_type: ResourceType, namespace: str, name: str, patch: Object) -> Object:
        """Replace fields of an object."""

    async def delete(self, resource_type: ResourceType, item: Object) -> None:
        """Delete an object."""


@dataclass(frozen=True, slots=True)
class _Applied:
    """What this process has applied to a child, and what came of it."""

    uid: str
    mark: str
    """The hash of what was wanted."""
    came: str
    """That of what is there since."""
    asked: str
    """The owner's `reconcile-at`."""
    at: float


class Children:
    """Writes children, each only when it is not what it should be."""

    def __init__(self, cluster: Writer, store: Store, clock: Clock) -> None:
        self._cluster = cluster
        self._store = store
        self._clock = clock
        self._applied: dict[ObjectKey, dict[ObjectKey, _Applied]] = {}
        """By owner and child.

        A field that is wanted no more shows in no comparison; applying once after every start, and after every change of
        what is wanted, has the API server take it away. What came of it may be something else: a webhook has its way with
        each write, and writing the same again with every look would go on for ever. Once in a while it is tried again, and
        when somebody asks for a look: the webhook may be gone.
        """

    async def bring_about(self, resource: Object, plan: Plan, types: Sequence[ResourceType]) -> list[str]:
        """Make what the plan wants, delete what it does not; returns the names of what was written.

        Raises:
            ChildRefused: somebody else has an object of that name.
            CoursegenError: whatever `Cluster` raises.
        """
        written = [child.name for child in plan.children if await self._make(resource, child)]
        by_kind = {each.kind: each for each in types}
        for item in plan.obsolete:
            if item["metadata"].get("deletionTimestamp"):
                continue
            await self._cluster.delete(by_kind[item["kind"]], item)
            self._store.remove(item)
            self._applied.get(key_of(resource), {}).pop(key_of(item), None)
            written.append(f"-{item['metadata']['name']}")
        return written

    def forget(self, owner: ObjectKey) -> None:
        """The resource is gone."""
        self._applied.pop(owner, None)

    async def _make(self, resource: Object, child: Child) -> bool:
        """Have the child as it should be; whether anything was written."""
        wanted = without_nothing(adopt(child, resource))
        key = key_of(wanted)
        live = self._store.get(key)
        if live is None or not is_owned_by(live, resource):
            live = await self._cluster.get(child.type, key.namespace, key.name)
            self._refuse_foreign(resource, child, live)
        if child.once:
            return live is None and await self._create(resource, child, wanted)
        applied = self._applied.setdefault(key_of(resource), {})
        mark, asked = hash8(wanted), _asked(resource)
        before = applied.get(key)
        if live is not None and before is not None and (before.uid, before.mark) == (uid_of(live), mark):
            if not differs(wanted, live):
                return False
            is_fresh = before.asked == asked and self._clock.monotonic() - before.at < BELIEVED_SECONDS
            if is_fresh and before.came == _content(live):
                return False
        made = await self._apply(child.type, wanted, live)
        applied[key] = _Applied(uid_of(made), mark, _content(made), asked, self._clock.monotonic())
        self._store.put(made)
        return live is None or version_of(made) != version_of(live)

    async def _apply(self, resource_type: ResourceType, wanted: Object, live: Object | None) -> Object:
        """Write over `live` as it was seen, and over nothing else: what a later leader has written since stays."""
        metadata = wanted["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        try:
            made = await self._cluster.apply(resource_type, {**wanted, "metadata": {**metadata, **_seen(live)}})
            if not spec_differs(wanted, made):
                return made
            patch = {key: value for key, value in wanted.items() if key not in _KEPT}  # somebody has added to a list
            return await self._cluster.merge(resource_type, namespace, name, {**patch, "metadata": _seen(made)})
        except WriteConflict:
            await self._read_anew(resource_type, namespace, name, live)
            raise

    async def _read_anew(self, resource_type: ResourceType, namespace: str, name: str, live: Object | None) -> None:
        """Have the next look see what this one has missed, also that `live` is gone, and while no watch is open."""
        with contextlib.suppress(CoursegenError):
            found = await self._cluster.get(resource_type, namespace, name)
            if found is not None:
                self._store.put(found)
            elif live is not None:
                self._store.remove(live)

    async def _create(self, resource: Object, child: Child, wanted: Object) -> bool:
        try:
            made = await self._cluster.create(child.type, wanted)
        except AlreadyThere:  # made by a look that did not live to hear of it
            key = key_of(wanted)
            found = await self._cluster.get(child.type, key.namespace, key.name)
            self._refuse_foreign(resource, child, found)
            if found is None:
                raise ClusterUnavailable(f"{child.type.kind} {child.name} comes and goes") from None
            made = found
        self._store.put(made)
        return True

    def _refuse_foreign(self, resource: Object, child: Child, live: Object | None) -> None:
        if live is None or _is_ours(live, resource):
            return
        namespace = resource["metadata"]["namespace"]
        if live["metadata"].get("deletionTimestamp") or _is_of_predecessor(live, resource):
            raise WriteConflict(f"{child.type.kind} {child.name} of an earlier owner is being deleted")
        raise ChildRefused(
            f"{child.type.kind} {child.name} exists and is not owned by this resource; rename this resource, or "
            f"`kubectl -n {namespace} delete {child.type.plural}/{child.name}`"
        )


def _seen(item: Object | None) -> Object:
    """What makes the API server refuse a write when the object is another one, or has changed."""
    return {} if item is None else {each: item["metadata"][each] for each in ("uid", "resourceVersion")}


def _asked(resource: Object) -> str:
    return str((resource["metadata"].get("annotations") or {}).get(ANNOTATION_RECONCILE_AT, ""))


def _content(item: Object) -> str:
    """Stands for what anybody may have written, beside the status."""
    metadata = {each: item["metadata"].get(each) for each in ("labels", "annotations", "ownerReferences")}
    return hash8(metadata, {key: value for key, value in item.items() if key not in _KEPT})


def _is_ours(live: Object, resource: Object) -> bool:
    if controller_of(live) is not None:
        return is_owned_by(live, resource)
    return (live["metadata"].get("labels") or {}).get(LABEL_OWNER_UID) == uid_of(resource)


def _is_of_predecessor(live: Object, resource: Object) -> bool:
    """Whether a resource of the same name, deleted meanwhile, has left it to the garbage collector."""
    owner = controller_of(live) or {}
    return (owner.get("kind"), owner.get("name")) == (resource["kind"], resource["metadata"]["name"])
