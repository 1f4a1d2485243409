"""Who the operator is, by the token that it shows."""

from __future__ import annotations

import base64
import json

import pytest

from operators.coursegen_operator.identity import Identity


def token(claims: object) -> str:
    """A token as Kubernetes makes it, but for its signature."""
    parts = [
        base64.urlsafe_b64encode(json.dumps(each).encode()).decode().rstrip("=") for each in ({"alg": "RS256"}, claims)
    ]
    return ".".join([*parts, "c2lnbmF0dXJl"])


def test_the_token_of_a_service_account_says_whose_it_is() -> None:
    """The pod is what the chart tells it."""
    found = Identity.of(f"Bearer {token({'sub': 'system:serviceaccount:ops:operator'})}", "operator-0")

    assert found == Identity("ops", "operator", "operator-0")
    assert found.user == "system:serviceaccount:ops:operator"
    assert found.log == "kubectl -n ops logs operator-0"


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Basic dTpw",
        "Bearer t",
        "Bearer a.b.c",
        "Bearer é.é.é",
        f"Bearer {token({'sub': 'somebody'})}",
        f"Bearer {token({})}",
        f"Bearer {token([])}",
    ],
)
def test_whoever_has_none_is_nobody_in_particular(authorization: str | None) -> None:
    """A person's KUBECONFIG, a token of another form: no command is made of it."""
    found = Identity.of(authorization, "operator-0")

    assert (found.user, found.log) == ("", "")
