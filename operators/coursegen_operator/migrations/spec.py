"""What a DatabaseMigration asks for, with the defaults that the schema also states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from operators.coursegen_operator.child import hash8
from operators.coursegen_operator.jobs.pod import part_of
from operators.coursegen_operator.resources import Object, number, part

Approval = Literal["Auto", "Manual"]
Destructive = Literal["Deny", "Allow"]
ContractMode = Literal["AfterRollout", "Manual", "Never"]
DriftMode = Literal["Off", "Detect", "Fail"]

HEAD: Final = "head"
KEY: Final = "DATABASE_URL"
LOCK_SECONDS: Final = 4
STATEMENT_SECONDS: Final = 300
SOAK_SECONDS: Final = 300
DRIFT_SECONDS: Final = 600
MAX_ATTEMPTS: Final = 5
BACKOFF_SECONDS: Final = 30
MAX_BACKOFF_SECONDS: Final = 600
DEADLINE_SECONDS: Final = 1800
TTL_SECONDS: Final = 86400

_WITHOUT_NEW_ROUND: Final = ("suspend", "drift")
"""Parts of a spec that change nothing about what there is to apply, or how."""

_MANNER: Final = ("contract", "retry", "job")
"""Parts of a spec that say when and how Jobs run: a plan would find what it found before."""

_WORK: Final = ("image", "targetRevision", "databaseSecretRef", "baseline")
"""Parts of a spec that say what there is to apply, and to which database."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What a migration may do to the database."""

    destructive: Destructive
    lock_seconds: int
    statement_seconds: int


@dataclass(frozen=True, slots=True)
class Contract:
    """When files of phase `contract` are applied."""

    mode: ContractMode
    wait_for: tuple[str, ...] | None
    """Names of Deployments; None: those of the release; empty: there is none to wait for."""
    soak_seconds: int


@dataclass(frozen=True, slots=True)
class Drift:
    """How the schema is watched once it is applied."""

    mode: DriftMode
    interval_seconds: int
    ignore: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Retry:
    """How often, and when, a failed attempt is made again."""

    max_attempts: int
    backoff_seconds: int
    max_backoff_seconds: int


@dataclass(frozen=True, slots=True)
class MigrationSpec:
    """The spec of one DatabaseMigration."""

    image: str
    secret_name: str
    secret_key: str
    target: str
    baseline: str
    approval: Approval
    policy: Policy
    contract: Contract
    drift: Drift
    retry: Retry
    suspend: bool
    pod: Object
    """What concerns the pods only, as the spec has it: `image…`, `command` and `job`."""
    work: str
    """Stands for what there is to apply: another one is another rollout, too."""
    fingerprint: str
    """Stands for all of the spec that a plan follows from."""
    manner: str
    """Stands for when and how Jobs run."""

    @property
    def allows_destructive(self) -> bool:
        """Whether the policy lets statements pass that lose data."""
        return self.policy.destructive == "Allow"

    @classmethod
    def of(cls, resource: Object) -> MigrationSpec:
        """The spec of `resource`; whatever the schema admits can be read."""
        spec = part(resource, "spec")
        secret = part(spec, "databaseSecretRef")
        return cls(
            image=str(spec.get("image", "")),
            secret_name=str(secret.get("name", "")),
            secret_key=str(secret.get("key") or KEY),
            target=str(spec.get("targetRevision") or HEAD),
            baseline=str(spec.get("baseline") or ""),
            approval=cast("Approval", spec.get("approval") or "Auto"),
            policy=_policy(part(spec, "policy")),
            contract=_contract(part(spec, "contract")),
            drift=_drift(part(spec, "drift")),
            retry=_retry(part(spec, "retry")),
            suspend=bool(spec.get("suspend", False)),
            pod=part_of(spec),
            work=hash8({key: spec[key] for key in _WORK if key in spec}),
            fingerprint=hash8(
                {key: value for key, value in spec.items() if key not in (*_WITHOUT_NEW_ROUND, *_MANNER)}
            ),
            manner=hash8({key: spec[key] for key in _MANNER if key in spec}),
        )


def _policy(policy: Object) -> Policy:
    return Policy(
        destructive=cast("Destructive", policy.get("destructive") or "Deny"),
        lock_seconds=number(policy, "lockTimeoutSeconds", LOCK_SECONDS),
        statement_seconds=number(policy, "statementTimeoutSeconds", STATEMENT_SECONDS),
    )


def _contract(contract: Object) -> Contract:
    named: Any = contract.get("waitFor")
    return Contract(
        mode=cast("ContractMode", contract.get("mode") or "AfterRollout"),
        wait_for=tuple(str(each["name"]) for each in named) if isinstance(named, list) else None,
        soak_seconds=number(contract, "soakSeconds", SOAK_SECONDS),
    )


def _drift(drift: Object) -> Drift:
    return Drift(
        mode=cast("DriftMode", drift.get("mode") or "Detect"),
        interval_seconds=number(drift, "intervalSeconds", DRIFT_SECONDS),
        ignore=tuple(drift.get("ignore") or ()),
    )


def _retry(retry: Object) -> Retry:
    return Retry(
        max_attempts=number(retry, "maxAttempts", MAX_ATTEMPTS),
        backoff_seconds=number(retry, "backoffSeconds", BACKOFF_SECONDS),
        max_backoff_seconds=number(retry, "maxBackoffSeconds", MAX_BACKOFF_SECONDS),
    )
