"""Actions: sentences that tell the reader to do something, or to leave it."""

from __future__ import annotations

import functools
import re

from services.stage_worker.engines.offline.ranking import dangles
from services.stage_worker.language.phrases import phrases
from services.stage_worker.language.words import count_words

_FEWEST_WORDS, _MOST_WORDS = 5, 40


def tells_to_act(text: str, language: str) -> bool:
    """Whether a sentence is an instruction that can stand alone."""
    anywhere, first = _action_words(language)
    if (
        anywhere is None
        or not _FEWEST_WORDS <= count_words(text) <= _MOST_WORDS
        or text.rstrip().endswith(("?", ":"))
        or dangles(text, language)
    ):
        return False
    return bool(anywhere.search(text) or (first and first.match(text)))


@functools.lru_cache(maxsize=16)
def _action_words(language: str) -> tuple[re.Pattern[str] | None, re.Pattern[str] | None]:
    speech = phrases(language)
    return _any_of(speech.words("action"), r"\b(?:{})\b"), _any_of(speech.words("imperative"), r"(?:{})\b")


def _any_of(listed: tuple[str, ...], pattern: str) -> re.Pattern[str] | None:
    if not listed:
        return None
    return re.compile(pattern.format("|".join(map(re.escape, listed))), re.IGNORECASE)
