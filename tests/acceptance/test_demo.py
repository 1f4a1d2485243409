"""The demo: from documents to a course on disk, whatever is killed on the way, with nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from services.cli.commands.demo import example_files
from tests.acceptance.conftest import GONE_SECONDS, Home
from tests.support.waiting import eventually_sync

_STATES = ("stage_2_init", "stage_2_complete", "stage_4_complete", "stage_5_generating", "completed")


def _course(home: Home) -> dict[str, object]:
    content: dict[str, object] = json.loads((home.out / "course.json").read_text(encoding="utf-8"))
    assert (home.out / "course.md").stat().st_size > 500
    return content


def test_the_examples_become_a_cited_course(home: Home) -> None:
    """Exit 0 within 60 s; every stage shown; at least 3 sections and 9 lessons, all cited; both files named."""
    demo = home.start("demo", "--out", str(home.out))

    assert demo.ended(within=60) == 0
    text = demo.text()
    sections = _course(home)["sections"]
    assert isinstance(sections, list)
    lessons = [lesson for section in sections for lesson in section["lessons"]]
    assert [state for state in _STATES if state not in text] == []
    assert [name for name in ("course.json", "course.md") if str(home.out / name) not in text] == []
    assert [path.name for path in example_files() if f"uploaded {path.name}" not in text] == []
    assert len(sections) >= 3
    assert len(lessons) >= 9
    assert [lesson["title"] for lesson in lessons if not lesson["citations"]] == []
    assert [lesson["title"] for lesson in lessons if lesson["title"] not in text] == []
    assert home.left() == []


def test_a_document_of_ones_own_becomes_a_course(home: Home, document: Path) -> None:
    """`--json` leaves standard output to the result; a second order makes a second course."""
    first = home.run("demo", str(document), "--out", str(home.out), "--title", "Bees", "--style", "practical", "--json")
    second = home.run(
        "demo", str(document), "--out", str(home.out), "--title", "Bees", "--style", "practical", "--json"
    )

    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout)["files"]["json"] == str(home.out / "course.json")
    assert _course(home)["style"] == "practical"
    assert json.loads(first.stdout)["courseId"] != json.loads(second.stdout)["courseId"]


def test_two_demos_at_once_do_not_meet(home: Home, document: Path) -> None:
    """Neither asks for a port that the other, or `coursegen up`, would ask for."""
    one = home.start("demo", "--out", str(home.out))
    other = home.run(
        "demo", str(document), "--out", str(home.folder / "other-out"), COURSEGEN_HOME=str(home.folder / "other")
    )

    assert one.ended() == 0, one.text()
    assert other.returncode == 0, other.stdout + other.stderr
    said = one.text() + other.stdout
    assert "starting it again" not in said
    assert ":3000" not in said


def test_two_demos_in_one_place_share_a_stack_that_ends_after_both(home: Home, document: Path) -> None:
    """The second borrows the first one's; whoever is done first, both courses are finished."""
    one = home.start("demo", str(document), "--out", str(home.out))
    one.wrote("everything runs")
    other = home.start("demo", "--out", str(home.folder / "other-out"))

    assert other.ended() == 0, other.text()
    assert one.ended() == 0, one.text()
    assert "using the stack that runs at" in other.text()
    assert (home.folder / "other-out" / "course.json").exists()
    assert _course(home)["sections"]
    assert home.left() == []


@pytest.mark.parametrize(
    "victim",
    ["api", "outbox-relay", "worker-documents", "worker-analysis", "persistence-worker", "postgres", "redis"],
)
def test_the_demo_survives_the_kill_of(home: Home, victim: str) -> None:
    """`kill -9` in the middle (of Redis with its data): it comes back by itself, and the course is finished."""
    demo = home.start("demo", "--out", str(home.out))
    demo.wrote("uploaded 4-")
    os.kill(home.pid(victim), signal.SIGKILL)
    if victim == "redis":
        shutil.rmtree(home.state / "redis")

    assert demo.ended() == 0, demo.text()
    assert f"{victim} ended (killed by SIGKILL); starting it again" in demo.text()
    assert _course(home)["sections"]
    assert home.left() == []


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("starting postgres", signal.SIGINT),
        ("bringing the database", signal.SIGTERM),
        ("starting api", signal.SIGINT),
        ("uploaded 1-", signal.SIGINT),
        ("stage_2_init", signal.SIGHUP),
    ],
)
def test_an_interrupted_demo_leaves_nothing_running(home: Home, moment: str, number: signal.Signals) -> None:
    """At any moment, start-up included; the exit code names the signal."""
    demo = home.start("demo", "--out", str(home.out))
    demo.wrote(moment)
    demo.process.send_signal(number)

    assert demo.ended(within=15) == 128 + number
    assert home.left() == []


def test_a_killed_demo_leaves_nothing_and_the_next_one_finishes_the_same_course(home: Home, document: Path) -> None:
    """SIGKILL: nothing runs after 10 s; the next run of the same documents goes on, whatever was made in between."""
    demo = home.start("demo", "--out", str(home.out))
    demo.wrote("stage_2_init")
    demo.process.kill()
    demo.process.wait()
    eventually_sync(lambda: not home.left(), within=GONE_SECONDS)
    (kept,) = home.state.glob("order-*.json")
    begun = json.loads(kept.read_text())["course_id"]

    other = home.run("demo", str(document), "--out", str(home.out), "--json")
    again = home.run("demo", "--out", str(home.out), "--json")

    assert again.returncode == 0, again.stderr
    assert "going on with the course" in again.stderr
    assert json.loads(other.stdout)["courseId"] != begun
    assert json.loads(again.stdout)["courseId"] == begun
    assert list(home.state.glob("order-*.json")) == []


def test_the_kill_of_the_guardian_and_the_command_leaves_nothing_either(home: Home) -> None:
    """On Linux the kernel is the last line: every program asked for a signal at the death of its parent."""
    demo = home.start("demo", "--out", str(home.out))
    demo.wrote("everything runs")
    (guardian,) = [int(line.split()[0]) for line in home.left() if "guardian.py" in line]
    demo.process.send_signal(signal.SIGSTOP)  # so that it cannot replace the guardian
    os.kill(guardian, signal.SIGKILL)
    demo.process.kill()
    demo.process.wait()

    eventually_sync(lambda: not home.left(), within=GONE_SECONDS)


def test_documents_that_nobody_can_use_end_the_demo_with_their_reasons(home: Home, tmp_path: Path) -> None:
    """Exit code 1, the file's name, and what is wrong with it."""
    broken = tmp_path / "broken.pdf"
    broken.write_bytes(b"%PDF-1.7\nnothing of what a PDF needs\n%%EOF\n")

    done = home.run("demo", str(broken), "--out", str(home.out))

    assert done.returncode == 1
    assert "broken.pdf: " in done.stdout + done.stderr
    assert not (home.out / "course.json").exists()
    assert home.left() == []
