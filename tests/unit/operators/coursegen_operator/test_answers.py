"""Answers of the API server, by what is to be done about them."""

from __future__ import annotations

from typing import Any

import pytest

from operators.coursegen_operator.answers import error_of
from operators.coursegen_operator.errors import (
    AlreadyThere,
    ClusterUnavailable,
    KindAbsent,
    NotPermitted,
    ObjectGone,
    ObjectRefused,
    WriteConflict,
)
from operators.coursegen_operator.resources import CRON_JOB, POD

ENDING = {"reason": "Forbidden", "details": {"causes": [{"reason": "NamespaceTerminating"}]}}
UNTYPED = (
    "failed to create typed patch object (default/x; batch/v1, Kind=CronJob): errors:\n"
    "  .spec.colour: field not declared in schema\n  .spec.suspend: expected boolean, got &{red}"
)
ABSENT = {"reason": "NotFound", "details": {"name": "x"}}


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        (401, {}, NotPermitted),
        (403, {"reason": "Forbidden"}, NotPermitted),
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
    assert (
        "kubectl auth can-i patch cronjobs.batch -n default"
        in error_of(403, {}, "apply", CRON_JOB, "default", "x").message
    )
    assert "kubectl auth can-i list pods --all-namespaces" in error_of(403, {}, "list", POD, None, "").message
