"""What is known of a deployment: facts by name, each a value or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]

REDIS = "redis.info"
STREAM = "stream.info"
"""Of the Redis of the messages, where it is another one."""
APPENDING = "stream.config"
"""How whichever Redis has the messages appends them to a file, where it says so."""
OWNER = "redis.owner"
STREAM_OWNER = "stream.owner"
"""Whose the database of the queues is, and that of the messages: `number`, and `name`, which is None while it is nobody's."""
KEPT = "stream.kept"
"""What has a message when it is accepted."""
CONNECTION = "database.connection"
MIGRATIONS = "database.migrations"
TABLES = "database.tables"
OUTBOX = "database.outbox"
QUEUES = "database.queues"
FALLBACKS = "database.fallbacks"
EVENTS = "database.events"
"""The answers to the statements of verification.sql, whose names follow the point."""

HEALTH = "api.health"
NUMBERS = "api.numbers"
STRANGER = "api.stranger"
"""The answer to an initiation without a token."""


class Facts:
    """Facts by name. One that is not there was not looked for, or could not be."""

    def __init__(self, found: Mapping[str, Json], release: Sequence[str]) -> None:
        """Keep what was found.

        Args:
            found: by name an object with `value`, with `fault` in words, or with the program that is `missing`.
            release: versions of the migrations that this release wants applied.
        """
        self._found = found
        self.release = tuple(release)

    def value(self, name: str) -> Json | None:
        """The fact, or None when there is none."""
        value = self._found.get(name, {}).get("value")
        return value if isinstance(value, dict) else None

    def fault(self, name: str) -> str | None:
        """Why there is none; None when it is there, or was not looked for."""
        fault = self._found.get(name, {}).get("fault")
        return str(fault) if fault is not None else None

    def missing(self, name: str) -> str | None:
        """The program for want of which it was not looked for, if that is the reason."""
        program = self._found.get(name, {}).get("missing")
        return str(program) if program is not None else None

    def is_known(self, name: str) -> bool:
        """Whether it was looked for, with or without success."""
        return name in self._found

    def body(self, name: str) -> Json | None:
        """The JSON object that the api has answered, whatever the status."""
        body = (self.value(name) or {}).get("body")
        return body if isinstance(body, dict) else None

    def numbers(self) -> Json | None:
        """The api's numbers, where it has told them."""
        answer = self.value(NUMBERS)
        return self.body(NUMBERS) if answer is not None and answer["status"] == 200 else None

    def verdict(self) -> Json | None:
        """The api's own verdict, where it could make one: without PostgreSQL it cannot."""
        body = self.body(HEALTH)
        return body if body is not None and "healthy" in body and "error" not in body else None
