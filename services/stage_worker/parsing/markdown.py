"""Markdown: CommonMark with tables, read by markdown-it. Marks are dropped, their meaning is kept as blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token

from services.stage_worker.parsing.blocks import Block, code, heading, item, paragraph, row
from services.stage_worker.parsing.html import blocks as html_blocks

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?\n)(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_TITLE = re.compile(r"^title:\s*(?:\"(.*?)\"|'(.*?)'|(.*?))\s*$", re.MULTILINE | re.IGNORECASE)
_TEXT_TOKENS = {"text", "code_inline", "text_special"}


def read(text: str) -> tuple[str, Iterator[Block]]:
    """The title its front matter gives, or "", and the blocks."""
    title = ""
    front = _FRONT_MATTER.match(text)
    if front:
        found = _TITLE.search(front.group(1))
        title = next((group for group in found.groups() if group), "") if found else ""
        text = text[front.end() :]
    return title, _Reader(MarkdownIt("commonmark").enable("table").parse(text)).blocks()


class _Reader:
    """Walks the flat token list; lists keep a stack of their markers."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tokens
        self._lists: list[int | None] = []
        self._pending_item = False

    def blocks(self) -> Iterator[Block]:
        at = 0
        while at < len(self._tokens):
            token = self._tokens[at]
            if token.type == "table_open":
                end = self._closing(at)
                yield from _table(self._tokens[at:end])
                at = end
            elif token.type == "inline":
                yield from self._inline(token, self._tokens[at - 1])
            else:
                yield from self._other(token)
            at += 1

    def _closing(self, at: int) -> int:
        return next(end for end in range(at, len(self._tokens)) if self._tokens[end].type == "table_close")

    def _other(self, token: Token) -> Iterator[Block]:
        if token.type == "bullet_list_open":
            self._lists.append(None)
        elif token.type == "ordered_list_open":
            self._lists.append(int(token.attrGet("start") or 1))
        elif token.type in {"bullet_list_close", "ordered_list_close"}:
            self._lists.pop()
        elif token.type == "list_item_open":
            self._pending_item = True
        elif token.type in {"fence", "code_block"}:
            yield code(token.content)
        elif token.type == "html_block":
            yield from html_blocks(token.content)

    def _inline(self, token: Token, opening: Token) -> Iterator[Block]:
        text = inline_text(token)
        if opening.type == "heading_open":
            yield heading(text, int(opening.tag[1]))
        elif self._lists and self._pending_item:
            self._pending_item = False
            yield item(text, len(self._lists) - 1, self._marker())
        else:
            yield paragraph(text)

    def _marker(self) -> str:
        number = self._lists[-1]
        if number is None:
            return "-"
        self._lists[-1] = number + 1
        return f"{number}."


def inline_text(token: Token) -> str:
    """The visible text of an inline token: of an image its description, of a link its words."""
    parts: list[str] = []
    for child in token.children or []:
        if child.type in _TEXT_TOKENS or child.type == "image":
            parts.append(child.content)
        elif child.type in {"softbreak", "hardbreak"}:
            parts.append(" ")
    return "".join(parts)


def _table(tokens: Sequence[Token]) -> Iterator[Block]:
    cells: list[str] = []
    for token in tokens:
        if token.type == "tr_open":
            cells = []
        elif token.type == "inline":
            cells.append(inline_text(token))
        elif token.type == "tr_close":
            yield row(tuple(cells))
