"""What makes an object the child of a resource: its owner, its labels, its name.

A child goes with its owner by Kubernetes' own garbage collection; nothing here ever needs a finalizer.
"""

from __future__ import annotations

import copy
import hashlib
import json
from typing import Any, Final

from operators.coursegen_operator.planning import Child
from operators.coursegen_operator.resources import (
    FIELD_MANAGER,
    LABEL_MANAGED_BY,
    LABEL_OWNER_UID,
    LABEL_TASK,
    Object,
)

NAME_LENGTH: Final = 63
"""Longest name: that of a Job becomes a label of its pods."""


def common_labels(resource: Object, task: str = "") -> dict[str, str]:
    """What every child has, and its pods: whose it is, who made it and, for a Job, what for."""
    labels = {LABEL_MANAGED_BY: FIELD_MANAGER, LABEL_OWNER_UID: uid_of(resource)}
    return {**labels, LABEL_TASK: task} if task else labels


def owner_reference(resource: Object) -> Object:
    """Makes `resource` the controller of whatever has it."""
    return {
        "apiVersion": resource["apiVersion"],
        "kind": resource["kind"],
        "name": resource["metadata"]["name"],
        "uid": uid_of(resource),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def adopt(child: Child, resource: Object) -> Object:
    """The complete object to write: the planner's manifest as a child of `resource`."""
    manifest = copy.deepcopy(child.manifest)
    metadata = manifest.setdefault("metadata", {})
    metadata["namespace"] = resource["metadata"]["namespace"]
    metadata["labels"] = {**metadata.get("labels", {}), **common_labels(resource)}
    metadata["ownerReferences"] = [owner_reference(resource)]
    return {"apiVersion": child.type.api_version, "kind": child.type.kind, **manifest}


def uid_of(item: Object) -> str:
    """What the API server tells two objects of one name apart by."""
    return str(item["metadata"].get("uid", ""))


def controller_of(item: Object) -> Object | None:
    """The reference to the owner that controls `item`."""
    owners = item.get("metadata", {}).get("ownerReferences") or []
    return next((owner for owner in owners if owner.get("controller")), None)


def is_owned_by(item: Object, resource: Object) -> bool:
    """Whether `resource` controls `item`; one of the same name that was deleted meanwhile does not."""
    owner = controller_of(item)
    return owner is not None and owner.get("uid") == uid_of(resource)


def task_of(item: Object) -> str:
    """What a Job or its pod is for; empty when it does not say."""
    return str((item.get("metadata", {}).get("labels") or {}).get(LABEL_TASK, ""))


def hash8(*parts: Any) -> str:
    """Eight characters that stand for `parts`, whatever JSON they are; the same in every process."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def child_name(owner: str, *parts: str) -> str:
    """`<owner>-<part>-…`: a long owner's name is cut, and stays distinct by a hash of the whole."""
    tail = "".join(f"-{part}" for part in parts if part)
    if len(owner) + len(tail) <= NAME_LENGTH:
        return owner + tail
    return f"{owner[: NAME_LENGTH - len(tail) - 9].rstrip('-.')}-{hash8(owner)}{tail}"
