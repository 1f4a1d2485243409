"""Titles of sections and lessons: the material's own headings, or what the text speaks of where it has none."""

from __future__ import annotations

import re
from collections.abc import Iterable

from services.stage_worker.engines.offline.index import Index, Passage
from services.stage_worker.engines.offline.terms import Lexicon, stems_of
from services.stage_worker.engines.offline.tree import Topic
from services.stage_worker.language.phrases import phrases

_NUMBER = re.compile(
    r"^(?:(?:chapter|part|section|appendix|глава|часть|раздел|приложение|kapitel|teil|abschnitt|chapitre|partie)\s+)?"
    r"(?:(?:\d{1,3}\.)+\d{0,3}|\d{1,3}[.):]|[IVXLC]{1,6}[.):])\s*[—–:.-]?\s*(?=\S)",
    re.IGNORECASE,
)
JOINT = " · "
"""Stands between headings that share a lesson or section."""
_LONGEST = 110
_LONGEST_OF_ONE = 140
_MOST_JOINED = 3
_MOST_TERMS = 12


def of_section(index: Index, topics: list[Topic], units: list[Topic], language: str) -> str:
    """What to call a section made of these topics."""
    return (
        _joined(_headings(topics, language))
        or _joined(_headings(units, language))
        or _from_terms(index, units, language)
    )


def of_lesson(index: Index, units: list[Topic], language: str) -> str:
    """What to call a lesson made of these units."""
    if len(units) == 1:
        return _of_unit(index, units[0], language)
    parent = units[0].parent
    if parent is not None and parent.heading and _are_all_of(units, parent):
        return plain(parent.heading)
    if parent is not None and parent.heading and all(unit.parent is parent and unit.part for unit in units):
        return plain(parent.heading)
    return _joined(_headings(units, language)) or _from_terms(index, units, language)


def plain(heading: str) -> str:
    """A heading without its number."""
    shortened = _NUMBER.sub("", heading).strip()
    text = shortened if any(character.isalpha() for character in shortened) else heading
    return text if len(text) <= _LONGEST_OF_ONE else text[: _LONGEST_OF_ONE - 1].rsplit(" ", 1)[0] + "…"


def _of_unit(index: Index, unit: Topic, language: str) -> str:
    if not unit.heading:
        return _from_terms(index, [unit], language)
    title = plain(unit.heading)
    if unit.part is None:
        return title
    number, total = unit.part
    return phrases(language).say("part", "", heading=title, number=number, total=total)


def _are_all_of(units: list[Topic], parent: Topic) -> bool:
    texts = {id(passage) for unit in units for passage in unit.walk()}
    return texts == {id(passage) for passage in parent.walk()}


def _headings(topics: list[Topic], language: str) -> list[str]:
    """The topics' headings; that of a text that only leads in to the others says nothing about them."""
    parents = {id(topic.parent) for topic in topics if topic.parent is not None and not topic.part}
    headings: list[str] = []
    for topic in topics:
        leads_in = topic.parent is not None and topic.heading == topic.parent.heading and id(topic.parent) in parents
        alone = len(topics) == 1
        if topic.heading and (alone or not leads_in or topic.part) and plain(topic.heading) not in headings:
            headings.append(plain(topic.heading))
    telling = [heading for heading in headings if not is_generic(heading, language)]
    return telling or headings or [plain(topic.heading) for topic in topics[:1] if topic.heading]


def is_generic(heading: str, language: str) -> bool:
    """Whether a heading could stand in any document, such as "Introduction"."""
    return heading.lower().rstrip(".:!?") in phrases(language).words("generic_headings")


def _joined(headings: list[str]) -> str:
    if not headings:
        return ""
    together = JOINT.join(headings)
    if len(headings) <= _MOST_JOINED and len(together) <= _LONGEST:
        return together
    return f"{headings[0]} … {headings[-1]}" if len(headings) > 1 else headings[0]


def _from_terms(index: Index, units: list[Topic], language: str) -> str:
    """For text without any heading: what it speaks of most."""
    return from_text(index, _text(index, [passage for unit in units for passage in unit.walk()]), language)


def from_text(index: Index, text: str, language: str, avoided: Iterable[str] = ()) -> str:
    """What a text speaks of most, or the course's title; `avoided` are names that do not tell it apart."""
    known = {stems for name in avoided for stems in _parts(name, language)}
    lexicon = _lexicon(index, language)
    for strict in (True, False):
        terms = lexicon.terms(text, (), frozenset(), _MOST_TERMS, strict=strict)
        named = [term.text for term in terms if term.stems not in known][:2]
        if named:
            title = JOINT.join(name[:1].upper() + name[1:] for name in named)
            break
    else:
        title = index.material.title
    index.made_titles.add(title)
    return title


def _parts(name: str, language: str) -> list[tuple[str, ...]]:
    return [stems_of(part, language) for part in name.split(JOINT)]


def _lexicon(index: Index, language: str) -> Lexicon:
    if language not in index.lexicons:
        pieces = [
            index.text(passage.document, (piece.start, piece.end))
            for passage in index.passages
            if passage.language == language
            for piece in passage.pieces
        ]
        index.lexicons[language] = Lexicon(pieces, language)
    return index.lexicons[language]


def _text(index: Index, passages: list[Passage]) -> str:
    return "\n".join(
        index.text(passage.document, (piece.start, piece.end)) for passage in passages for piece in passage.pieces
    )
