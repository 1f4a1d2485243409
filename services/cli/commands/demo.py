"""The main job on one machine, from nothing to a course on disk."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from services.cli import interrupts, output
from services.cli.api_client import ApiClient, ApiUnreachable, StrangeApi
from services.cli.commands.courses import carry_out, deliver, make_order, ready_to_write
from services.cli.commands.options import AsJson, Language, Out, Style, Title, Verbose
from services.cli.commands.stack import local_stack
from services.cli.display import open_display
from services.cli.errors import StackError, StackStopped
from services.cli.generation import Finished
from services.cli.orders import Notebook, Order
from services.cli.stack.local_stack import StackOptions
from services.cli.stack.state import Running, StateFolder
from services.cli.target import ApiTarget, developer_token, state_folder

_PATIENCE_SECONDS = 120.0
_POLL_SECONDS = 0.2
_EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
_EXAMPLES_TITLE = "How databases keep their promises"
_EXAMPLE_SUFFIXES = frozenset({".pdf", ".docx", ".md", ".html", ".pptx", ".txt"})
_NOT_AN_EXAMPLE = "readme.md"


def demo(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILES", help="Documents to use; without any, those in examples/."),
    ] = None,
    *,
    title: Title = None,
    style: Style = "academic",
    language: Language = None,
    out: Out = Path(),
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Start everything, make a course from documents, write it, and stop everything.

    Uses the stack that runs here already, if one does; a stack of its own stops after the last demo that uses it. Killed in
    the middle and called again with the same documents, it finishes the same course.
    """
    order = make_order(
        files or example_files(), _EXAMPLES_TITLE if title is None and not files else title, style, language
    )
    ready_to_write(out)

    async def main(hurry: asyncio.Event) -> int:
        state = state_folder(os.environ)
        notebook = Notebook(state, order)
        async with _stack(state, verbose=verbose, quiet=as_json, hurry=hurry) as running:
            target = ApiTarget(running.api_url, developer_token(os.environ), running.stack_id)
            finished = await _generate(target, order, notebook, quiet=as_json)
            deliver(finished, out, as_json=as_json)
            notebook.forget()  # not sooner: a demo that is killed before finishes the same course when called again
        return 0

    raise typer.Exit(interrupts.run(main, os.environ))


def example_files() -> list[Path]:
    """The documents that come with the source.

    Raises:
        StackError: this installation has none.
    """
    found = sorted(
        path
        for path in (_EXAMPLES.iterdir() if _EXAMPLES.is_dir() else ())
        if path.suffix.lower() in _EXAMPLE_SUFFIXES and path.name.lower() != _NOT_AN_EXAMPLE
    )
    if not found:
        raise StackError("There are no examples here. Name documents: coursegen demo FILES...")
    return found


@contextlib.asynccontextmanager
async def _stack(state: StateFolder, *, verbose: bool, quiet: bool, hurry: asyncio.Event) -> AsyncIterator[Running]:
    """The running stack, or one for the length of the block and of the last guest's."""
    tell = output.note if quiet else output.say
    while _borrowable(state) is not None:
        with state.guest() as admitted:
            running = _borrowable(state) if admitted else None
            if running is not None:
                tell(f"using the stack that runs at {running.api_url}")
                with _may_vanish(state, running):
                    yield running
                return
        await asyncio.sleep(_POLL_SECONDS)  # its owner is stopping it
    # Ports nobody else asks for: two demos started together would race for the ports of `up`, and a demo whose api is
    # killed could find another stack's api in its place.
    stack = local_stack(state, StackOptions(port=0, metrics_port=0), verbose=verbose, quiet=quiet, hurry=hurry)
    with contextlib.ExitStack() as closed:  # to guests, until everything is stopped
        async with stack.run() as started:
            tell(f"everything runs; the api is at {started.api_url}")
            try:
                yield started
            except Exception:
                await _last_guest_gone(state, closed, tell)
                raise
            await _last_guest_gone(state, closed, tell)


def _borrowable(state: StateFolder) -> Running | None:
    running = state.running()
    return running if running is not None and state.holder() == running.pid and running.processes else None


@contextlib.contextmanager
def _may_vanish(state: StateFolder, borrowed: Running) -> Iterator[None]:
    try:
        yield
    except (ApiUnreachable, StrangeApi) as error:
        running = state.running()
        if running is not None and running.pid == borrowed.pid:
            raise
        raise StackStopped(
            "The stack that this demo used was stopped by whoever had started it. Nothing is lost: run the same command "
            "again, it goes on with the same course."
        ) from error


async def _last_guest_gone(state: StateFolder, closed: contextlib.ExitStack, tell: Callable[[str], None]) -> None:
    told = False
    while True:
        with contextlib.ExitStack() as attempt:
            if attempt.enter_context(state.without_guests()):
                closed.push(attempt.pop_all())
                return
        if not told:
            tell("another demo still uses this stack; waiting for it to end (Ctrl-C stops everything at once)")
            told = True
        await asyncio.sleep(_POLL_SECONDS)


async def _generate(target: ApiTarget, order: Order, notebook: Notebook, *, quiet: bool) -> Finished:
    with open_display(quiet=quiet) as display:
        async with ApiClient(
            target.url,
            target.token,
            stack_id=target.stack_id,
            patience_seconds=_PATIENCE_SECONDS,
            on_outage=display.say,
        ) as api:
            return await carry_out(api, order, notebook, display)
