"""PPTX: each slide's title is a heading, its text a list, its notes paragraphs."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pptx
from pptx.enum.shapes import PP_PLACEHOLDER

from services.kernel.errors import DocumentRejected
from services.stage_worker.parsing.blocks import Block, heading, item, paragraph, row
from services.stage_worker.parsing.characters import clean_line
from services.stage_worker.parsing.limits import Limits

_IGNORED = {PP_PLACEHOLDER.DATE, PP_PLACEHOLDER.FOOTER, PP_PLACEHOLDER.SLIDE_NUMBER, PP_PLACEHOLDER.HEADER}
_SENTENCE = 140
"""Letters from which a line on a slide is read as a paragraph and not as a list item."""
_DEEPEST_GROUP = 12


def read(content: Path | bytes, limits: Limits) -> tuple[str, Iterator[Block]]:
    """The title in the presentation's properties, or "", and the blocks of its slides.

    Raises:
        DocumentRejected: there are too many slides.
    """
    presentation = pptx.Presentation(io.BytesIO(content) if isinstance(content, bytes) else str(content))
    if len(presentation.slides) > limits.pages:
        raise DocumentRejected(
            f"The presentation has more than {limits.pages:,} slides. Split it and upload the parts."
        )
    return presentation.core_properties.title or "", _slides(presentation)


def _slides(presentation: Any) -> Iterator[Block]:
    previous = ""
    for number, slide in enumerate(presentation.slides, 1):
        title = clean_line(slide.shapes.title.text_frame.text) if slide.shapes.title is not None else ""
        if title and title != previous:
            yield heading(title, 1 if number == 1 else 2, number)
        previous = title or previous
        for shape in _flat(slide.shapes, 0):
            if shape != slide.shapes.title:
                yield from _shape(shape, number)
        if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
            for line in slide.notes_slide.notes_text_frame.text.splitlines():
                yield paragraph(clean_line(line), number)


def _flat(shapes: Any, depth: int) -> Iterator[Any]:
    """Shapes in reading order, those in groups included."""
    for shape in sorted(shapes, key=lambda each: (each.top or 0, each.left or 0)):
        inner = getattr(shape, "shapes", None)
        if inner is not None and depth < _DEEPEST_GROUP:
            yield from _flat(inner, depth + 1)
        else:
            yield shape


def _shape(shape: Any, number: int) -> Iterator[Block]:
    if shape.is_placeholder and shape.placeholder_format.type in _IGNORED:
        return
    if getattr(shape, "has_table", False) and shape.has_table:
        for line in shape.table.rows:
            yield row(tuple(clean_line(cell.text_frame.text) for cell in line.cells), number)
    elif shape.has_text_frame:
        yield from _text(shape.text_frame, number)


def _text(frame: Any, number: int) -> Iterator[Block]:
    lines = [(clean_line(each.text), each.level) for each in frame.paragraphs]
    lines = [(text, level) for text, level in lines if text]
    for text, level in lines:
        if len(lines) == 1 or len(text) >= _SENTENCE:
            yield paragraph(text, number)
        else:
            yield item(text, level, page=number)
