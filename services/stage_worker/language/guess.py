"""The likeliest language of a text too short to be sure of: by the letters that its words are made of.

`detection` asks for common words, and a note of one line may have none. The pairs and triples of letters in the common words
of each language are a profile of it, which tells most lines of three words and more. A longer text without common words, and
one that looks like no language we know, stay undetermined: that is no note but a table, code, or another language.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Iterator

import stopwordsiso

from services.stage_worker.language.detection import CANDIDATES, TELLING_LETTERS, UNDETERMINED, detect, script_of
from services.stage_worker.language.phrases import has_pack
from services.stage_worker.language.words import WORD

_LONGEST_WORDS = 60
"""From so many words on, a text of a language we know has common words in it."""
_SHORTEST_WORD = 3
_UNSEEN, _KINDS = 0.5, 4_000.0
"""What a group of letters counts that a profile lacks, and about how many groups there are."""
_TELLING_BONUS = 3.0
_LEAST_LIKELY = -8.5
"""Mean logarithm of a group's likelihood; below it the words are of no language."""
_AS_LIKELY = 0.1
"""A language whose words we have is taken before one that is hardly likelier."""


def likely_language(text: str) -> str:
    """The language of `text`: detected, or guessed where it is short; else `UNDETERMINED`."""
    found = detect(text)
    if found != UNDETERMINED:
        return found
    words = [match.group().lower() for match in WORD.finditer(text)]
    telling = [word for word in words if len(word) >= _SHORTEST_WORD and word.isalpha()]
    candidates = CANDIDATES.get(script_of(text) or "", ())
    if not telling or len(words) > _LONGEST_WORDS or not candidates:
        return UNDETERMINED
    likelihoods = {language: _likelihood(language, telling) for language in candidates}
    best = max(likelihoods.values())
    if best < _LEAST_LIKELY:
        return UNDETERMINED
    ranked = sorted(candidates, key=lambda language: -likelihoods[language])
    close = [language for language in ranked if best - likelihoods[language] <= _AS_LIKELY]
    return next((language for language in close if has_pack(language)), ranked[0])


def _likelihood(language: str, words: list[str]) -> float:
    profile, total = _profile(language)
    groups = [group for word in words for group in _groups(word)]
    sum_of_logarithms = sum(math.log((profile[group] + _UNSEEN) / (total + _KINDS)) for group in groups)
    telling = sum(word.count(letter) for word in words for letter in TELLING_LETTERS.get(language, ""))
    return (sum_of_logarithms + _TELLING_BONUS * telling) / len(groups)


@functools.lru_cache(maxsize=64)
def _profile(language: str) -> tuple[Counter[str], int]:
    counts = Counter(
        group for word in sorted(stopwordsiso.stopwords(language)) if word.isalpha() for group in _groups(word)
    )
    return counts, counts.total()


def _groups(word: str) -> Iterator[str]:
    """Pairs and triples of neighbouring letters, the word's edges included."""
    bounded = f"^{word}$"
    for size in (2, 3):
        for start in range(len(bounded) - size + 1):
            yield bounded[start : start + size]
