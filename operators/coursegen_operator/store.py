"""What the operator has seen of the cluster: the latest of each resource and of what it owns.

It is filled by lists before anything is planned, so that a child that is there is never missed; then by watches, and by the
answers to the operator's own writes. Each object has a version that only rises: whichever of the three comes late changes
nothing. What was deleted while no watch was open is noticed by the next list.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Final

from operators.coursegen_operator.child import controller_of, uid_of
from operators.coursegen_operator.resources import (
    LABEL_OWNER_UID,
    OWN_TYPES,
    Object,
    ObjectKey,
    ResourceType,
    key_of,
    slim,
)

TOMBSTONES: Final = 10_000
"""Deleted objects that are remembered, so that a late answer does not bring one back."""
_OWN_KINDS: Final = frozenset(each.kind for each in OWN_TYPES)


class Store:
    """The objects, by their key and by the uid of their owner."""

    def __init__(self) -> None:
        self._items: dict[ObjectKey, Object] = {}
        self._owned: dict[str, set[ObjectKey]] = {}
        self._uids: dict[str, ObjectKey] = {}
        self._buried: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: ObjectKey) -> Object | None:
        """The object, if it has been seen. It must not be changed."""
        return self._items.get(key)

    def resources(self) -> Iterator[ObjectKey]:
        """The keys of everything that the operator looks after."""
        return (key for key in list(self._items) if key.kind in _OWN_KINDS)

    def owned(self, owner: Object, kinds: frozenset[str] | None = None) -> list[Object]:
        """What `owner` owns, by its controller or its label, of these kinds; in the order of the names."""
        namespace = owner["metadata"].get("namespace", "")
        keys = sorted(self._owned.get(uid_of(owner), ()))
        return [
            self._items[key]
            for key in keys
            if key.namespace == namespace and key.kind not in _OWN_KINDS and (kinds is None or key.kind in kinds)
        ]

    def concerned(self, item: Object) -> ObjectKey | None:
        """The resource to look at when `item` has changed: itself, or its owner."""
        key = key_of(item)
        if key.kind in _OWN_KINDS:
            return key
        owners = (self._uids.get(uid) for uid in _owner_uids(item))
        return next((owner for owner in owners if owner is not None and owner.namespace == key.namespace), None)

    def put(self, item: Object) -> set[ObjectKey]:
        """An object was seen; the resources to look at, none when that is no news."""
        key, uid, version = key_of(item), uid_of(item), version_of(item)
        before = self._items.get(key)
        if self._buried.get(uid, -1) >= version:
            return set()
        if before is not None and uid_of(before) == uid and version_of(before) >= version:
            return set()
        concerned = {self.concerned(item)}
        if before is not None:  # whose child it was should know, too
            concerned.add(self.concerned(before))
            self._drop(key)
        self._add(key, slim(item))
        return {each for each in concerned if each is not None}

    def remove(self, item: Object) -> set[ObjectKey]:
        """An object was seen to be deleted; the resources to look at, none when that is no news."""
        key, uid = key_of(item), uid_of(item)
        self._bury(uid, version_of(item))
        before = self._items.get(key)
        if before is None or uid_of(before) != uid:
            return set()
        concerned = self.concerned(before)
        self._drop(key)
        return {concerned} if concerned is not None else set()

    def replace(
        self, resource_type: ResourceType, namespace: str | None, items: Sequence[Object], version: str
    ) -> set[ObjectKey]:
        """A complete list was read at `version`; returns the resources that are concerned by what was new or gone."""
        there = {uid_of(item) for item in items}
        limit = _number(version)
        gone = [
            item
            for key, item in self._items.items()
            if key.kind == resource_type.kind
            and namespace in {None, key.namespace}
            and uid_of(item) not in there
            and version_of(item) <= limit  # else it was written after the list
        ]
        concerned: set[ObjectKey] = set()
        return concerned.union(*map(self.remove, gone), *map(self.put, items))

    def forget(self, resource_type: ResourceType) -> set[ObjectKey]:
        """The API server does not know the kind: there is none of it, for now; returns the resources that are concerned.

        Nothing is remembered as deleted: a kind that is not there for a moment only comes back with the same objects.
        """
        gone = {key: self.concerned(item) for key, item in self._items.items() if key.kind == resource_type.kind}
        for key in gone:
            self._drop(key)
        return {each for each in gone.values() if each is not None}

    def _add(self, key: ObjectKey, item: Object) -> None:
        self._items[key] = item
        if key.kind in _OWN_KINDS:
            self._uids[uid_of(item)] = key
        for uid in _owner_uids(item):
            self._owned.setdefault(uid, set()).add(key)

    def _drop(self, key: ObjectKey) -> None:
        item = self._items.pop(key)
        self._uids.pop(uid_of(item), None)
        for uid in _owner_uids(item):
            keys = self._owned.get(uid, set())
            keys.discard(key)
            if not keys:
                self._owned.pop(uid, None)

    def _bury(self, uid: str, version: int) -> None:
        self._buried[uid] = max(version, self._buried.pop(uid, 0))
        while len(self._buried) > TOMBSTONES:
            self._buried.popitem(last=False)


def version_of(item: Object) -> int:
    """The version of an object: etcd's revision, which only rises."""
    return _number(str(item["metadata"].get("resourceVersion", "")))


def _owner_uids(item: Object) -> set[str]:
    label = (item["metadata"].get("labels") or {}).get(LABEL_OWNER_UID)
    owner = controller_of(item)
    return {str(uid) for uid in (label, owner and owner.get("uid")) if uid}


def _number(version: str) -> int:
    return int(version) if version.isascii() and version.isdigit() else 0
