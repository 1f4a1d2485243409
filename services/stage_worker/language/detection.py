"""Which language a text is written in: by its script, then by its commonest words.

It needs no model and no randomness: the same text always gives the same answer. It tells about thirty languages of
Latin, Cyrillic and Arabic script apart from a paragraph on, and the languages that have a script of their own from
a few words on. `UNDETERMINED` is an honest answer for a line of numbers or a few foreign words.
"""

from __future__ import annotations

import functools
import re
from collections import Counter

import stopwordsiso

from services.stage_worker.language.words import WORD

UNDETERMINED = "und"

_SAMPLE_LETTERS = 60_000
_SCRIPTS = {
    "Latin": "A-Za-zÀ-ÖØ-öø-ɏḀ-ỿ",
    "Cyrillic": "Ѐ-ԯ",
    "Greek": "Ͱ-Ͽἀ-῾",
    "Hebrew": "\u0590-\u05ff",
    "Arabic": "\u0600-\u06ff\u0750-\u077f",
    "Devanagari": "\u0900-\u097f",
    "Bengali": "\u0980-\u09ff",
    "Gujarati": "\u0a80-\u0aff",
    "Tamil": "\u0b80-\u0bff",
    "Telugu": "\u0c00-\u0c7f",
    "Thai": "\u0e00-\u0e7f",
    "Georgian": "\u10a0-\u10ff",
    "Armenian": "\u0530-\u058f",
    "Hangul": "\u1100-\u11ff\u3130-\u318f\uac00-\ud7af",
    "Kana": "\u3040-\u30ff",
    "Han": "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff",
}
_COUNTERS = {name: re.compile(f"[{letters}]") for name, letters in _SCRIPTS.items()}
_ONE_LANGUAGE = {
    "Greek": "el", "Hebrew": "he", "Bengali": "bn", "Gujarati": "gu", "Tamil": "ta", "Telugu": "te", "Thai": "th",
    "Georgian": "ka", "Armenian": "hy", "Hangul": "ko", "Kana": "ja", "Han": "zh",
}  # fmt: skip
CANDIDATES = {
    "Latin": (
        "en", "de", "fr", "es", "it", "pt", "nl", "sv", "da", "no", "fi", "pl", "cs", "sk", "sl", "hr", "hu", "ro",
        "tr", "id", "vi", "et", "lv", "lt", "ca", "af",
    ),
    "Cyrillic": ("ru", "uk", "bg"),
    "Arabic": ("ar", "fa", "ur"),
    "Devanagari": ("hi", "mr"),
}  # fmt: skip
"""Languages of one script that can be told apart, by the script."""
_MOST_LIKELY = {"Cyrillic": "ru", "Arabic": "ar", "Devanagari": "hi"}
TELLING_LETTERS = {
    "ru": "ыэъё", "uk": "іїєґ", "de": "ß", "es": "ñ¿¡", "pt": "ãõ", "pl": "łżśćńęąź", "tr": "ığ", "cs": "ěůř",
    "sk": "ľĺŕ", "hu": "őű", "ro": "țăș", "da": "æø", "no": "æø", "sv": "å", "vi": "ơưđạế", "lv": "ņģķļ", "lt": "ėųį",
}  # fmt: skip
"""Letters that few other languages have, by the language."""
_TELLING_WEIGHT = 0.5
_FEWEST_KINDS, _SHORT_TEXT_WORDS = 4, 60
"""Different common words that a longer text must have: source code repeats the same two or three."""
_CUSTOMARY_SHARE = 0.12
"""Least share of common words in a text for its language to be told; running prose has 35-55 %."""


def detect(text: str) -> str:
    """ISO 639-1 code of the language of most of the text, or `UNDETERMINED`."""
    sample = _sample(text)
    script = _main_script(sample)
    if script is None:
        return UNDETERMINED
    if script in _ONE_LANGUAGE:
        return _ONE_LANGUAGE[script]
    best = _by_common_words(sample, CANDIDATES[script])
    return best or _MOST_LIKELY.get(script, UNDETERMINED)


def script_of(text: str) -> str | None:
    """The script most letters belong to, or None without letters. Kana counts as the script of Japanese."""
    return _main_script(_sample(text))


def script_of_language(language: str) -> str | None:
    """The script that a language is written in, where we know it."""
    if language in _ONE_LANGUAGE.values():
        return next(script for script, only in _ONE_LANGUAGE.items() if only == language)
    return next((script for script, languages in CANDIDATES.items() if language in languages), None)


def _sample(text: str) -> str:
    if len(text) <= _SAMPLE_LETTERS:
        return text
    part = _SAMPLE_LETTERS // 3
    middle = len(text) // 2
    return text[:part] + text[middle : middle + part] + text[-part:]


def _main_script(text: str) -> str | None:
    counts = {name: len(pattern.findall(text)) for name, pattern in _COUNTERS.items()}
    if counts["Kana"] * 10 > counts["Han"]:  # Japanese is written with both
        counts["Kana"] += counts.pop("Han")
    best = max(counts, key=lambda name: (counts[name], name))
    return best if counts[best] else None


def _by_common_words(text: str, candidates: tuple[str, ...]) -> str | None:
    counts = Counter(match.group().lower() for match in WORD.finditer(text))
    total = sum(count for word, count in counts.items() if not word.isdigit())
    scores = dict.fromkeys(candidates, 0.0)
    kinds: Counter[str] = Counter()
    weights = _weights(candidates)
    for word, count in sorted(counts.items()):
        for language, weight in weights.get(word, ()):
            scores[language] += weight * count
            kinds[language] += len(word) > 1
    for language in candidates:
        scores[language] += _TELLING_WEIGHT * sum(text.count(letter) for letter in TELLING_LETTERS.get(language, ""))
    best = max(candidates, key=lambda language: scores[language])
    enough = kinds[best] >= _FEWEST_KINDS or total < _SHORT_TEXT_WORDS
    return best if enough and scores[best] > _CUSTOMARY_SHARE * total else None


@functools.lru_cache(maxsize=4)
def _weights(candidates: tuple[str, ...]) -> dict[str, tuple[tuple[str, float], ...]]:
    """Each common word with the languages it is common in: the fewer they are, the more it tells."""
    owners: dict[str, list[str]] = {}
    for language in candidates:
        for word in sorted(stopwordsiso.stopwords(language)):
            owners.setdefault(word, []).append(language)
    return {word: tuple((each, 1.0 / len(langs)) for each in langs) for word, langs in owners.items()}
