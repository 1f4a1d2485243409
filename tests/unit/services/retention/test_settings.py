"""All faults of the environment are reported together."""

from __future__ import annotations

import pytest

from services.kernel.errors import SettingsInvalid
from services.retention.settings import RetentionSettings

_ENVIRON = {
    "DATABASE_URL": "postgresql://me:secret@db/coursegen",
    "RETENTION_RULES": '[{"name": "keys", "target": "IdempotencyKeys", "keep": "7d"}]',
}


def test_rules_and_database_are_enough() -> None:
    """The rest has defaults."""
    settings = RetentionSettings.from_environ(_ENVIRON)

    assert [rule.name for rule in settings.rules] == ["keys"]
    assert (settings.max_delete_fraction, settings.min_keep_rows, settings.max_run_seconds) == (0.5, 0, 1800)
    assert settings.report_file is None


def test_every_fault_is_named_at_once() -> None:
    """With what is allowed, and without the password."""
    wrong = {
        "DATABASE_URL": "mysql://me:secret@db/coursegen",
        "RETENTION_RULES": "[]",
        "RETENTION_DRY_RUN": "maybe",
        "RETENTION_MAX_DELETE_FRACTION": "1.5",
        "RETENTION_MIN_KEEP_ROWS": "-1",
    }
    with pytest.raises(SettingsInvalid) as caught:
        RetentionSettings.from_environ(wrong)

    assert len(caught.value.faults) == 5
    assert "secret" not in caught.value.message
