"""The few sentences that are ours and not the material's, in the language of the lesson they stand in.

One file per language in `packs/`. A language without a file gets the pack `und`, which has no words at all: a
lesson in such a language then consists of the material's own words and a little punctuation, and still mixes
nothing.
"""

from __future__ import annotations

import functools
import importlib.resources
import tomllib
from typing import Any

NEUTRAL = "und"


class Phrases:
    """One language's pack. A style's own wording comes before the common one; no wording is the empty string."""

    def __init__(self, language: str, pack: dict[str, Any]) -> None:
        self.language = language
        self._pack = pack
        self.lists: dict[str, tuple[str, ...]] = {name: tuple(values) for name, values in pack["lists"].items()}

    def label(self, name: str) -> str:
        """A heading of the exported course, such as "Objectives"."""
        return str(self._pack["labels"][name])

    def say(self, name: str, style: str, **values: object) -> str:
        """The wording `name` in that style with its places filled, or "" where the language has none."""
        styled = self._pack.get("styles", {}).get(style, {})
        wording = str(styled.get(name, self._pack["wordings"].get(name, "")))
        return wording.format(**values) if wording else ""

    def quoted(self, text: str) -> str:
        """The text in this language's quotation marks; marks within it become the inner ones."""
        outer, inner = self._pack["quotes"]["outer"], self._pack["quotes"]["inner"]
        within = text.replace(outer[0], inner[0]).replace(outer[1], inner[1])
        return f"{outer[0]}{within}{outer[1]}"

    def has(self, name: str, style: str) -> bool:
        """Whether there is a wording of that name in that style."""
        return bool(self._pack.get("styles", {}).get(style, {}).get(name, self._pack["wordings"].get(name, "")))

    def words(self, name: str) -> tuple[str, ...]:
        """A list of words or patterns, such as the openings that point back to an earlier sentence."""
        return self.lists.get(name, ())

    def outline(self, style: str) -> list[dict[str, Any]]:
        """The sections of a draft made from a title alone."""
        outlines = self._pack.get("outlines", {})
        found: list[dict[str, Any]] = outlines.get(style) or outlines.get("any", [])
        return found


def has_pack(language: str) -> bool:
    """Whether we can speak that language ourselves."""
    return (importlib.resources.files(__package__) / "packs" / f"{language}.toml").is_file()


@functools.lru_cache(maxsize=16)
def phrases(language: str) -> Phrases:
    """The pack of that language, or the neutral one."""
    chosen = language if has_pack(language) else NEUTRAL
    content = (importlib.resources.files(__package__) / "packs" / f"{chosen}.toml").read_text(encoding="utf-8")
    return Phrases(chosen, tomllib.loads(content))
