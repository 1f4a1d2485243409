"""What a tired person types does what the page means: logs, the release and the Redis that are meant, words that are there."""

from __future__ import annotations

import re
import subprocess
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest

from operators.coursegen_operator.alerts.rules.catalogue import PRESETS
from operators.coursegen_operator.alerts.rules.kpis import KPIS
from operators.coursegen_operator.alerts.rules.objectives import Objective
from tests.support import checklist
from tests.support.marked import DOCS, MESSAGES, commands_of, pages
from tests.support.rehearsal import RUNBOOKS, UNTYPED, WORDS, Inline, inline, prose, rehearsed, statements, typed_inline

_FOOTER: Final = """
The words `sql`, `owner`, `redis`, `stream`, `ask`, `admin`, `prometheus` and the variables are in the two blocks of
[the checklist](../DEPLOYMENT-CHECKLIST.md#say-once-what-you-work-on): paste them. All alerts: [RUNBOOKS.md](../RUNBOOKS.md).
"""
_USED: Final = re.compile(
    r"(?:^|[`|] *|\$\()(?:sql|owner|redis|stream|ask|admin|prometheus) +\S|\$(?:NS|NAME|RELEASE|CHART|VALUES)\b",
    re.MULTILINE,
)
_FLAGS: Final = {
    "helm get": {"-n", "--all"},
    "helm history": {"-n"},
    "helm rollback": {"-n", "--wait"},
    "helm upgrade": {"-n", "-f", "--set", "--install"},
    "kubectl annotate": {"-n", "--overwrite"},
    "kubectl create": {"-n", "--from"},
    "kubectl delete": {"-n"},
    "kubectl describe": {"-n"},
    "kubectl edit": {"-n"},
    "kubectl get": {"-n", "-A", "-o", "--raw", "--show-managed-fields"},
    "kubectl logs": {"-n", "--previous", "--tail"},
    "kubectl patch": {"-n", "--type", "-p"},
    "kubectl rollout": {"-n", "--timeout"},
    "kubectl scale": {"-n", "--replicas"},
}
"""What the pages' commands in sentences use, of what Helm 3 and 4 and kubectl have; on a cluster they are typed."""


def _alert_texts() -> dict[str, str]:
    alerts = [alert for preset in PRESETS for alert in preset.alerts]
    alerts += [alert for slo in KPIS for alert in Objective.of(slo).alerts()]
    return {alert.name: alert.description for alert in alerts}


def _without_tail(text: str) -> list[str]:
    """Every command that reads the logs of pods by a label, and does not say how many lines."""
    joined = re.sub(r"\\\n\s*", " ", text)
    found = re.findall(r"kubectl[^\n|`]* logs [^\n|`]*", joined)
    return [each for each in found if re.search(r"\s(?:-l|--selector)[ =]", each) and "--tail" not in each]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_logs_of_many_pods_are_whole(page: Path) -> None:
    """By a label kubectl shows ten lines of each pod, also with --since: whoever wants more says --tail."""
    assert _without_tail(page.read_text(encoding="utf-8")) == []


def test_logs_of_many_pods_are_whole_in_the_texts_of_alerts() -> None:
    """Which stand in a pager."""
    texts = _alert_texts()

    assert [name for name, text in texts.items() if _without_tail(text.replace("@kubectl", "kubectl"))] == []
    assert sum("--tail=-1" in text for text in texts.values()) > 10


def test_a_command_without_tail_is_found() -> None:
    """Over two lines, too, and with the long name of the option."""
    assert _without_tail('kubectl -n "$NS" logs \\\n  -l a=b --since=15m | grep x')
    assert _without_tail("kubectl logs --selector=a=b")
    assert not _without_tail("kubectl logs -l a=b --tail=-1\nkubectl logs job/x")


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.stem)
def test_a_page_says_where_its_words_come_from(page: Path) -> None:
    """At its foot, with the link; the words make the tools pod themselves."""
    text = page.read_text(encoding="utf-8")

    assert (_USED.search(text.removesuffix(_FOOTER)) is not None) == text.endswith(_FOOTER) or text.endswith(_FOOTER)
    assert text.endswith(_FOOTER) or not _USED.search(text)


def test_the_words_are_those_of_the_checklist() -> None:
    """Each is defined once, and those that need the tools pod make it."""
    defined = dict(re.findall(r"^(\w+)\(\) +\{(.*)", checklist.words(), re.MULTILINE))

    assert set(WORDS) - {"kubectl", "helm"} | {"tools"} == set(defined)
    assert all(defined[word].startswith(" tools && ") for word in ("sql", "owner", "redis", "stream"))
    (making,) = [each.commands for each in checklist.blocks() if each.mark == "checklist-tools"]
    flat = re.sub(r"[\s\\]+", " ", checklist.words())
    assert all(re.sub(r"[\s\\]+", " ", command).strip() in flat for command in re.split(r"\n(?=kubectl)", making))


_FAKE: Final = r"""#!/bin/bash
echo "$*" >>"$LOG"
case "$*" in
*"get pod"*) cat "$PHASE" ;;
*"replace --force"*) printf Running >"$PHASE" ; cat >/dev/null ;;
esac
"""


@pytest.mark.parametrize(("phase", "made"), [("", 1), ("Failed", 1), ("Succeeded", 1), ("Running", 0)])
def test_a_word_makes_the_pod_unless_it_runs(tmp_path: Path, phase: str, made: int) -> None:
    """Once for two words; what it says on the way does not mix with what was asked. On a cluster test_docs.py sees it."""
    for name in ("kubectl", "helm"):
        (tmp_path / name).write_text(_FAKE if name == "kubectl" else "#!/bin/bash\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "phase").write_text(phase, encoding="utf-8")
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "LOG": str(tmp_path / "log"), "PHASE": str(tmp_path / "phase")}
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", f'{checklist.words()}\nsql "SELECT 1"\nredis PING'],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    log = (tmp_path / "log").read_text(encoding="utf-8")

    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert log.count("replace --force") == made
    assert log.count("exec ") == 2


def test_a_word_kills_no_pod_when_kubectl_has_no_answer(tmp_path: Path) -> None:
    """What is there may be at work, such as a pg_restore: the word ends as kubectl does, and says what that said."""
    (tmp_path / "kubectl").write_text(_FAKE, encoding="utf-8")
    (tmp_path / "helm").write_text("#!/bin/bash\n", encoding="utf-8")
    for name in ("kubectl", "helm"):
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "LOG": str(tmp_path / "log"), "PHASE": str(tmp_path / "away")}
    done = subprocess.run(
        ["bash", "-c", f'{checklist.words()}\nsql "SELECT 1"'],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    log = (tmp_path / "log").read_text(encoding="utf-8")

    assert (done.returncode, done.stdout) == (1, "")
    assert "away" in done.stderr
    assert "get pod" in log
    assert not re.search("replace|exec ", log)


_ONE: Final = '{"data":{"result":[{"metric":{"alertname":"A"},"value":[1,"1"]},{"metric":{},"value":[1,"NaN"]}]}}'
_LINES: Final = '"metric":{"alertname":"A"},"value":[1,"1"]\n"metric":{},"value":[1,"NaN"]\n'


@pytest.mark.parametrize(("answer", "shown"), [(_ONE, _LINES), ('{"data":{"result":[]}}', "nothing\n")])
def test_prometheus_is_asked_whatever_the_query_has(tmp_path: Path, answer: str, shown: str) -> None:
    """Quotes, braces and signs arrive; a series is a line, and none is said."""
    (tmp_path / "kubectl").write_text('#!/bin/bash\nprintf %s "$3" >"$LOG"\nprintf %s "$ANSWER"\n', encoding="utf-8")
    (tmp_path / "kubectl").chmod(0o755)
    query = 'sum(rate(a_total{b="c",d=~"|e|f-g"}[3d])) / 2 > 100%'
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", f'{checklist.words()}\nprometheus "$QUERY"'],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "LOG": str(tmp_path / "log"), "ANSWER": answer, "QUERY": query},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, shown), done.stderr
    asked = urlsplit((tmp_path / "log").read_text(encoding="utf-8"))
    assert parse_qs(asked.query) == {"query": [query]}


@pytest.mark.parametrize("page", [*RUNBOOKS, checklist.PAGE], ids=lambda page: page.stem)
def test_nothing_is_needed_but_kubectl_helm_and_the_words(page: Path) -> None:
    """The command `coursegen` is not where the pages put their reader, and messages may have a Redis of their own."""
    text = page.read_text(encoding="utf-8")

    assert re.findall(r"coursegen (?:admin|messages) [a-z].*", text) == []
    assert re.findall(r"\bredis -n .*|redis-cli -.*", text) == []


@pytest.mark.parametrize("page", [*RUNBOOKS, MESSAGES], ids=lambda page: page.stem)
def test_streams_are_asked_on_their_own_redis(page: Path) -> None:
    """By `stream`; where `redis-cli` is on the PATH, by the address."""
    for line in page.read_text(encoding="utf-8").splitlines():
        assert not re.search(r"\bredis [A-Z]+ .*msg:", line), line
        assert not re.search(r"redis-cli (?!-u )", line), line


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.stem)
def test_a_release_goes_back_to_a_revision_that_was_chosen(page: Path) -> None:
    """The one before may have the same images: level 3 says which, once for all pages; the operator's page says it itself."""
    text = page.read_text(encoding="utf-8")
    for command in re.findall(r"`(helm rollback [^`\n]*)`", text):
        ours = f"`{command}` ([which one](../DEPLOYMENT-CHECKLIST.md#level-3-the-previous-release))"
        theirs = (
            f"`helm history coursegen-operator -n coursegen-system`, then `{command}` to the last with an older chart"
        )
        assert re.match(r'helm rollback (?:"\$RELEASE"|coursegen-operator) "\$REVISION" ', command), command
        assert ours in text or theirs in text, command


@pytest.mark.parametrize("page", [*RUNBOOKS, checklist.PAGE], ids=lambda page: page.stem)
def test_who_stops_the_relay_is_told_what_follows(page: Path) -> None:
    """P1 alerts, and a health check at 503 that takes every api out: both before the command."""
    text = page.read_text(encoding="utf-8")
    stop = re.search(r'scale "deployment/\$NAME-outbox-relay" --replicas=0', text)
    if stop is not None:
        before = text[: stop.start()]
        assert all(word in before for word in ("OutboxProcessorStalled", "P1", "503", "HEALTHCHECK_STATUS=always200"))


def test_inline_commands_are_seen() -> None:
    """In sentences and tables; what is only named is none."""
    found = {each.text for each in inline(*RUNBOOKS)}

    assert len(found) > 50
    assert {each.split()[0] for each in found} == set(WORDS) - {"prometheus"}
    assert "helm upgrade" not in found
    assert set(UNTYPED) <= found
    index = (DOCS / "RUNBOOKS.md").read_text(encoding="utf-8")
    assert [each for each in UNTYPED if f"`{each}`" not in index] == []


@pytest.mark.parametrize(
    "command", [each for each in inline(*RUNBOOKS) if each.word in {"kubectl", "helm"}], ids=lambda each: each.text[:60]
)
def test_verbs_and_flags_exist(command: Inline) -> None:
    """Of helm and kubectl."""
    text = command.text
    bare = re.sub(r"'[^']*'|\"[^\"]*\"", "Q", text.replace("$(date +%s)", ""))
    verb = re.sub(r"^kubectl -n \S+ ", "kubectl ", bare).split()[1]
    flags = {each.partition("=")[0] for each in bare.split() if re.match(r"--?[a-zA-Z]", each)}

    assert flags <= _FLAGS[f"{command.word} {verb}"], text


@pytest.mark.parametrize(
    "command",
    [each for each in typed_inline() if each.word not in {"sql", "owner", "admin"}],
    ids=lambda each: each.text[:60],
)
def test_what_is_tried_changes_nothing(command: Inline) -> None:
    """And nothing is left for the reader to fill in; SQL and `admin` are tried where more may be changed."""
    tried = rehearsed(command, dict.fromkeys(("POD", "JOB", "CRONJOB", "REVISION"), "x"))

    assert "…" not in tried
    assert not re.search(r"(?<![$\w])[A-Z]{3,}\b(?![\"'=])", re.sub(r"^stream .*|^KUBE_EDITOR", "", tried)), tried
    harmless = r"--dry-run| (get|describe|logs|history|top) |KUBE_EDITOR=true|rollout status|^(stream (INFO|CLIENT LIST)|ask)\b"
    assert re.search(harmless, tried), tried


def test_the_page_says_what_is_tried_and_how() -> None:
    """RUNBOOKS.md, in one place."""
    index = (DOCS / "RUNBOOKS.md").read_text(encoding="utf-8")

    for words in ("`--dry-run=server`", "rolled back", "`sql`", "`admin`", "`rollout restart`", "`--previous`"):
        assert words in index.partition("## The alerts")[0], words


def test_every_statement_is_seen() -> None:
    """As many as the pages have, so that the test that runs them runs them all."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in [*RUNBOOKS, checklist.PAGE])

    assert len(statements()) > 60
    assert len(re.findall(r"(?:^|`)(?:sql|owner) +\"", text, re.MULTILINE)) == len(
        re.findall(r"(?:^|`)(?:sql|owner) +\"[^\"]*\"", text, re.MULTILINE)
    )


def _limits(slo: dict[str, Any]) -> dict[str, str]:
    """Of each alert on the budget: the share of errors above which it fires, of each of its pairs of windows."""
    found = dict.fromkeys(("SloErrorBudgetBurnFast", "SloErrorBudgetBurnSlow"), "–")
    for alert in Objective.of(slo).alerts():
        products = dict.fromkeys(re.findall(r"> \(([\d.]+) \* ([\d.]+)\)", alert.condition))
        found[alert.name] = ", ".join(f"{(Decimal(a) * Decimal(b)).normalize():f}" for a, b in products)
    return found


def test_every_objective_of_the_chart_has_a_row() -> None:
    """Of SloErrorBudgetBurnFast: its limits, whom it hurts, an expression of its own series, and the page to go on with."""
    page = DOCS / "runbooks" / "SloErrorBudgetBurnFast.md"
    rows = {
        cells[0].strip(" `"): cells[1:]
        for line in page.read_text(encoding="utf-8").splitlines()
        if line.startswith("| `") and len(cells := line.strip("|").split(" | ")) == 6
    }

    assert list(rows) == ["slo", *(slo["name"] for slo in KPIS)]
    for slo in KPIS:
        fast, slow, impact, expression, leads = rows[slo["name"]]
        assert {"SloErrorBudgetBurnFast": fast, "SloErrorBudgetBurnSlow": slow} == _limits(slo)
        series = re.findall(r"\b[a-z]+(?:_[a-z]+)+(?=[{\[])", expression)
        asked = str(slo["sli"])
        assert impact.strip()
        assert series
        assert [each for each in series if each not in asked] == []
        matchers = re.findall(r'\w+=~?"[^"]*"', expression.replace("\\|", "|"))
        assert [each for each in matchers if each not in asked] == []
        (target,) = re.findall(r"\]\((\w+)\.md\)", leads)
        assert (page.parent / f"{target}.md").exists()


def test_a_standby_takes_over_within_one_time() -> None:
    """The same on every page: twenty seconds after a kill."""
    said = {
        (page.stem, seconds)
        for page in pages()
        for seconds in re.findall(r"standby takes over within (\d+) s", page.read_text(encoding="utf-8"))
    }

    assert {seconds for _, seconds in said} == {"20"}
    assert len(said) > 1


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_no_line_hangs_below_a_table(page: Path) -> None:
    """What follows a row without an empty line is shown as one, whatever it is."""
    lines = prose(page).splitlines()
    below = [line for above, line in pairwise(lines) if re.match(r" *\|.*\| *$", above)]

    assert [line for line in below if line.strip() and not re.match(r" *\|.*\| *$", line)] == []


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.stem)
def test_a_log_is_that_of_something(page: Path) -> None:
    """`kubectl logs` names a pod, a job, a deployment or a label, also with --previous."""
    for command in re.findall(r"kubectl (?:-n \S+ )?logs[^`\n]*", page.read_text(encoding="utf-8")):
        assert re.search(r"logs (?:POD\b|job/|deployment/|-l )", command), command


def test_blocks_of_commands_are_still_blocks() -> None:
    """The two of words, then the one for administrators, which comes before phase 0."""
    marks = [block.mark for block in checklist.blocks()][:3]

    assert marks == [checklist.WORDS, checklist.WORDS, "checklist-admin"]
    assert len(commands_of(checklist.PAGE)) == len(checklist.blocks())
