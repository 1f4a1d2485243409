"""What to do next: a command that exists, and a page that exists, for every check in every place."""

from __future__ import annotations

import re
from typing import Any

import pytest
import typer.main

from services.cli.application import build
from services.cli.verification.advice import CLUSTER, ELSEWHERE, LOCAL, Place, next_command, page
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
@pytest.mark.parametrize("name", NAMES)
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


@pytest.mark.parametrize("name", NAMES)
def test_the_page_is_there(name: str) -> None:
    """With the heading that its anchor names."""
    path, _, anchor = page(name).partition("#")
    text = (REPOSITORY / path).read_text(encoding="utf-8")
    anchors = {
        re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }

    assert not anchor or anchor in anchors
