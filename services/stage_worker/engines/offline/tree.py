"""The tree of topics: what the headings of a document say about what belongs to what."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from services.stage_worker.engines.material import SourceDocument
from services.stage_worker.engines.offline.index import Index, Passage
from services.stage_worker.language.detection import script_of


@dataclass(slots=True, eq=False)
class Topic:
    """A heading with the text directly under it and the topics below it."""

    heading: str
    document: int
    passages: list[Passage] = field(default_factory=list)
    children: list[Topic] = field(default_factory=list)
    parent: Topic | None = None
    part: tuple[int, int] | None = None
    """Which part of how many, where one heading's text is too long for one lesson."""

    @property
    def words(self) -> int:
        """All words here and below."""
        return sum(passage.words for passage in self.passages) + sum(child.words for child in self.children)

    @property
    def own_words(self) -> int:
        """Words directly under the heading."""
        return sum(passage.words for passage in self.passages)

    def walk(self) -> Iterator[Passage]:
        """All passages here and below, in order."""
        yield from self.passages
        for child in self.children:
            yield from child.walk()

    def rows(self) -> list[Topic]:
        """The text of its own, if any, as a topic without children, and then the children."""
        if not self.passages:
            return list(self.children)
        own = Topic(self.heading, self.document, self.passages, parent=self, part=self.part)
        return [own, *self.children]

    def has_text(self) -> bool:
        """Whether there is anything here or below that is not told elsewhere."""
        return any(passage.words for passage in self.walk())


def forest(index: Index, language: str) -> list[Topic]:
    """One tree for each document that has text in that language, in the documents' order."""
    trees: list[Topic] = []
    for number, document in enumerate(index.material.documents):
        own = [each for each in index.passages if each.document == number and each.language == language]
        if any(passage.words for passage in own):
            trees.append(_tree(number, document, own))
    return trees


def _tree(number: int, document: SourceDocument, passages: list[Passage]) -> Topic:
    by_section: dict[int, list[Passage]] = {}
    for passage in passages:
        by_section.setdefault(passage.section, []).append(passage)
    suits = _suitable(document, passages)
    root = Topic(document.title if suits(document.title) else "", number)
    path: list[tuple[int, Topic]] = [(-1, root)]
    for at, section in enumerate(document.sections):
        found = by_section.get(at, [])
        if not section.heading:
            root.passages += found
            continue
        while path[-1][0] >= section.level:
            path.pop()
        heading = section.heading if suits(section.heading) else ""
        topic = Topic(heading, number, found, parent=path[-1][1])
        path[-1][1].children.append(topic)
        path.append((section.level, topic))
    _prune(root)
    return _without_title(root)


def _suitable(document: SourceDocument, passages: list[Passage]) -> Callable[[str], bool]:
    """Says which headings are in the passages' language, as far as the script tells."""
    sample = " ".join(document.text[piece.start : piece.end] for passage in passages[:5] for piece in passage.pieces)
    script = script_of(sample)
    own = passages[0].language == document.language
    return lambda heading: own or script_of(heading) in {script, None}


def _prune(topic: Topic) -> None:
    """Forget headings with nothing under them in this language; they are covered by what follows them."""
    topic.passages = [passage for passage in topic.passages if passage.words]
    for child in topic.children:
        _prune(child)
    topic.children = [child for child in topic.children if child.has_text()]


def _without_title(root: Topic) -> Topic:
    """A single outermost heading is the document's title: its children are the chapters."""
    if root.passages or len(root.children) != 1 or not root.children[0].children:
        return root
    title = root.children[0]
    if not root.heading:
        root.heading = title.heading
    title.parent = None
    if script_of(title.heading) != script_of(root.heading):
        title.heading = root.heading
    return title
