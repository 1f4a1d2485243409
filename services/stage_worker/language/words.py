"""Words: how they are found, counted and reduced to stems.

Text without spaces between words (Chinese, Japanese, Thai...) is counted by letters, so that a lesson's length
means about the same reading time in every language.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

import snowballstemmer
import stopwordsiso

from services.stage_worker.language.phrases import phrases

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"[^\W_{_UNSPACED}]+(?:['’.\-][^\W_{_UNSPACED}]+)*|[{_UNSPACED}]+")
_IS_UNSPACED = re.compile(f"[{_UNSPACED}]")
_LETTERS_PER_WORD = 2
"""Letters that stand for one word where words are not spaced."""

_STEMMERS = {
    "ar": "arabic", "ca": "catalan", "cs": "czech", "da": "danish", "de": "german", "el": "greek", "en": "english",
    "es": "spanish", "et": "estonian", "eu": "basque", "fi": "finnish", "fr": "french", "hi": "hindi",
    "hu": "hungarian", "hy": "armenian", "id": "indonesian", "it": "italian", "lt": "lithuanian", "nl": "dutch",
    "no": "norwegian", "pl": "polish", "pt": "portuguese", "ro": "romanian", "ru": "russian", "sv": "swedish",
    "tr": "turkish",
}  # fmt: skip


def words(text: str) -> Iterator[re.Match[str]]:
    """Each word with its place; a run of unspaced letters comes as one match."""
    return WORD.finditer(text)


def count_words(text: str) -> int:
    """How many words a reader would say there are."""
    return sum(_weight(match.group()) for match in WORD.finditer(text))


def _weight(word: str) -> int:
    if _IS_UNSPACED.match(word):
        return -(-len(word) // _LETTERS_PER_WORD)
    return 1


def tokens(text: str) -> list[str]:
    """Lower-case words for counting; unspaced text gives pairs of neighbouring letters."""
    found: list[str] = []
    for match in WORD.finditer(text):
        word = match.group().lower()
        if _IS_UNSPACED.match(word):
            found.extend(word[at : at + 2] for at in range(max(1, len(word) - 1)))
        else:
            found.append(word)
    return found


@functools.lru_cache(maxsize=64)
def stop_words(language: str) -> frozenset[str]:
    """Words that carry no topic in that language; empty where nobody listed them."""
    if not stopwordsiso.has_lang(language):
        return frozenset()
    return frozenset(stopwordsiso.stopwords(language)) - frozenset(phrases(language).words("kept"))


@functools.lru_cache(maxsize=50_000)
def stem(word: str, language: str) -> str:
    """The word without its endings; unchanged in a language without a stemmer."""
    if not word.isalpha() or language not in _STEMMERS:
        return word
    stemmed: str = _stemmer(language).stemWord(word.replace("ё", "е"))
    return stemmed


@functools.lru_cache(maxsize=8)
def _stemmer(language: str) -> snowballstemmer.stemmer:
    return snowballstemmer.stemmer(_STEMMERS[language])
