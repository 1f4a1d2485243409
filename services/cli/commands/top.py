"""The machine on one screen: top."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated

import typer

from services.cli import output
from services.cli.admin_api import AdminApi, ask
from services.cli.api_client import ApiUnreachable
from services.cli.commands.options import AsJson
from services.cli.target import api_target, is_same_api, state_folder
from services.cli.top import screen
from services.cli.top.reading import MetricsPage, Reading, Readings, read

_LONGEST_SECONDS = 5.0
_ENDED = {128 + signal.SIGINT, 128 + signal.SIGTERM, 128 + signal.SIGHUP}

Show = Callable[[list[screen.Line]], None]


def top(
    *,
    once: Annotated[bool, typer.Option("--once", help="Print it once and end, as on a pipe.")] = False,
    every: Annotated[float, typer.Option("--every", min=0.2, max=60, help="Seconds between two readings.")] = 1.0,
    as_json: AsJson = False,
) -> None:
    """Watch the running machine on one screen until Ctrl-C: depth, rates, leader, workers, slowest stage, dead letters.

    Of the stack that runs here, or of the api that API_URL and API_TOKEN name (role admin). Where its workers' metrics are
    shown on one page, METRICS_URL names it; for a release on a cluster its Prometheus has one, as docs/VERIFICATION.md says.
    On a pipe it prints once and ends.
    """
    target = api_target(os.environ, role="admin")
    metrics_url = _metrics_url(target.url)
    if as_json:
        output.document(_described(ask(lambda api: _once(api, metrics_url))))
        return
    with _display(once=once) as show:
        if show is None:
            readings = Readings()
            readings.add(ask(lambda api: _once(api, metrics_url)))
            for text, _ in screen.lines(readings, target.url):
                output.say(text)
            return
        try:
            ask(lambda api: _watch(api, metrics_url, show, every), patience_seconds=0.0, on_outage=lambda _: None)
        except typer.Exit as end:
            raise typer.Exit(0 if end.exit_code in _ENDED else end.exit_code) from end


async def _once(api: AdminApi, metrics_url: str | None) -> Reading:
    async with MetricsPage(metrics_url) as metrics:
        return await read(api, metrics)


async def _watch(api: AdminApi, metrics_url: str | None, show: Show, every: float) -> None:
    """Read and show, for ever; a reading that fails leaves the last one on the screen, with the reason."""
    readings, trouble = Readings(), None
    async with MetricsPage(metrics_url) as metrics:
        readings.add(await read(api, metrics))
        while True:
            show(list(screen.lines(readings, api.url, trouble)))
            await asyncio.sleep(every)
            trouble = await _read_anew(readings, api, metrics)


async def _read_anew(readings: Readings, api: AdminApi, metrics: MetricsPage) -> str | None:
    """Add a reading; the reason when there is none."""
    try:
        async with asyncio.timeout(_LONGEST_SECONDS):
            readings.add(await read(api, metrics))
    except ApiUnreachable as error:
        return error.message
    except TimeoutError:
        return f"the api has not answered for {_LONGEST_SECONDS:g} s"
    return None


@contextmanager
def _display(*, once: bool) -> Iterator[Show | None]:
    """A screen of its own on a terminal, which is as before when the block ends; None elsewhere."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console()
    if once or not console.is_terminal:
        yield None
        return
    with Live(console=console, screen=True, auto_refresh=False) as live:

        def show(lines: list[screen.Line]) -> None:
            live.update(Text("\n").join(Text(text, style=style) for text, style in lines), refresh=True)

        yield show


def _metrics_url(api_url: str) -> str | None:
    """The page that METRICS_URL names, else that of the caller's own stack, if it is the one."""
    running = state_folder(os.environ).running()
    own = running.metrics_url if running is not None and is_same_api(api_url, running.api_url) else None
    return os.environ.get("METRICS_URL") or own


def _described(reading: Reading) -> dict[str, object]:
    return {name: value for name, value in asdict(reading).items() if name != "at"}
