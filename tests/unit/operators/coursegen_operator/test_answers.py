"""Answers of the API server, by what is to be done about them."""

from __future__ import annotations

from typing import Any

import pytest

from operators.coursegen_operator.answers import error_of
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
from operators.coursegen_operator.resources import CRON_JOB, DATABASE_MIGRATION, JOB, POD

ENDING = {"reason": "Forbidden", "details": {"causes": [{"reason": "NamespaceTerminating"}]}}
UNTYPED = (
    "failed to create typed patch object (default/x; batch/v1, Kind=CronJob): errors:\n"
    "  .spec.colour: field not declared in schema\n  .spec.suspend: expected boolean, got &{red}"
)
ABSENT = {"reason": "NotFound", "details": {"name": "x"}}
RBAC = (
    'jobs.batch is forbidden: User "system:serviceaccount:ops:operator" cannot create resource "jobs" in API group "batch" '
    'in the namespace "default"'
)
QUOTA = 'jobs.batch "x" is forbidden: exceeded quota: few, requested: count/jobs.batch=1, used: count/jobs.batch=1, limited: 1'
WEBHOOK = 'admission webhook "images.example" denied the request: only images of registry.example, User "x" cannot do otherwise'
POLICY = (
    "jobs.batch \"x\" is forbidden: ValidatingAdmissionPolicy 'signed' with binding 'all' denied request: not signed"
)
BUILT_IN = 'jobs.batch "x" is forbidden: unable to create new content: no PriorityClass with name urgent was found'
ENFORCED = {
    "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: RBAC: no, <nil>": (
        "update databasemigrations.ops.coursegen.dev --subresource=finalizers"
    ),
    "cannot set an ownerRef on a resource you can't delete: RBAC: no, <nil>": "delete jobs.batch",
}
"""What OwnerReferencesPermissionEnforcement says, and the right that it asks for."""


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        (401, {}, NotPermitted),
        (403, {"reason": "Forbidden"}, NotPermitted),
        (403, {"reason": "Forbidden", "message": RBAC}, NotPermitted),
        (403, {"reason": "Forbidden", "message": QUOTA}, QuotaExceeded),
        (
            403,
            {"reason": "Forbidden", "message": QUOTA.replace("exceeded quota: few", "status unknown for quota: few")},
            QuotaExceeded,
        ),
        (403, {"reason": "Forbidden", "message": WEBHOOK}, AdmissionDenied),
        (403, {"reason": "Forbidden", "message": POLICY}, AdmissionDenied),
        (403, {"reason": "Forbidden", "message": BUILT_IN}, AdmissionDenied),
        (400, {"message": WEBHOOK}, AdmissionDenied),
        (422, {"reason": "Invalid", "message": POLICY}, AdmissionDenied),
        (500, {"message": 'Internal error occurred: failed calling webhook "images.example"'}, ClusterUnavailable),
        (403, ENDING, ObjectGone),
        (404, ABSENT, ObjectGone),
        (404, None, KindAbsent),
        (404, "404 page not found", KindAbsent),
        (404, {"reason": "NotFound", "details": {}}, KindAbsent),
        (409, {"reason": "AlreadyExists"}, AlreadyThere),
        (409, {"reason": "Conflict"}, WriteConflict),
        (400, {}, ObjectRefused),
        (413, {}, ObjectRefused),
        (422, {"message": "spec.schedule: invalid"}, ObjectRefused),
        (410, {}, ClusterUnavailable),
        (429, {}, ClusterUnavailable),
        (500, None, ClusterUnavailable),
        (500, {"message": UNTYPED}, ObjectRefused),
        (500, {"message": "failed to create typed live object"}, ClusterUnavailable),
        (503, [], ClusterUnavailable),
    ],
)
def test_an_answer_means_one_thing(code: int, status: Any, error: type[Exception]) -> None:
    """Whatever its body is."""
    assert type(error_of(code, status, "apply", CRON_JOB, "default", "x")) is error


def test_a_field_that_the_cluster_does_not_know_is_named_with_what_to_do() -> None:
    """The definition that the cluster has is older than the operator, or somebody's spec is wrong: no use to try again."""
    message = error_of(500, {"message": UNTYPED}, "apply", CRON_JOB, "default", "x").message

    assert ".spec.colour: field not declared in schema .spec.suspend: expected boolean" in message
    assert "kubectl explain cronjobs.spec --api-version=batch/v1" in message


def test_a_missing_right_is_named_with_the_command_that_shows_it() -> None:
    """By RBAC's own verbs."""
    refused = error_of(403, {"message": RBAC}, "create", JOB, "default", "x").message
    assert refused.endswith(
        "see: kubectl auth can-i create jobs.batch -n default --as=system:serviceaccount:ops:operator"
    )
    silent = error_of(403, {}, "apply", CRON_JOB, "default", "x").message
    assert silent.endswith("see: kubectl auth can-i patch cronjobs.batch -n default")
    known = error_of(403, {}, "list", POD, None, "", Identity("ops", "operator")).message
    assert known.endswith("see: kubectl auth can-i list pods --all-namespaces --as=system:serviceaccount:ops:operator")


def test_a_right_on_a_subresource_is_named_as_such() -> None:
    """Of the object itself the answer would be another; messages name the object alone."""
    words = 'User "u" cannot patch resource "databasemigrations/status" in API group "ops.coursegen.dev"'
    refused = error_of(403, {"message": words}, "apply", DATABASE_MIGRATION, "default", "main/status").message
    gone = error_of(404, ABSENT, "apply", DATABASE_MIGRATION, "default", "main/status").message

    assert refused.endswith(
        "see: kubectl auth can-i patch databasemigrations.ops.coursegen.dev --subresource=status -n default --as=u"
    )
    assert gone == "databasemigrations/default/main is not there any more"


@pytest.mark.parametrize(("said", "right"), ENFORCED.items())
def test_a_right_that_a_child_asks_for_is_one_of_rbac(said: str, right: str) -> None:
    """The admission that asks for it is no policy of the cluster: whoever installs the operator gives the right."""
    owner = {"kind": "DatabaseMigration", "controller": True}
    status, body = {"message": f'jobs.batch "x" is forbidden: {said}'}, {"metadata": {"ownerReferences": [owner]}}
    refused = error_of(403, status, "create", JOB, "default", "", Identity("ops", "operator"), body=body)

    assert type(refused) is NotPermitted
    assert refused.message.endswith(
        f"see: kubectl auth can-i {right} -n default --as=system:serviceaccount:ops:operator"
    )


def test_a_token_that_is_not_accepted_is_no_matter_of_rights() -> None:
    """`can-i` would say yes: the account is what to look at."""
    refused = error_of(401, {"message": "Unauthorized"}, "list", POD, None, "", Identity("ops", "operator"))

    assert refused.message.endswith("see: kubectl -n ops get serviceaccount operator")


@pytest.mark.parametrize(
    ("code", "said", "command"),
    [
        (403, QUOTA, "kubectl -n default describe quota"),
        (403, WEBHOOK, "kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations"),
        (422, POLICY, "kubectl describe validatingadmissionpolicy signed"),
        (403, BUILT_IN, "kubectl describe namespace default"),
    ],
)
def test_what_is_no_matter_of_rights_names_another_command(code: int, said: str, command: str) -> None:
    """`kubectl auth can-i` says yes to all of these; the cluster's own words stay."""
    message = error_of(code, {"message": said}, "create", JOB, "default", "x").message

    assert said in message
    assert message.endswith(f"see: {command}")
    assert "can-i" not in message


def test_long_words_leave_room_for_the_command() -> None:
    """A message is cut at its end."""
    message = error_of(403, {"message": f"{WEBHOOK}{' no' * 2000}"}, "create", JOB, "n" * 63, "x" * 63).message

    assert len(message.encode()) < 1024
    assert message.endswith("mutatingwebhookconfigurations")
