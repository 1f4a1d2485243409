"""Planning: the tree of topics becomes sections and lessons.

Sections follow the material: they are its chapters, or its documents where these are short, or neighbouring small
ones together. Lessons are cut the same way within a section. What two documents say about the same topic is put
side by side where the earlier one says it. Texts in different languages are planned apart.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from services.stage_worker.course.structure import CourseStructure, LessonPlan, SectionPlan, Source
from services.stage_worker.engines.offline import titles
from services.stage_worker.engines.offline.distinct import told_apart
from services.stage_worker.engines.offline.index import Index, Passage
from services.stage_worker.engines.offline.lengthy import split_long_topics
from services.stage_worker.engines.offline.merging import bring_together
from services.stage_worker.engines.offline.partition import partition
from services.stage_worker.engines.offline.sizes import Sizes, density_of
from services.stage_worker.engines.offline.tree import Topic, forest
from services.stage_worker.language.phrases import has_pack, phrases

_ACCEPTED_SECTION = 2.0
_LARGEST_SECTION = 2.5
"""Of the wanted size: a section that other documents add to grows no further."""
_SMALLEST_SECTION = 0.45
_ACCEPTED_LESSON = 1.45
_OTHER_HEADING = 0.2
_OTHER_PARENT = 0.35
_OTHER_DOCUMENT = 0.6
_SECTION_SEAM = 0.05
_TRIES = 8
_SHRINK = 0.7
_SHORT_MATERIAL_WORDS = 300


@dataclass(slots=True)
class Chapter:
    """A section on its way: the topics it is made of, and its units in order."""

    topics: list[Topic]
    units: list[Topic]

    @property
    def words(self) -> int:
        """All words of the section."""
        return sum(unit.words for unit in self.units)

    @property
    def place(self) -> tuple[int, int]:
        """Where it stands in the material: document and section of its first topic."""
        first = next(self.topics[0].walk(), None) or next(self.units[0].walk())
        return first.document, first.section


def plan(index: Index) -> CourseStructure:
    """The plan of a course from documents."""
    material = index.material
    density = density_of(index.words(), material.style)
    chapters: list[tuple[tuple[int, int], SectionPlan]] = []
    languages = sorted({passage.language for passage in index.passages})
    sizes = Sizes.of(index.words(), density)
    for language in languages:
        chapters += _in_language(index, language, sizes, fewest=sizes.fewest_sections if len(languages) == 1 else 1)
    chapters.sort(key=lambda chapter: chapter[0])
    language = material.language or index.language_of_most()
    return CourseStructure(
        title=material.title,
        language=language,
        style=material.style,
        draft=False,
        sections=told_apart(index, [section for _, section in chapters]),
        notes=_notes(index, language, density_of(index.words(), "")),
    )


def _in_language(index: Index, language: str, sizes: Sizes, fewest: int) -> list[tuple[tuple[int, int], SectionPlan]]:
    trees = forest(index, language)
    for tree in trees:
        split_long_topics(index, tree, language, sizes)
    chapters = _chapters(trees, sizes, fewest)
    bring_together(index, [chapter.units for chapter in chapters], language, _LARGEST_SECTION * sizes.section)
    chapters = _without_small(chapters, sizes)
    return [(chapter.place, _section(index, chapter, language, sizes)) for chapter in chapters]


def _chapters(trees: list[Topic], sizes: Sizes, fewest: int) -> list[Chapter]:
    """Sections of about equal size, not fewer than asked for where there is enough text for that many."""
    whole = Topic("", -1, children=trees) if len(trees) > 1 else trees[0]
    target = sizes.section
    groups = _groups(whole, target)
    for _ in range(_TRIES):
        if len(groups) >= fewest:
            break
        target *= _SHRINK
        groups = _groups(whole, target)
    return [Chapter(group, _units(group, sizes)) for group in groups]


def _groups(topic: Topic, target: float) -> list[list[Topic]]:
    if not topic.children or topic.words <= _ACCEPTED_SECTION * target:
        return [[topic]]
    groups: list[list[Topic]] = []
    small: list[Topic] = []
    for row in topic.rows():
        if row.words > _ACCEPTED_SECTION * target and row.children:
            groups += _packed(small, target)
            small = []
            groups += _groups(row, target)
        else:
            small.append(row)
    return groups + _packed(small, target)


def _packed(topics: list[Topic], target: float) -> list[list[Topic]]:
    if not topics:
        return []
    seams = [_SECTION_SEAM if one.document == two.document else _OTHER_DOCUMENT for one, two in _pairs(topics)]
    ranges = partition(
        [topic.words for topic in topics],
        seams,
        target=target,
        minimum=_SMALLEST_SECTION * target,
        maximum=_ACCEPTED_SECTION * target,
    )
    return [topics[start:end] for start, end in ranges]


def _pairs(topics: list[Topic]) -> list[tuple[Topic, Topic]]:
    return list(itertools.pairwise(topics))


def _units(topics: list[Topic], sizes: Sizes) -> list[Topic]:
    """The smallest topics that are not too small to be thought about: a lesson each, or a part of one."""
    units: list[Topic] = []
    for topic in topics:
        if topic.words <= _ACCEPTED_LESSON * sizes.lesson or not topic.children:
            units.append(topic)
        else:
            units += _units(topic.rows(), sizes)
    return units


def _without_small(chapters: list[Chapter], sizes: Sizes) -> list[Chapter]:
    """A section too short for one lesson goes to its neighbour, the one before it first."""
    kept: list[Chapter] = []
    waiting: list[Chapter] = []
    for chapter in (each for each in chapters if each.units):
        if chapter.words >= sizes.smallest_lesson:
            for small in reversed(waiting):
                chapter.units[:0] = small.units
            waiting = []
            kept.append(chapter)
        elif kept:
            kept[-1].units += chapter.units
        else:
            waiting.append(chapter)
    if waiting and not kept:
        kept.append(Chapter([t for each in waiting for t in each.topics], [u for each in waiting for u in each.units]))
    return kept


def _section(index: Index, chapter: Chapter, language: str, sizes: Sizes) -> SectionPlan:
    units = [unit for unit in chapter.units if unit.has_text()]
    seams = [_seam(one, two) for one, two in _pairs(units)]
    ranges = partition(
        [unit.words for unit in units],
        seams,
        target=sizes.lesson,
        minimum=sizes.smallest_lesson,
        maximum=sizes.largest_lesson,
    )
    lessons = tuple(_lesson(index, units[start:end], language) for start, end in ranges)
    title = titles.of_section(index, chapter.topics, units, language)
    return SectionPlan(title=title, language=language, lessons=lessons)


def _seam(one: Topic, two: Topic) -> float:
    if one.document != two.document:
        return _OTHER_DOCUMENT
    return _OTHER_HEADING if one.parent is two.parent else _OTHER_PARENT


def _lesson(index: Index, units: list[Topic], language: str) -> LessonPlan:
    sources: list[Source] = []
    for unit in units:
        sources += [source for passage in unit.walk() for source in _sources(index, passage)]
    return LessonPlan(title=titles.of_lesson(index, units, language), language=language, sources=tuple(sources))


def _sources(index: Index, passage: Passage) -> list[Source]:
    """The spans of a passage; more than one where text of another language stands between."""
    document_id = index.material.documents[passage.document].document_id
    section = index.material.documents[passage.document].sections[passage.section]
    if sum(1 for each in index.passages if each.section == passage.section and each.document == passage.document) == 1:
        start, end = passage.pieces[0].start, passage.pieces[-1].end
        if (start, end) == (section.start, section.end):
            return [Source(document_id=document_id, section=passage.section, start=start, end=end)]
    return [
        Source(document_id=document_id, section=passage.section, start=piece.start, end=piece.end)
        for piece in passage.pieces
    ]


def _notes(index: Index, language: str, density: float) -> tuple[str, ...]:
    speech = phrases(language if has_pack(language) else "en")
    notes: list[str] = []
    words = index.words()
    if density < 1:
        notes.append(speech.say("condensed_note", "", words=words, percent=round(100 * density)))
    if words < _SHORT_MATERIAL_WORDS:
        notes.append(speech.say("short_note", "", words=words))
    if index.duplicates:
        notes.append(speech.say("duplicates_note", "", count=len(index.duplicates)))
    return tuple(notes)
