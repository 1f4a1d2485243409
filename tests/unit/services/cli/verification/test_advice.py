"""What to do next: a command that exists, and a page that exists, for every check in every place."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest
import typer.main

from services.cli.application import build
from services.cli.verification.advice import (
    CLUSTER,
    ELSEWHERE,
    LOCAL,
    PAUSED,
    STREAM_TAKEN,
    TAKEN,
    Place,
    next_command,
    page,
)
from services.cli.verification.checks import NAMES
from tests.support.servers import REPOSITORY

_PLACES = (
    Place(LOCAL, url="http://localhost:3000"),
    Place(ELSEWHERE, url="https://api.example.org"),
    Place(CLUSTER, namespace="courses", release="coursegen"),
)


def _is_command(words: list[str]) -> bool:
    """Whether `coursegen` has it."""
    command: Any = typer.main.get_command(build())
    for word in words:
        if word.startswith("-"):
            break
        command = command.commands.get(word)
        if command is None:
            return False
    return True


@pytest.mark.parametrize("place", _PLACES, ids=lambda place: place.kind)
@pytest.mark.parametrize("name", [*NAMES, PAUSED])
def test_the_next_command_can_be_run(name: str, place: Place) -> None:
    """One of ours, curl, or kubectl in the namespace; no address of a database is an argument."""
    command = next_command(name, place)
    first, *words = command.split()

    assert first == "kubectl" if place.kind == CLUSTER else first in {"coursegen", "curl"}
    assert "$" not in command
    if first == "coursegen":
        assert _is_command(words), command
    if first == "kubectl":
        assert "-n courses" in command
        assert "app.kubernetes.io/instance=coursegen" in command


@pytest.mark.parametrize("place", _PLACES, ids=lambda place: place.kind)
@pytest.mark.parametrize("subject", [TAKEN, STREAM_TAKEN])
def test_who_else_is_there_is_looked_for(subject: str, place: Place) -> None:
    """A command of the shell that parses, with no address in it and, of the local stack, its variables set before."""
    command = next_command(subject, place)

    subprocess.run(["/bin/sh", "-n"], input=command, text=True, check=True)
    assert "://" not in command
    assert ("redis-cli" in command) == (place.kind != CLUSTER)
    assert ("coursegen env" in command) == (place.kind == LOCAL and subject == TAKEN)


@pytest.mark.parametrize("name", [*NAMES, PAUSED, TAKEN, STREAM_TAKEN])
def test_the_page_is_there(name: str) -> None:
    """With the heading that its anchor names."""
    path, _, anchor = page(name).partition("#")
    text = (REPOSITORY / path).read_text(encoding="utf-8")
    anchors = {
        re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }

    assert not anchor or anchor in anchors
