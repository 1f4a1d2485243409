"""Sections point at exact characters, whatever the document."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from services.kernel.errors import DocumentRejected
from services.stage_worker.parsing import ParsedDocument, parse
from services.stage_worker.parsing.assembly import assemble
from services.stage_worker.parsing.blocks import Block, code, heading, item, paragraph, row
from services.stage_worker.parsing.limits import DEFAULT_LIMITS

_text = st.text(max_size=60)
_blocks = st.lists(
    st.one_of(
        st.builds(heading, _text, st.integers(1, 6)),
        st.builds(paragraph, _text),
        st.builds(item, _text, st.integers(0, 3), st.sampled_from(["-", "1.", "22."])),
        st.builds(code, _text),
        st.builds(row, st.lists(_text, max_size=4).map(tuple)),
    ),
    max_size=25,
)
_UNWANTED = re.compile(r"[\x00-\x09\x0b-\x1f\x7f\ud800-\udfff\u200b\ufeff\u00ad]")


def require_sound(document: ParsedDocument) -> None:
    """The promises of `parsing.model`."""
    at = 0
    for section in document.sections:
        assert at <= section.start <= section.end <= len(document.text)
        body = document.text[section.start : section.end]
        assert body == body.strip()
        assert 0 <= section.level <= 6
        assert (section.level == 0) == (section.heading == "")
        if section.heading:
            assert document.text[: section.start].rstrip().endswith(section.heading)
        at = section.end
    assert not _UNWANTED.search(document.text)
    assert "\n\n\n" not in document.text
    assert document.text == document.text.strip()


def require_sound_or_rejected(content: bytes, media_type: str) -> None:
    """Either of the two things that may become of a file."""
    try:
        document = parse(content, media_type, "any.txt")
    except DocumentRejected as rejected:
        reason = rejected.reason
    else:
        require_sound(document)
        return
    assert reason.endswith(".")
    assert len(reason) > 20


@given(_blocks)
def test_assembled_sections_are_exact(blocks: list[Block]) -> None:
    """Sections do not overlap, hold no white space at their ends, and follow their headings."""
    try:
        document = assemble(blocks, title="", filename="any.md", limits=DEFAULT_LIMITS)
    except DocumentRejected:
        return
    require_sound(document)


@given(st.text(max_size=600), st.sampled_from(["text/plain", "text/markdown", "text/html"]))
def test_any_text_is_read_or_rejected_with_a_reason(text: str, media_type: str) -> None:
    """No text breaks a parser, and what it gives keeps its promises."""
    require_sound_or_rejected(text.encode("utf-8", "surrogatepass"), media_type)


@given(st.binary(max_size=400), st.sampled_from(["text/plain", "text/markdown", "text/html", "application/pdf"]))
def test_any_bytes_are_read_or_rejected_with_a_reason(content: bytes, media_type: str) -> None:
    """Nor do any bytes."""
    require_sound_or_rejected(content, media_type)


@given(st.text(alphabet="#-*_>`|[]()!<&\\ \n\t1.a:", max_size=300))
def test_markdown_made_of_marks_only(text: str) -> None:
    """Marks in any order."""
    require_sound_or_rejected(text.encode(), "text/markdown")
