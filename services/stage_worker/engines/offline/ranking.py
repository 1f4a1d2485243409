"""Ranking: which sentences say most in few words, and can stand alone."""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from services.stage_worker.engines.offline.excerpts import Sentence
from services.stage_worker.engines.offline.pieces import Form
from services.stage_worker.language.phrases import phrases
from services.stage_worker.language.words import count_words, stem, stop_words, tokens

_FEWEST_WORDS, _MOST_WORDS = 7, 42
_OPENS_PIECE, _OPENS_EXCERPT, _DEFINES = 0.25, 0.15, 0.3
_DANGLES, _BADLY_LONG, _UNFINISHED, _QUESTION, _ITEM = 0.6, 0.35, 0.5, 0.5, 0.2
_WEIGHT_OF_BREVITY = 10.0
"""Words added to every sentence's length: the more, the less a short sentence is favoured."""
_SENTENCE_END = re.compile(r"[.!…。！][\"”»’)\]]*$")


class Ranking:
    """Scores of a lesson's sentences."""

    def __init__(self, sentences: Sequence[Sentence], weights: Mapping[str, float], language: str) -> None:
        self._language = language
        stems = {sentence.span: _stems(sentence.text, language) for sentence in sentences}
        counts: Counter[str] = Counter()
        for sentence in sentences:
            counts.update(stems[sentence.span])
        importance = {each: math.sqrt(count) * weights.get(each, 1.0) for each, count in sorted(counts.items())}
        raw = {each.span: _density(stems[each.span], importance) for each in sentences}
        highest = max(raw.values(), default=0.0) or 1.0
        self._scores = {
            (each.document, each.span): round(raw[each.span] / highest + self._adjustment(each), 6)
            for each in sentences
        }

    def score(self, sentence: Sentence) -> float:
        """How telling it is; below zero is not worth quoting alone."""
        return self._scores[sentence.document, sentence.span]

    def best(self, sentences: Sequence[Sentence], most: int) -> list[Sentence]:
        """The most telling ones, in the order in which they stand."""
        ranked = sorted(range(len(sentences)), key=lambda at: (-self.score(sentences[at]), at))
        return [sentences[at] for at in sorted(ranked[:most])]

    def _adjustment(self, sentence: Sentence) -> float:
        words = count_words(sentence.text)
        adjustment = _OPENS_PIECE * sentence.opens_piece + _OPENS_EXCERPT * sentence.opens_excerpt
        adjustment += _DEFINES if defines(sentence.text, self._language) else 0.0
        adjustment -= _DANGLES if dangles(sentence.text, self._language) else 0.0
        adjustment -= 0.0 if _FEWEST_WORDS <= words <= _MOST_WORDS else _BADLY_LONG
        adjustment -= _ITEM if sentence.form is Form.LIST else 0.0
        if "?" in sentence.text[-3:] or "？" in sentence.text[-3:]:
            return adjustment - _QUESTION
        return adjustment if _SENTENCE_END.search(sentence.text) else adjustment - _UNFINISHED


def dangles(text: str, language: str) -> bool:
    """Whether a sentence leans on the one before it: it begins with "this", "however", "the second"..."""
    pattern = _dangling(language)
    return bool(pattern and pattern.match(text))


def defines(text: str, language: str) -> bool:
    """Whether a sentence says what something is."""
    return not dangles(text, language) and any(pattern.search(text) for pattern in definition_subjects(language))


@functools.lru_cache(maxsize=16)
def definition_subjects(language: str) -> tuple[re.Pattern[str], ...]:
    """Patterns of sentences that define; each has a group `term`."""
    return tuple(re.compile(pattern) for pattern in phrases(language).words("definition_subject"))


@functools.lru_cache(maxsize=16)
def _dangling(language: str) -> re.Pattern[str] | None:
    openings = phrases(language).words("dangling")
    if not openings:
        return None
    return re.compile(rf"[\W_]*(?:{'|'.join(map(re.escape, openings))})\b", re.IGNORECASE)


def _density(stems: list[str], importance: Mapping[str, float]) -> float:
    """Importance per word, so that a long sentence does not win by length alone."""
    return sum(importance.get(each, 0.0) for each in sorted(set(stems))) / (len(stems) + _WEIGHT_OF_BREVITY)


def _stems(text: str, language: str) -> list[str]:
    stops = stop_words(language)
    return [stem(word, language) for word in tokens(text) if word not in stops]
