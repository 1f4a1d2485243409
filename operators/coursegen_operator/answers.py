"""What an answer of the API server that is no success means. Pure: the one place that knows its codes and words."""

from __future__ import annotations

from typing import Any

from operators.coursegen_operator.errors import (
    AlreadyThere,
    ClusterUnavailable,
    KindAbsent,
    NotPermitted,
    ObjectGone,
    ObjectRefused,
    WriteConflict,
)
from operators.coursegen_operator.resources import ResourceType
from services.kernel.errors import CoursegenError

_VERBS = {"apply": "patch"}
"""What RBAC calls ours."""
_UNTYPED = "typed patch object"
"""How an API server refuses to apply a field that it does not know, or one of another type: with 500, as if it were broken."""


def error_of(
    code: int, status: Any, verb: str, resource_type: ResourceType, namespace: str | None, name: str
) -> CoursegenError:
    """The error to raise for an answer with `code` and the JSON body `status` (None when it was none)."""
    status = status if isinstance(status, dict) else {}
    said = str(status.get("message") or f"code {code}")
    where = "/".join(part for part in (resource_type.plural, namespace or "", name) if part)
    if code in {401, 403} and not _is_ending(status):
        return NotPermitted(f"{said}; see `{can_i(verb, resource_type, namespace)}`")
    if code == 404 and not is_absent_object(status):
        return KindAbsent(f"the API server does not know {resource_type.kind} ({resource_type.api_version})")
    if code in {403, 404}:
        return ObjectGone(f"{where} is not there any more")
    if code == 409:
        is_there = status.get("reason") == "AlreadyExists"
        return AlreadyThere(f"{where} is there already") if is_there else WriteConflict(f"{where}: {said}")
    if code == 500 and _UNTYPED in said:
        return ObjectRefused(f"{where}: {' '.join(said.split())}; {_definition_of(resource_type)}")
    is_final = code in {400, 405, 406, 413, 415, 422}
    return ObjectRefused(f"{where}: {said}") if is_final else ClusterUnavailable(f"the API server says {code}: {said}")


def is_absent_object(status: Any) -> bool:
    """Whether a 404 speaks of one object. Of a kind that is not there, the API server says no more than "not found"."""
    if not isinstance(status, dict) or status.get("reason") != "NotFound":
        return False
    details = status.get("details")
    return isinstance(details, dict) and bool(details.get("name"))


def can_i(verb: str, resource_type: ResourceType, namespace: str | None) -> str:
    """The command that shows whether RBAC allows this."""
    plural = f"{resource_type.plural}.{resource_type.group}" if resource_type.group else resource_type.plural
    scope = f"-n {namespace}" if namespace else "--all-namespaces"
    return f"kubectl auth can-i {_VERBS.get(verb, verb)} {plural} {scope} --as=system:serviceaccount:NAMESPACE:ACCOUNT"


def _definition_of(resource_type: ResourceType) -> str:
    return (
        f"take the field out of the spec, or upgrade what brings {resource_type.kind} to this cluster: "
        f"`kubectl explain {resource_type.plural}.spec --api-version={resource_type.api_version}` says what it knows"
    )


def _is_ending(status: dict[str, Any]) -> bool:
    details = status.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    return any(isinstance(cause, dict) and cause.get("reason") == "NamespaceTerminating" for cause in causes or [])
