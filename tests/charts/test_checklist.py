"""docs/DEPLOYMENT-CHECKLIST.md speaks of the objects, labels, containers, Secrets and values that the chart has."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from tests.charts.conftest import CHART, Object, Render
from tests.charts.objects import of_kind, pods
from tests.support import checklist
from tests.support.fences import fences
from tests.support.marked import LANGUAGES, marked, pages
from tests.support.servers import REPOSITORY

_PAGE = checklist.text()
_COMMANDS = "\n".join(each.commands for each in checklist.blocks())
_FULLNAME = "fullnameOverride=coursegen"


def _names(objects: list[Object]) -> set[str]:
    return {each["metadata"]["name"] for each in objects}


def _components(objects: list[Object]) -> set[str]:
    return {each["metadata"]["labels"]["app.kubernetes.io/component"] for each in objects}


def _has(values: Any, path: str) -> bool:
    for key in path.split("."):
        if not isinstance(values, dict) or key not in values:
            return False
        values = values[key]
    return True


def test_names_are_those_of_objects(render: Render) -> None:
    """Everything after $NAME-, in commands and beside them."""
    objects = render("tools", _FULLNAME, "leaderElection.mode=lease")
    there = (
        _names(objects) | _names(render("dev", _FULLNAME)) | {"coursegen-outbox-relay"}
    )  # the Lease bears the Deployment's name
    named = {f"coursegen-{each}" for each in re.findall(r"\$NAME-([a-z-]*[a-z])", _PAGE)} - {"coursegen-worker"}

    assert named - there == set()
    assert {"coursegen-tools", "coursegen-outbox-relay", "coursegen-api", "coursegen-test-load"} <= named


def test_components_are_those_of_labels(render: Render) -> None:
    """In selectors and as the first argument of `ask`."""
    components = _components(render("tools"))
    selected = {
        name
        for one, many in re.findall(r"component(?:=([a-z-]+)| in \(([a-z, -]+)\))", _COMMANDS)
        for name in [one, *many.split(", ")]
        if name
    }
    asked = set(re.findall(r"^ask ([a-z-]+) ", _COMMANDS, re.MULTILINE))

    assert selected | asked <= components
    assert {each for each in components if each.startswith("worker-") or each in {"api", "outbox-relay"}} <= selected


def test_containers_and_ports_are_there(render: Render) -> None:
    """Of the tools pod, and the port of metrics of every process."""
    objects = render("tools", _FULLNAME)
    containers = {each["name"] for each in of_kind(objects, "Pod")["coursegen-tools"]["spec"]["containers"]}
    ports = {port["containerPort"] for _, pod in pods(objects) for port in pod["containers"][0].get("ports", ())}

    assert set(re.findall(r" -c ([a-z]+) -- ", _COMMANDS)) == containers
    assert {int(each) for each in re.findall(r"^ask [a-z-]+ (\d+) ", _COMMANDS, re.MULTILINE)} <= ports


def test_secrets_are_those_of_the_least_values() -> None:
    """Names and keys, since the page says that ci/minimal-values.yaml names them."""
    made = dict(re.findall(r"create secret generic (\S+) --from-env-file=(\S+)", _COMMANDS))
    lines = re.findall(r"^\| `(coursegen-[a-z-]+)` \| `(\w+\.env)` \| `([A-Z_]+)=", _PAGE, re.MULTILINE)
    least = yaml.safe_load((CHART / "ci" / "minimal-values.yaml").read_text(encoding="utf-8"))
    named = {
        (least["database"]["existingSecret"], "DATABASE_URL"),
        (least["database"]["migrations"]["existingSecret"], "DATABASE_URL"),
        (least["redis"]["existingSecret"], "REDIS_URL"),
        (least["auth"]["jwtSecret"]["existingSecret"], "JWT_SECRET"),
    }

    assert {(secret, key) for secret, _, key in lines} == named
    assert {secret: file for secret, file, _ in lines} == made


def test_the_readmes_make_them_from_the_same_files() -> None:
    """Whoever has followed one page goes on with another."""
    pages = [_PAGE, *((each / "README.md").read_text(encoding="utf-8") for each in (CHART, REPOSITORY))]
    made = [dict(re.findall(r"create secret generic (\S+) --from-env-file=(\S+)", page)) for page in pages]

    assert made[0] == made[1] == made[2] != {}


def test_what_would_come_is_what_the_least_values_make(render: Render) -> None:
    """As the page has the API server show it; with `migrations.mode: job` a Job in the place of the operator's resources."""
    *_, looking = [each for each in checklist.blocks() if each.mark == "checklist-first"]
    said = re.findall(r"^([a-z]+)(?:\.\S+)?/(\S+) created \(server dry run\)$", looking.output or "", re.MULTILINE)
    operated, by_job = (
        render("minimal", _FULLNAME, "tests.enabled=false", *sets) for sets in ([], ["migrations.mode=job"])
    )
    (job,) = of_kind(by_job, "Job")

    assert set(said) <= {(each["kind"].lower(), each["metadata"]["name"]) for each in operated}
    assert ("databasemigration", "main") in said
    assert of_kind(operated, "Job") == of_kind(by_job, "DatabaseMigration") == {}
    assert re.fullmatch(re.findall(r"`job\.batch/(coursegen-migrate-)\w+`", _PAGE)[0] + r"\w+", job)


def test_who_waits_for_the_job_of_a_release_has_one() -> None:
    """The operator migrates unless values say otherwise: then there is none, or one of the operator's that is not the last."""
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    found = 0
    for page in [*pages(), CHART / "README.md"]:
        text = page.read_text(encoding="utf-8")
        for block in fences(text):
            if block.language in LANGUAGES and re.search(r"wait job\b.*component=migrate", block.text):
                found += 1
                before = text[: block.begin].rsplit("```", 1)[-1]
                said = "migrations.mode: job" in before or re.search(r"migrations\.mode=job|dev-values", block.text)
                assert said, (page.name, block.text)

    assert values["migrations"]["mode"] == "operator"
    assert yaml.safe_load((CHART / "ci" / "dev-values.yaml").read_text(encoding="utf-8"))["migrations"]["mode"] == "job"
    assert found > 5


def test_the_operator_comes_first_on_every_page() -> None:
    """By one and the same line, before the release whose values leave the migration to it; with the way without it beside."""
    line = marked(REPOSITORY / "README.md", "kubernetes-operator")
    for page, installing in (
        (REPOSITORY / "README.md", "-f charts/coursegen/ci/minimal-values.yaml"),
        (CHART / "README.md", "-f charts/coursegen/ci/minimal-values.yaml"),
        (checklist.PAGE, 'helm upgrade --install "$RELEASE"'),
    ):
        text = page.read_text(encoding="utf-8")
        assert 0 < text.find(line) < text.find(installing), page
        assert "migrations.mode: job" in text[: text.find(installing)], page


def test_the_charts_readme_installs_as_that_of_the_repository() -> None:
    """Which a test types; here in a namespace that is made for it, beside the one of the trial."""
    root, own = REPOSITORY / "README.md", (CHART / "README.md").read_text(encoding="utf-8")
    block = next(each.text for each in fences(own.partition("## Install it")[2]) if each.language == "bash")
    typed = [line for name in ("operator", "production") for line in marked(root, f"kubernetes-{name}").splitlines()]

    def bare(line: str) -> str:
        return re.sub(r" (?:-n|--namespace) courses\b", "", re.sub(r"\s+#.*", "", line))

    lines = [bare(line) for line in block.splitlines()]
    assert [each for each in lines if each != "kubectl create namespace courses"] == [bare(each) for each in typed[:-1]]
    assert lines.index("kubectl create namespace courses") == 1
    assert "--namespace coursegen " in own.partition("## Install it")[0]


def test_the_login_is_made_before_the_migration() -> None:
    """The same way everywhere, since the migration leaves a role alone that is there, and gives its own no password.

    By psql's own command: a statement that has the password would be in the server's log when it fails.
    """
    migration = (REPOSITORY / "migrations" / "20251001000000_create_base_schema.sql").read_text(encoding="utf-8")

    for page, installing in (
        (REPOSITORY / "README.md", "-f charts/coursegen/ci/minimal-values.yaml"),
        (CHART / "README.md", "-f charts/coursegen/ci/minimal-values.yaml"),
        (checklist.PAGE, "## Phase 1"),
    ):
        text = page.read_text(encoding="utf-8")
        made, given = (text.find(each) for each in ("CREATE ROLE coursegen_app LOGIN", "\\password coursegen_app"))
        assert 0 < made < given < text.find(installing), page
        assert "LOGIN PASSWORD" not in text, page
    assert "CONTINUE WHEN EXISTS (SELECT FROM pg_catalog.pg_roles AS p WHERE p.rolname = v_role.name);" in migration
    assert "PASSWORD" not in migration


def test_values_are_those_of_the_chart() -> None:
    """Set by commands, or named in the text; settings under `config` are those that the schema knows."""
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    tops = "|".join(values)
    paths = set(re.findall(rf"(?<![./\w])((?:{tops})(?:\.[\w-]+)+)(?==|`|:)", _PAGE))
    paths |= {
        each for chunk in re.findall(r"--set(?:-string)? (\S+)", _COMMANDS) for each in re.findall(r"([\w.]+)=", chunk)
    }
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))["properties"]

    for path in {each for each in paths if not each.endswith((".k8s.io", ".env"))}:
        if path.startswith("config."):
            _, part, setting = path.split(".")
            assert setting in schema["config"]["properties"][part]["properties"], path
        elif path != "metrics.podMonitor.labels.release":  # a label of the reader's own
            assert _has(values, path), path
    assert len(paths) > 12


def test_every_set_renders(render: Render) -> None:
    """Each combination that a command sets is one that the schema and the chart take."""
    for chunk in set(re.findall(r"--set(?:-string)? (\S+)", _COMMANDS)):
        assert render("minimal", *[each.strip('"') for each in chunk.split(",")])


def test_the_tries_are_those_of_the_job(render: Render) -> None:
    """What the page says of them in words."""
    (job,) = of_kind(render("minimal", "migrations.mode=job"), "Job").values()

    assert job["spec"]["backoffLimit"] == 6
    assert "six times within some ten minutes" in _PAGE
