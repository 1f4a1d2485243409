"""Who the operator is on the cluster, as far as it can tell: for the commands that its messages name."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any, Final

import orjson

_ACCOUNT: Final = "system:serviceaccount:"


@dataclass(frozen=True, slots=True)
class Identity:
    """A pod and its service account; what is not known is empty, as for a process with a person's KUBECONFIG."""

    namespace: str = ""
    account: str = ""
    pod: str = ""

    @classmethod
    def of(cls, authorization: str | None, pod: str) -> Identity:
        """By what a process shows the API server: the token of a service account says whose it is. Nothing of it is kept."""
        subject = _subject(authorization or "")
        namespace, _, account = (
            subject.removeprefix(_ACCOUNT).partition(":") if subject.startswith(_ACCOUNT) else [""] * 3
        )
        return cls(namespace, account, pod)

    @property
    def user(self) -> str:
        """What RBAC calls it."""
        return f"{_ACCOUNT}{self.namespace}:{self.account}" if self.account else ""

    @property
    def log(self) -> str:
        """The command that shows what it has logged."""
        return f"kubectl -n {self.namespace} logs {self.pod}" if self.namespace and self.pod else ""


def _subject(authorization: str) -> str:
    """Whom a token speaks of; empty when it is none that says so."""
    parts = authorization.removeprefix("Bearer ").split(".")
    if len(parts) != 3:  # head, claims, signature
        return ""
    try:
        claims: Any = orjson.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return ""
    return str(claims.get("sub") or "") if isinstance(claims, dict) else ""
