"""What the processes say, as files and as readable lines."""

from __future__ import annotations

from pathlib import Path

from services.cli.stack import journal as journal_module
from services.cli.stack.journal import Journal, readable


def test_json_lines_become_readable() -> None:
    """Time, level, event and the facts; other lines stay as they are."""
    line = '{"timestamp":"2025-11-20T10:11:12.345678Z","level":"info","event":"claimed","logger":"x","rows":5}'

    assert readable(line) == "10:11:12.345 info    claimed rows=5"
    assert readable("plain text") == "plain text"
    assert readable("{broken") == "{broken"


def test_lines_go_to_their_own_file_and_to_the_record_of_all(tmp_path: Path) -> None:
    """The one as written, the other readable and with the name in front."""
    shown: list[str] = []
    journal = Journal(tmp_path, show=shown.append)
    journal.line("api", '{"level":"info","event":"ready"}')

    assert (tmp_path / "api.log").read_text() == '{"level":"info","event":"ready"}\n'
    assert "| " in shown[0]
    assert shown[0].startswith("api ")
    assert (tmp_path / "all.log").read_text() == shown[0] + "\n"


def test_alarms_reach_the_caller(tmp_path: Path) -> None:
    """What merely happened does not."""
    alarms: list[str] = []
    journal = Journal(tmp_path, alarm=alarms.append)
    journal.say("api is ready")
    journal.warn("api ended")

    assert alarms == ["api ended"]


def test_last_words_are_few_and_say_where_the_rest_is(tmp_path: Path) -> None:
    """For error messages."""
    journal = Journal(tmp_path)
    for number in range(100):
        journal.line("api", f"line {number}")

    words = journal.last_words("api")

    assert "line 99" in words
    assert "line 80" not in words
    assert str(tmp_path / "api.log") in words
    assert "wrote nothing" in journal.last_words("relay")


def test_a_log_does_not_grow_for_ever(tmp_path: Path, monkeypatch: object) -> None:
    """The older half is kept under another name, what was before it is dropped."""
    monkeypatch.setattr(journal_module, "_LARGEST_BYTES", 50)  # type: ignore[attr-defined]
    journal = Journal(tmp_path)
    for _ in range(10):
        journal.line("api", "x" * 30)

    assert (tmp_path / "api.log").stat().st_size < 100
    assert (tmp_path / "api.log.1").exists()
