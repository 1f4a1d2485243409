"""The admin commands and their page say the same as the api's table of routes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from services.api.routes.admin import AdminRoutes
from services.api.routes.concurrency import ConcurrencyRoutes
from services.api.routes.dead_letters import DeadLetterRoutes
from services.api.routes.queues import QueueRoutes
from services.api.routes.streams import StreamRoutes
from services.cli.commands import admin, messages
from services.cli.tables import age, table

_PAGE = (Path(__file__).parents[5] / "docs" / "ADMIN.md").read_text(encoding="utf-8")


def test_the_page_lists_every_endpoint() -> None:
    """No more, no less."""
    nothing: Any = None
    groups: list[Any] = [AdminRoutes(nothing, nothing), QueueRoutes(nothing), ConcurrencyRoutes(nothing)]
    groups += [DeadLetterRoutes(nothing), StreamRoutes(nothing)]
    paths = {each.path for group in groups for each in group.operations()}
    written = {path.partition("?")[0] for path in re.findall(r"`(?:GET|POST|PUT) (/api/admin/[^`]+)`", _PAGE)}
    abbreviated = {
        "/api/admin/queues/{queue}/resume",
        "/api/admin/dead-letters/replay",
        "/api/admin/dead-letters/discard",
        "/api/admin/messages/dead-letters/replay",
        "/api/admin/messages/dead-letters/discard",
    }

    assert written | abbreviated == paths


def test_the_page_lists_every_command() -> None:
    """By its name."""
    names = {each.name or str(each.callback.__name__) for each in admin.group().registered_commands if each.callback}
    names |= {str(each.name) for each in admin.group().registered_groups}

    assert {name for name in names if not re.search(rf"`{name}\b|admin {name}\b", _PAGE)} == set()
    assert len(names) == 13


def test_the_page_lists_every_command_for_the_stream() -> None:
    """Those that need the role, by their names."""
    names = {each.name or str(each.callback.__name__) for each in messages.group().registered_commands if each.callback}

    assert names == {"send", "list", "status", "dead-letters", "replay", "discard", "repartition"}
    assert {name for name in names - {"send", "list"} if not re.search(rf"messages {name}\b|`{name}`", _PAGE)} == set()


def test_a_table_is_as_wide_as_it_must_be() -> None:
    """Numbers stand to the right, what is not there is a dash."""
    lines = list(table(("queue", "jobs", ""), [("a", 7, "PAUSED"), ("longer", 12, None)]))

    assert lines == ["queue   jobs", "a          7  PAUSED", "longer    12  -"]
    assert list(table(("a", "b"), [])) == ["a  b"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "-"), (0.4, "0 s"), (59.2, "59 s"), (60, "1 min"), (150, "2.5 min"), (7200, "2 h"), (200_000, "2.3 days")],
)
def test_an_age_is_said_as_people_do(seconds: float | None, words: str) -> None:
    """In the largest unit that fits."""
    assert age(seconds) == words
