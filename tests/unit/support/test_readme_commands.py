"""What the cluster tests take from README.md, and what they take for a warning."""

from __future__ import annotations

import pytest

from tests.support.kube.commands import warnings_in
from tests.support.kube.readme import README, commands

_VIOLATES = 'would violate PodSecurity "restricted:latest": allowPrivilegeEscalation != false'


@pytest.mark.parametrize(
    ("block", "count"),
    [("kubernetes", 5), ("kubernetes-client", 5), ("kubernetes-operator", 1), ("kubernetes-production", 7)],
)
def test_commands_come_without_their_comments(block: str, count: int) -> None:
    """Each line is one command, and there are no more of them than a reader bears."""
    lines = commands(block)

    assert [line for line in lines if not line or "#" in line or line != line.strip()] == []
    assert len(lines) == count


def test_the_namespace_is_made_before_anything_is_put_into_it() -> None:
    """By commands that stand before the first block, and the reader knows where the images come from."""
    before = (
        README.read_text(encoding="utf-8").partition("### On Kubernetes")[2].partition("<!-- tested: kubernetes -->")[0]
    )

    assert (
        "\nkubectl create namespace coursegen\nkubectl config set-context --current --namespace coursegen\n" in before
    )
    assert "Images are not released yet" in before
    assert "make deploy" in before


def test_a_block_that_is_not_marked_is_missed() -> None:
    """By its name."""
    with pytest.raises(AssertionError, match="tested: nothing"):
        commands("nothing")


@pytest.mark.parametrize(
    "line",
    [
        f"Warning: {_VIOLATES}",
        f"W1128 10:20:30.123456   12345 warnings.go:70] {_VIOLATES}",
        f'level=WARN msg="{_VIOLATES}"',
        'Warning: unknown field "spec.colour"',
    ],
    ids=["kubectl", "helm 3", "helm 4", "another"],
)
def test_warnings_of_the_api_server_are_found(line: str) -> None:
    """As kubectl and both Helms pass them on, between other lines."""
    assert warnings_in(f"NAME: cg\n{line}\nSTATUS: deployed\n") == [line]


def test_notes_of_the_chart_are_no_warnings_of_the_api_server() -> None:
    """They speak of values."""
    assert (
        warnings_in("WARNING: without webhooks.encryptionKeys every request\n\nNOTE: networkPolicy.enabled is false")
        == []
    )
