"""Each of ten parts of a deployment, broken: its check turns red, its alert fires, and its runbook, as printed, brings it back.

An ordinary run breaks two of them; `make prove-operations` breaks all ten and asks every expression of the dashboards.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from operators.coursegen_operator.alerts.rules.catalogue import PRESETS
from operators.coursegen_operator.alerts.rules.kpis import KPIS
from operators.coursegen_operator.alerts.rules.objectives import Objective
from tests.acceptance.test_dashboards import answers, expressions, generating, sending
from tests.e2e.operator.conftest import WATCHED
from tests.support import tokens
from tests.support.checklist import PAGE
from tests.support.fences import fences
from tests.support.kube.commands import Object
from tests.support.kube.installation import Installation, port_forward
from tests.support.kube.operator import RELEASE, OperatorRelease, await_condition, operator_values
from tests.support.kube.page import Shell, make_tools, shell_for
from tests.support.kube.parts import PARTS, RUNBOOKS, TITLE, Part
from tests.support.kube.prometheus import (
    FIRED_SECONDS,
    firing,
    hurry,
    is_quiet,
    prometheus_finds,
    prometheus_says,
    targets,
)
from tests.support.kube.signals import stand_beside
from tests.support.kube.values import CHART
from tests.support.kube.verification import checks, red
from tests.support.marked import marked, typed_as
from tests.support.waiting import eventually_sync

PROOF = "PROVE_OPERATIONS"
ORDINARY = {"Outbox", "Events"}
"""Those that every run breaks."""
TOLD_SECONDS = 180.0
"""To a red check and alerts that fire: a schema is looked at by a Job."""
BACK_SECONDS = 180.0
"""To green checks after the mending: pods start, and processes find their servers again."""
DASHBOARDS = CHART / "files" / "dashboards"
CRITICAL = {alert.name for preset in PRESETS for alert in preset.alerts if alert.severity == "critical"}
SYSTEM = "coursegen-system"
"""Where the operator is on the pages."""
_A_FAILURE = f"""
    INSERT INTO auth.users (id) VALUES ('{tokens.USER}') ON CONFLICT DO NOTHING;
    INSERT INTO courses (id, title, slug, user_id, organization_id)
    VALUES (gen_random_uuid(), '{TITLE}', 'failed', '{tokens.USER}', '{tokens.ORGANIZATION}');
    INSERT INTO fsm_events (entity_id, event_type, triggered_by, created_by, metadata)
    SELECT id, 'FSM_FAILED', 'API_INITIATE', 'API', '{{"error": "made by hand"}}' FROM courses WHERE slug = 'failed';
"""
"""For the table of the latest failures."""

pytestmark = [pytest.mark.cluster, pytest.mark.install, pytest.mark.timeout(900)]
by_hand = pytest.mark.skipif(not os.environ.get(PROOF), reason="a proof that runs by hand: make prove-operations")


@dataclass(frozen=True)
class Site:
    """The application, and the shell of somebody who is on call."""

    installation: Installation
    shell: Shell

    def types(self, commands: str) -> str:
        """What commands print; the last of them must end well."""
        done = self.shell(commands)
        assert done.returncode == 0, (commands, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def looks(self, commands: str) -> str:
        """What commands print that only look; where a part is broken some of them fail."""
        done = self.shell(f"set +e +o pipefail\n{commands}")
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def site(watched: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The application with the checklist's tools; in the proof every alert is on, and the schema is looked at twice a minute."""
    shell = shell_for(watched, tmp_path_factory.mktemp("page"), seconds=300)
    make_tools(shell, watched.fullname)
    if os.environ.get(PROOF):
        _patch(watched, "dbm/main", {"drift": {"intervalSeconds": 30}})
        every_alert = {"transactionalOutbox": {"alerts": {"CacheHitRateLow": {"enabled": True}}}}
        _patch(watched, "alp/platform", {"presets": every_alert})
        await_condition(watched.namespace, "alp", "platform", "Ready", within=60)
    try:
        yield Site(watched, shell)
    finally:
        watched.kubectl("delete", "pod,networkpolicy", "-l", f"{watched.selector},app.kubernetes.io/component=tools")
        _patch(watched, "dbm/main", {"drift": None})
        _patch(watched, "alp/platform", {"presets": {"transactionalOutbox": {"alerts": None}}})


def _patch(installation: Installation, resource: str, spec: Object) -> None:
    installation.kubectl("patch", resource, "--type=merge", "-p", json.dumps({"spec": spec}))


def test_ten_of_ten_and_every_pod_is_watched(site: Site, operator: OperatorRelease) -> None:
    """Nothing is red and nothing warned of; Prometheus reaches each pod of the application's processes and of the operator."""

    def all_pass() -> bool:
        found = checks(site.installation)
        assert {name: each["problems"] for name, each in found.items() if each["status"] != "pass"} == {}
        return len(found) == 10

    def all_up() -> bool:
        asked = [each for space in (operator.namespace, site.installation.namespace) for each in targets(space)]
        assert [(each["scrapeUrl"], each["lastError"]) for each in asked if each["health"] != "up"] == []
        running = len(operator.pods()) + sum(
            len(site.installation.pods(each)) for each in site.installation.processes()
        )
        return len(asked) == running

    eventually_sync(all_pass, within=BACK_SECONDS, every=2)
    eventually_sync(all_up, within=FIRED_SECONDS, every=2)


@by_hand
def test_every_rule_is_loaded(site: Site) -> None:
    """The 14 of the contract, all of ours and those of the objectives, each evaluated without an error."""
    ours = [alert.name for preset in PRESETS for alert in preset.alerts]
    wanted = Counter(ours) + Counter(alert.name for slo in KPIS for alert in Objective.of(slo).alerts())

    def loaded() -> dict[str, int]:
        hurry()
        groups = [each for each in prometheus_says("rules")["groups"] if site.installation.namespace in each["file"]]
        rules = [rule for each in groups for rule in each["rules"]]
        assert Counter(rule["name"] for rule in rules if rule["type"] == "alerting") == wanted
        assert {rule["health"] for rule in rules} == {"ok"}
        return {each["name"]: sum(rule["type"] == "alerting" for rule in each["rules"]) for each in groups}

    by_group = eventually_sync(loaded, within=180, every=2)
    assert by_group["transactional_outbox"] + by_group["phase3_queue"] == 14


@by_hand
def test_every_dashboard_has_data(site: Site, operator: OperatorRelease) -> None:
    """Every expression of every panel, while courses and messages come; the namespace is the one that is chosen."""
    installation = site.installation
    namespaces = {"operator-dashboard.json": operator.namespace}
    installation.sql(_A_FAILURE)
    api, token = f"service/{installation.fullname}-api", installation.token()
    try:
        _divide_windows(installation, 1, "5m")
        with (
            port_forward(installation, api, 3000) as url,
            sending(url, token, str(tokens.USER)),
            generating(url, token),
        ):
            for path in sorted(DASHBOARDS.glob("*.json")):
                asked = expressions(path, namespace=namespaces.get(path.name, installation.namespace), rate="20s")
                eventually_sync(lambda asked=asked: answers(prometheus_finds, asked), within=120, every=2)
    finally:
        installation.sql(f"DELETE FROM courses WHERE user_id = '{tokens.USER}'")
        _divide_windows(installation, WATCHED["alerts"]["presets"]["api"]["windowDivisor"], "5s")


def _divide_windows(installation: Installation, by: int, shortest: str) -> None:
    """Have the api's objective look back so far, and return when Prometheus records it: dashboards ask for whole windows."""
    _patch(installation, "alp/platform", {"presets": {"api": {"windowDivisor": by}}})

    def recorded() -> bool:
        hurry()
        groups = prometheus_says("rules")["groups"]
        ours = [each for each in groups if installation.namespace in each["file"] and each["name"] == "coursegen_api"]
        return any(rule["name"].endswith(f"ratio_rate{shortest}") for each in ours for rule in each["rules"])

    eventually_sync(recorded, within=FIRED_SECONDS, every=2)


@pytest.mark.parametrize(
    "part", [pytest.param(each, id=each.mark, marks=() if each.check in ORDINARY else by_hand) for each in PARTS]
)
def test_a_broken_part_is_seen_and_told_of_and_its_page_brings_it_back(site: Site, part: Part) -> None:
    """Green; then its check is red and its alerts fire, the page's commands tell why, and those below them mend it."""
    installation = site.installation
    eventually_sync(lambda: not red(installation), within=BACK_SECONDS, every=2)
    is_quiet(installation.namespace, *part.alerts)

    def is_told() -> bool:
        part.goes_on(installation)
        assert set(red(installation)) == {part.check} | part.also
        assert set(part.alerts) - firing(installation.namespace) == set()
        return True

    try:
        part.breaks(installation)
        eventually_sync(is_told, within=TOLD_SECONDS, every=1)
        eventually_sync(lambda: _tells(site, part), within=30, every=2)
        eventually_sync(lambda: _is_found_after_a_day(site, part), within=30, every=2)
        site.types(part.given + marked(part.runbook, part.mark))
        part.makes_up(installation)
        eventually_sync(lambda: not red(installation), within=BACK_SECONDS, every=2)
        is_quiet(installation.namespace, *part.alerts)
    finally:
        part.clears(installation)


@by_hand
def test_an_operator_that_is_gone_is_told_of_and_its_page_brings_it_back(site: Site, operator: OperatorRelease) -> None:
    """OperatorDown, `no Deployment`: the application goes on, the page shows that nothing is there, and its command helps."""
    text = (RUNBOOKS / "OperatorDown.md").read_text(encoding="utf-8").replace(SYSTEM, operator.namespace)
    commands = [each.text for each in fences(text)]  # under Confirm, and under Look
    (install,) = re.findall(r"^\| no Deployment \| `(helm upgrade --install [^`]+)` \|$", text, re.MULTILINE)
    eventually_sync(lambda: not _fires("OperatorDown", operator.namespace), within=FIRED_SECONDS, every=1)
    try:
        operator.helm("uninstall", RELEASE, "--wait")  # the kinds stay, and so do resources and what was made of them
        eventually_sync(lambda: _fires("OperatorDown", operator.namespace), within=FIRED_SECONDS, every=1)
        confirmed, looked = (site.looks(each) for each in commands)
        assert "No resources found" in confirmed
        assert "No resources found" in looked
        assert red(site.installation) == []  # what runs goes on
        site.types(f"{install} --wait --timeout=4m -f - <<'VALUES'\n{json.dumps(operator_values())}\nVALUES\n")

        eventually_sync(lambda: len(operator.pods()) == 2 and operator.leader(), within=BACK_SECONDS, every=2)
        leads = f"kubectl -n {operator.namespace} get lease coursegen-operator"
        assert leads in text.partition("## Over when")[2]
        assert operator.leader() in site.types(f"{leads} -o yaml\n")
        eventually_sync(lambda: not _fires("OperatorDown", operator.namespace), within=FIRED_SECONDS, every=1)
    finally:
        if len(operator.pods()) < 2:
            operator.install()
        stand_beside(operator.namespace, RELEASE)


def _fires(alert: str, namespace: str) -> bool:
    """In that namespace: others of an earlier test are missed as well, for a while."""
    return any(
        each["labels"]["alertname"] == alert
        and each["labels"].get("namespace") == namespace
        and each["state"] == "firing"
        for each in prometheus_says("alerts")["alerts"]
    )


def _tells(site: Site, part: Part) -> bool:
    said = site.looks(part.look)
    assert re.search(part.sign, said), said
    return True


def _is_found_after_a_day(site: Site, part: Part) -> bool:
    """The checklist's step D.5 shows every critical alert of the part."""
    said = site.types(typed_as(PAGE, "checklist-prometheus")[0].text)
    assert [each for each in part.alerts if each in CRITICAL and f'"{each}"' not in said] == []
    return True
