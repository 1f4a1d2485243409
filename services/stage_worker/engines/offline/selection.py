"""Selection: which sentences a condensed lesson keeps."""

from __future__ import annotations

from services.stage_worker.course.checks import MINIMUM_WORDS
from services.stage_worker.engines.offline.excerpts import Excerpt, Sentence, new_parts, sentences_of
from services.stage_worker.engines.offline.index import Index
from services.stage_worker.engines.offline.pieces import Form, Piece
from services.stage_worker.engines.offline.ranking import Ranking
from services.stage_worker.language.sentences import Span
from services.stage_worker.language.words import count_words

_MARGIN_WORDS = 12
_LARGEST_BLOCK_SHARE = 0.6
"""Of the words wanted: a table or code larger than this is left out where its heading has other text."""


class Selection:
    """The parts of a lesson's pieces that are told."""

    def __init__(self, index: Index, chosen: set[tuple[int, Span]] | None) -> None:
        self._index = index
        self._chosen = chosen

    def parts(self, document: int, piece: Piece) -> list[Span]:
        """The parts of a piece to tell; none means to leave it out."""
        parts = new_parts(self._index, document, piece)
        if self._chosen is None:
            return parts
        return [part for part in parts if (document, part) in self._chosen]


def select(index: Index, excerpts: list[Excerpt], ranking: Ranking, share: float) -> Selection:
    """Keep about that share of the words: something under each heading, then the most telling sentences."""
    if share >= 1:
        return Selection(index, None)
    total = sum(index.new_words(excerpt.document, piece) for excerpt in excerpts for piece in excerpt.pieces)
    wanted = max(MINIMUM_WORDS + _MARGIN_WORDS, round(share * total))
    if wanted >= total:
        return Selection(index, None)
    chosen: set[tuple[int, Span]] = set()
    words = 0
    for excerpt in excerpts:
        words += _first_of(index, excerpt, ranking, chosen)
    words += _blocks(index, excerpts, chosen, wanted - words)
    for sentence in _by_score(sentences_of(index, excerpts), ranking):
        if words >= wanted:
            break
        if (sentence.document, sentence.span) not in chosen:
            chosen.add((sentence.document, sentence.span))
            words += count_words(sentence.text)
    return Selection(index, chosen)


def _by_score(sentences: list[Sentence], ranking: Ranking) -> list[Sentence]:
    return [
        sentence for _, sentence in sorted(enumerate(sentences), key=lambda pair: (-ranking.score(pair[1]), pair[0]))
    ]


def _first_of(index: Index, excerpt: Excerpt, ranking: Ranking, chosen: set[tuple[int, Span]]) -> int:
    """The best sentence under a heading, or its first block where there is no sentence."""
    sentences = sentences_of(index, [excerpt])
    if sentences:
        best = _by_score(sentences, ranking)[0]
        chosen.add((best.document, best.span))
        return count_words(best.text)
    piece = excerpt.pieces[0]
    chosen.update((excerpt.document, part) for part in piece.parts)
    return piece.words


def _blocks(index: Index, excerpts: list[Excerpt], chosen: set[tuple[int, Span]], room: int) -> int:
    """Tables and code that fit: they say in little space what prose cannot."""
    words = 0
    for excerpt in excerpts:
        for piece in excerpt.pieces:
            small = piece.words <= _LARGEST_BLOCK_SHARE * room
            if piece.form in {Form.TABLE, Form.CODE} and small and words + piece.words <= room:
                chosen.update((excerpt.document, part) for part in piece.parts)
                words += piece.words
    return words
