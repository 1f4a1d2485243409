"""Sentences with their exact places in a text."""

from __future__ import annotations

import sentencex

Span = tuple[int, int]
"""First character and one past the last."""


def sentence_spans(text: str, language: str, start: int = 0, end: int | None = None) -> list[Span]:
    """Where each sentence of `text[start:end]` stands, in characters of `text`, without white space around it.

    A full stop after an abbreviation does not end a sentence: what follows in lower case is joined again.
    """
    passage = text[start:end]
    spans: list[Span] = []
    found_all = sentencex.get_sentence_boundaries(language, passage)  # type: ignore[attr-defined]  # compiled
    for found in found_all:
        span = trim(text, start + found["start_index"], start + found["end_index"])
        if span[0] == span[1]:
            continue
        if spans and text[span[0]].islower() and "\n" not in text[spans[-1][1] : span[0]]:
            spans[-1] = (spans[-1][0], span[1])
        else:
            spans.append(span)
    return spans


def trim(text: str, start: int, end: int) -> Span:
    """The span without white space at its ends; an empty one stands at `start`."""
    while end > start and text[end - 1].isspace():
        end -= 1
    while start < end and text[start].isspace():
        start += 1
    return (start, end)
