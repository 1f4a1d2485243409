"""The label by which the operator sees that a rollout was undone (docs/OPERATOR.md)."""

from __future__ import annotations

import pytest

from operators.coursegen_operator.migrations.rollout import migrations_label
from tests.charts.conftest import CHART, Render
from tests.charts.objects import of_kind

LABEL = "ops.coursegen.dev/migrations"
VALUES = CHART / "ci" / "operator-values.yaml"


@pytest.mark.parametrize(
    "sets",
    [(), ("migrations.image.tag=v7",), ("image.tag=v8",), ("migrations.resource.spec.image=elsewhere/migrate:9",)],
)
def test_deployments_and_their_pods_say_what_they_are_rolled_out_with(render: Render, sets: tuple[str, ...]) -> None:
    """As the operator reads it off the resource, whichever value names the image; another image is another label."""
    objects = render(VALUES, *sets)
    (resource,) = of_kind(objects, "DatabaseMigration").values()
    wanted = migrations_label(resource)
    found = of_kind(objects, "Deployment")

    assert {f"{name}: {each['metadata']['labels'][LABEL]}" for name, each in found.items()} == {
        f"{name}: {wanted}" for name in found
    }
    assert {each["spec"]["template"]["metadata"]["labels"][LABEL] for each in found.values()} == {wanted}
    assert all(LABEL not in each["spec"]["selector"]["matchLabels"] for each in found.values())


def test_another_image_is_another_label() -> None:
    """Also where the version is the same."""
    labels = {migrations_label({"spec": {"image": f"migrate:{each}"}}) for each in range(3)}

    assert len(labels) == 3
    assert all(len(each) == 16 for each in labels)


def test_without_an_operator_nothing_says_so(render: Render) -> None:
    """Nobody would read it, and pods would be made anew for it."""
    found = of_kind(render(VALUES, "migrations.mode=job"), "Deployment")

    assert found
    assert [name for name, each in found.items() if LABEL in each["spec"]["template"]["metadata"]["labels"]] == []
