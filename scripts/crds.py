"""Write the definitions of the operator's kinds into its chart: ``.venv/bin/python scripts/crds.py``.

A test compares the files with the code, so that they are never older than it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from operators.coursegen_operator.schemas.crd import definitions

FOLDER = Path(__file__).resolve().parents[1] / "charts" / "coursegen-operator" / "files" / "crds"
_HEAD = "# Made by scripts/crds.py from operators/coursegen_operator/*/schema.py.\n"


class _Plain(yaml.SafeDumper):
    """Repeats what is used twice, rather than pointing at it: `kubectl` and people read on."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def render() -> dict[str, str]:
    """The files, by their names."""
    return {
        f"{plural}.yaml": _HEAD + yaml.dump(each, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=130)
        for plural, each in definitions().items()
    }


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in render().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
        print(f"wrote {name}, {len(text):,} characters")
