"""Merging: what a later document says about a topic that an earlier one has too is put beside it."""

from __future__ import annotations

from services.stage_worker.engines.offline.index import Index
from services.stage_worker.engines.offline.tree import Topic

_SAME_TOPIC = 0.34
"""Cosine similarity from which two passages of different documents are about the same thing."""
_MOST_UNITS = 3_000


def bring_together(index: Index, chapters: list[list[Topic]], language: str, most_words: float) -> None:
    """Move units to the chapter of the earliest document that treats their topic; the lists are changed.

    A chapter takes no more once it has `most_words`.
    """
    units = [unit for chapter in chapters for unit in chapter]
    if len({unit.document for unit in units}) < 2 or len(units) > _MOST_UNITS:
        return
    from services.stage_worker.engines.offline.vectors import Space, clusters

    similarities = Space([_text(index, unit) for unit in units], language).similarities()
    labels = clusters(similarities, [unit.document for unit in units], _SAME_TOPIC)
    home: dict[int, list[Topic]] = {}
    for unit, label in sorted(zip(units, labels, strict=True), key=lambda pair: pair[0].document):
        known = home.setdefault(label, [])
        if not known or _move(chapters, unit, known[-1], most_words):
            known.append(unit)


def _move(chapters: list[list[Topic]], unit: Topic, beside: Topic, most_words: float) -> bool:
    """Put a unit after another one; false where that chapter is full."""
    source = next(chapter for chapter in chapters if unit in chapter)
    target = next(chapter for chapter in chapters if beside in chapter)
    if source is target:
        return True
    if sum(each.words for each in target) + unit.words > most_words:
        return False
    source.remove(unit)
    target.insert(target.index(beside) + 1, unit)
    return True


def _text(index: Index, unit: Topic) -> str:
    bodies = [
        index.text(passage.document, (piece.start, piece.end)) for passage in unit.walk() for piece in passage.pieces
    ]
    return "\n".join([unit.heading, unit.heading, *bodies])
