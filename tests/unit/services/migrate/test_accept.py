"""What may be named in `--accept`."""

from __future__ import annotations

import pytest

from services.migrate.__main__ import main


def test_a_version_that_no_file_has_is_a_wrong_call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 and the way to the right one, before the database is asked anything."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")

    assert main(["--accept", "1"]) == 2
    said = capsys.readouterr()
    assert "--accept 1: no migration has this version" in said.out + said.err
    assert "migrate --status" in said.out + said.err
