"""Where there is no browser the tests of the page say so; where one was promised they fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.browsers import VARIABLE, browser_program


@pytest.fixture(autouse=True)
def _bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing on PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.delenv("CI", raising=False)


def test_without_a_browser_the_test_is_skipped_with_the_reason() -> None:
    """And with what to install."""
    with pytest.raises(pytest.skip.Exception, match=f"chromium.*{VARIABLE}"):
        browser_program()


def test_continuous_integration_must_have_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A skip there would hide that nothing was tried."""
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no Chromium"):
        browser_program()


def test_one_on_the_path_or_named_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The named one first."""
    program = tmp_path / "chromium"
    program.touch(0o755)

    assert browser_program() == str(program)
    monkeypatch.setenv(VARIABLE, "/opt/browser")
    assert browser_program() == "/opt/browser"
