"""The ten checks on a real stack: green while it works, and each red when its part, and no other, is broken."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from redis import Redis

from services.api import metrics_view
from services.cli.stack import redis_binary
from services.cli.verification import checks, collecting, facts, release
from services.cli.verification.checks import NAMES
from services.kernel.installation import KEY
from services.kernel.queries import Queries
from tests.support import servers, tokens
from tests.support.breaking import BREAKAGES, ONE_DOCUMENT, REFUSED_INITIATIONS
from tests.support.servers import APPLICATION_ROLE, REPOSITORY
from tests.support.stack import Kind, Process, Stack, open_stack
from tests.support.waiting import eventually_sync

SCRIPT = REPOSITORY / "scripts" / "verify-deployment.sh"
DATABASE_CANARY = "canary-of-the-database-6Qv1"
REDIS_CANARY = "canary-of-redis-9Wz4"
COURSE = "00000000-0000-4000-8000-0000000000ce"
Done = subprocess.CompletedProcess[str]


class Deployment:
    """A stack whose parts a test may break, and the checks of it as a person runs them."""

    def __init__(self, folder: Path, postgres: servers.PrivatePostgres, redis: servers.PrivateRedis) -> None:
        self.postgres = postgres
        self.redis = redis
        self.cluster = servers.Postgres(postgres.url())
        self.database_url = self.cluster.create()
        self.calls = folder / "calls.log"
        self._folder = folder
        self._programs = folder / "programs"
        self._note_calls()

    def start(self, stack: Stack) -> None:
        """Start an api, a relay and nothing else: what the checks look at."""
        self._stack = stack
        self.api, self.relay = asyncio.run(stack.start_all("api", "outbox_relay"))

    @property
    def environment(self) -> dict[str, str]:
        """What the script and the command are given: passwords that these servers do not ask for, or that one user has."""
        database, redis = urlsplit(self.database_url), urlsplit(self.redis.url())
        return {
            "PATH": f"{self._programs}:{os.environ['PATH']}",
            "COURSEGEN_HOME": str(self._folder / "home"),
            "API_URL": self.api.url,
            "DATABASE_URL": f"postgresql://{APPLICATION_ROLE}:{DATABASE_CANARY}@{database.hostname}:{database.port}{database.path}",
            "REDIS_URL": f"redis://verifier:{REDIS_CANARY}@{redis.hostname}:{redis.port}/0",
            "LANG": "C.UTF-8",
        }

    def script(self, *arguments: str, **environment: str) -> Done:
        """Run scripts/verify-deployment.sh to its end."""
        return self._run([str(SCRIPT), *arguments], environment)

    def command(self, *arguments: str, **environment: str) -> Done:
        """Run `coursegen verify` to its end."""
        return self._run([sys.executable, "-m", "services.cli", "verify", *arguments], environment)

    def shell(self, line: str, **environment: str) -> Done:
        """Type a line."""
        return self._run(["/bin/sh", "-ec", line], environment)

    def failed_by_collecting(self) -> list[str]:
        """The red ones by the other collector, that of `coursegen verify` and of pods."""
        environment = self.environment
        queries = Queries.load("services.cli", "verification.sql")
        addresses = collecting.Addresses(environment["API_URL"], environment["DATABASE_URL"], environment["REDIS_URL"])
        found = asyncio.run(collecting.collect(addresses, {name: queries[name] for name in queries}))
        return [each.name for each in checks.judge(facts.Facts(found, release.wanted())) if each.status == "fail"]

    def sql(self, statement: str) -> str:
        """Run a statement as the owner."""
        return self.cluster.run_sql(statement, url=self.database_url)

    def again(self, kind: Kind, *, port: int | None = None) -> Process:
        """Start a process in place of one that has ended."""
        return asyncio.run(self._stack.start(kind, port=port))

    def initiate(self) -> int:
        """Ask for a course; the status of the answer."""
        body = {"courseId": COURSE, "title": "Verified", "hasFiles": False}
        answer = httpx.post(
            f"{self.api.url}/api/trpc/generation.initiate", json=body, headers=tokens.bearer(), timeout=30
        )
        return answer.status_code

    def is_healthy(self) -> bool:
        """Whether the api says so."""
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.api.url}/api/trpc/metrics.healthCheck").status_code == 200
        return False

    def _run(self, command: Sequence[str], environment: dict[str, str]) -> Done:
        return subprocess.run(
            command,
            env={**self.environment, **environment},
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def _note_calls(self) -> None:
        """Put programs in front of the real ones that write down what they are called with."""
        self._programs.mkdir()
        client = redis_binary.find_client(redis_binary.find_server(servers.cache_folder()))
        assert client is not None
        for name, program in (("psql", servers.psql()), ("redis-cli", client)):
            path = self._programs / name
            path.write_text(
                f'#!/bin/sh\necho "{name} $*" >>{shlex.quote(str(self.calls))}\nexec {shlex.quote(str(program))} "$@"\n'
            )
            path.chmod(0o755)


def _statuses(done: Done) -> dict[str, str]:
    assert done.stdout, done.stderr
    return {each["name"]: each["status"] for each in json.loads(done.stdout)["checks"]}


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """One for the tests of this module, each of which leaves it whole."""
    folder = tmp_path_factory.mktemp("deployment")
    with servers.server_folder() as home, contextlib.ExitStack() as ending:
        postgres = servers.PrivatePostgres(home)
        redis = servers.PrivateRedis(
            home, options={"appendonly": "yes", "user": f"verifier on >{REDIS_CANARY} ~* &* +@all"}
        )
        for server in (postgres, redis):
            server.start()
            ending.callback(server.kill)
        found = Deployment(folder, postgres, redis)
        application = servers.with_user(found.database_url, APPLICATION_ROLE)
        found.start(ending.enter_context(open_stack(folder, database_url=application, redis_url=redis.url())))
        assert eventually_sync(found.is_healthy, within=20)
        yield found


def test_all_is_well(deployment: Deployment) -> None:
    """Exit code 0, ten names in their order, no colours where nobody sees them, nothing on standard error."""
    done = deployment.script()

    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert tuple(re.findall(r"^  pass  (\w+(?: \w+)?)", done.stdout, re.MULTILINE)) == NAMES
    assert "10 of 10 checks passed, 0 warned, 0 failed" in done.stdout
    assert "\033" not in done.stdout


def test_the_command_says_the_same(deployment: Deployment) -> None:
    """The names, their order, the verdict and the exit code of the script."""
    script, command = deployment.script("--json"), deployment.command("--json")

    assert list(_statuses(script).items()) == list(_statuses(command).items()) == [(name, "pass") for name in NAMES]
    assert (script.returncode, command.returncode) == (0, 0)


def test_colours_are_for_terminals(deployment: Deployment) -> None:
    """And not for who sets NO_COLOR."""

    def seen(**environment: str) -> str:
        ours, theirs = pty.openpty()
        try:
            subprocess.run(
                [str(SCRIPT)], env=deployment.environment | environment, stdout=theirs, check=True, timeout=60
            )
            return os.read(ours, 65_536).decode()
        finally:
            os.close(theirs)
            os.close(ours)

    assert seen(TERM="xterm").count("\033[32mpass\033[0m") == len(NAMES)
    assert "\033" not in seen(TERM="xterm", NO_COLOR="1")


def test_no_secret_is_told(deployment: Deployment) -> None:
    """Neither to the programs that are called nor to the reader, also when the login is refused."""
    deployment.calls.unlink(missing_ok=True)
    told = [
        deployment.script(),
        deployment.command(),
        deployment.script(REDIS_URL=f"redis://nobody:{REDIS_CANARY}@127.0.0.1:1/0"),
    ]
    texts = [deployment.calls.read_text(encoding="utf-8"), *(each.stdout + each.stderr for each in told)]

    assert "psql -XqAt" in texts[0]
    assert "--user verifier" in texts[0]
    assert [text for text in texts if "canary" in text] == []


def test_what_cannot_be_seen_is_a_warning(deployment: Deployment) -> None:
    """Exit code 2; an address alone shows the api, and through it most of the rest."""
    done = deployment.script("--json", DATABASE_URL="", REDIS_URL="")
    unseen = {name for name, status in _statuses(done).items() if status == "warn"}

    assert done.returncode == 2
    assert unseen == {"Redis", "Migrations", "Tables", "Events"}
    assert "set REDIS_URL" in done.stdout


def test_another_api_is_not_judged_by_this_database(deployment: Deployment) -> None:
    """--url names an api whose database nobody has named."""
    elsewhere = deployment.api.url.replace("127.0.0.1", "localhost")
    done = deployment.script("--json", "--url", elsewhere)

    assert json.loads(done.stdout)["target"] == elsewhere
    assert _statuses(done)["Tables"] == "warn"
    assert _statuses(done)["API"] == "pass"

    unnamed = deployment.script("--json", "--url", deployment.api.url, API_URL="")
    assert _statuses(unnamed)["Tables"] == "warn"


def test_a_program_that_is_missing_is_named(deployment: Deployment, tmp_path: Path) -> None:
    """Not a variable that is set: with psql and redis-cli nowhere on the PATH."""
    (tmp_path / "python3").symlink_to(sys.executable)
    for program in ("bash", "dirname", "curl", "mktemp", "rm", "mv", "cat", "awk", "sed"):
        found = shutil.which(program)
        assert found, program
        (tmp_path / program).symlink_to(found)
    done = deployment.script("--json", PATH=str(tmp_path))
    assert done.stdout, done.stderr
    problems = {each["name"]: each["problems"] for each in json.loads(done.stdout)["checks"]}

    assert done.returncode == 2
    assert problems["Redis"] == ["not seen: redis-cli is not on the PATH"]
    assert problems["Tables"] == problems["Migrations"] == ["not seen: psql is not on the PATH"]


def test_alone_it_says_what_is_missing(tmp_path: Path) -> None:
    """A copy without the checkout around it: exit code 64, before anything is asked."""
    script = tmp_path / "scripts" / "verify-deployment.sh"
    script.parent.mkdir()
    shutil.copy(SCRIPT, script)
    done = subprocess.run([script], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (64, "")
    assert "from a checkout of the release" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_cluster_that_does_not_answer_is_no_verdict(deployment: Deployment, tmp_path: Path) -> None:
    """Nothing was looked at: exit code 64, whether the release is named or not."""
    kubectl = tmp_path / "kubectl"
    kubectl.write_text("#!/bin/sh\necho 'Unable to connect to the server' >&2\nexit 1\n")
    kubectl.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    for arguments in ([], ["--release", "coursegen"]):
        done = deployment.script("--namespace", "courses", *arguments, PATH=path)

        assert (done.returncode, done.stdout) == (64, "")
        assert "Unable to connect" in done.stderr
        assert "The cluster does not show" in done.stderr


@pytest.mark.parametrize("arguments", ["--verbose", "--url", "--url http://user:word@localhost:1", "--url ftp://x"])
def test_a_wrong_call_checks_nothing(deployment: Deployment, arguments: str) -> None:
    """Exit code 64, which no verdict has; it names the help, which is there."""
    done = deployment.script(*arguments.split())

    assert (done.returncode, done.stdout) == (64, "")
    assert "--help" in done.stderr
    assert "Exit codes: 0 all passed" in deployment.script("--help").stdout


def _of_redis(done: Done) -> dict[str, Any]:
    """What was said of Redis."""
    found: dict[str, Any] = next(each for each in json.loads(done.stdout)["checks"] if each["name"] == "Redis")
    return found


@pytest.mark.parametrize("ask", [Deployment.script, Deployment.command], ids=["script", "command"])
def test_the_redis_of_the_messages_is_looked_at_where_it_is_another(
    deployment: Deployment, ask: Callable[..., Done]
) -> None:
    """It has a password of its own and no file; with one that the system flushes; refusing CONFIG; and gone."""
    word = "canary-of-the-stream-3Rt8"
    with servers.server_folder() as home:
        stream = servers.PrivateRedis(home)
        stream.start()
        with Redis.from_url(stream.url()) as client:
            client.config_set("requirepass", word)
        place = urlsplit(stream.url())
        there = {"REDIS_HOST": str(place.hostname), "REDIS_PORT": str(place.port), "REDIS_PASSWORD": word}
        try:
            bare = _of_redis(ask(deployment, "--json", **there))
            kept_elsewhere = _of_redis(ask(deployment, "--json", MESSAGES_DURABILITY="postgres", **there))
            with Redis.from_url(stream.url(), password=word) as client:
                client.config_set("appendonly", "yes")
                client.config_set("appendfsync", "no")
                lazy = _of_redis(ask(deployment, "--json", **there))
                client.execute_command("ACL", "SETUSER", "default", "-config")
            shy = _of_redis(ask(deployment, "--json", **there))
        finally:
            stream.kill()
        gone = _of_redis(ask(deployment, "--json", **there))

    assert [each["status"] for each in (bare, kept_elsewhere, lazy, shy, gone)] == [
        "warn",
        "pass",
        "warn",
        "pass",
        "fail",
    ]
    assert "that of the messages keeps messages in memory only" in bare["problems"][0]
    assert (bare["values"]["appendonly"], lazy["values"]["appendfsync"]) == ("no", "no")
    assert (shy["values"]["appendonly"], shy["values"]["appendfsync"]) == ("yes", "unseen")
    assert "that of the messages does not answer" in gone["problems"][0]
    assert word not in deployment.calls.read_text(encoding="utf-8")


@pytest.mark.parametrize("ask", [Deployment.script, Deployment.command], ids=["script", "command"])
@pytest.mark.parametrize(("number", "says"), [(5, "another number in REDIS_URL"), (6, "another REDIS_STREAM_DB")])
def test_a_database_of_redis_that_is_another_installation_s_is_red(
    deployment: Deployment, ask: Callable[..., Done], number: int, says: str
) -> None:
    """Whose it is, what to set, and the command that asks who is there, which runs; freed by the other command, it is green."""
    queues = deployment.environment["REDIS_URL"].removesuffix("/0") + "/5"
    theirs = {"REDIS_URL": queues, "REDIS_STREAM_DB": "6", "MESSAGES_DURABILITY": "redis"}
    place = urlsplit(deployment.redis.url())
    with Redis(host=str(place.hostname), port=place.port or 6379, db=number, decode_responses=True) as client:
        client.set(KEY, "2020-01-01T00:00:00.000000Z")
        try:
            done = ask(deployment, "--json", **theirs)
            red = _of_redis(done)
            elsewhere = _of_redis(
                ask(deployment, "--json", **{**theirs, "REDIS_STREAM_DB": "7", "REDIS_URL": f"{queues[:-1]}7"})
            )
            clients = deployment.shell(red["next"].rpartition("&& ")[2], **theirs)
            mend = re.search(rf"`(redis-cli -n {number} SET {KEY} \S+)`", red["problems"][0])
            assert mend, red
            deployment.shell(mend[1].replace("redis-cli", 'redis-cli -u "$REDIS_URL"'), **theirs)
            freed = _of_redis(ask(deployment, "--json", **theirs))
        finally:
            client.delete(KEY)

    assert (done.returncode, red["status"], len(red["problems"])) == (1, "fail", 1)
    assert f"database {number}, " in red["problems"][0]
    assert says in red["problems"][0]
    assert red["see"] == "docs/MESSAGES.md#looking-for-it"
    assert "name=coursegen-" in clients.stdout
    assert (elsewhere["status"], freed["status"]) == ("pass", "pass")


@contextlib.contextmanager
def _redis(deployment: Deployment) -> Iterator[None]:
    deployment.redis.stop()
    yield
    deployment.redis.start()


@contextlib.contextmanager
def _database(deployment: Deployment) -> Iterator[None]:
    deployment.postgres.stop()
    yield
    deployment.postgres.start()


@contextlib.contextmanager
def _api(deployment: Deployment) -> Iterator[None]:
    deployment.api.kill()
    yield
    deployment.api = deployment.again("api", port=deployment.api.port)


@contextlib.contextmanager
def _relay(deployment: Deployment) -> Iterator[None]:
    asyncio.run(deployment.relay.stopped())
    yield
    deployment.relay = deployment.again("outbox_relay")


@contextlib.contextmanager
def _initiations(deployment: Deployment) -> Iterator[None]:
    with _statements(*REFUSED_INITIATIONS)(deployment):
        assert deployment.initiate() == 500
        yield
    assert deployment.initiate() == 200


def _statements(before: str, after: str) -> Callable[[Deployment], AbstractContextManager[None]]:
    """Broken by statements, and mended by others."""

    @contextlib.contextmanager
    def broken(deployment: Deployment) -> Iterator[None]:
        try:
            deployment.sql(before)
            yield
        finally:
            deployment.sql(after)

    return broken


_BREAKAGES = {
    "Redis": _redis,
    "Database": _database,
    "API": _api,
    "Outbox": _relay,
    "FSM": _initiations,
    **{name: _statements(*pair) for name, pair in BREAKAGES.items()},
}


@pytest.mark.parametrize("name", NAMES)
def test_a_broken_part_is_the_red_one(deployment: Deployment, name: str) -> None:
    """It alone, by both collectors, with exit code 1 and the next command; mended, nothing is red."""
    with _BREAKAGES[name](deployment):
        seen = eventually_sync(lambda: _only_red(deployment, name), within=20)
        assert re.match(r"(coursegen|curl) \S+", seen["next"])
        assert (REPOSITORY / seen["see"].partition("#")[0]).exists()
        assert deployment.failed_by_collecting() == [name]

    assert eventually_sync(lambda: not deployment.failed_by_collecting(), within=30)


def test_a_pause_over_jobs_that_wait_is_a_warning(deployment: Deployment) -> None:
    """By both collectors, with exit code 2 and the page of its alert; over an empty queue it is none."""
    queue = "course-generation:documents"
    before, after = ONE_DOCUMENT
    try:
        deployment.sql(f"INSERT INTO queue_controls (saq_queue, paused) VALUES ('{queue}', true), ('quiz', true)")
        empty = deployment.script("--json")
        deployment.sql(before)
        script, command = deployment.script("--json"), deployment.command("--json")
    finally:
        deployment.sql(f"DELETE FROM queue_controls; {after}")

    assert (empty.returncode, script.returncode, command.returncode) == (0, 2, 2), script.stdout
    for done in (script, command):
        (found,) = (each for each in json.loads(done.stdout)["checks"] if each["status"] != "pass")
        (problem,) = found["problems"]
        assert (found["name"], found["status"]) == ("Pending Jobs", "warn")
        assert re.fullmatch(rf"{queue} is paused since 20\S+Z, and 1 of its jobs are not done", problem)
        assert (found["next"], found["see"]) == ("coursegen admin queues", "docs/runbooks/StageQueuePaused.md")


def _only_red(deployment: Deployment, name: str) -> dict[str, Any]:
    """What the script says of this check, once it is the one that fails."""
    done = deployment.script("--json")
    found: list[dict[str, Any]] = [each for each in json.loads(done.stdout)["checks"] if each["status"] == "fail"]
    assert [each["name"] for each in found] == [name], done.stdout
    assert done.returncode == 1
    return found[0]


def test_the_limits_are_those_of_the_api_s_verdict() -> None:
    """What healthCheck calls unhealthy is red here."""
    assert checks.ALIVE_SECONDS == metrics_view.ALIVE_WITHIN.total_seconds()
    assert checks.PROGRESS_SECONDS == metrics_view.PROCESSED_WITHIN.total_seconds()
    assert (checks.DEEPEST_QUEUE, checks.LOWEST_SUCCESS) == (metrics_view.DEEPEST_QUEUE, metrics_view.LOWEST_SUCCESS)
