"""Definitions: sentences of the material that say what something is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.stage_worker.engines.offline.excerpts import Sentence
from services.stage_worker.engines.offline.ranking import dangles, definition_subjects
from services.stage_worker.engines.offline.terms import Stems, candidates, stems_of
from services.stage_worker.language.words import count_words

_FEWEST_WORDS, _MOST_WORDS = 8, 45


@dataclass(frozen=True, slots=True)
class Definition:
    """A term and the sentence that defines it."""

    term: str
    stems: Stems
    sentence: Sentence


def definitions_in(sentences: Sequence[Sentence], language: str) -> list[Definition]:
    """The first definition of each term that a sentence defines."""
    found: dict[Stems, Definition] = {}
    for sentence in sentences:
        if dangles(sentence.text, language) or not (_FEWEST_WORDS <= count_words(sentence.text) <= _MOST_WORDS):
            continue
        for pattern in definition_subjects(language):
            matched = pattern.search(sentence.text)
            if matched is None:
                continue
            term = matched.group("term")
            stems = stems_of(term, language)
            if any(each.stems == stems for each in candidates(term, language)):
                found.setdefault(stems, Definition(term, stems, sentence))
    return list(found.values())
