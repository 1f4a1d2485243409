"""The stack in the foreground, and the commands that talk to it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.acceptance.conftest import Home, Started, open_home
from tests.support.marked import DOCS, MESSAGES, marked
from tests.support.servers import REPOSITORY, database_number
from tests.support.waiting import eventually_sync

_PROCESSES = {
    "postgres",
    "redis",
    "api",
    "outbox-relay",
    "scheduler",
    "persistence-worker",
    "worker-documents",
    "worker-analysis",
    "worker-generation",
}


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Home, Started]]:
    """One stack for the tests of this module that leave it as it is."""
    with open_home() as home:
        up = home.start("up", "--port", "0", "--metrics-port", "0", "--json")
        up.wrote('"processes"')
        yield home, up


@pytest.fixture
def shell(running: tuple[Home, Started]) -> dict[str, str]:
    """What a shell has after `eval "$(coursegen env)"`."""
    home, _ = running
    script = 'eval "$("$0" -m services.cli env)"; exec "$0" -c "import json, os; print(json.dumps(dict(os.environ)))"'
    python = sys.executable
    done = subprocess.run(
        ["/bin/sh", "-c", script, python],
        env=home.environment(),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    environment: dict[str, str] = json.loads(done.stdout)
    return environment


def test_a_message_sent_to_the_stack_becomes_a_row(shell: dict[str, str]) -> None:
    """Accepted at once and persisted a moment later; sent again, it is the same one."""
    body = {"conversationId": "up", "senderId": "alice", "content": "Hello", "clientMessageId": "m-1"}
    first, again = (httpx.post(f"{shell['API_URL']}/api/messages", json=body).json() for _ in range(2))
    assert (first["idempotentHit"], again["idempotentHit"]) == (False, True)
    assert first["messageId"] == again["messageId"]

    def state() -> bool:
        found = httpx.get(f"{shell['API_URL']}/api/messages/{first['messageId']}")
        return bool(found.json()["state"] == "persisted")

    assert eventually_sync(state, within=20)


def _script(name: str, shell: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(REPOSITORY / "scripts" / name)], env=shell, capture_output=True, text=True, check=False, timeout=180
    )


def test_env_gives_a_shell_what_it_needs(shell: dict[str, str]) -> None:
    """An api that knows the token, a psql that finds the database, a redis-cli that finds Redis."""
    answer = httpx.get(f"{shell['API_URL']}/api/courses", headers={"Authorization": f"Bearer {shell['API_TOKEN']}"})
    rows = subprocess.run(
        ["psql", shell["DATABASE_URL"], "-XAtc", "SELECT current_setting('server_version_num')::int > 150000"],
        env=shell,
        capture_output=True,
        text=True,
        check=True,
    )
    pong = subprocess.run(
        ["redis-cli", "-u", shell["REDIS_URL"], "--no-auth-warning", "PING"],
        env=shell,
        capture_output=True,
        text=True,
        check=True,
    )

    assert answer.status_code == 200
    assert rows.stdout.strip() == "t"
    assert pong.stdout.strip() == "PONG"


@pytest.mark.parametrize("name", ["smoke-test.sh", "load-test.sh"])
def test_smoke_and_load_tests_pass_twice_in_a_row(
    running: tuple[Home, Started], shell: dict[str, str], name: str
) -> None:
    """On a used system, first with a look at the rows, then without; what was not seen is said.

    The stack has the product's limits: the load test raises them for its time, as its ADMIN_TOKEN allows, and no longer.
    """
    home, _ = running
    shell = {**shell, "ADMIN_TOKEN": home.run("token", "--role", "admin").stdout.strip()}
    blind = {key: value for key, value in shell.items() if key not in {"DATABASE_URL", "REDIS_URL"}}
    for environment in (shell, blind):
        done = _script(name, environment)
        assert done.returncode == 0, done.stdout + done.stderr
        assert ("Not seen" in done.stdout) == (environment is blind)
    limits = json.loads(home.run("admin", "concurrency", "--json").stdout)["limits"]
    assert [limit["scope"] for limit in limits if limit["overridden"]] == []


def test_the_smoke_test_fails_where_there_is_reason(shell: dict[str, str]) -> None:
    """A token without an organisation cannot create the course: the script says so and does not pass."""
    token = subprocess.run(
        [sys.executable, "-c", "import jwt, os, time; print(jwt.encode({'sub': '00000000-0000-0000-0000-000000000099',"
         " 'exp': time.time() + 60}, os.environ['S'], algorithm='HS256'))"],
        env={**shell, "S": json.loads((Path(shell["COURSEGEN_HOME"]) / "secrets.json").read_text())["jwt_secret"]},
        capture_output=True,
        text=True,
        check=True,
    )  # fmt: skip
    done = _script("smoke-test.sh", {**shell, "API_TOKEN": token.stdout.strip()})

    assert done.returncode == 1
    assert "FAIL" in done.stdout


def test_a_script_without_a_token_says_where_to_get_one(shell: dict[str, str]) -> None:
    """Exit code 2: it has tested nothing."""
    done = _script("load-test.sh", {name: value for name, value in shell.items() if name != "API_TOKEN"})

    assert done.returncode == 2
    assert "coursegen env" in done.stderr


def test_the_fixtures_are_added_once(running: tuple[Home, Started], shell: dict[str, str]) -> None:
    """User and courses of the checklists; the course was never initiated; a repeat adds nothing."""
    home, _ = running
    first, second = (json.loads(home.run("fixtures", "--json").stdout) for _ in range(2))
    course = subprocess.run(
        ["psql", shell["DATABASE_URL"], "-XAtc",
         "SELECT user_id, organization_id, generation_status IS NULL FROM courses"
         " WHERE id = '00000000-0000-0000-0000-000000000021'"],
        env=shell, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert (first["added"] >= 2, second["added"]) == (True, 0)
    assert course.stdout.strip() == "00000000-0000-0000-0000-000000000012|759ba851-3f16-4294-9627-dc5a0a366c8e|t"


def test_tokens_open_the_api_for_their_user(running: tuple[Home, Started], shell: dict[str, str]) -> None:
    """One user does not see the other's courses."""
    home, _ = running
    user = "44444444-4444-4444-8444-444444444444"
    token = home.run("token", "--user", user, "--ttl", "5m").stdout.strip()
    answer = httpx.get(f"{shell['API_URL']}/api/courses", headers={"Authorization": f"Bearer {token}"})

    assert (answer.status_code, answer.json()["courses"]) == (200, [])


def test_generate_and_status_talk_to_the_running_stack(running: tuple[Home, Started], document: Path) -> None:
    """A course from a file, and how it stands, by id and by slug."""
    home, _ = running
    made = home.run("generate", str(document), "--out", str(home.out), "--json")
    answer = json.loads(made.stdout)
    status = home.run("status", answer["slug"], "--json")
    words = home.run("status", answer["courseId"])

    assert made.returncode == 0, made.stderr
    assert (home.out / "course.json").exists()
    assert json.loads(status.stdout)["status"] == "completed"
    assert "the course is finished" in words.stdout
    assert home.run("status", "no-such-course").returncode == 1


def test_an_interrupted_generate_goes_on_with_its_course(running: tuple[Home, Started], document: Path) -> None:
    """Killed after the upload; the same command finishes the same course, another order makes another one."""
    home, _ = running
    killed = home.start("generate", str(document), "--title", "Interrupted", "--out", str(home.out))
    killed.wrote("uploaded")
    killed.process.kill()
    killed.process.wait()
    again = home.run("generate", str(document), "--title", "Interrupted", "--out", str(home.out), "--json")
    afresh = home.run("generate", str(document), "--title", "Interrupted", "--out", str(home.out), "--json")

    assert again.returncode == 0, again.stderr
    assert "going on with the course" in again.stderr
    assert "going on" not in afresh.stderr
    assert json.loads(again.stdout)["courseId"] != json.loads(afresh.stdout)["courseId"]


def test_an_order_of_files_that_are_refused_leaves_no_course(
    running: tuple[Home, Started], shell: dict[str, str], tmp_path: Path
) -> None:
    """The reason is said, and the list of courses is as before."""
    home, _ = running
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(64))

    def courses() -> object:
        client = {"Authorization": f"Bearer {shell['API_TOKEN']}"}
        return httpx.get(f"{shell['API_URL']}/api/courses", headers=client).json()["courses"]

    before = courses()
    done = home.run("generate", str(picture), "--out", str(home.out))

    assert done.returncode == 1
    assert "picture.png: " in done.stdout + done.stderr
    assert "None of the documents can be used" in done.stderr
    assert courses() == before


def test_a_stranger_at_the_address_of_the_stack_is_not_told_anything(
    running: tuple[Home, Started], document: Path
) -> None:
    """Another stack's api in its place: the command stops before it uploads."""
    home, _ = running
    path = home.state / "running.json"
    kept = path.read_text()
    path.write_text(json.dumps({**json.loads(kept), "stack_id": "another"}))
    try:
        done = home.run("generate", str(document), "--out", str(home.out))
    finally:
        path.write_text(kept)

    assert done.returncode == 1
    assert "Another program answers at http://127.0.0.1:" in done.stderr


def test_migrate_finds_nothing_to_do(running: tuple[Home, Started]) -> None:
    """The stack is up to date."""
    home, _ = running
    done = home.run("migrate", "--json")

    assert done.returncode == 0
    assert json.loads(done.stdout) == {"applied": []}


def test_one_address_shows_the_metrics_of_all_processes(running: tuple[Home, Started]) -> None:
    """D41: every process with its memory, and what they count together."""
    home, up = running
    facts = json.loads(up.text().strip().splitlines()[-1])
    page = httpx.get(facts["metricsUrl"]).text
    ready = httpx.get(facts["metricsUrl"].replace("/metrics", "/readyz"))

    names = {name for name in facts["processes"] if name not in {"postgres", "redis"}}
    assert set(facts["processes"]) == _PROCESSES
    assert [name for name in names if f'process_resident_memory_bytes{{process="{name}"}}' not in page] == []
    assert [name for name in names if f'coursegen_process_up{{process="{name}"}} 1' not in page] == []
    assert "fsm_initializations_total" in page
    assert ready.status_code == 200
    assert home.left()


def test_top_and_verify_see_the_whole_stack(running: tuple[Home, Started], document: Path) -> None:
    """By the commands of docs/VERIFICATION.md: a stage that did a job, workers, leader, and ten checks, none of them red."""
    home, _ = running
    assert home.run("generate", str(document), "--out", str(home.out)).returncode == 0
    page = DOCS / "VERIFICATION.md"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    def says(name: str, before: str = "") -> str:
        return subprocess.run(
            ["/bin/sh", "-c", f"{before}{marked(page, name)}"],
            env=home.environment(PATH=path),
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        ).stdout

    screen = says("top")
    local, command = says("verification-local"), home.run("verify").stdout
    address = says("verification-address", 'eval "$(coursegen env)"; unset DATABASE_URL REDIS_URL; ')

    assert re.search(r"^workers +4 at the queues, 1 for messages$", screen, re.MULTILINE), screen
    assert re.search(r"^leader +\S+, epoch 1, heard of ", screen, re.MULTILINE), screen
    assert re.search(r"^slowest +[A-Z_]+, .* a job since the start$", screen, re.MULTILINE), screen
    assert re.search(r"of 10 checks passed, . warned, 0 failed$", local, re.MULTILINE), local
    assert re.search(r"of 10 checks passed, . warned, 0 failed$", command, re.MULTILINE), command
    assert re.search(r"of 10 checks passed, [4-9] warned, 0 failed$", address, re.MULTILINE), address


def _command(name: str) -> str:
    """A command of docs/MESSAGES.md, by its mark, after the word that the page defines."""
    return marked(MESSAGES, "messages-words") + marked(MESSAGES, name)


def _says(name: str, shell: dict[str, str]) -> str:
    done = subprocess.run(
        ["/bin/sh", "-ec", _command(name)], env=shell, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _figures(shell: dict[str, str]) -> dict[str, float]:
    lines = re.findall(r"^(\S+) (\S+)$", _says("messages-metrics", shell), re.MULTILINE)
    return {series: float(value) for series, value in lines}


def test_the_commands_for_messages_do_what_the_page_says(running: tuple[Home, Started], shell: dict[str, str]) -> None:
    """Sent twice, it is one entry in the stream, one row, one repeat; nothing is pending and nobody is dead."""
    facts = json.loads(running[1].text().strip().splitlines()[-1])
    shell = {**shell, "METRICS_URL": facts["metricsUrl"]}
    before = _figures(shell)
    first, again = (json.loads(_says("messages-send", shell)) for _ in range(2))
    assert (first["idempotentHit"], again["idempotentHit"]) == (False, True)
    assert first["messageId"] == again["messageId"]

    assert eventually_sync(lambda: first["messageId"] in _says("messages-table", shell), within=10)
    assert _says("messages-table", shell).count(first["messageId"]) == 1
    assert "(0 rows)" in _says("messages-keys", shell)
    assert eventually_sync(lambda: "settled\n1\n0\n" in _says("messages-stream", shell), within=5)
    stream = _says("messages-stream", shell)
    assert stream.count(first["messageId"]) == 1
    assert "enqueued\n1\n" in stream

    processed = 'stream_consumer_processed_total{status="success"}'
    assert eventually_sync(lambda: _figures(shell)[processed] == before[processed] + 1, within=5)
    after = _figures(shell)
    for series in ("stream_enqueue_total", 'idempotency_hit_total{operation="ingress"}'):
        assert after[series] == before[series] + 1, series
    assert after["stream_dead_letter_total"] == 0
    status = json.loads(running[0].run("messages", "status", "--json").stdout)
    assert (status["lag"], status["deadLetters"], [each["alive"] for each in status["workers"]]) == (0, 0, [True])
    lags = [f'stream_partition_lag{{partition="{number}"}}' for number in range(16)]
    assert eventually_sync(
        lambda: [_figures(shell)[each] for each in lags] == [0] * 16, within=5
    )  # measured once a second


def test_a_second_stack_on_the_same_folder_says_what_to_do(running: tuple[Home, Started]) -> None:
    """Use it, stop it, or take another folder."""
    home, _ = running
    done = home.run("up")

    assert done.returncode == 1
    for advice in ("already runs", "coursegen env", "coursegen down", "COURSEGEN_HOME="):
        assert advice in done.stderr


def test_the_demo_uses_the_stack_that_runs(running: tuple[Home, Started], document: Path) -> None:
    """And leaves it running."""
    home, up = running
    done = home.run("demo", str(document), "--out", str(home.out))

    assert done.returncode == 0, done.stderr
    assert "using the stack that runs" in done.stdout
    assert up.process.poll() is None


def test_a_taken_port_is_named_with_the_option(home: Home) -> None:
    """And nothing is started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = home.run("up", "--port", str(taken.getsockname()[1]))

    assert done.returncode == 1
    assert "--port" in done.stderr
    assert home.left() == []


def test_data_survives_a_restart_until_it_is_purged(home: Home) -> None:
    """Ctrl-C is exit code 0; addresses stay; `down --purge` stops the stack and removes every trace.

    A message that is accepted while consumers are off waits in Redis, and has its row once they are on again.
    """
    first = home.start("up", "--port", "0", "--metrics-port", "0", ENABLE_STREAM_CONSUMERS="false")
    first.wrote("coursegen is running")
    home.run("fixtures")
    before = json.loads(home.run("env", "--json").stdout)
    message = f"{before['API_URL']}/api/messages"
    waiting = httpx.post(
        message, json={"conversationId": "a", "senderId": "b", "content": "c", "clientMessageId": "d"}
    ).json()
    assert waiting["state"] == "pending"
    first.process.send_signal(signal.SIGINT)
    assert first.ended(within=15) == 0
    second = home.start("up", "--port", "0", "--metrics-port", "0")
    second.wrote("coursegen is running")
    after = json.loads(home.run("env", "--json").stdout)
    kept = json.loads(home.run("fixtures", "--json").stdout)["added"]
    message = f"{after['API_URL']}/api/messages/{waiting['messageId']}"
    assert eventually_sync(lambda: httpx.get(message).json()["state"] == "persisted", within=15)
    down = home.run("down", "--purge", "--json")

    assert (before["DATABASE_URL"], before["REDIS_URL"]) == (after["DATABASE_URL"], after["REDIS_URL"])
    assert kept == 0
    assert json.loads(down.stdout)["stopped"] is True
    assert second.ended(within=5) == 0
    assert not home.state.exists()
    assert home.left() == []


def test_a_stack_that_cannot_start_says_why_and_stops(home: Home) -> None:
    """A setting that a service refuses: its own words, exit code 1, nothing left."""
    done = home.run("up", "--port", "0", "--metrics-port", "0", JWT_SECRET="short")

    assert done.returncode == 1
    assert "JWT_SECRET" in done.stderr
    assert home.left() == []


def test_named_servers_are_used_and_nothing_embedded_is_started(
    home: Home, empty_database_url: str, redis_url: str, document: Path
) -> None:
    """DATABASE_URL and REDIS_URL win over the embedded servers."""
    named = {
        "DATABASE_URL": empty_database_url,
        "REDIS_URL": redis_url,
        "REDIS_STREAM_DB": str(database_number(redis_url)),  # the next one is another test's
    }
    done = home.run("demo", str(document), "--out", str(home.out), **named)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "starting postgres" not in done.stdout
    assert not (home.state / "postgres").exists()


def test_a_killed_supervisor_is_followed_by_a_clean_start(home: Home) -> None:
    """The next `up` waits for the guardian and finds its servers' folders in order."""
    first = home.start("up", "--port", "0", "--metrics-port", "0")
    first.wrote("coursegen is running")
    first.process.kill()
    first.process.wait()
    second = home.start("up", "--port", "0", "--metrics-port", "0")
    second.wrote("coursegen is running")

    assert eventually_sync(lambda: second.process.poll() is None)
