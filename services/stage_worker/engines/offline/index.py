"""The index of the material: every passage with its language and pieces, and what stands in it twice.

Both steps of the engine build it anew from the same material, so they agree without storing it.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

import msgspec

from services.stage_worker.engines.material import Material, SourceDocument
from services.stage_worker.engines.offline.pieces import Form, Piece, cut
from services.stage_worker.engines.offline.terms import Lexicon
from services.stage_worker.language.detection import UNDETERMINED, detect, script_of, script_of_language
from services.stage_worker.language.sentences import Span
from services.stage_worker.language.words import count_words

_SURE_FROM_WORDS = 60
"""A section of its own language is believed from this length on; a shorter one has its document's."""
_SURE_FROM_LETTERS = 25
_LEAST_OF_SIMILAR_WORDS, _LEAST_OF_SIMILAR_SHARE = 300, 0.2
"""How much text of a second language of the same script a document must have for it to be believed."""
_FEWEST_WORDS_OF_A_LANGUAGE = 80
"""Less text than this in a language that no document is in is a quotation and taught by no lesson of its own."""
_FEWEST_WORDS_REMAINING = 15
_NOT_LETTERS = re.compile(r"[\W_]+")
_SAME_BLOCK_SHARE = 0.8
_SHORTEST_REPEATABLE = 12
"""Letters from which a repeated sentence counts as a repetition."""
_CONTENTS_SHARE = 0.6

Place = tuple[int, int]
"""Document number and first character: names a piece."""


@dataclass(frozen=True, slots=True)
class Passage:
    """Pieces of one section in one language."""

    document: int
    section: int
    heading: str
    level: int
    language: str
    pieces: tuple[Piece, ...]
    words: int
    """Words that are not told elsewhere already."""


@dataclass(slots=True)
class Index:
    """Everything the planner and the writer look up."""

    material: Material
    passages: list[Passage] = field(default_factory=list)
    copies: dict[Place, list[tuple[int, Span]]] = field(default_factory=dict)
    """Of a piece told once: the documents and spans where it stands too."""
    duplicates: set[Place] = field(default_factory=set)
    """Pieces that only repeat another."""
    repeated: set[tuple[int, Span]] = field(default_factory=set)
    """Sentences told before, in a piece that is otherwise new."""
    lexicons: dict[str, Lexicon] = field(default_factory=dict)
    """What each language's pieces speak of, learnt when a title has to be made of it."""
    made_titles: set[str] = field(default_factory=set)
    """Titles that no heading gave: they were made of what the text speaks of."""
    quoted_languages: set[str] = field(default_factory=set)
    """Languages of so little text that it is not taught."""
    _ends: dict[int, list[tuple[int, int]]] = field(default_factory=dict)

    @classmethod
    def of(cls, material: Material) -> Index:
        """Read all documents, in their order."""
        material = _with_languages(material)
        index = cls(material)
        found = [
            passage for number, document in enumerate(material.documents) for passage in _passages(number, document)
        ]
        index._leave_out_quotations(found)
        index._find_repetitions()
        index._leave_out_remains()
        return index

    def text(self, document: int, span: Span) -> str:
        """The characters of a span."""
        return self.material.documents[document].text[span[0] : span[1]]

    def new_words(self, document: int, piece: Piece) -> int:
        """Words of a piece that were not told before."""
        if (document, piece.start) in self.duplicates:
            return 0
        return piece.words - sum(
            count_words(self.text(document, part)) for part in piece.parts if (document, part) in self.repeated
        )

    def language_of_most(self) -> str:
        """The language with the most words; of equal ones the first."""
        counts: Counter[str] = Counter()
        for passage in self.passages:
            counts[passage.language] += sum(piece.words for piece in passage.pieces)
        return max(counts, key=lambda language: counts[language]) if counts else UNDETERMINED

    def words(self) -> int:
        """All words that are told once."""
        return sum(passage.words for passage in self.passages)

    def pieces_within(self, document: int, start: int, end: int) -> list[tuple[Passage, Piece]]:
        """The pieces of a document that lie within a span, in order."""
        if not self._ends:
            self._number_pieces()
        known = self._ends.get(document, [])
        at = bisect_left(known, (start, -1))
        found: list[tuple[Passage, Piece]] = []
        while at < len(known) and known[at][0] < end:
            passage = self.passages[known[at][1]]
            found += [(passage, piece) for piece in passage.pieces if piece.start == known[at][0]]
            at += 1
        return [(passage, piece) for passage, piece in found if piece.end <= end]

    def _number_pieces(self) -> None:
        for number, passage in enumerate(self.passages):
            starts = self._ends.setdefault(passage.document, [])
            starts += [(piece.start, number) for piece in passage.pieces]
        for starts in self._ends.values():
            starts.sort()

    def _leave_out_quotations(self, found: list[Passage]) -> None:
        counts: Counter[str] = Counter()
        for passage in found:
            counts[passage.language] += sum(piece.words for piece in passage.pieces)
        most = max(counts.values(), default=0)
        own = {document.language for document in self.material.documents}
        self.quoted_languages = {
            language
            for language, count in counts.items()
            if language not in own and count < _FEWEST_WORDS_OF_A_LANGUAGE and count * 3 < most
        }
        self.passages = [passage for passage in found if passage.language not in self.quoted_languages]

    def _leave_out_remains(self) -> None:
        """A language of which repetitions leave a few words only is not taught beside another one."""
        new: Counter[str] = Counter()
        whole: Counter[str] = Counter()
        for passage in self.passages:
            new[passage.language] += passage.words
            whole[passage.language] += sum(piece.words for piece in passage.pieces)
        remains = {
            language for language, count in new.items() if count < _FEWEST_WORDS_REMAINING and count < whole[language]
        }
        if len(remains) < len(new):
            self.passages = [passage for passage in self.passages if passage.language not in remains]

    def _find_repetitions(self) -> None:
        seen_parts: dict[str, Place] = {}
        for number, passage in enumerate(self.passages):
            for piece in passage.pieces:
                self._compare(passage.document, piece, seen_parts)
            words = sum(self.new_words(passage.document, piece) for piece in passage.pieces)
            self.passages[number] = Passage(
                passage.document,
                passage.section,
                passage.heading,
                passage.level,
                passage.language,
                passage.pieces,
                words,
            )

    def _compare(self, document: int, piece: Piece, seen: dict[str, Place]) -> None:
        place = (document, piece.start)
        spans = [*piece.parts, (piece.start, piece.end)] if len(piece.parts) > 1 else list(piece.parts)
        keys = [(part, key) for part in spans if len(key := self._key(document, part)) >= _SHORTEST_REPEATABLE]
        known = [(part, seen[key]) for part, key in keys if key in seen]
        if piece.form is not Form.CODE and known and len(known) >= _SAME_BLOCK_SHARE * len(keys):
            original = Counter(where for _, where in known).most_common(1)[0][0]
            self.duplicates.add(place)
            self.copies.setdefault(original, []).append((document, (piece.start, piece.end)))
        elif piece.form in {Form.PROSE, Form.LIST}:
            self.repeated.update((document, part) for part, where in known if where != place)
        for _, key in keys:
            seen.setdefault(key, place)

    def _key(self, document: int, part: Span) -> str:
        return _NOT_LETTERS.sub(" ", self.text(document, part)).strip().lower()


def _with_languages(material: Material) -> Material:
    """The same with a language for each document that is too short to tell its own."""
    words: dict[str | None, Counter[str]] = {}
    for document in material.documents:
        if document.language != UNDETERMINED:
            words.setdefault(script_of(document.text), Counter())[document.language] += count_words(document.text)
    documents = tuple(
        msgspec.structs.replace(document, language=_likely(document, material.language, words))
        if document.language == UNDETERMINED
        else document
        for document in material.documents
    )
    return msgspec.structs.replace(material, documents=documents)


def _likely(document: SourceDocument, asked: str | None, words: dict[str | None, Counter[str]]) -> str:
    """The language asked for, where its script fits; else that of most of the other text in the same script."""
    script = script_of(document.text)
    if asked is not None and (script is None or script_of_language(asked) in {script, None}):
        return asked
    known = words.get(script, Counter())
    return max(known, key=lambda language: known[language], default=UNDETERMINED)


def _passages(number: int, document: SourceDocument) -> list[Passage]:
    headings = {_NOT_LETTERS.sub(" ", section.heading).strip().lower() for section in document.sections}
    languages = _section_languages(document)
    passages: list[Passage] = []
    for at, section in enumerate(document.sections):
        if section.start == section.end:
            continue
        language = languages.get(at, document.language)
        pieces = cut(document.text, section.start, section.end, language)
        if _is_contents(document, pieces, headings):
            continue
        for group_language, group in _by_language(document, pieces, language):
            words = sum(piece.words for piece in group)
            heading = section.heading if _suits(document, group, section.heading, group_language) else ""
            passages.append(Passage(number, at, heading, section.level, group_language, tuple(group), words))
    return passages


def _suits(document: SourceDocument, pieces: list[Piece], heading: str, language: str) -> bool:
    """Whether a heading may stand above these pieces: not where a document of another language only quotes them."""
    if language == document.language:
        return True
    body = " ".join(document.text[piece.start : piece.end] for piece in pieces)
    return script_of(heading) in {None, script_of(body)}


def _is_contents(document: SourceDocument, pieces: list[Piece], headings: set[str]) -> bool:
    """Whether a section only lists the document's headings."""
    lines = [part for piece in pieces for part in piece.parts]
    texts = [
        _NOT_LETTERS.sub(" ", re.sub(r"^ *(?:-|\d+\.) ", "", document.text[a:b])).strip().lower() for a, b in lines
    ]
    return len(texts) >= 3 and sum(text in headings for text in texts) >= _CONTENTS_SHARE * len(texts)


def _section_languages(document: SourceDocument) -> dict[int, str]:
    """The sections that are not in the document's language, as far as they are long enough to be sure.

    A language of the same script as the document's is believed only if there is a lesson's worth of it: similar
    languages are easily mistaken for each other in one paragraph.
    """
    script = script_of(document.text)
    found: dict[int, str] = {}
    words: Counter[str] = Counter()
    for at, section in enumerate(document.sections):
        body = document.text[section.start : section.end]
        size = count_words(body)
        if size < _SURE_FROM_WORDS and document.language != UNDETERMINED and script_of(body) in {script, None}:
            continue
        language = detect(body)
        if language not in {UNDETERMINED, document.language}:
            found[at] = language
            words[language] += size
    total = count_words(document.text)
    return {
        at: language
        for at, language in found.items()
        if words[language] >= max(_LEAST_OF_SIMILAR_WORDS, _LEAST_OF_SIMILAR_SHARE * total)
        or script_of(document.text[document.sections[at].start : document.sections[at].end]) != script
    }


def _by_language(document: SourceDocument, pieces: list[Piece], language: str) -> list[tuple[str, list[Piece]]]:
    """Pieces of another script than the section's are of another language; code and short lines are of none."""
    script = script_of(" ".join(document.text[piece.start : piece.end] for piece in pieces))
    groups: dict[str, list[Piece]] = {}
    for piece in pieces:
        body = document.text[piece.start : piece.end]
        foreign = (
            piece.form is not Form.CODE
            and sum(character.isalpha() for character in body) >= _SURE_FROM_LETTERS
            and script_of(body) != script
        )
        found = detect(body) if foreign else language
        groups.setdefault(language if found == UNDETERMINED else found, []).append(piece)
    return list(groups.items())
