"""docs/SCALING.md names settings, values and commands that exist, and its sums are sums."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from benchmarks.__main__ import NAMES
from tests.support.servers import REPOSITORY

_PAGE = (REPOSITORY / "docs" / "SCALING.md").read_text(encoding="utf-8")
_CODE = re.findall(r"`([^`\n]+)`", _PAGE)
_VALUES = yaml.safe_load((REPOSITORY / "charts" / "coursegen" / "values.yaml").read_text(encoding="utf-8"))
_TIMES = (1, 10, 100, 1000)
_COURSES_A_SECOND = 100 / 60
"""At 1×."""


def _settings() -> set[str]:
    page = (REPOSITORY / "docs" / "SETTINGS.md").read_text(encoding="utf-8")
    return set(re.findall(r"^\| `([A-Z_0-9]+)` \|", page, re.MULTILINE))


def test_every_setting_exists() -> None:
    """By its name in docs/SETTINGS.md, alone or below `config`."""
    named = {found for each in _CODE for found in re.findall(r"\b([A-Z][A-Z0-9]+(?:_[A-Z0-9]+)+)\b", each)}

    assert len(named) > 8
    assert named - _settings() == set()


def test_every_value_exists() -> None:
    """A path in the chart's values, as far as its defaults go; what is below `config` is a setting."""
    paths = {found for each in _CODE for found in re.findall(r"^([a-z][A-Za-z]+(?:\.[A-Za-z]+)+)\b(?!\()", each)}
    values = {each for each in paths if each.split(".")[0] in _VALUES}

    assert len(values) > 6
    for path in values:
        _look_up(path)
    with pytest.raises(AssertionError, match=r"api\.nothing"):
        _look_up("api.nothing")


def _look_up(path: str) -> None:
    place: Any = _VALUES
    for name in path.split("."):
        if path.startswith("config.") and name == name.upper():
            return
        assert isinstance(place, dict), path
        assert name in place, path
        place = place[name]


def test_every_command_exists() -> None:
    """Benchmarks by their names, their options by their help."""
    commands = [each for each in _CODE if each.startswith("python -m benchmarks")]
    options = (REPOSITORY / "benchmarks" / "sustained" / "__main__.py").read_text(encoding="utf-8")

    assert len(commands) > 4
    for command in commands:
        name = re.match(r"python -m benchmarks(?:\.| )(\w+)", command)
        assert name is not None, command
        assert name[1] in NAMES, command
        for option in re.findall(r"--[a-z-]+", command):
            assert f'"{option}"' in options, command


def test_what_was_measured_says_when() -> None:
    """Each section with a table of measurements names a command and a day."""
    sections = re.split(r"^## ", _PAGE, flags=re.MULTILINE)[1:]
    measured = [each for each in sections if each.startswith("Measured")]

    assert len(measured) >= 2
    for each in measured:
        assert "`python -m benchmarks" in each, each[:60]
        assert re.search(r"\b2026-\d\d-\d\d\b", each), each[:60]


def _rows(heading: str) -> dict[str, list[str]]:
    """The rows of the table below a heading, by their first cell."""
    section = _PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("|")
    ]
    return {row[0]: row[1:] for row in rows[2:]}


def _number(text: str) -> float:
    return float(text.replace(",", ""))


def test_the_sums_are_sums() -> None:
    """What one course takes, times the courses of each step, as far as the digits that are shown go."""
    costs, sums = _rows("Measured: what one course takes"), _rows("Sums: a hundred and a thousand times")
    units = {"cores": 1000, "MB": 1024}

    checked = 0
    for what, cells in sums.items():
        cost = re.sub(r", (?:cores|MB/s|a second)$", "", what)
        if cost not in costs:
            continue
        each = _number(costs[cost][0])
        for times, cell in zip(_TIMES, cells, strict=False):
            scale = next((size for unit, size in units.items() if unit in what), 1)
            expected = each * _COURSES_A_SECOND * times / scale
            assert _number(cell) == pytest.approx(expected, rel=0.06, abs=0.006), (what, times)
            checked += 1
    assert checked >= 20
