"""Evidence: a quotation the model gives is found in the sources, exactly, or it does not count.

Models straighten quotation marks, drop a hyphen or change white space. Such a quotation is found by comparing
letters and digits only, and then replaced by what really stands there.
"""

from __future__ import annotations

from collections.abc import Sequence

from services.stage_worker.course.model import Citation
from services.stage_worker.course.structure import Source
from services.stage_worker.engines.material import Material, SourceDocument
from services.stage_worker.language.sentences import trim

_FEWEST_LETTERS = 12
"""A shorter quotation could stand anywhere and proves nothing."""


class Passages:
    """The passages a lesson was written from, as they were numbered for the model."""

    def __init__(self, material: Material, sources: Sequence[Source]) -> None:
        documents = {document.document_id: document for document in material.documents}
        self.sources = tuple(sources)
        self._documents = [documents[source.document_id] for source in sources]

    def text(self, number: int) -> str:
        """A passage's text, counted from 0."""
        source = self.sources[number]
        return self._documents[number].text[source.start : source.end]

    def heading(self, number: int) -> str:
        """The heading it stands under."""
        return self._documents[number].sections[self.sources[number].section].heading

    def find(self, number: int, quote: str) -> Citation | None:
        """The exact citation of a quotation: in the passage named, or else in any other; None if it stands in none."""
        order = [number, *(each for each in range(len(self.sources)) if each != number)]
        for each in order:
            if 0 <= each < len(self.sources):
                source = self.sources[each]
                span = locate(self._documents[each].text, quote, source.start, source.end)
                if span is not None:
                    return self._citation(each, *span)
        return None

    def opening(self, number: int, length: int = 300) -> Citation:
        """The citation of a passage's beginning, for one that the model used without quoting it."""
        source = self.sources[number]
        text = self._documents[number].text
        end = min(source.end, source.start + length)
        if end < source.end:
            end = max(text.rfind(" ", source.start, end), text.rfind("\n", source.start, end), source.start + 1)
        return self._citation(number, *trim(text, source.start, end))

    def touched_by(self, number: int, citations: Sequence[Citation]) -> bool:
        """Whether any of the citations lies in a passage."""
        source = self.sources[number]
        return any(
            each.document_id == source.document_id and each.start < source.end and source.start < each.end
            for each in citations
        )

    def _citation(self, number: int, start: int, end: int) -> Citation:
        document: SourceDocument = self._documents[number]
        page = document.sections[self.sources[number].section].page
        return Citation(
            document_id=document.document_id, start=start, end=end, quote=document.text[start:end], page=page
        )


def locate(text: str, quote: str, start: int, end: int) -> tuple[int, int] | None:
    """Where a quotation stands in `text[start:end]`, letter for letter but for what models like to change."""
    wanted = quote.strip()
    exact = text.find(wanted, start, end) if len(wanted) >= _FEWEST_LETTERS else -1
    if exact >= 0:
        return exact, exact + len(wanted)
    letters = [(character.lower(), at) for at, character in enumerate(text[start:end], start) if character.isalnum()]
    searched = "".join(character[0] for character, _ in letters)
    key = "".join(character.lower()[0] for character in wanted if character.isalnum())
    found = searched.find(key) if len(key) >= _FEWEST_LETTERS else -1
    if found < 0:
        return None
    last = letters[found + len(key) - 1][1] + 1
    closed = not wanted[-1].isalnum() and last < end and not (text[last].isalnum() or text[last].isspace())
    return letters[found][1], last + 1 if closed else last
