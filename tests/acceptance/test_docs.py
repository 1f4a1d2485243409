"""What README.md and docs/ have a reader type on the machine of the local stack, typed as it stands there, on one stack.

What other tests type is not repeated here: `tests/unit/docs/test_marked.py` sees that each block has its test.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.acceptance.conftest import Home, open_home
from tests.support.marked import DOCS, MESSAGES, Commands, marked, pages, typed_as
from tests.support.ports import pick
from tests.support.prometheus import scraping
from tests.support.servers import REPOSITORY
from tests.support.typist import Typist, shape
from tests.support.waiting import eventually_sync

README = REPOSITORY / "README.md"
_FREE_PORTS = 'coursegen() { [ "$1" != up ] || set -- up --port 0 --metrics-port 0; command coursegen "$@"; }\n'
"""The page's ports may be another test's."""
_OF_MAKE = dict.fromkeys(("MAKEFLAGS", "MAKELEVEL", "MFLAGS"), "")
"""Of the make that may run this test."""
_HERE = (".venv", "config", "examples", "prometheus", "scripts")
"""What commands find in the folder in which the pages are read."""
_FILE = re.compile(r"^<!-- file: (\S+) -->\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
"""A file of docs/EXTENDING.md."""


class Reader(Typist):
    """Reads the pages in a folder of her own, beside a stack that runs."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.read: set[str] = set()
        self._said: dict[str, str] = {}
        folder = home.folder / "reader"
        folder.mkdir()
        for name in _HERE:
            (folder / name).symlink_to(REPOSITORY / name)
        super().__init__(home.environment(BROWSER="true"), folder)
        shown = self.types(f"{_second_shell()}python -c 'import json, os; print(json.dumps(dict(os.environ)))'")
        self.environment = json.loads(shown)

    def follows(self, page: Path, name: str, *, words: str = "", **variables: str) -> list[str]:
        """What the blocks of a page with this mark print, each typed behind `words`; what two pages have is typed once."""
        self.read.add(name)
        for block in typed_as(page, name):
            if block.text not in self._said:
                self._said[block.text] = self.types(_behind(words, block), **variables)
        return [self._said[block.text] for block in typed_as(page, name)]

    def asks(self, sql: str) -> str:
        """What the stack's database answers."""
        return self.types('psql "$DATABASE_URL" -XAtqc "$SQL"', SQL=sql).strip()

    def orders(self, *, title: str = "From the page", request: str = "from-the-page") -> str:
        """A course that is accepted."""
        course = str(uuid4())
        answer = httpx.post(
            f"{self.environment['API_URL']}/api/trpc/generation.initiate",
            json={"courseId": course, "title": title, "hasFiles": False},
            headers={"Authorization": f"Bearer {self.environment['API_TOKEN']}", "X-Request-ID": request},
            timeout=30,
        )
        assert answer.status_code == 200, answer.text
        return course

    def finished(self, course: str) -> bool:
        """Whether the course is made."""
        return self.asks(f"SELECT generation_status FROM courses WHERE id = '{course}'") == "completed"


def _second_shell() -> str:
    """What README.md has a second shell begin with."""
    activate, environment, _ = marked(README, "readme-generate").splitlines(keepends=True)
    return activate + environment


def _behind(words: str, block: Commands) -> Commands:
    return Commands(block.page, block.line, block.marks, words + block.text, block.printed)


@pytest.fixture
def reader() -> Iterator[Reader]:
    """One, with the stack that README.md has her start; it is ended."""
    with open_home() as home:
        up = home.types(_FREE_PORTS + marked(README, "readme-up"), **_OF_MAKE)
        up.wrote("coursegen is running", within=90)
        yield Reader(home)
        home.run("down")


@pytest.mark.timeout(400)
def test_the_pages_do_what_they_say(reader: Reader) -> None:
    """Every command ends well and prints what its page says; every mark that only this test knows was typed."""
    course = make_courses(reader)
    follow_it(reader, course)
    send_messages(reader)
    administrate(reader, course)
    keep_house(reader)
    run_a_worker(reader)

    assert reader.read == _marks_of_this_module() - {"readme-up", "runbooks-files"}


def _marks_of_this_module() -> set[str]:
    """The marks on the pages whose names stand here."""
    text = Path(__file__).read_text(encoding="utf-8")
    marks = {
        name for page in pages() for name in re.findall(r"<!-- tested: (\S+) -->", page.read_text(encoding="utf-8"))
    }
    return {name for name in marks if f'"{name}"' in text}


def make_courses(reader: Reader) -> str:
    """README.md: from documents by the command, from a document by nothing but HTTP; the course of the latter."""
    (said,) = reader.follows(README, "readme-generate")
    assert json.loads((reader.folder / "course.json").read_text(encoding="utf-8"))["sections"], said

    (reader.folder / "notes.md").write_text("# Bees\n\n" + "A queen lays eggs in the hive. " * 40, encoding="utf-8")
    (said,) = reader.follows(README, "readme-http")
    assert "# Keeping bees\n" in said
    assert "- [1] notes.md, " in said
    return reader.asks("SELECT id FROM courses WHERE title = 'Keeping bees'")


def follow_it(reader: Reader, course: str) -> None:
    """The story of a course that is over, to its end; and the lines of a request in all logs."""
    (told,) = reader.follows(DOCS / "LIVE-EVENTS.md", "live-curl", COURSE=course)
    assert told.count("event: state") >= 5
    assert told.rstrip().endswith('event: end\ndata: {"reason":"completed"}')

    course = reader.orders(request="order-66")
    eventually_sync(lambda: reader.finished(course), within=60)
    (lines,) = reader.follows(DOCS / "LOGGING.md", "logging-grep", words=f"cd {reader.home.state}/logs\n")
    found = [json.loads(each) for each in lines.splitlines()]
    assert {"api", "stage-worker"} <= {process for _, process, *_ in found}
    assert {each for *_, each, _ in found if each} == {course}


def send_messages(reader: Reader) -> None:
    """Sent by curl and by the command; found in the stream, whose partition the page computes, and in the table."""
    (sent,) = reader.follows(MESSAGES, "messages-post")
    assert json.loads(sent)["idempotentHit"] is False
    (shown,) = reader.follows(README, "readme-messages")
    assert "Who reads chapter two?" in shown
    message = json.loads(sent)["messageId"]
    eventually_sync(lambda: reader.asks(f"SELECT count(*) FROM messages WHERE id = '{message}'") == "1", within=20)

    (looked,) = reader.follows(MESSAGES, "messages-looking")
    assert looked.startswith("12\n")
    assert looked.count(message) == 2
    assert "(0 rows)" in looked
    (owner,) = reader.follows(MESSAGES, "messages-owner")
    name, _, table = owner.partition("\n")
    assert name.rstrip("Z").replace("T", " ").rstrip("0") in table, owner
    (count,) = reader.follows(MESSAGES, "messages-words", words="", SAYS="PONG")
    assert count == ""
    (removed,) = reader.follows(MESSAGES, "messages-payloads")
    assert removed == "DELETE 0\n"


def administrate(reader: Reader, course: str) -> None:
    """As an administrator of this machine, and with a token from a file; a dead row goes again, once."""
    (said,) = reader.follows(DOCS / "ADMIN.md", "admin-commands")
    assert "course-generation:analysis" in said
    assert '"limits"' in said
    (address,) = reader.follows(DOCS / "BROWSER.md", "browser-open")
    assert "/admin" in address
    (reader.folder / "admin.token").write_text(reader.types("coursegen token --role admin"), encoding="utf-8")
    (said,) = reader.follows(DOCS / "ADMIN.md", "admin-elsewhere")
    assert "course-generation:analysis" in said

    dead = _dead_row(reader)
    (said,) = reader.follows(DOCS / "ADMIN.md", "admin-letters", OUTBOX_ID=dead)
    assert reader.asks(f"SELECT retry_count FROM job_outbox WHERE outbox_id = '{dead}'") == "0", said
    reader.types("coursegen admin resume course-generation:analysis")

    (secret,) = reader.follows(DOCS / "WEBHOOKS.md", "webhooks-secret")
    assert json.loads(secret)["secret"].startswith("whsec_")


def _dead_row(reader: Reader) -> str:
    """The outbox row of a course that nobody has begun, dead."""
    reader.types("coursegen admin pause course-generation:analysis --reason 'a dead row'")
    course = reader.orders()
    row = f"FROM job_outbox WHERE entity_id = '{course}'"
    eventually_sync(lambda: reader.asks(f"SELECT processed_at IS NOT NULL {row}") == "t", within=20)
    reader.asks(f"UPDATE job_outbox SET processed_at = NULL, retry_count = max_retries WHERE entity_id = '{course}'")
    return reader.asks(f"SELECT outbox_id {row}")


def keep_house(reader: Reader) -> None:
    """Migrations and retention by hand; a schema that somebody has changed is told as the page shows it."""
    (said,) = reader.follows(DOCS / "MIGRATIONS.md", "migrate-commands", BACKUP="from-the-page")
    assert said.count("up to date") >= 1
    reader.asks("ALTER TABLE courses ADD COLUMN mark text; DROP INDEX idx_courses_running")
    (block,) = typed_as(DOCS / "MIGRATIONS.md", "migrate-drift")
    (said,) = reader.follows(DOCS / "MIGRATIONS.md", "migrate-drift")
    assert said == block.printed[0]

    (said,) = reader.follows(DOCS / "RETENTION.md", "retention-by-hand")
    (told,) = re.findall(
        r"^```json\n(.*?)```", (DOCS / "RETENTION.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    assert shape(said.replace(" ", "")) == shape(told.replace("\n ", "").replace(" ", "")), said


def run_a_worker(reader: Reader) -> None:
    """With the plugin of docs/EXTENDING.md, whose files are on the page: it says that it works, and stops when told."""
    page = DOCS / "EXTENDING.md"
    plugins = reader.folder / "plugins"
    for name, text in _FILE.findall(page.read_text(encoding="utf-8")):
        path = plugins / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    reader.read.add("extending-run")
    log = reader.folder / "worker.log"
    environment = {**reader.environment, "PLUGINS": str(plugins), "METRICS_PORT": str(pick())}
    with log.open("wb") as output:
        worker = subprocess.Popen(
            ["bash", "-ec", re.sub(r"(?m)^python", "exec python", marked(page, "extending-run"))],
            env=environment,
            cwd=REPOSITORY,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        eventually_sync(lambda: "Stage worker started" in log.read_text(encoding="utf-8"), within=30)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0
    finally:
        worker.kill()
        worker.wait()


def test_rules_are_loaded_as_the_page_says(tmp_path: Path) -> None:
    """Into a Prometheus without the operator: eleven rules of the first group, of files that promtool takes."""
    rules = tmp_path / "rules"
    rules.mkdir()
    with scraping(tmp_path, loads=rules) as prometheus:
        typist = Typist({**os.environ, "RULES": str(rules), "PROMETHEUS": prometheus.url}, REPOSITORY)
        said = typist.types(*typed_as(DOCS / "RUNBOOKS.md", "runbooks-files"))

    assert said.splitlines()[-1] == "11"
