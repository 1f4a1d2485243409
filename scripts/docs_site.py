"""Make build/site of docs: ``.venv/bin/python scripts/docs_site.py [FOLDER]``. GitHub Pages shows it.

Each page is there as `<name>.html`, so that `runbooks/<Alert>`, the end of an alert's `runbook_url`, is a runbook's address.
Links between pages lead to these, pictures come along; what lies outside of docs is looked at in the repository.
"""

from __future__ import annotations

import html
import os
import re
import shutil
import sys
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

REPOSITORY = Path(__file__).resolve().parents[1]
DOCS = REPOSITORY / "docs"
SOURCE = "https://github.com/coursegen/coursegen/blob/main"
"""Where files that are no pages can be read."""

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ max-width: 60rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.5 sans-serif; }}
pre, table {{ overflow-x: auto; display: block; }}
pre, code {{ background: #f3f3f3; }}
img {{ max-width: 100%; }}
td, th {{ border: 1px solid #ccc; padding: 0.2rem 0.5rem; text-align: left; vertical-align: top; }}
</style>
{body}
</html>
"""


def anchor(heading: str) -> str:
    """What a link to a heading ends in, as GitHub has it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def page(text: str, place: Path) -> str:
    """The page of the Markdown `text`, which lies at `place` in docs."""
    markdown = MarkdownIt("commonmark").enable("table")
    tokens = markdown.parse(text)
    title = place.stem
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type == "heading_open" and following is not None:
            token.attrSet("id", anchor(following.content))
            title = following.content if token.tag == "h1" else title
        for child in token.children or ():
            _lead(child, place)
    body = markdown.renderer.render(tokens, markdown.options, {})
    return _PAGE.format(title=html.escape(title), body=body)


def _lead(token: Token, place: Path) -> None:
    """Have a link lead to a page of the site, or to the repository."""
    target = str(token.attrGet("href") or "")
    if token.type != "link_open" or not target or re.match(r"[a-z]+:|#", target):
        return
    path, mark, heading = target.partition("#")
    file = Path(os.path.normpath(DOCS / place.parent / path))
    is_page = file.is_relative_to(DOCS) and file.suffix == ".md"
    found = f"{path.removesuffix('.md')}.html" if is_page else f"{SOURCE}/{file.relative_to(REPOSITORY).as_posix()}"
    token.attrSet("href", f"{found}{mark}{heading}")


def build(folder: Path) -> list[Path]:
    """Write every page of docs into `folder`, and the index of runbooks as its first one; returns the pages that were written."""
    written = []
    for file in sorted(DOCS.rglob("*.md")):
        place = file.relative_to(DOCS)
        names = [place.with_suffix(".html"), *([Path("index.html")] if place == Path("RUNBOOKS.md") else [])]
        for name in names:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(page(file.read_text(encoding="utf-8"), place), encoding="utf-8")
            written.append(target)
    for picture in sorted(DOCS.rglob("*.png")):
        target = folder / picture.relative_to(DOCS)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(picture, target)
    return written


def main() -> int:
    """Make the site in the folder that is named, or in build/site."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else REPOSITORY / "build" / "site"
    print(f"wrote {len(build(folder))} pages to {folder}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
