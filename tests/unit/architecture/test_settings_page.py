"""docs/SETTINGS.md agrees with the code."""

from __future__ import annotations

import runpy
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[3]


def test_the_page_is_what_the_code_declares() -> None:
    """Every variable, default, unit and meaning; made anew by scripts/settings_page.py."""
    page = runpy.run_path(str(_ROOT / "scripts" / "settings_page.py"))

    assert page["PAGE"].read_text(encoding="utf-8") == page["render"]()
