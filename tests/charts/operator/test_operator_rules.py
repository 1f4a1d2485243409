"""What every object of the operator's chart has, whatever the values: the rules of the chart coursegen, and what users add."""

from __future__ import annotations

import pytest

from tests.charts.objects import of_kind, pods, settings
from tests.charts.operator.conftest import Render, values_files
from tests.charts.standards import assert_labelled, assert_memory_is_reserved, assert_restricted, assert_spread

_NAME = "op-coursegen-operator"
_ALL = pytest.mark.parametrize("name", [file.stem.removesuffix("-values") for file in values_files()])


@_ALL
def test_pods_are_restricted(render: Render, name: str) -> None:
    """A token, and memory that is its own."""
    ((of, pod),) = pods(render(name))

    assert_restricted(of, pod, token=True)
    assert_memory_is_reserved(of, pod)


@_ALL
def test_objects_bear_the_labels_and_a_namespace(render: Render, name: str) -> None:
    """Those of the whole cluster bear none."""
    for each in render(name):
        assert_labelled(each, {"ops", "courses", "more-courses"})


@_ALL
def test_pods_are_spread_over_hosts(render: Render, name: str) -> None:
    """Unless values say otherwise."""
    (deployment,) = of_kind(render(name), "Deployment").values()

    assert_spread(deployment)


def test_another_namespace_is_everywhere(render: Render) -> None:
    """Of every object, of the account that is bound, of the Lease, and of the pods that are scraped."""
    objects = render("monitoring", "namespaceOverride=elsewhere")

    for each in objects:
        assert_labelled(each, {"elsewhere"})
    bindings = [each for each in objects if each["kind"] in {"RoleBinding", "ClusterRoleBinding"}]
    assert {subject["namespace"] for each in bindings for subject in each["subjects"]} == {"elsewhere"}
    assert settings(objects, _NAME)["OPERATOR_LEASE_NAMESPACE"] == "elsewhere"
    (monitor,) = of_kind(objects, "PodMonitor").values()
    assert monitor["spec"]["namespaceSelector"] == {"matchNames": ["elsewhere"]}
    assert f"elsewhere-{_NAME}" in of_kind(objects, "ClusterRole")


def test_the_image_by_digest_and_registry(render: Render) -> None:
    """The digest follows the tag and wins; the global registry replaces the chart's."""
    digest = f"sha256:{'0' * 64}"
    ((_, pod),) = pods(render("minimal", "global.imageRegistry=mirror.example.org", f"image.digest={digest}"))

    assert [each["image"] for each in pod["containers"]] == [
        f"mirror.example.org/coursegen/coursegen-operator:0.1.0@{digest}"
    ]


def test_further_things_reach_the_pod(render: Render) -> None:
    """Variables, volumes, containers, labels, annotations, secrets of the registry, and where pods run."""
    objects = render(
        "minimal",
        'extraEnv=[{"name":"MORE","value":"1"}]',
        'extraEnvFrom=[{"configMapRef":{"name":"more"}}]',
        'extraVolumes=[{"name":"more","emptyDir":{}}]',
        'extraVolumeMounts=[{"name":"more","mountPath":"/more"}]',
        'extraContainers=[{"name":"more","image":"more:1"}]',
        'podLabels={"more":"label"}',
        'podAnnotations={"more":"annotation"}',
        'annotations={"its":"own"}',
        'nodeSelector={"more":"node"}',
        'tolerations=[{"key":"more","operator":"Exists"}]',
        'affinity={"nodeAffinity":{}}',
        'imagePullSecrets=["mirror"]',
        'topologySpreadConstraints=[{"maxSkew":2}]',
        "priorityClassName=more",
        "runtimeClassName=more",
    )
    (deployment,) = of_kind(objects, "Deployment").values()
    template = deployment["spec"]["template"]
    pod, container = template["spec"], template["spec"]["containers"][0]

    assert container["env"][-1] == {"name": "MORE", "value": "1"}
    assert container["envFrom"][-1] == {"configMapRef": {"name": "more"}}
    assert container["volumeMounts"][-1] == {"name": "more", "mountPath": "/more"}
    assert pod["volumes"][-1] == {"name": "more", "emptyDir": {}}
    assert pod["containers"][1:] == [{"name": "more", "image": "more:1"}]
    assert template["metadata"]["labels"]["more"] == "label"
    assert template["metadata"]["annotations"]["more"] == "annotation"
    assert deployment["metadata"]["annotations"] == {"its": "own"}
    assert pod["nodeSelector"] == {"more": "node"}
    assert pod["tolerations"] == [{"key": "more", "operator": "Exists"}]
    assert pod["affinity"] == {"nodeAffinity": {}}
    assert pod["imagePullSecrets"] == [{"name": "mirror"}]
    assert pod["topologySpreadConstraints"] == [{"maxSkew": 2}]
    assert (pod["priorityClassName"], pod["runtimeClassName"]) == ("more", "more")


def test_common_labels_and_annotations_are_everywhere(render: Render) -> None:
    """On objects and on pods; selectors stay as they are."""
    objects = render("monitoring", 'commonLabels={"team":"learning"}', 'commonAnnotations={"owner":"learning"}')

    for each in objects:
        assert each["metadata"]["labels"]["team"] == "learning", each["metadata"]["name"]
        assert each["metadata"]["annotations"]["owner"] == "learning", each["metadata"]["name"]
    (deployment,) = of_kind(objects, "Deployment").values()
    assert deployment["spec"]["template"]["metadata"]["labels"]["team"] == "learning"
    assert "team" not in deployment["spec"]["selector"]["matchLabels"]


def test_further_objects_are_templates(render: Render) -> None:
    """As YAML or as text."""
    text = r"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '{{ .Release.Name }}-text'}"
    plain = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"more","namespace":"{{ .Release.Namespace }}"}}'
    made = of_kind(render("minimal", f'extraObjects=[{plain},"{text}"]'), "ConfigMap")

    assert made["more"]["metadata"]["namespace"] == "ops"
    assert "op-text" in made
