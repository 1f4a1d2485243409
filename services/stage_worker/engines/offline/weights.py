"""Weights: how much a word tells, by how few of the lessons have it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from services.stage_worker.language.words import stem, stop_words, tokens


def stems(text: str, language: str) -> list[str]:
    """The stems of a text's words that carry a topic."""
    stops = stop_words(language)
    return [stem(word, language) for word in tokens(text) if word not in stops and len(word) > 1 and not word.isdigit()]


def rarities(texts: Sequence[str], language: str) -> dict[str, float]:
    """The inverse document frequency of each stem, smoothed: 1 for what every text has, more for what few have."""
    spread: Counter[str] = Counter()
    for text in texts:
        spread.update(set(stems(text, language)))
    return {each: round(math.log((1 + len(texts)) / (1 + count)) + 1, 9) for each, count in sorted(spread.items())}
