"""What an answer of the API server that is no success means. Pure: the one place that knows its codes and words.

403 has four meanings, which only its words tell apart: RBAC refuses the caller, a quota is used up, a webhook or a policy of
the cluster does not let the object in, or the namespace is going. Each asks for something else of whoever reads it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from operators.coursegen_operator.child import controller_of
from operators.coursegen_operator.errors import (
    AdmissionDenied,
    AlreadyThere,
    ClusterUnavailable,
    KindAbsent,
    NotPermitted,
    ObjectGone,
    ObjectRefused,
    QuotaExceeded,
    WriteConflict,
)
from operators.coursegen_operator.identity import Identity
from operators.coursegen_operator.resources import OWN_TYPES, Object, ResourceType
from services.kernel.errors import CoursegenError
from services.kernel.logs import scrub_text
from services.kernel.texts import shortened

SAID_BYTES: Final = 480
"""As much of the API server's words as a message repeats, so that the command behind them is not cut off."""

_VERBS = {"apply": "patch"}
"""What RBAC calls ours."""
_UNTYPED = "typed patch object"
"""How an API server refuses to apply a field that it does not know, or one of another type: with 500, as if it were broken."""
_FINAL: Final = frozenset({400, 405, 406, 413, 415, 422})
_DENYING: Final = frozenset({*_FINAL, 403, 409})
"""The codes with which a webhook or a policy denies: it may choose one."""

_UNPERMITTED: Final = re.compile(r'User "([^"]+)" cannot ')
_QUOTA: Final = re.compile(r"is forbidden: (exceeded quota|insufficient quota|status unknown for quota)")
_WEBHOOK: Final = re.compile(r'admission webhook "[^"]*" denied the request')
_POLICY: Final = re.compile(r"ValidatingAdmissionPolicy '([^']+)' with binding '[^']*' denied request")
_OWNER: Final = re.compile(r"is forbidden: cannot set blockOwnerDeletion .* you can't set finalizers on")
_DELETION: Final = re.compile(r"is forbidden: cannot set an ownerRef on a resource you can't delete")
"""How an API server with OwnerReferencesPermissionEnforcement says that a right is missing, which RBAC gives."""
_BUILT_IN: Final = re.compile(r"is forbidden: ")
_WEBHOOKS: Final = "kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations"


def error_of(
    code: int,
    status: Any,
    verb: str,
    resource_type: ResourceType,
    namespace: str | None,
    name: str,
    identity: Identity | None = None,
    *,
    body: Object | None = None,
) -> CoursegenError:
    """The error to raise for an answer with `code` and the JSON body `status` (None when it was none), to `identity`.

    `name` is that of an object, or `object/subresource`; `body` is what was to be written.
    """
    known = status if isinstance(status, dict) else {}
    words = " ".join(str(known.get("message") or f"code {code}").split())
    place, _, subresource = name.partition("/")
    asked = (verb, resource_type, namespace, place, subresource, _owner_in(body or {}))
    answer = _Answer(code, known, words, *asked, identity or Identity())
    return answer.gone() or answer.denied() or answer.forbidden() or answer.refused()


@dataclass(frozen=True, slots=True)
class _Answer:
    """One answer, and what was asked. Each method says what it means, or None where it speaks of something else."""

    code: int
    status: dict[str, Any]
    words: str
    verb: str
    type: ResourceType
    namespace: str | None
    name: str
    subresource: str
    owner: ResourceType | None
    """Of the object that was to be written."""
    identity: Identity

    def gone(self) -> CoursegenError | None:
        """What was asked for is not there, or is going."""
        if self.code == 404 and not is_absent_object(self.status):
            return KindAbsent(
                f"the API server does not know {self.type.kind} ({self.type.api_version}); "
                f"see: kubectl api-resources --api-group={self.type.group}"
            )
        is_gone = self.code == 404 or (self.code == 403 and _is_ending(self.status))
        return ObjectGone(f"{self._where} is not there any more") if is_gone else None

    def denied(self) -> CoursegenError | None:
        """A webhook or a policy of the cluster has spoken, by whatever code it likes."""
        if self.code not in _DENYING:
            return None
        policy = _POLICY.search(self.words)
        if policy is None and not _WEBHOOK.search(self.words):
            return None
        step = _WEBHOOKS if policy is None else f"kubectl describe validatingadmissionpolicy {policy[1]}"
        return AdmissionDenied(f"{self._where}: {self._said}; see: {step}")

    def forbidden(self) -> CoursegenError | None:
        """RBAC has, or a quota, or what the API server itself looks at before it lets something in."""
        if self.code == 401 and self.identity.account:
            step = f"kubectl -n {self.identity.namespace} get serviceaccount {self.identity.account}"
            return NotPermitted(f"the API server does not accept the operator's token ({self._said}); see: {step}")
        if self.code not in {401, 403}:
            return None
        refused = _UNPERMITTED.search(self.words)
        if refused is None and (missing := self._missing()):
            return NotPermitted(f"{self._said}; see: {missing}")
        if refused is None and self.namespace and _QUOTA.search(self.words):
            return QuotaExceeded(f"{self._said}; see: kubectl -n {self.namespace} describe quota")
        if refused is None and self.namespace and _BUILT_IN.search(self.words):
            return AdmissionDenied(f"{self._said}; see: kubectl describe namespace {self.namespace}")
        user = self.identity.user if refused is None else refused[1]
        return NotPermitted(f"{self._said}; see: {can_i(self.verb, self.type, self.namespace, user, self.subresource)}")

    def _missing(self) -> str:
        """The command that shows the right which is missing to write whose child this is; empty where it is none of these."""
        if self.owner and _OWNER.search(self.words):
            return can_i("update", self.owner, self.namespace, self.identity.user, "finalizers")
        if _DELETION.search(self.words):
            return can_i("delete", self.type, self.namespace, self.identity.user)
        return ""

    def refused(self) -> CoursegenError:
        """What is left: the object is not accepted as it stands, or nothing was decided."""
        if self.code == 409:
            is_there = self.status.get("reason") == "AlreadyExists"
            return AlreadyThere(f"{self._where} is there already") if is_there else WriteConflict(self._sentence)
        if self.code == 500 and _UNTYPED in self.words:
            return ObjectRefused(f"{self._sentence}; {_definition_of(self.type)}")
        if self.code in _FINAL:
            return ObjectRefused(self._sentence)
        return ClusterUnavailable(f"the API server says {self.code}: {self._said}")

    @property
    def _said(self) -> str:
        return shortened(scrub_text(self.words), SAID_BYTES)

    @property
    def _where(self) -> str:
        return "/".join(part for part in (self.type.plural, self.namespace or "", self.name) if part)

    @property
    def _sentence(self) -> str:
        return f"{self._where}: {self._said}"


def is_absent_object(status: Any) -> bool:
    """Whether a 404 speaks of one object. Of a kind that is not there, the API server says no more than "not found"."""
    if not isinstance(status, dict) or status.get("reason") != "NotFound":
        return False
    details = status.get("details")
    return isinstance(details, dict) and bool(details.get("name"))


def can_i(verb: str, resource_type: ResourceType, namespace: str | None, user: str, subresource: str = "") -> str:
    """The command that shows whether RBAC allows this to `user`; an empty one is whoever types it."""
    plural = f"{resource_type.plural}.{resource_type.group}" if resource_type.group else resource_type.plural
    what = f"{plural} --subresource={subresource}" if subresource else plural
    scope = f"-n {namespace}" if namespace else "--all-namespaces"
    return f"kubectl auth can-i {_VERBS.get(verb, verb)} {what} {scope}" + (f" --as={user}" if user else "")


def _owner_in(body: Object) -> ResourceType | None:
    """The kind of the resource, one of ours, that controls the object `body`."""
    kind = (controller_of(body) or {}).get("kind")
    return next((each for each in OWN_TYPES if each.kind == kind), None)


def _definition_of(resource_type: ResourceType) -> str:
    return (
        f"take the field out of the spec, or upgrade what brings {resource_type.kind} to this cluster: "
        f"`kubectl explain {resource_type.plural}.spec --api-version={resource_type.api_version}` says what it knows"
    )


def _is_ending(status: dict[str, Any]) -> bool:
    details = status.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    return any(isinstance(cause, dict) and cause.get("reason") == "NamespaceTerminating" for cause in causes or [])
