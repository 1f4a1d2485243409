"""Terms: the words and phrases a lesson is about, as they stand in the material.

Candidates are runs of up to three content words between stop words and punctuation (as RAKE takes them), counted
by their stems; what a lesson has more of than the others, what stands in a heading and what a sentence defines
weighs more. Word endings that are no noun's are kept out by the language's pack.
"""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from services.stage_worker.language.phrases import phrases
from services.stage_worker.language.words import stem, stop_words, words

_LONGEST = 3
_WEIGHT_OF_LENGTH = (0.0, 1.0, 1.7, 1.9)
_HEADING_BONUS = 1.8
_DEFINITION_BONUS = 2.5
_LEAST_COUNT = (0, 3, 2, 2)
"""How often a term of so many words must occur if no heading has it and no sentence defines it."""
_FEW_LESSONS, _COMMON_SHARE = 5, 0.4
"""From so many lessons on, what more than this share of them speaks of is no lesson's own term."""
_JOINED = re.compile(r"^[ \u00a0]$")

Stems = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Term:
    """A term as the material writes it."""

    text: str
    stems: Stems
    score: float
    marked: bool
    """A heading has it or a sentence defines it."""
    surfaces: tuple[str, ...]
    """The ways it is written in the lesson, most frequent first."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    stems: Stems
    surface: str
    determined: bool
    """A word like "the" stands before it, so it is used as a noun."""


class Lexicon:
    """What the whole course says how often, so that a lesson's own terms can be told."""

    def __init__(self, lessons: Sequence[str], language: str) -> None:
        self._language = language
        self._count = len(lessons)
        self._spread: Counter[Stems] = Counter()
        self._as_noun: set[Stems] = set()
        for text in lessons:
            found = candidates(text, language)
            self._spread.update({each.stems for each in found})
            self._as_noun.update(each.stems for each in found if each.determined)

    def terms(
        self, text: str, headings: Iterable[str], defined: frozenset[Stems], most: int, *, strict: bool = True
    ) -> list[Term]:
        """The lesson's terms, best first.

        Args:
            text: the lesson's sentences.
            headings: its headings.
            defined: what its sentences define.
            most: how many terms are wanted.
            strict: whether what is rare here or common everywhere is left out.
        """
        found = candidates(text, self._language)
        counts = Counter(each.stems for each in found)
        surfaces: dict[Stems, Counter[str]] = {}
        for each in found:
            surfaces.setdefault(each.stems, Counter())[each.surface] += 1
        titled = {each.stems for heading in headings for each in candidates(heading, self._language)}
        scored = [
            Term(
                text=_surface(surfaces[stems], self._language),
                stems=stems,
                score=score,
                marked=stems in titled or stems in defined,
                surfaces=tuple(_by_frequency(surfaces[stems])),
            )
            for stems, count in counts.items()
            if (score := self._score(stems, count, titled, defined, strict)) > 0
            and (stems in titled or _has_base_form(surfaces[stems], self._language))
        ]
        scored.sort(key=lambda term: (-term.score, term.stems))
        return _without_nested(scored, most)

    def _score(self, stems: Stems, count: int, titled: set[Stems], defined: frozenset[Stems], strict: bool) -> float:
        marked = stems in titled or stems in defined
        if strict and not marked and (count < _LEAST_COUNT[len(stems)] or self._is_common(stems)):
            return 0.0
        needs_proof = len(stems) == 1 and stems not in defined and _listed(self._language, "determiners")
        if needs_proof and stems not in self._as_noun:
            return 0.0
        rarity = math.log((1 + self._count) / (1 + self._spread[stems])) + 0.5
        score = (1 + math.log(count)) * rarity * _WEIGHT_OF_LENGTH[len(stems)]
        score *= _HEADING_BONUS if stems in titled else 1.0
        score *= _DEFINITION_BONUS if stems in defined else 1.0
        return round(score, 6)

    def _is_common(self, stems: Stems) -> bool:
        return self._count >= _FEW_LESSONS and self._spread[stems] > _COMMON_SHARE * self._count


def candidates(text: str, language: str) -> list[_Candidate]:
    """Every run of one to three content words that may be a term."""
    found: list[_Candidate] = []
    for determined, run in _runs(text, language):
        for first in range(len(run)):
            for last in range(first + 1, min(len(run), first + _LONGEST) + 1):
                chosen = run[first:last]
                if _may_be(chosen, language):
                    found.append(_candidate(text, chosen, language, determined and len(chosen) == len(run)))
    return found


def stems_of(text: str, language: str) -> Stems:
    """The stems of a phrase, to look it up by."""
    return tuple(stem(match.group().lower(), language) for match in words(text))


def _runs(text: str, language: str) -> Iterable[tuple[bool, list[re.Match[str]]]]:
    """Content words that follow each other, and whether a determiner stands before them."""
    stops, blockers, determiners = (
        stop_words(language),
        _listed(language, "term_blockers"),
        _listed(language, "determiners"),
    )
    run: list[re.Match[str]] = []
    before = determined = False
    end = 0
    for match in words(text):
        word = match.group().lower()
        joined = bool(_JOINED.match(text[end : match.start()]))
        content = word not in stops and word not in blockers and any(map(str.isalpha, word)) and len(word) > 1
        if run and not (content and joined):
            yield determined, run
            run = []
        if content:
            if not run:
                determined = before and joined
            run.append(match)
        before = word in determiners
        end = match.end()
    if run:
        yield determined, run


def _may_be(run: Sequence[re.Match[str]], language: str) -> bool:
    """The last word, in a language that puts the noun last, must look like a noun; a single word must in any."""
    single = len(run) == 1
    last = run[-1].group().lower()
    if single and len(last) < 3 and not run[-1].group().isupper():
        return False
    shapes = _not_terms(language)
    if any(shape.search(last) for shape in shapes) and (single or language != "ru"):
        return False
    first = run[0].group().lower()
    return single or not any(shape.search(first) for shape in shapes[1:]) or language != "ru"


def _candidate(text: str, run: Sequence[re.Match[str]], language: str, determined: bool) -> _Candidate:
    surface = text[run[0].start() : run[-1].end()]
    stems = tuple(stem(match.group().lower(), language) for match in run)
    return _Candidate(stems, _plain(surface, text, run[0].start()), determined)


def _plain(surface: str, text: str, start: int) -> str:
    """In lower case where a capital only begins the sentence; names and abbreviations as they are."""
    first = surface.split(maxsplit=1)[0]
    begins = start == 0 or text[:start].rstrip()[-1:] in {"", ".", "!", "?", ":", "—", "«", "“", "\n", "-", "|"}
    if begins and first[:1].isupper() and first[1:].islower():
        return surface[0].lower() + surface[1:]
    return surface


def _surface(surfaces: Counter[str], language: str) -> str:
    """The way to write the term in a list: its base form if the text has it, then what is most frequent."""
    ranked = _by_frequency(surfaces)
    chosen = next((surface for surface in ranked if _is_base_form(surface, language)), ranked[0])
    for ending in phrases(language).words("oblique_endings"):
        if chosen.endswith(ending) and chosen.removesuffix(ending) in surfaces:
            return chosen.removesuffix(ending)
    return chosen


def _has_base_form(surfaces: Counter[str], language: str) -> bool:
    return any(_is_base_form(surface, language) for surface in surfaces)


def _is_base_form(surface: str, language: str) -> bool:
    """Whether it may be a nominative; true in languages that do not decline, where the pack has no pattern."""
    patterns = _base_forms(language)
    return not patterns or any(pattern.search(surface.lower()) for pattern in patterns)


def _by_frequency(surfaces: Counter[str]) -> list[str]:
    return sorted(surfaces, key=lambda surface: (-surfaces[surface], len(surface), surface))


def _without_nested(terms: list[Term], most: int) -> list[Term]:
    """No term within another that was chosen before it."""
    chosen: list[Term] = []
    for term in terms:
        if len(chosen) == most:
            break
        if not any(_overlap(term.stems, other.stems) for other in chosen):
            chosen.append(term)
    return chosen


def _overlap(first: Stems, second: Stems) -> bool:
    return set(first) <= set(second) or set(second) <= set(first)


@functools.lru_cache(maxsize=32)
def _listed(language: str, name: str) -> frozenset[str]:
    return frozenset(phrases(language).words(name))


@functools.lru_cache(maxsize=16)
def _base_forms(language: str) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(pattern) for pattern in phrases(language).words("base_forms"))


@functools.lru_cache(maxsize=16)
def _not_terms(language: str) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(pattern) for pattern in phrases(language).words("not_terms"))
