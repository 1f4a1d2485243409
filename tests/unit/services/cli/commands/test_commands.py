"""The command line: help for strangers, errors with the next step, JSON where scripts read."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest

from services.cli.commands.courses import title_of
from services.cli.commands.demo import example_files
from services.cli.languages import fault_of
from services.cli.outline import outline
from tests.support.servers import server_folder

_COMMANDS = (
    "demo", "up", "env", "down", "generate", "status", "verify", "top", "token", "fixtures", "migrate", "messages", "admin",
)  # fmt: skip


@pytest.fixture
def home() -> Iterator[Path]:
    with server_folder() as folder:
        yield folder / "state"


def _run(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "services.cli", *arguments],
        env={"PATH": "/usr/bin:/bin", "COURSEGEN_HOME": str(home), "COLUMNS": "200"} | environment,
        cwd=Path(__file__).parents[5],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_help_lists_every_command(home: Path) -> None:
    """And says where to begin."""
    done = _run(home, "--help")

    assert done.returncode == 0
    assert [name for name in _COMMANDS if name not in done.stdout] == []
    assert "coursegen demo" in done.stdout


@pytest.mark.parametrize("command", ["env", "status x", "generate README.md", "top", "fixtures", "migrate", "token"])
def test_without_a_stack_every_command_names_the_next_step(home: Path, command: str) -> None:
    """Exit code 1, and `coursegen up`."""
    done = _run(home, *command.split())

    assert done.returncode == 1
    assert "coursegen up" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_is_json_for_a_script(home: Path) -> None:
    """In the shape that the api uses."""
    done = _run(home, "env", "--json")

    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["code"] == "stack_stopped"


def test_a_token_needs_no_stack_when_the_secret_is_named(home: Path) -> None:
    """JWT_SECRET signs it; the options are its claims."""
    secret = "0123456789abcdef0123456789abcdef"
    user = "33333333-3333-4333-8333-333333333333"
    done = _run(home, "token", "--user", user, "--tier", "basic", "--ttl", "1h", "--json", JWT_SECRET=secret)
    answer = json.loads(done.stdout)
    claims = jwt.decode(answer["token"], secret, algorithms=["HS256"])

    assert answer["expiresIn"] == 3600
    assert (claims["sub"], claims["user_metadata"]["tier"]) == (user, "BASIC")


@pytest.mark.parametrize(
    "arguments",
    [
        ("token", "--tier", "GOLD"),
        ("token", "--user", "me"),
        ("generate",),
        ("demo", "--style", "loud"),
        ("up", "--port", "99999"),
        ("sing",),
        ("token", "--ttl", "soon"),
        ("token", "--ttl", "9999999999999999d"),
        ("token", "--ttl", "9" * 5000),
        ("token", "--ttl", "3651d"),
        ("token", "--role", "king"),
        ("generate", "--title", ""),
        ("generate", "--title", "two\nlines"),
        ("generate", "README.md", "--title", " "),
        ("generate", "README.md", "--title", "x" * 301),
        ("demo", "--title", ""),
        ("generate", "no-such-file.md"),
        ("generate", "README.md", "--language", "xx"),
        ("up", "--host", "203.0.113.9"),
    ],
)
def test_a_wrong_call_is_exit_code_2(home: Path, arguments: tuple[str, ...]) -> None:
    """As everywhere on Unix; nothing is written."""
    done = _run(home, *arguments, JWT_SECRET="0123456789abcdef0123456789abcdef")

    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert not list(home.glob("order-*"))


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (("--jsn",), {}),
        (("all",), {}),
        ((), {"API_URL": "foo"}),
        ((), {"API_URL": "http://x:abc"}),
        ((), {"API_URL": "http://x:99999"}),
        ((), {"API_URL": "http://"}),
        ((), {"API_URL": "http://[::1"}),
        ((), {"API_URL": "http://user:canary@x"}),
        ((), {"DATABASE_URL": "postgresql://user:canary@x:abc/name"}),
        ((), {"REDIS_URL": "canary@x"}),
        ((), {"REDIS_HOST": "x", "REDIS_PORT": "abc"}),
    ],
)
def test_a_wrong_call_of_verify_is_no_verdict(
    home: Path, arguments: tuple[str, ...], environment: dict[str, str]
) -> None:
    """Exit code 64, as of the script; 2 would say that there are warnings only, and 1 that a check has failed."""
    done = _run(home, "verify", *arguments, **environment)

    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr
    assert "Traceback" not in done.stderr
    assert "canary" not in done.stderr


def test_the_version_is_told(home: Path) -> None:
    """Without a stack, and nothing else."""
    done = _run(home, "--version")

    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"coursegen \d+\.\d+\.\d+\n", done.stdout)


@pytest.mark.parametrize("milliseconds", [30, 120, 250, 400, 600, 900])
def test_an_interrupt_at_any_moment_shows_no_traceback(home: Path, milliseconds: int) -> None:
    """While modules are being read, too; it ends by the signal, or with its number, or is done already."""
    process = subprocess.Popen(
        [sys.executable, "-m", "services.cli", "token", "--ttl", "1h"],
        env={"PATH": "/usr/bin:/bin", "COURSEGEN_HOME": str(home), "JWT_SECRET": "0123456789abcdef0123456789abcdef"},
        cwd=Path(__file__).parents[5],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(milliseconds / 1000)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)

    assert "services/cli" not in said  # before, while Python itself is starting, it may say so
    assert process.returncode in {0, 1, 130, -signal.SIGINT}


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("en-US", "write --language en"),
        ("PT_br", "write --language pt"),
        ("RU", "write --language ru"),
        ("German", "write --language de"),
        ("русский", "write --language ru"),
        ("Frensh", "Did you mean fr?"),
        ("xx", "for example en, de, fr, es, ru"),
        ("", "for example en"),
        ("e", "for example en"),
    ],
)
def test_a_language_nobody_knows_is_refused_with_what_to_write(code: str, advice: str) -> None:
    """A region, a name, a slip of the pen."""
    assert advice in str(fault_of(code))


@pytest.mark.parametrize("code", ["en", "ru", "zh", "tlh", "swa"])
def test_a_languages_code_is_taken(code: str) -> None:
    """Two letters of ISO 639-1, or three."""
    assert fault_of(code) is None


def test_a_missing_document_is_named_before_anything_starts(home: Path) -> None:
    """No state folder is made for it."""
    done = _run(home, "demo", "no-such-file.pdf")

    assert done.returncode == 2
    assert "no-such-file.pdf is no file" in done.stderr
    assert not home.exists()


@pytest.mark.parametrize("command", ["generate", "demo"])
def test_a_folder_that_cannot_be_written_is_named_before_anything_starts(home: Path, command: str) -> None:
    """Not after the course has been made, and never by a traceback."""
    done = _run(home, command, "README.md", "--out", "/proc/no-such-folder")

    assert done.returncode == 1
    assert "/proc/no-such-folder" in done.stderr
    assert "--out" in done.stderr
    assert "Traceback" not in done.stderr
    assert not home.exists()


@pytest.mark.parametrize("command", ["fixtures", "migrate"])
@pytest.mark.parametrize("url", ["localhost/courses", "postgresql://u:hunter2@h:port/db"])
def test_a_database_that_cannot_be_meant_is_refused_at_once(home: Path, command: str, url: str) -> None:
    """With its variable, and without what it holds."""
    done = _run(home, *command.split(), DATABASE_URL=url)

    assert done.returncode == 1
    assert "DATABASE_URL must" in done.stderr
    assert "hunter2" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_database_that_does_not_answer_is_named_with_its_variable(home: Path) -> None:
    """And what to look at."""
    done = _run(home, "fixtures", DATABASE_URL="postgresql://u@127.0.0.1:1/db")

    assert done.returncode == 1
    assert "Look at DATABASE_URL" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "environment", "named"),
    [
        (("--host", "192.0.2.1"), {}, "--host"),
        ((), {"COURSEGEN_HOME": "/proc/no-such-folder"}, "COURSEGEN_HOME"),
    ],
)
def test_a_stack_that_cannot_be_started_names_the_option(
    home: Path, arguments: tuple[str, ...], environment: dict[str, str], named: str
) -> None:
    """Not a port that is free, and no traceback."""
    done = _run(home, "up", *arguments, **environment)

    assert done.returncode == (2 if named == "--host" else 1)
    assert named in done.stderr
    assert "Traceback" not in done.stderr


def test_a_title_alone_is_enough_for_an_outline(home: Path) -> None:
    """`generate --title` looks for a stack, not for documents."""
    done = _run(home, "generate", "--title", "Bees", "--out", str(home.parent))

    assert done.returncode == 1
    assert "coursegen up" in done.stderr


def test_what_there_is_one_of_is_not_counted_as_many() -> None:
    """The outline's first lines, for people."""
    lesson = {"title": "Eggs", "words": 13, "citations": [1]}
    course = {
        "title": "Bees",
        "sections": [{"title": "Queen", "lessons": [lesson]}],
        "language": "en",
        "style": "concise",
    }

    assert "1 section, 1 lesson, 1 citation, en, concise" in outline(course)
    assert "     1.1 Eggs  (13 words, 1 citation)" in outline(course)


def test_stopping_nothing_is_no_error(home: Path) -> None:
    """Neither is removing nothing."""
    done = _run(home, "down", "--purge", "--json")

    assert done.returncode == 0
    assert json.loads(done.stdout) == {"stopped": False, "purged": True, "folder": str(home)}


def test_titles_are_made_from_file_names() -> None:
    """Without the numbers that keep files in order."""
    assert title_of([Path("1-bees_and-wax.pdf")]) == "Bees and wax"
    assert title_of([Path("2024 report.docx")]) == "2024 report"
    assert title_of([Path("bees.md"), Path("wasps.md")]) == "Bees and more"
    assert title_of([Path("3.md")]) == "3"


def test_the_examples_are_four_documents() -> None:
    """PDF, DOCX, Markdown and HTML."""
    assert {path.suffix for path in example_files()} == {".pdf", ".docx", ".md", ".html"}
