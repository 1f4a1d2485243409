"""Every file of values lints and renders objects that Kubernetes knows; the pages say what the values say."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from operators.coursegen_operator.settings import OperatorSettings
from tests.charts.conftest import NEWEST, OLDEST
from tests.charts.objects import of_kind, pods, settings
from tests.charts.operator.conftest import OPERATOR_CHART, Attempt, Render, values_files
from tests.charts.validity import require_valid

_ROOT = Path(__file__).resolve().parents[3]
_FOREIGN = {"PodMonitor"}
"""Judged by the chart coursegen's tests, which render the same fields."""


@pytest.mark.parametrize("file", values_files(), ids=lambda each: each.stem)
def test_the_values_lint(helm: str, file: Path) -> None:
    """`helm lint --strict` has nothing to say."""
    command = [helm, "lint", "--strict", str(OPERATOR_CHART), "-f", str(file), "--kube-version", NEWEST]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("file", values_files(), ids=lambda each: each.stem)
def test_the_objects_are_valid(render: Render, file: Path, version: str) -> None:
    """By the schemas of the oldest and the newest version, definitions of kinds included; no field that it does not know."""
    objects = render(file.stem.removesuffix("-values"), version=version)

    assert {"Deployment", "ServiceAccount", "CustomResourceDefinition"} <= {each["kind"] for each in objects}
    for each in objects:
        if each["kind"] not in _FOREIGN:
            require_valid(each, version)


def test_the_chart_file() -> None:
    """Its version of the application is the project's."""
    chart = yaml.safe_load((OPERATOR_CHART / "Chart.yaml").read_text(encoding="utf-8"))
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert chart["kubeVersion"] == f">={OLDEST}-0"
    assert chart["appVersion"] == project["version"]


def test_the_pages_are_what_the_values_say() -> None:
    """README.md and values.schema.json; made anew by scripts/chart_pages.py."""
    pages = runpy.run_path(str(_ROOT / "scripts" / "chart_pages.py"))["OPERATOR"]

    assert (OPERATOR_CHART / "README.md").read_text(encoding="utf-8") == pages.readme()
    assert json.loads((OPERATOR_CHART / "values.schema.json").read_text(encoding="utf-8")) == pages.schema()


def test_every_documented_setting_is_a_value() -> None:
    """Under `config`, or given by the chart itself."""
    schema = json.loads((OPERATOR_CHART / "values.schema.json").read_text(encoding="utf-8"))["properties"]["config"]
    page = (_ROOT / "docs" / "SETTINGS.md").read_text(encoding="utf-8").partition("\n## Of the operator\n")[2]
    documented = set(re.findall(r"^\| `([A-Z_0-9]+)` \|", page.partition("\n## ")[0], re.MULTILINE))
    given = {
        f"OPERATOR_{each}" for each in ("WATCH_NAMESPACES", "LEASE_NAME", "LEASE_NAMESPACE", "POD_NAME", "REPLICAS")
    }

    assert given < documented
    assert documented - given <= schema["properties"].keys()
    assert not given & schema["properties"].keys()


def test_the_kinds_stay_when_the_release_goes(render: Render) -> None:
    """With `crds.keep`; each is small enough for an annotation, and there is none without `crds.enabled`."""
    kinds = of_kind(render("minimal"), "CustomResourceDefinition")

    assert set(kinds) == {
        f"{each}.ops.coursegen.dev" for each in ("databasemigrations", "retentionpolicies", "alertpolicies")
    }
    for each in kinds.values():
        assert each["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
        assert len(json.dumps(each)) < 60 * 1024
    unkept = of_kind(render("minimal", "crds.keep=false"), "CustomResourceDefinition")
    assert all("annotations" not in each["metadata"] for each in unkept.values())
    assert of_kind(render("minimal", "crds.enabled=false"), "CustomResourceDefinition") == {}


def test_pods_are_restricted_and_speak_to_the_api_server(render: Render) -> None:
    """Nobody's root, nothing to write but /tmp, a token, probes that differ."""
    ((_, pod),) = pods(render("minimal"))
    (container,) = pod["containers"]

    assert pod["securityContext"]["runAsUser"] >= 10000
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is True
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_without_an_election_no_pod_is_beside_another(render: Render) -> None:
    """Not during an update either, and the process is told how many there are: it would refuse more than one."""
    found = {}
    for sets in ((), ("config.OPERATOR_ELECTION=none",)):
        objects = render("small", *sets)
        (deployment,) = of_kind(objects, "Deployment").values()
        given = settings(objects, "op-coursegen-operator")
        found[sets] = (deployment["spec"]["strategy"]["type"], given["OPERATOR_REPLICAS"])
        OperatorSettings.from_environ(given)

    assert list(found.values()) == [("RollingUpdate", "1"), ("Recreate", "1")]
    assert settings(render("minimal"), "op-coursegen-operator")["OPERATOR_REPLICAS"] == "2"


def test_one_pod_has_no_budget(render: Render) -> None:
    """It could never be evicted."""
    assert of_kind(render("small"), "PodDisruptionBudget") == {}
    assert len(of_kind(render("minimal"), "PodDisruptionBudget")) == 1


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (('watchNamespaces=["courses"]',), "watchNamespaces: only with scope: namespaced"),
        (("drainSeconds=30",), "terminationGracePeriodSeconds: must be more than"),
        (('commonLabels={"app.kubernetes.io/name":"x"}',), "commonLabels: app.kubernetes.io/name is the chart's own"),
        (("scope=galaxy",), "scope"),
        (
            ("metrics.podMonitor.enabled=true", "metrics.podMonitor.interval=5s"),
            "metrics.podMonitor.scrapeTimeout: 10s is longer than interval, 5s",
        ),
        (("config.OPERATOR_ELECTION=none",), "config.OPERATOR_ELECTION: none is for one operator only"),
        (("config.OPERATOR_LEASE_SECONDS=5",), "config.OPERATOR_LEASE_SECONDS: 5 must be more than"),
        (
            ("config.OPERATOR_LEASE_RETRY_SECONDS=9",),
            "config.OPERATOR_LEASE_RENEW_SECONDS: 10 must be more than 1.2 times",
        ),
        (
            (
                'probes.readiness={"httpGet":{"path":"/livez"},"periodSeconds":10,"timeoutSeconds":5,"failureThreshold":6}',
            ),
            "probes: liveness and readiness are the same",
        ),
        (("probes.liveness.httpGet.path=/readyz",), "probes.liveness: /readyz asks the API server"),
        (('commonLabels={"team":"a"}', 'podLabels={"team":"b"}'), "podLabels: team is in commonLabels too"),
        (('config={"NOTHING_SUCH":1}',), "NOTHING_SUCH"),
        (("replicaCounts=1",), "replicaCounts"),
    ],
)
def test_what_cannot_work_is_refused(attempt: Attempt, sets: tuple[str, ...], said: str) -> None:
    """With a sentence that says what to set."""
    done = attempt("minimal", *sets)

    assert done.returncode != 0
    assert said in done.stderr
