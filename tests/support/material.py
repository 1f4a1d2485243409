"""Material for the engines: real documents and made ones, parsed as stage 2 parses them."""

from __future__ import annotations

import random
from pathlib import Path

from services.stage_worker.engines.material import Material, SourceDocument
from services.stage_worker.parsing import parse

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = tuple(sorted((ROOT / "examples").iterdir()))
"""The four documents of the demo."""
UNSEEN = tuple(sorted((ROOT / "tests" / "support" / "documents").iterdir()))
"""Four documents on another subject, which nobody looked at while the engine was written."""

_OFFICE = "application/vnd.openxmlformats-officedocument"
MEDIA_TYPES = {
    ".pdf": "application/pdf",
    ".docx": f"{_OFFICE}.wordprocessingml.document",
    ".pptx": f"{_OFFICE}.presentationml.presentation",
    ".html": "text/html",
    ".md": "text/markdown",
    ".txt": "text/plain",
}


def material_of(
    *paths: Path, style: str = "academic", title: str = "A course", language: str | None = None
) -> Material:
    """Material from files."""
    documents = tuple(_document(number, path.read_bytes(), path.name) for number, path in enumerate(paths))
    return Material(title=title, style=style, language=language, documents=documents)


def material_from(
    *texts: str, suffix: str = ".md", style: str = "academic", title: str = "A course", language: str | None = None
) -> Material:
    """Material from texts."""
    documents = tuple(
        _document(number, text.encode(), f"document-{number}{suffix}") for number, text in enumerate(texts)
    )
    return Material(title=title, style=style, language=language, documents=documents)


def _document(number: int, content: bytes, filename: str) -> SourceDocument:
    parsed = parse(content, MEDIA_TYPES[Path(filename).suffix], filename)
    return SourceDocument(
        document_id=f"00000000-0000-4000-8000-{number:012d}",
        filename=filename,
        title=parsed.title,
        language=parsed.language,
        text=parsed.text,
        sections=parsed.sections,
    )


_NOUNS = [
    "bread",
    "dough",
    "flour",
    "water",
    "salt",
    "yeast",
    "oven",
    "crust",
    "crumb",
    "starter",
    "baker",
    "loaf",
    "table",
    "stone",
    "steam",
    "heat",
    "bowl",
    "cloth",
    "hand",
    "knife",
    "basket",
    "grain",
    "mill",
    "field",
    "wheat",
    "rye",
    "barley",
    "seed",
    "sugar",
    "butter",
    "milk",
    "egg",
    "honey",
    "fruit",
    "nut",
    "board",
    "towel",
    "timer",
    "scale",
]
_VERBS = [
    "holds",
    "keeps",
    "needs",
    "changes",
    "warms",
    "cools",
    "feeds",
    "shapes",
    "fills",
    "covers",
    "lifts",
    "turns",
    "opens",
    "meets",
    "follows",
]


def prose(words: int, seed: int = 0) -> str:
    """So many words of English sentences that say little, none of them twice."""
    chance = random.Random(seed)
    sentences: list[str] = []
    written = 0
    while written < words:
        first, second, third = (chance.choice(_NOUNS) for _ in range(3))
        verb = chance.choice(_VERBS)
        number = chance.randrange(2, 900)
        sentence = f"The {first} {verb} the {second} when there are {number} of them in the {third} and not before."
        sentences.append(sentence)
        written += len(sentence.split())
    return "\n\n".join(" ".join(sentences[at : at + 5]) for at in range(0, len(sentences), 5))


def chapters(count: int, words: int, seed: int = 0) -> str:
    """A Markdown document with a title and so many chapters of so many words."""
    parts = [
        f"## Chapter about {_NOUNS[at % len(_NOUNS)]} {at}\n\n{prose(words, seed * 1000 + at)}" for at in range(count)
    ]
    return "\n\n".join(["# A book about bread", *parts])
