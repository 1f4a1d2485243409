"""Every rule in CEL has a spec that breaks it, for the test that asks an API server."""

from __future__ import annotations

import jsonschema
import pytest

from operators.coursegen_operator.schemas.crd import definitions
from tests.support.refusals import ACCEPTED, REFUSED, rules_of

SCHEMAS = {plural: each["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for plural, each in definitions().items()}


@pytest.mark.parametrize("plural", SCHEMAS)
def test_each_rule_is_broken_by_one_spec(plural: str) -> None:
    """And by its own: field and message are the rule's."""
    rules = list(rules_of(SCHEMAS[plural]))

    assert len(REFUSED[plural]) == len(rules)
    for path, message in rules:
        assert [where for where, said, _ in REFUSED[plural] if where == path and message.startswith(said)] == [path]


@pytest.mark.parametrize("plural", SCHEMAS)
def test_only_the_rule_is_broken(plural: str) -> None:
    """The schema itself takes every one of them, so that it is CEL that refuses."""
    check = jsonschema.Draft202012Validator(SCHEMAS[plural]["properties"]["spec"])
    check.validate(ACCEPTED[plural])
    for _, _, changes in REFUSED[plural]:
        check.validate({**ACCEPTED[plural], **changes})
