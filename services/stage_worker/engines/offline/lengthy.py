"""Lengthy topics: text that is too long for one lesson and has no headings of its own is parted where it turns."""

from __future__ import annotations

from services.stage_worker.engines.offline.index import Index, Passage
from services.stage_worker.engines.offline.partition import partition
from services.stage_worker.engines.offline.pieces import Form, Piece
from services.stage_worker.engines.offline.sizes import Sizes
from services.stage_worker.engines.offline.tree import Topic

_TOO_LONG = 1.45
_TURN_WEIGHT = 0.35
"""How much a change of subject counts against evenly long parts."""
_INTRODUCES = ":"


def split_long_topics(index: Index, topic: Topic, language: str, sizes: Sizes) -> None:
    """Give every topic whose own text is longer than a lesson a child for each part of it."""
    for child in list(topic.children):
        split_long_topics(index, child, language, sizes)
    if topic.own_words <= _TOO_LONG * sizes.lesson:
        return
    parts = _parts(index, topic, language, sizes)
    if len(parts) < 2:
        return
    nameless = topic.parent is None and not _is_mostly_code(topic)
    heading = "" if nameless else topic.heading  # a document's title names none of its parts
    children = [
        Topic(heading, topic.document, [_passage(index, owner, pieces) for owner, pieces in part], parent=topic)
        for part in parts
    ]
    for number, child in enumerate(children, 1):
        child.part = (number, len(children))
    topic.passages = []
    topic.children[:0] = children


def _parts(index: Index, topic: Topic, language: str, sizes: Sizes) -> list[list[tuple[Passage, list[Piece]]]]:
    row = [(passage, piece) for passage in topic.passages for piece in passage.pieces]
    texts = [index.text(passage.document, (piece.start, piece.end)) for passage, piece in row]
    ranges = partition(
        [float(index.new_words(passage.document, piece)) for passage, piece in row],
        _seams(row, texts, language),
        target=sizes.lesson,
        minimum=sizes.smallest_lesson,
        maximum=sizes.largest_lesson,
    )
    return [_by_passage(row[start:end]) for start, end in ranges]


def _is_mostly_code(topic: Topic) -> bool:
    pieces = [piece for passage in topic.passages for piece in passage.pieces]
    return 2 * sum(piece.words for piece in pieces if piece.form is Form.CODE) > sum(piece.words for piece in pieces)


def _seams(row: list[tuple[Passage, Piece]], texts: list[str], language: str) -> list[float]:
    """What it costs to keep neighbours together: much where the words change, nothing before what one announces."""
    from services.stage_worker.engines.offline.vectors import Space

    similarities = Space(texts, language).similarities()
    seams: list[float] = []
    for at in range(len(row) - 1):
        announces = texts[at].rstrip().endswith(_INTRODUCES) or row[at + 1][1].form is not Form.PROSE
        alike = float(similarities[at, at + 1]) if similarities.size else 0.0
        seams.append(-_TURN_WEIGHT if announces else _TURN_WEIGHT * (1.0 - alike) - _TURN_WEIGHT / 2)
    return seams


def _by_passage(row: list[tuple[Passage, Piece]]) -> list[tuple[Passage, list[Piece]]]:
    grouped: list[tuple[Passage, list[Piece]]] = []
    for passage, piece in row:
        if not grouped or grouped[-1][0] is not passage:
            grouped.append((passage, []))
        grouped[-1][1].append(piece)
    return grouped


def _passage(index: Index, owner: Passage, pieces: list[Piece]) -> Passage:
    words = sum(index.new_words(owner.document, piece) for piece in pieces)
    return Passage(owner.document, owner.section, owner.heading, owner.level, owner.language, tuple(pieces), words)
