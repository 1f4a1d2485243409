"""Whether the application's new version is the only one that runs, and since when."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from operators.coursegen_operator.conditions import moment_of
from operators.coursegen_operator.resources import LABEL_MIGRATIONS, Object

INSTANCE: Final = "app.kubernetes.io/instance"
RELEASE: Final = "app.kubernetes.io/version"


@dataclass(frozen=True, slots=True)
class Rollout:
    """How far the Deployments are that the contract phase waits for."""

    waiting: str = ""
    """What is not there yet, and the command that shows it; empty when all is rolled out."""
    since: datetime | None = None
    """When the last of them came to rest; None when there is none."""


def rollout_of(resource: Object, wait_for: Sequence[str] | None, deployments: Sequence[Object]) -> Rollout:
    """How far `deployments` are. By name they are `wait_for`; where that is None, those of the release of `resource`.

    An empty `wait_for` says that there is none. A release in which none is found says nothing: its label may be missing, and
    older versions may run all the same. Those of a release must also say the version that the resource says, where both say
    one: the resource may have been changed before they were. And their pods must: `kubectl rollout undo` brings an older
    template back, and leaves the Deployment's own labels as they are. Those that are named may be somebody else's, with versions
    of their own: such a version says nothing, the label `migrations` does.
    """
    named = {each["metadata"]["name"]: each for each in deployments}
    missing = [name for name in wait_for or () if name not in named]
    namespace = resource["metadata"].get("namespace", "")
    if missing:
        return Rollout(f"deployment/{missing[0]} does not exist; see: kubectl -n {namespace} get deployments")
    if wait_for is None and not deployments:
        return Rollout(_unknown(resource, namespace))
    chosen = list(deployments) if wait_for is None else [named[name] for name in wait_for]
    for each in chosen:
        other = _of_another_version(each, _label(resource, RELEASE), is_named=wait_for is not None)
        other = other or _of_other_migrations(each, migrations_label(resource))
        waiting = other or _waiting(each)
        if waiting:
            target = f"deployment/{each['metadata']['name']}"
            command = f"kubectl -n {namespace} rollout {'history' if other else 'status'} {target}"
            return Rollout(f"{target} {waiting}; see: {command}")
    return Rollout(since=max((moment for each in chosen for moment in _changes(each)), default=None))


def migrations_label(resource: Object) -> str:
    """What pods say, by the label `migrations`, that were rolled out with the migrations of `resource`."""
    image = str((resource.get("spec") or {}).get("image", ""))
    return hashlib.sha256(image.encode()).hexdigest()[:16]


def _unknown(resource: Object, namespace: str) -> str:
    instance = _label(resource, INSTANCE)
    which = (
        f"no Deployment has this resource's label {INSTANCE}={instance}" if instance else f"it has no label {INSTANCE}"
    )
    command = f"kubectl -n {namespace} edit dbm/{resource['metadata']['name']}"
    return (
        f"{which}: name the Deployments that use the database, of those that `kubectl -n {namespace} get deployments` shows, "
        f"in spec.contract.waitFor: {command}"
    )


def _of_another_version(deployment: Object, version: str, *, is_named: bool) -> str:
    """Why it, or its template, is not of the resource's version, as far as labels tell."""
    own, inner = _label(deployment, RELEASE), _label(_template(deployment), RELEASE)
    if is_named and (not version or own != version):
        return ""
    if version and own not in {version, ""}:
        return f"is of version {own}, not {version}"
    wanted = version or own
    return f"was put back to version {inner}, not {wanted}" if wanted and inner not in {wanted, ""} else ""


def _of_other_migrations(deployment: Object, migrations: str) -> str:
    """Why it, or its template, was not rolled out with the resource's image, as far as labels tell."""
    own, inner = _label(deployment, LABEL_MIGRATIONS), _label(_template(deployment), LABEL_MIGRATIONS)
    is_silent = not own and not inner
    if is_silent or (inner == migrations and own in {migrations, ""}):
        return ""
    found = own if inner == migrations else inner
    return (
        f"has pods that were rolled out with other migrations: label {LABEL_MIGRATIONS} is {found or 'missing'}, and must be "
        f"{migrations}, for spec.image; roll out the release with this image"
    )


def _template(deployment: Object) -> Object:
    return (deployment.get("spec") or {}).get("template") or {}


def _waiting(deployment: Object) -> str:
    status, metadata = deployment.get("status") or {}, deployment["metadata"]
    wanted = _number((deployment.get("spec") or {}).get("replicas"), 1)
    new, ready = _number(status.get("updatedReplicas")), _number(status.get("availableReplicas"))
    if _number(status.get("observedGeneration"), -1) < _number(metadata.get("generation")):
        return "was changed and is not looked at yet"
    if new < wanted:
        return f"has {new} of {wanted} pods of its newest version"
    if _number(status.get("replicas")) > new:
        return "still has pods of an older version"
    return "" if ready >= new else f"has {ready} of {new} pods available"


def _changes(deployment: Object) -> list[datetime]:
    """When its rollout went on. A rollout that follows another one moves `lastUpdateTime` only: Progressing stays True."""
    found = [
        moment_of(condition.get(field))
        for condition in (deployment.get("status") or {}).get("conditions") or ()
        if condition.get("type") in {"Progressing", "Available"}
        for field in ("lastTransitionTime", "lastUpdateTime")
    ]
    return [moment for moment in found if moment is not None]


def _label(item: Object, name: str) -> str:
    return str(((item.get("metadata") or {}).get("labels") or {}).get(name, ""))


def _number(value: object, default: int = 0) -> int:
    return value if isinstance(value, int) else default
