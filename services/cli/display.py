"""How a running generation is shown: a live picture on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from services.cli import output
from services.kernel.states import TERMINAL

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

Json = dict[str, Any]

STEPS = ("request accepted", "documents read", "structure analysed", "lessons written", "course exported")
"""The five steps of a course's progress, in order; the api names them in Russian."""

_STATES = {
    "pending": "waiting for its start",
    "stage_2_init": "stage 2 of 5: documents are queued",
    "stage_2_processing": "stage 2 of 5: reading the documents",
    "stage_2_complete": "stage 2 of 5: the documents are read",
    "stage_4_init": "stage 4 of 5: the analysis is queued",
    "stage_4_analyzing": "stage 4 of 5: finding the structure",
    "stage_4_complete": "stage 4 of 5: the structure stands",
    "stage_5_init": "stage 5 of 5: the writing is queued",
    "stage_5_generating": "stage 5 of 5: writing the lessons",
    "stage_5_complete": "stage 5 of 5: the lessons are written",
    "completed": "the course is finished",
    "cancelled": "the course was cancelled",
    "error": "the course ended in an error",
}
_MARKS = {"completed": "[green]✔[/]", "in_progress": "[yellow]…[/]", "failed": "[red]✘[/]", "pending": "[dim]·[/]"}
_DOCUMENT_MARKS = {
    "processed": "[green]✔[/]",
    "processing": "[yellow]…[/]",
    "failed": "[red]✘[/]",
    "uploaded": "[dim]·[/]",
}


def describe_state(state: str | None) -> str:
    """A state of the machine in words."""
    return _STATES.get(state or "", state or "?")


class Closable(Protocol):
    """A display for the length of a block; see `generation.Display`."""

    def say(self, text: str) -> None:
        """A line that stays."""

    def advance(self, event: Json) -> None:
        """The course has changed its state."""

    def show(self, course: Json) -> None:
        """How the course and its documents stand now."""


class PlainDisplay:
    """One line per thing that happens, with the seconds since the start."""

    def __init__(self, *, write: Any = output.say) -> None:
        self._write = write
        self._started = time.monotonic()
        self._documents: dict[str, str] = {}

    def say(self, text: str) -> None:
        """A line that stays."""
        self._write(f"[{time.monotonic() - self._started:6.1f} s] {text}")

    def advance(self, event: Json) -> None:
        """The course has changed its state."""
        state = event["newState"]
        if state is not None and state != event["oldState"]:
            self.say(f"{describe_state(state)} ({state})")
        elif state is None:
            self.say(f"{event['eventType']}: {(event.get('metadata') or {}).get('error', '')}")

    def show(self, course: Json) -> None:
        """Lines for documents that have changed."""
        for document in course["documents"]:
            status = document["status"]
            if status in {"processed", "failed"} and self._documents.get(document["id"]) != status:
                reason = f": {document['failureReason']}" if document.get("failureReason") else ""
                self.say(f"  {document['filename']} {status}{reason}")
            self._documents[document["id"]] = status


class LiveDisplay:
    """A picture of steps and documents that is drawn over itself."""

    def __init__(self, console: Console) -> None:
        from rich.live import Live

        self._console = console
        self._started = time.monotonic()
        self._course: Json | None = None
        self._state: str | None = None
        self._live = Live(get_renderable=self._picture, console=console, refresh_per_second=8, transient=False)

    def start(self) -> None:
        """Begin to draw."""
        self._live.start()

    def stop(self) -> None:
        """Leave the last picture as it is."""
        self._live.stop()

    def say(self, text: str) -> None:
        """A line above the picture."""
        self._console.print(text, markup=False, highlight=False)

    def advance(self, event: Json) -> None:
        """The course has changed its state."""
        self._state = event["newState"] or self._state

    def show(self, course: Json) -> None:
        """How the course and its documents stand now."""
        self._course = course

    def _picture(self) -> RenderableType:
        from rich.console import Group
        from rich.spinner import Spinner
        from rich.text import Text

        if self._course is None:
            return Text("")
        rows: list[RenderableType] = [Text.from_markup(line) for line in self._lines(self._course)]
        status = f" {describe_state(self._state)}  {time.monotonic() - self._started:.1f} s"
        done = self._course["status"] in TERMINAL
        rows.append(Text(status, style="bold") if done else Spinner("dots", text=Text(status, style="bold")))
        return Group(*rows)

    @staticmethod
    def _lines(course: Json) -> Iterator[str]:
        from rich.markup import escape

        steps = course["progress"].get("steps", [])
        for name, step in zip(STEPS, steps, strict=False):
            yield f" {_MARKS.get(step['status'], '?')} {name}"
            if name == STEPS[1]:
                for document in course["documents"]:
                    reason = f" [red]{escape(document['failureReason'])}[/]" if document.get("failureReason") else ""
                    mark = _DOCUMENT_MARKS.get(document["status"], "?")
                    yield f"     {mark} {escape(document['filename'])}{reason}"


@contextmanager
def open_display(*, quiet: bool = False) -> Iterator[Closable]:
    """The display that suits standard output; `quiet` leaves it to the result and writes to standard error."""
    if quiet:
        yield PlainDisplay(write=output.note)
        return
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        yield PlainDisplay()
        return
    live = LiveDisplay(console)
    live.start()
    try:
        yield live
    finally:
        live.stop()
