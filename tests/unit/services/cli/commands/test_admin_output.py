"""What the admin commands say to people, of answers that a test has written."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from services.cli.api_client import ApiRefused
from services.cli.commands import admin, admin_letters
from services.cli.errors import CalledWrongly

COURSE = "11111111-1111-4111-8111-111111111111"
Json = dict[str, Any]


class Answers:
    """An api that says what it was told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.pages: dict[str, list[Json]] = {}
        """By method and path; the last one is repeated."""
        self.status = 200
        self.asked: list[tuple[str, Json | None]] = []

    def answer(self, method: str, target: str, body: Json | None) -> Json:
        """The next answer."""
        self.asked.append((f"{method} {target}", body))
        pages = self.pages[f"{method} {target.partition('?')[0]}"]
        return pages.pop(0) if len(pages) > 1 else pages[0]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[Answers]:
    """The api that the command is told to call."""
    answers = Answers()

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(length)) if length else None
            text = json.dumps(answers.answer(self.command, self.path, body)).encode()
            self.send_response(answers.status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = _handle  # noqa: N815 - the names are the server's

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setenv("API_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("API_TOKEN", "token")
    monkeypatch.setenv("COURSEGEN_HOME", str(tmp_path / "home"))
    yield answers
    server.shutdown()
    thread.join()
    server.server_close()


def call(*arguments: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(admin.group(), list(arguments))


def queue(**changes: Any) -> Json:
    """One queue in figures."""
    usual = {
        "queue": "own",
        "waiting": [],
        "waitingTotal": 0,
        "scheduled": 0,
        "running": 0,
        "dead": 0,
        "workers": 0,
        "paused": False,
        "pausedBy": None,
        "pausedAt": None,
        "pauseReason": None,
    }
    return usual | changes


def test_whoever_is_no_administrator_is_told_how_to_become_one(api: Answers) -> None:
    """The refusal names the next step."""
    api.status = 403
    api.pages["GET /api/admin/queues"] = [
        {"error": {"code": "forbidden", "message": "Only administrators may do this."}}
    ]

    refused = call("queues").exception

    assert isinstance(refused, ApiRefused)
    assert "Only administrators may do this. Set API_TOKEN" in refused.message
    assert "coursegen token --role admin" in refused.message


def test_queues_without_figures_say_why(api: Answers) -> None:
    """What is paused is shown all the same."""
    unknown = dict.fromkeys(("waitingTotal", "scheduled", "running", "dead", "workers"))
    api.pages["GET /api/admin/queues"] = [
        {"queues": [queue(paused=True, **unknown)], "message": "Redis does not answer."}
    ]

    lines = call("queues").stdout.splitlines()

    assert lines[0] == "Redis does not answer."
    assert lines[2].split() == ["own", "-", "-", "-", "-", "-", "-", "PAUSED"]


def test_queues_are_shown_as_a_table(api: Answers) -> None:
    """With what waits by priority, and why one is paused."""
    busy = queue(waiting=[{"priority": 10, "jobs": 1}, {"priority": 1, "jobs": 99}], waitingTotal=100, running=2)
    api.pages["GET /api/admin/queues"] = [
        {"queues": [busy, queue(queue="b", paused=True, pauseReason="disk")], "message": None}
    ]

    lines = call("queues").stdout.splitlines()

    assert "10:1 1:99" in lines[1]
    assert lines[2].endswith("PAUSED: disk")


def test_jobs_say_how_to_go_on(api: Answers) -> None:
    """A page, and the offset of the next one."""
    job = dict.fromkeys(("jobType", "courseId", "worker", "detail"))
    job |= {"key": "k-1", "priority": 10, "status": "waiting", "attempts": 0}
    api.pages["GET /api/admin/queues/a%2Fb/jobs"] = [{"jobs": [job], "nextOffset": 20}]

    shown = call("jobs", "a/b", "--limit", "20")

    assert shown.stdout.splitlines()[1].split() == ["k-1", "-", "10", "waiting", "-", "0", "-", "-"]
    assert "more: --offset 20" in shown.stdout
    assert api.asked[0][0].endswith("?state=waiting&limit=20&offset=0")


@pytest.mark.parametrize(
    ("done", "running", "says"),
    [
        ({"paused": True, "changed": True}, 2, "own is paused\n2 running jobs go on\n"),
        ({"paused": True, "changed": False}, 0, "own is paused (it was so before)\n"),
    ],
)
def test_a_pause_says_what_goes_on(api: Answers, done: Json, running: int, says: str) -> None:
    """The jobs that run."""
    api.pages["POST /api/admin/queues/own/pause"] = [done]
    api.pages["GET /api/admin/queues"] = [{"queues": [queue(running=running)]}]

    assert call("pause", "own", "--reason", "why").stdout == says
    assert api.asked[0][1] == {"reason": "why"}


@pytest.mark.parametrize(
    ("ready", "message", "says"),
    [(True, None, "user"), (False, None, "being rebuilt"), (False, "Redis does not answer", "Redis does not answer")],
)
def test_counters_are_shown_with_what_is_wrong(api: Answers, ready: bool, message: str | None, says: str) -> None:
    """In the first line."""
    everyone = {"limit": 3, "counter": None if message else 2, "truth": 1, "drift": 1}
    user = {"userId": COURSE, "tier": None, "limit": None, "counter": 2, "truth": 1, "drift": 1}
    api.pages["GET /api/admin/concurrency"] = [
        {"ready": ready, "global": everyone, "users": [user], "message": message, "limits": []}
    ]

    shown = call("concurrency").stdout

    assert says in shown.splitlines()[0]
    assert COURSE in shown


def test_the_outbox_is_told_in_a_sentence_and_a_table(api: Answers) -> None:
    """The table only where there is something."""
    row = {"queue": "q", "waiting": 2, "delayed": 1, "dead": 3, "oldestSeconds": 90}
    full = {"waiting": 2, "dead": 3, "oldestSeconds": 90, "queues": [row]}
    api.pages["GET /api/admin/outbox"] = [full, {"waiting": 0, "dead": 0, "oldestSeconds": None, "queues": []}]

    assert call("outbox").stdout.splitlines()[0] == "2 rows wait, the oldest for 1.5 min; 3 are dead"
    assert call("outbox").stdout == "0 rows wait; 0 are dead\n"


@pytest.mark.parametrize(("alive", "says"), [(True, "alive"), (False, "SILENT")])
def test_the_leader_is_told_in_a_sentence(api: Answers, alive: bool, says: str) -> None:
    """A silent one cannot be overlooked."""
    node = {"nodeId": "one", "role": "leader", "alive": alive, "heartbeatAgeSeconds": 1}
    found = {"holder": "one", "epoch": 7, "alive": alive, "heartbeatAgeSeconds": 1, "nodes": [node]}
    api.pages["GET /api/admin/leader"] = [found]

    assert call("leader").stdout.splitlines()[0] == f"one leads under epoch 7: {says}, last heard of 1 s ago"


def test_records_and_events_are_lists(api: Answers) -> None:
    """To the second, their detail cut short."""
    action = {"at": "2026-01-02T03:04:05.678Z", "userId": COURSE, "action": "queue.pause", "target": "q"}
    api.pages["GET /api/admin/actions"] = [{"actions": [action | {"detail": {"x": "y" * 200}}], "message": None}]
    event = {"createdAt": "2026-01-02T03:04:05Z", "severity": "warning", "eventType": "job_rollback", "userId": None}
    api.pages["GET /api/admin/events"] = [
        {"events": [event | {"courseId": COURSE, "metadata": {"a": 1}}], "message": None}
    ]

    assert "2026-01-02T03:04:05Z" in call("actions").stdout
    assert call("actions").stdout.rstrip().endswith("y...")
    assert "a=1" in call("events", "--severity", "warning").stdout
    assert api.asked[-1][0].endswith("?severity=warning&limit=20")


def test_a_limit_is_named_as_people_write_it(api: Answers) -> None:
    """The api is asked for the scope it knows."""
    limit = {"scope": "FREE", "slots": 2, "default": 1, "changedBy": None, "changedAt": None}
    api.pages["PUT /api/admin/limits/FREE"] = [limit]
    api.pages["GET /api/admin/concurrency"] = [{"limits": [limit]}]

    assert "FREE" in call("limits", "free", "2").stdout
    assert call("limits", "FREE", "default").exit_code == 0
    assert [body for _, body in api.asked] == [{"slots": 2}, {"slots": None}]
    assert "FREE" in call("limits").stdout
    assert isinstance(call("limits", "GOLD").exception, CalledWrongly)
    assert isinstance(call("limits", "FREE", "-").exception, CalledWrongly)


def test_the_page_is_opened_or_only_named(api: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    """The browser gets the address; it is printed in any case."""
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: bool(opened.append(url)) or True)
    api.pages["POST /api/tickets"] = [{"url": "http://x/admin#ticket=t", "ticket": "t"}]

    assert call("open").stdout == "http://x/admin#ticket=t\n"
    assert call("open", "--print").stdout == "http://x/admin#ticket=t\n"
    assert opened == ["http://x/admin#ticket=t"]


def letter(n: int, **changes: Any) -> Json:
    """A dead letter."""
    usual = {"id": f"outbox:{n}", "jobType": "OWN", "courseId": COURSE, "priority": 10, "deadSince": "then"}
    return usual | {"reason": "broken", "detail": None} | changes


def test_dead_letters_are_collected_page_by_page(api: Answers) -> None:
    """As many as asked for."""
    matched = {"outbox": 5, "queue": 0}
    api.pages["GET /api/admin/dead-letters"] = [
        {"deadLetters": [letter(1), letter(2)], "nextCursor": "c", "message": None, "matched": matched},
        {"deadLetters": [letter(3, detail="why", courseId=None, priority=None)], "nextCursor": "d", "matched": matched},
    ]

    shown = call("dead-letters", "list", "--limit", "3", "--kind", "outbox").stdout

    assert [line.split()[0] for line in shown.splitlines() if line.startswith("outbox:")] == [
        "outbox:1",
        "outbox:2",
        "outbox:3",
    ]
    assert "    broken: why" in shown
    assert shown.endswith("5 dead letters (5 outbox)\n")
    assert api.asked[1][0].endswith("?limit=1&cursor=c&kind=outbox")


def outcome(*results: Json, **changes: Any) -> Json:
    """What became of some."""
    done = sum(each["outcome"] == "replayed" for each in results)
    usual = {
        "dryRun": False,
        "done": done,
        "refused": len(results) - done,
        "results": list(results),
        "matched": len(results),
    }
    return usual | {"message": None, "nextCursor": None} | changes


def result(n: int, said: str = "replayed", **changes: Any) -> Json:
    """What became of one."""
    return {"id": f"outbox:{n}", "outcome": said, "message": None, "newJobId": None} | changes


def test_every_page_of_an_action_counts_as_one(api: Answers) -> None:
    """Refused ones are all named and end the command with 1."""
    many = [result(n) for n in range(30)]
    api.pages["POST /api/admin/dead-letters/replay"] = [
        outcome(*many, nextCursor="c"),
        outcome(result(31, "refused", message="its run is over"), result(32, newJobId="job")),
    ]

    shown = call("dead-letters", "replay", "--reason", "broken", "--job-type", "OWN")

    assert shown.exit_code == 1
    assert "... and 11 more" in shown.stdout
    assert "refused        outbox:31: its run is over" in shown.stdout
    assert shown.stdout.endswith("31 replayed, 1 not\n")
    assert [body for _, body in api.asked] == [
        {"filter": {"jobType": "OWN", "reason": "broken"}, "dryRun": False},
        {"filter": {"jobType": "OWN", "reason": "broken"}, "dryRun": False, "cursor": "c"},
    ]


def test_what_is_done_and_what_would_be_are_told_apart(api: Answers) -> None:
    """By name; a new job is named."""
    api.pages["POST /api/admin/dead-letters/discard"] = [outcome(result(1, "would_discard"), dryRun=True, done=1)]
    api.pages["POST /api/admin/dead-letters/replay"] = [outcome(result(1, newJobId="job"))]

    assert call("dead-letters", "discard", "outbox:1", "--dry-run").stdout.endswith("1 would be discarded, 0 not\n")
    assert "(job job)" in call("dead-letters", "replay", "outbox:1").stdout
    assert api.asked[0][1] == {"ids": ["outbox:1"], "dryRun": True}


@pytest.mark.parametrize(
    "arguments", [[], ["outbox:1", "--all"], ["--kind", "queue", "--all"], ["outbox:1", "--kind", "queue"]]
)
def test_nothing_is_meant_by_accident(api: Answers, arguments: list[str]) -> None:
    """Names, or a description, or all."""
    for command in ("replay", "discard"):
        assert isinstance(call("dead-letters", command, *arguments).exception, CalledWrongly)
    assert api.asked == []


@pytest.mark.parametrize(
    "command",
    ["queues", "jobs own", "pause own", "resume own", "concurrency", "limits", "reconcile", "outbox", "leader", "actions",
     "events", "open", "dead-letters list", "dead-letters replay --all"],
)  # fmt: skip
def test_scripts_get_the_answer_as_it_is(api: Answers, command: str) -> None:
    """One document."""
    page: Json = {
        "queues": [queue()],
        "limits": [],
        "nextCursor": None,
        "deadLetters": [],
        "results": [],
        "scope": None,
    }
    limit = {"scope": "global"}
    api.pages = _Any([page | {"limits": [limit]}])

    shown = call(*command.split(), "--json")

    assert shown.exit_code == 0, shown.output
    assert isinstance(json.loads(shown.stdout), dict)


class _Any(dict[str, list[Json]]):
    """The same answer to every question."""

    def __init__(self, pages: list[Json]) -> None:
        super().__init__()
        self._pages = pages

    def __missing__(self, _: str) -> list[Json]:
        return self._pages


def test_the_groups_have_help() -> None:
    """For whoever looks around."""
    assert "dead-letters" in CliRunner().invoke(admin.group(), ["--help"]).stdout
    assert "replay" in CliRunner().invoke(admin_letters.group(), ["--help"]).stdout
