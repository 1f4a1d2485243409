"""HTML: the text a reader came for. Scripts, navigation and forms are left out; no link is followed.

The tree is walked without recursion, so that a page nested a million deep costs no stack.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lxml import etree

from services.stage_worker.parsing.blocks import Block, Kind, code, heading, item, paragraph, row
from services.stage_worker.parsing.characters import clean_line

_SKIPPED = {
    "script", "style", "noscript", "template", "nav", "form", "button", "select", "option", "textarea", "iframe",
    "object", "svg", "canvas", "video", "audio", "head", "footer", "aside", "dialog", "menu", "input", "map", "applet",
}  # fmt: skip
_INLINE = {
    "a", "abbr", "b", "bdi", "bdo", "cite", "code", "data", "dfn", "em", "i", "kbd", "label", "mark", "q", "s", "samp",
    "small", "span", "strong", "sub", "sup", "time", "u", "var", "ins", "del", "font", "tt", "big", "ruby", "wbr", "img",
}  # fmt: skip
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_LISTS = {"ul", "ol", "dl"}
_MAIN = ("//main", "//*[@role='main']", "//article")
_LEAST_SHARE_OF_MAIN = 0.4
_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w.:-]{2,40})""", re.IGNORECASE)


def declared_encoding(content: bytes) -> str | None:
    """The encoding a page's own meta element names."""
    found = _CHARSET.search(content[:4_096])
    return found.group(1).decode("ascii", "replace") if found else None


def read(text: str) -> tuple[str, Iterator[Block]]:
    """The page's title, or "", and the blocks of its main part."""
    root = _parse(text)
    if root is None:
        return "", iter(())
    found = root.find(".//title")
    title = clean_line(found.text or "") if found is not None else ""
    return title, _Walker().blocks(_main(root))


def blocks(fragment: str) -> Iterator[Block]:
    """The blocks of a piece of HTML inside another format."""
    root = _parse(fragment)
    return iter(()) if root is None else _Walker().blocks(root)


def _parse(text: str) -> etree._Element | None:
    parser = etree.HTMLParser(encoding="utf-8", no_network=True, remove_comments=True, remove_pis=True)
    content = text.encode("utf-8", "replace")
    if not content.strip():
        return None
    try:
        root: etree._Element | None = etree.fromstring(content, parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError):
        return None
    return root


def _main(root: etree._Element) -> etree._Element:
    body = root.find(".//body")
    whole = root if body is None else body
    least = _LEAST_SHARE_OF_MAIN * _letters(whole)
    for path in _MAIN:
        found = root.xpath(path)
        if len(found) == 1 and _letters(found[0]) >= least:
            main: etree._Element = found[0]
            return main
    return whole


def _letters(element: etree._Element) -> int:
    return sum(len(text) for text in element.itertext() if isinstance(text, str))


class _Walker:
    """Collects inline text until a block element begins or ends, then gives it out as the block it stood in."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._lists: list[int | None] = []
        self._kind: tuple[Kind, int] = (Kind.PARAGRAPH, 0)
        self._item_open = False
        self._skip: etree._Element | None = None

    def blocks(self, root: etree._Element) -> Iterator[Block]:
        for event, element in etree.iterwalk(root, events=("start", "end")):
            if not isinstance(element.tag, str):
                continue
            if self._skip is None:
                yield from self._start(element) if event == "start" else self._end(element)
            elif event == "end" and element is self._skip:
                self._skip = None
            if event == "end" and element is not root and element.tail and self._skip is None:
                self._text.append(element.tail)
        yield from self._flush()

    def _start(self, element: etree._Element) -> Iterator[Block]:
        tag = element.tag
        if tag in _SKIPPED or _is_hidden(element):
            self._skip = element
            return
        if tag in {"pre", "table"}:
            yield from self._flush()
            yield from _table(element) if tag == "table" else (code("".join(element.itertext())),)
            self._skip = element
            return
        if tag == "br":
            self._text.append(" ")
        elif tag == "img":
            self._text.append(element.get("alt") or "")
        elif tag not in _INLINE:
            yield from self._flush()
            self._open(element)
        if element.text:
            self._text.append(element.text)

    def _open(self, element: etree._Element) -> None:
        tag = element.tag
        if tag in _HEADINGS:
            self._kind = (Kind.HEADING, _HEADINGS[tag])
        elif tag in _LISTS:
            start = element.get("start", "1")
            self._lists.append((int(start) if start.isdigit() and len(start) < 6 else 1) if tag == "ol" else None)
        elif tag in {"li", "dt", "dd"}:
            self._item_open = True

    def _end(self, element: etree._Element) -> Iterator[Block]:
        tag = element.tag
        if tag in _INLINE or tag == "br":
            return
        yield from self._flush()
        if tag in _HEADINGS:
            self._kind = (Kind.PARAGRAPH, 0)
        elif tag in _LISTS and self._lists:
            self._lists.pop()
        elif tag in {"li", "dt", "dd"}:
            self._item_open = False

    def _flush(self) -> Iterator[Block]:
        text = clean_line("".join(self._text))
        self._text.clear()
        if not text:
            return
        kind, level = self._kind
        if kind is Kind.HEADING:
            yield heading(text, level)
        elif self._item_open and self._lists:
            self._item_open = False
            yield item(text, len(self._lists) - 1, self._marker())
        else:
            yield paragraph(text)

    def _marker(self) -> str:
        number = self._lists[-1]
        if number is None:
            return "-"
        self._lists[-1] = number + 1
        return f"{number}."


def _is_hidden(element: etree._Element) -> bool:
    style = (element.get("style") or "").replace(" ", "").lower()
    return "display:none" in style or element.get("hidden") is not None or element.get("aria-hidden") == "true"


def _table(table: etree._Element) -> Iterator[Block]:
    """Rows of data. A table that only lays out the page has long cells: they are read as paragraphs."""
    for tr in table.iter("tr"):
        cells = tuple(clean_line(" ".join(cell.itertext())) for cell in tr if cell.tag in {"td", "th"})
        if any(len(cell) > 600 for cell in cells):
            yield from (paragraph(cell) for cell in cells)
        else:
            yield row(cells)
