"""What is shown of a running generation, on a terminal and elsewhere."""

from __future__ import annotations

import io

from rich.console import Console

from services.cli.display import LiveDisplay, PlainDisplay, describe_state, open_display
from services.cli.outline import outline

_DOCUMENT = {"id": "d", "filename": "a[b].pdf", "status": "failed", "failureReason": "it is encrypted"}
_STEPS = [
    {"id": n, "status": status}
    for n, status in enumerate(("completed", "in_progress", "pending", "pending", "failed"), 1)
]
_COURSE = {"status": "stage_2_processing", "documents": [_DOCUMENT], "progress": {"steps": _STEPS}}


def test_plain_lines_tell_states_and_documents_once() -> None:
    """One line per change, none for what is known."""
    lines: list[str] = []
    display = PlainDisplay(write=lines.append)

    display.advance({"newState": "stage_2_init", "oldState": "pending"})
    display.show(_COURSE)
    display.show(_COURSE)

    assert len(lines) == 2
    assert lines[0].endswith("stage 2 of 5: documents are queued (stage_2_init)")
    assert lines[1].endswith("a[b].pdf failed: it is encrypted")


def test_a_failure_without_a_new_state_is_told_too() -> None:
    """Such events exist: a failed try changes no state."""
    lines: list[str] = []
    PlainDisplay(write=lines.append).advance(
        {"newState": None, "oldState": "stage_2_init", "eventType": "FSM_FAILED", "metadata": {"error": "no"}}
    )

    assert lines[0].endswith("FSM_FAILED: no")


def test_the_picture_shows_steps_documents_and_the_state() -> None:
    """With marks, and file names as they are, brackets included."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100)
    display = LiveDisplay(console)
    display.show(_COURSE)
    display.advance({"newState": "stage_2_processing"})
    console.print(display._picture())

    text = stream.getvalue()
    assert "a[b].pdf" in text
    assert "it is encrypted" in text
    assert "reading the documents" in text


def test_without_a_terminal_the_display_is_plain() -> None:
    """In a pipe, or with --json."""
    with open_display() as display:
        assert isinstance(display, PlainDisplay)
    with open_display(quiet=True) as display:
        assert isinstance(display, PlainDisplay)


def test_every_state_has_words() -> None:
    """An unknown one is shown as it is."""
    assert describe_state("completed") == "the course is finished"
    assert describe_state("stage_9") == "stage_9"
    assert describe_state(None) == "?"


def test_the_outline_has_sections_and_lessons() -> None:
    """And what stands behind them; a draft says so."""
    lesson = {"title": "Wax", "words": 200, "citations": [{}, {}]}
    course = {
        "title": "Bees",
        "language": "en",
        "style": "concise",
        "draft": True,
        "sections": [{"title": "Hive", "lessons": [lesson] * 70}],
    }

    lines = list(outline(course))

    assert lines[0] == "Bees"
    assert lines[1] == "1 section, 70 lessons, 140 citations, en, concise, draft without material"
    assert "     1.1 Wax  (200 words, 2 citations)" in lines
    assert lines[-1] == "     ... and 10 more lessons"
