"""An API server in memory, as far as the operator can tell: versions, generations, uids, owners, applied fields, watches.

It has no controllers: nothing runs, and nothing is collected, but what a test does. It may lose a call, or its answer.
"""

from __future__ import annotations

import copy
import itertools
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any

from operators.coursegen_operator.errors import (
    AlreadyThere,
    ClusterUnavailable,
    KindAbsent,
    ObjectGone,
    ObjectRefused,
    WriteConflict,
)
from operators.coursegen_operator.resources import OWN_TYPES, Object, ObjectKey, ResourceType, key_of

_OWN_KINDS = {each.kind for each in OWN_TYPES}


class PretendedCluster:
    """Objects, and what has happened to them."""

    def __init__(self) -> None:
        self.objects: dict[ObjectKey, Object] = {}
        self.absent: set[str] = set()
        """Kinds whose definition is not installed."""
        self.refuses: dict[tuple[str, str], Exception] = {}
        """What to raise, by verb and kind."""
        self.faults: deque[str] = deque()
        """What becomes of the next calls: "" = nothing, "lost" = not done, "mute" = done, and the answer lost."""
        self.calls: Counter[tuple[str, str]] = Counter()
        self.webhook: Callable[[Object], object] = lambda _: None
        """Has its way with everything that the operator applies or merges."""
        self.listeners: list[Callable[[str, Object], None]] = []
        """Told of every change: ADDED, MODIFIED or DELETED, and the object."""
        self._versions = itertools.count(100)
        self._uids = itertools.count(1)
        self._applied: dict[ObjectKey, dict[str, Object]] = {}

    @property
    def writes(self) -> int:
        """How many calls could have changed anything."""
        return sum(count for (verb, _), count in self.calls.items() if verb not in {"get", "list"})

    # What a person, or another controller, does

    def add(self, item: Object) -> Object:
        """A new object, as `kubectl create` makes it."""
        made = copy.deepcopy(item)
        metadata = made["metadata"]
        metadata.setdefault("namespace", "default")
        metadata["uid"] = f"uid-{next(self._uids)}"
        metadata["generation"] = 1
        metadata["creationTimestamp"] = "2026-01-01T00:00:00Z"
        if made["kind"] in _OWN_KINDS:
            made["status"] = {"observedGeneration": -1}
        return self._store(made, "ADDED")

    def edit(self, key: ObjectKey, change: Callable[[Object], object]) -> Object:
        """Change an object, as `kubectl edit` does."""
        item = copy.deepcopy(self.objects[key])
        before = copy.deepcopy(item.get("spec"))
        change(item)
        if item.get("spec") != before:
            item["metadata"]["generation"] += 1
        return self._store(item, "MODIFIED")

    def drop(self, key: ObjectKey) -> None:
        """Delete an object, as `kubectl delete` does."""
        item = self.objects.pop(key)
        self._applied.pop(key, None)
        gone = {**item, "metadata": {**item["metadata"], "resourceVersion": str(next(self._versions))}}
        for listener in self.listeners:
            listener("DELETED", copy.deepcopy(gone))

    # What the operator calls

    async def get(self, resource_type: ResourceType, namespace: str, name: str) -> Object | None:
        """As `Cluster.get`."""
        return self._call("get", resource_type, lambda: self._read(resource_type, namespace, name))

    async def list(
        self, resource_type: ResourceType, namespace: str | None, *, labels: Mapping[str, str] | None = None
    ) -> list[Object]:
        """As `Cluster.list`."""
        return (await self.snapshot(resource_type, namespace, labels=labels))[0]

    async def snapshot(
        self, resource_type: ResourceType, namespace: str | None, *, labels: Mapping[str, str] | None = None
    ) -> tuple[Any, str]:
        """As `Cluster.snapshot`."""

        def find() -> tuple[Any, str]:
            found = [
                copy.deepcopy(item)
                for key, item in sorted(self.objects.items())
                if key.kind == resource_type.kind
                and namespace in {None, key.namespace}
                and (labels or {}).items() <= (item["metadata"].get("labels") or {}).items()
            ]
            return found, str(next(self._versions))

        return self._call("list", resource_type, find)

    async def create(self, resource_type: ResourceType, manifest: Object) -> Object:
        """As `Cluster.create`."""

        def make() -> Object:
            if key_of(manifest) in self.objects:
                raise AlreadyThere
            return self.add(manifest)

        return self._call("create", resource_type, make)

    async def apply(self, resource_type: ResourceType, manifest: Object) -> Object:
        """As `Cluster.apply`: by one field manager, which takes what it names."""

        def write() -> Object:
            key = key_of(manifest)
            before = self.objects.get(key)
            stated = _without_preconditions(before, manifest)
            item = copy.deepcopy(before) if before is not None else self._blank(stated)
            _take_away(item, self._applied.get(key, {}).get("", {}), stated)
            _merge(item, stated)
            self._applied.setdefault(key, {})[""] = copy.deepcopy(stated)
            return self._changed(before, item)

        return self._call("apply", resource_type, write)

    async def apply_status(self, resource_type: ResourceType, resource: Object, status: Object) -> Object:
        """As `Cluster.apply_status`."""

        def write() -> Object:
            key = key_of(resource)
            before = self.objects.get(key)
            if before is None:
                raise ObjectGone
            if before["metadata"]["uid"] != resource["metadata"]["uid"]:
                raise WriteConflict
            version = before["metadata"]["resourceVersion"]
            if resource["metadata"].get("resourceVersion", version) != version:
                raise WriteConflict
            item = copy.deepcopy(before)
            item["status"] = copy.deepcopy(status)
            return self._changed(before, item)

        return self._call("apply", resource_type, write)

    async def merge(self, resource_type: ResourceType, namespace: str, name: str, patch: Object) -> Object:
        """As `Cluster.merge`: maps are merged, lists replaced."""

        def write() -> Object:
            before = self._read(resource_type, namespace, name)
            if before is None:
                raise ObjectGone
            item = copy.deepcopy(before)
            _replace(item, _without_preconditions(before, patch))
            return self._changed(before, item)

        return self._call("patch", resource_type, write)

    async def delete(self, resource_type: ResourceType, item: Object) -> None:
        """As `Cluster.delete`."""

        def remove() -> None:
            there = self.objects.get(key_of(item))
            if there is not None and there["metadata"]["uid"] == item["metadata"]["uid"]:
                self.drop(key_of(item))

        self._call("delete", resource_type, remove)

    def _call(self, verb: str, resource_type: ResourceType, act: Callable[[], Any]) -> Any:
        self.calls[verb, resource_type.kind] += 1
        if resource_type.kind in self.absent:
            raise KindAbsent
        if (verb, resource_type.kind) in self.refuses:
            raise self.refuses[verb, resource_type.kind]
        fault = self.faults.popleft() if self.faults else ""
        if fault == "lost":
            raise ClusterUnavailable
        found = copy.deepcopy(act())
        if fault == "mute":
            raise ClusterUnavailable
        return found

    def _read(self, resource_type: ResourceType, namespace: str, name: str) -> Object | None:
        return self.objects.get(ObjectKey(resource_type.kind, namespace, name))

    def _blank(self, manifest: Object) -> Object:
        metadata = {"uid": f"uid-{next(self._uids)}", "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z"}
        return {"apiVersion": manifest["apiVersion"], "kind": manifest["kind"], "metadata": metadata}

    def _changed(self, before: Object | None, item: Object) -> Object:
        if len(item["metadata"].get("name", "")) > 253:
            raise ObjectRefused
        self.webhook(item)
        if item == before:
            return item
        if before is not None and item.get("spec") != before.get("spec"):
            item["metadata"]["generation"] += 1
        return self._store(item, "ADDED" if before is None else "MODIFIED")

    def _store(self, item: Object, what: str) -> Object:
        item["metadata"]["resourceVersion"] = str(next(self._versions))
        self.objects[key_of(item)] = item
        for listener in self.listeners:
            listener(what, copy.deepcopy(item))
        return item


def _merge(item: Any, wanted: Any) -> None:
    """Server-side apply: maps by their keys, lists of named things by their names, other lists as a whole."""
    for key, value in wanted.items():
        there = item.get(key)
        if isinstance(value, dict) and isinstance(there, dict):
            _merge(there, value)
        elif _is_named(value) and _is_named(there):
            item[key] = _merged_by_name(there, value)
        else:
            item[key] = copy.deepcopy(value)


def _merged_by_name(there: list[Any], wanted: list[Any]) -> list[Any]:
    by_name = {each["name"]: each for each in there}
    for each in wanted:
        _merge(by_name.setdefault(each["name"], {}), each)
    return list(by_name.values())


def _is_named(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, dict) and "name" in each for each in value)


def _without_preconditions(before: Object | None, written: Object) -> Object:
    """`written`, which may say by uid and version what it is to be written over."""
    metadata = dict(written.get("metadata") or {})
    for each in ("uid", "resourceVersion"):
        wanted = metadata.pop(each, None)
        if wanted is not None and (before is None or before["metadata"][each] != wanted):
            raise WriteConflict
    return {**written, "metadata": metadata}


def _take_away(item: Any, applied: Any, wanted: Any) -> None:
    """Fields that were applied and are wanted no more."""
    for key, value in applied.items():
        if key in {"apiVersion", "kind", "name", "namespace"} or key not in item:
            continue
        if key not in wanted:
            del item[key]
        elif isinstance(value, dict) and isinstance(wanted[key], dict) and isinstance(item[key], dict):
            _take_away(item[key], value, wanted[key])
        elif _is_named(value) and _is_named(item[key]):
            names = {each["name"] for each in wanted[key]} if _is_named(wanted[key]) else set()
            lost = {each["name"] for each in value} - names
            item[key] = [each for each in item[key] if each["name"] not in lost]


def _replace(item: Any, patch: Any) -> None:
    """A JSON merge patch."""
    for key, value in patch.items():
        if value is None:
            item.pop(key, None)
        elif isinstance(value, dict) and isinstance(item.get(key), dict):
            _replace(item[key], value)
        else:
            item[key] = copy.deepcopy(value)
