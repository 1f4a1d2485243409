"""Courses through the api: generate, status."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from services.cli import interrupts, output
from services.cli.api_client import ApiClient, ApiRefused, ApiUnreachable
from services.cli.commands.options import AsJson, Language, Out, Style, Title
from services.cli.display import STEPS, describe_state, open_display
from services.cli.errors import CalledWrongly, StackError
from services.cli.following import Following
from services.cli.generation import Display, Finished, Generation, GenerationFailed
from services.cli.orders import Notebook, Order, resume, unusable
from services.cli.outline import outline
from services.cli.target import api_target, state_folder

_ABOUT_THE_CALLER = frozenset({401, 403, 429})
_LONGEST_TITLE = 300
"""What the api takes."""
_NUMBERING = re.compile(r"^\d{1,3}[\s_\-.]+(?=\S)")
_WORD_BREAKS = re.compile(r"[\s_\-.]+")


def generate(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILES", help="PDF, DOCX, PPTX, HTML, Markdown or text; none with --title: an outline."),
    ] = None,
    *,
    title: Title = None,
    style: Style = "academic",
    language: Language = None,
    out: Out = Path(),
    as_json: AsJson = False,
) -> None:
    """Make a course from documents, or an outline from a title alone, and wait for it.

    Talks to the stack that runs here (`coursegen up`), or to the api that API_URL and API_TOKEN name. Interrupted and called
    again with the same documents, it goes on with the same course.
    """
    if not files and title is None:
        raise typer.BadParameter("name documents, or a --title to make an outline from")
    order = make_order(files or (), title, style, language)
    ready_to_write(out)
    target = api_target(os.environ)

    async def main(_hurry: asyncio.Event) -> int:
        notebook = Notebook(state_folder(os.environ), order, target.place)
        try:
            with open_display(quiet=as_json) as display:
                async with ApiClient(target.url, target.token, stack_id=target.stack_id, on_outage=display.say) as api:
                    finished = await carry_out(api, order, notebook, display)
        except (asyncio.CancelledError, ApiUnreachable):
            output.note("The course is kept. The same command goes on with it.")
            raise
        deliver(finished, out, as_json=as_json)
        notebook.forget()
        return 0

    raise typer.Exit(interrupts.run(main, os.environ))


async def carry_out(api: ApiClient, order: Order, notebook: Notebook, display: Display) -> Finished:
    """Make the course of an order, or go on with the one that an earlier call began; its note stays until it is delivered.

    Raises:
        GenerationFailed: it will never be finished; the order begins afresh next time.
    """
    record, resumed = await resume(notebook, api)
    if resumed:
        display.say("going on with the course that an earlier run began")
    try:
        return await Generation(api, order, record, display=display, keep=notebook.keep).run()
    except GenerationFailed:
        notebook.forget()
        raise
    except ApiRefused as refusal:
        # An earlier run's key may stand for a course that it never heard of: kept while only the caller is refused.
        if record.course_id is None and not (resumed and refusal.status in _ABOUT_THE_CALLER):
            notebook.forget()
        raise


def status(
    course: Annotated[str, typer.Argument(metavar="COURSE", help="Its id or slug.")],
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the course has ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say how a course stands: its state, its steps, its documents.

    With --follow every change is shown as it happens, through restarts of the api, until the course has ended; with --json
    too each message of the stream is one line. The exit code is 0 when the course was completed, else 1.
    """
    target = api_target(os.environ)

    async def main(_hurry: asyncio.Event) -> int:
        if follow:
            with open_display(quiet=as_json) as display:
                async with ApiClient(target.url, target.token, stack_id=target.stack_id, on_outage=display.say) as api:
                    return await _follow(api, course, display, as_json=as_json)
        async with ApiClient(target.url, target.token, stack_id=target.stack_id) as api:
            found = await api.course(course)
        if as_json:
            output.document(found)
        else:
            _describe(found)
        return 0

    raise typer.Exit(interrupts.run(main, os.environ))


async def _follow(api: ApiClient, reference: str, display: Display, *, as_json: bool) -> int:
    reason = ""
    async for message in Following(api, reference).messages():
        if as_json:
            output.document({"event": message.event, "id": message.place, "data": message.content})
        elif message.event == "state":
            display.advance(message.content)
        elif message.event == "progress":
            with contextlib.suppress(ApiRefused):  # deleted since: the stream says so next
                display.show(await api.course(reference))
        if message.event == "end":
            reason = message.content["reason"]
    if not as_json:
        display.say(f"the course was {reason}" if reason == "deleted" else describe_state(reason))
    return 0 if reason == "completed" else 1


def make_order(files: Sequence[Path], title: str | None, style: str, language: str | None) -> Order:
    """What the caller wants, checked.

    Raises:
        CalledWrongly: a file is missing or empty, or the title is no line that a course can have.
    """
    fault = unusable(files)
    if fault:
        raise CalledWrongly(fault)
    name = title_of(files)[:_LONGEST_TITLE] if title is None else title
    if not name.strip() or len(name) > _LONGEST_TITLE or any(ord(each) < 32 or ord(each) == 127 for each in name):
        raise CalledWrongly(f"--title must be one line of 1 to {_LONGEST_TITLE} characters.")
    return Order(name, tuple(files), style, language)


def title_of(files: Sequence[Path]) -> str:
    """A title from the first file's name."""
    words = _WORD_BREAKS.sub(" ", _NUMBERING.sub("", files[0].stem)).strip()
    name = words[:1].upper() + words[1:] if words else "Course"
    return name if len(files) == 1 else f"{name} and more"


def ready_to_write(out: Path) -> None:
    """Make the folder for the result, before any work is done for it.

    Raises:
        StackError: nothing can be written there.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise _not_written(out, error) from error


def deliver(finished: Finished, out: Path, *, as_json: bool) -> None:
    """Write the course's two files into `out` and say so.

    Raises:
        StackError: they cannot be written.
    """
    json_path, markdown_path = out / "course.json", out / "course.md"
    try:
        out.mkdir(parents=True, exist_ok=True)
        json_path.write_bytes(finished.json)
        markdown_path.write_bytes(finished.markdown)
    except OSError as error:
        raise _not_written(out, error, course_id=finished.course["id"]) from error
    content: dict[str, Any] = orjson.loads(finished.json)
    if as_json:
        paths = {"json": str(json_path.absolute()), "markdown": str(markdown_path.absolute())}
        output.document({"courseId": finished.course["id"], "slug": finished.course["slug"], "files": paths})
        return
    output.say()
    for line in outline(content):
        output.say(line)
    output.say()
    output.say(f"written: {json_path.absolute()}")
    output.say(f"         {markdown_path.absolute()}")


def _not_written(out: Path, error: OSError, course_id: str | None = None) -> StackError:
    kept = f" The course is kept: GET /api/courses/{course_id}/result.md answers with it." if course_id else ""
    reason = error.strerror or type(error).__name__
    return StackError(f"Nothing can be written to {out.absolute()}: {reason}. Name another folder with --out.{kept}")


def _describe(course: dict[str, Any]) -> None:
    output.say(f"{course['title']}  ({course['slug']}, {course['id']})")
    output.say(f"  {describe_state(course['status'])}  ({course['status']}, run {course['runNumber']})")
    if course.get("error"):
        output.say(f"  {course['error']}")
    for name, step in zip(STEPS, course["progress"].get("steps", []), strict=False):
        output.say(f"  step {step['id']}  {step['status']:<11} {name}")
    for document in course["documents"]:
        reason = f"  {document['failureReason']}" if document.get("failureReason") else ""
        output.say(f"  {document['status']:<10} {document['filename']}{reason}")
