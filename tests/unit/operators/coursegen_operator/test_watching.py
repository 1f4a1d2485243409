"""The watches where a process may run: in a container, whose user has no name."""

from __future__ import annotations

import asyncio
import getpass
import ssl

import pytest
from lightkube.config.models import User

from operators.coursegen_operator.cluster import Access
from operators.coursegen_operator.resources import CRON_JOB, Object
from operators.coursegen_operator.watching import Selection, Watch
from services.kernel.clock import SystemClock

OPEN_SECONDS = 1.0


class Nobody:
    """Is told nothing."""

    def seen(self, item: Object) -> None:
        """Never."""
        raise AssertionError(item)

    def gone(self, item: Object) -> None:
        """Never."""
        raise AssertionError(item)


async def test_a_user_without_a_name_may_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python knows no name for a number that /etc/passwd does not have; the watches go on all the same."""

    def no_name() -> str:
        raise OSError("No username set in the environment")

    async def silence(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    over = asyncio.Event()
    monkeypatch.setattr(getpass, "getuser", no_name)
    server = await asyncio.start_server(silence, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    access = Access(url, ssl.create_default_context(), User(token="none"))
    watch = Watch(access, Selection((CRON_JOB,)), Nobody(), SystemClock())

    watch.start()
    try:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(watch.ended.wait(), OPEN_SECONDS)
    finally:
        watch.let_go()
        over.set()
        server.close()
