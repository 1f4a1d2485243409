"""Forms: how a lesson is laid out in each of the four styles. The sentences are the material's in all of them.

- academic: the material in full, under its headings, in its order;
- practical: what to do first, as a checklist, then what lies behind it;
- conversational: a question opens each topic, paragraphs are short, and now and then the reader is asked to pause;
- concise: the most telling sentences as a list, about half of the text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from services.stage_worker.engines.offline.actions import tells_to_act
from services.stage_worker.engines.offline.excerpts import Excerpt, Sentence
from services.stage_worker.engines.offline.lesson import LessonMaterial
from services.stage_worker.engines.offline.pen import escape
from services.stage_worker.engines.offline.pieces import Form, Piece
from services.stage_worker.engines.offline.ranking import dangles
from services.stage_worker.engines.offline.selection import Selection, select
from services.stage_worker.engines.offline.titles import plain
from services.stage_worker.engines.questions import as_question
from services.stage_worker.language.sentences import Span

_MOST_ACTIONS = 6
_SENTENCES_PER_SHORT_PARAGRAPH = 3
_FEWEST_WORDS_FOR_A_PAUSE = 160

Blocks = Iterator[str]


def content(material: LessonMaterial, density: float) -> str:
    """The lesson's content as Markdown; `density` is how much of the material is told at all."""
    selection = select(material.index, list(material.excerpts), material.ranking, density)
    blocks = _FORMS[material.style](material, selection)
    return "\n\n".join(block for block in blocks if block)


def _academic(material: LessonMaterial, selection: Selection) -> Blocks:
    for excerpt in material.excerpts:
        yield _subheading(material, excerpt)
        yield from _told(material, excerpt, selection)


def _practical(material: LessonMaterial, selection: Selection) -> Blocks:
    actions = _actions(material, selection)
    moved = {(action.document, action.span) for action in actions}
    if actions:
        yield material.say("steps", heading=material.quoted(material.topic()))
        yield "\n".join(f"- [ ] {material.pen.sentence(each.document, each.span)}" for each in actions)
        yield material.say("background", heading=material.quoted(material.topic()))
    for excerpt in material.excerpts:
        yield _subheading(material, excerpt)
        for piece in excerpt.pieces:
            parts = [part for part in selection.parts(excerpt.document, piece) if (excerpt.document, part) not in moved]
            yield material.pen.piece(excerpt.document, piece, parts)


def _conversational(material: LessonMaterial, selection: Selection) -> Blocks:
    yield _lead(material)
    pause_after = _middle(material)
    told = 0
    for excerpt in material.excerpts:
        yield _spoken_heading(material, excerpt)
        for piece in excerpt.pieces:
            parts = selection.parts(excerpt.document, piece)
            for few in _few(piece, parts):
                yield material.pen.piece(excerpt.document, piece, few)
            told += piece.words
            if pause_after and told >= pause_after:
                yield _pause(material)
                pause_after = 0


def _concise(material: LessonMaterial, selection: Selection) -> Blocks:
    for excerpt in material.excerpts:
        yield _subheading(material, excerpt)
        bullets: list[str] = []
        for piece in excerpt.pieces:
            parts = selection.parts(excerpt.document, piece)
            if piece.form in {Form.PROSE, Form.LIST}:
                bullets += [f"- {material.pen.sentence(excerpt.document, part)}" for part in parts]
            elif parts:
                yield "\n".join(bullets)
                bullets = []
                yield material.pen.piece(excerpt.document, piece, parts)
        yield "\n".join(bullets)


_FORMS: dict[str, Callable[[LessonMaterial, Selection], Blocks]] = {
    "academic": _academic,
    "practical": _practical,
    "conversational": _conversational,
    "concise": _concise,
}


def _told(material: LessonMaterial, excerpt: Excerpt, selection: Selection) -> Blocks:
    for piece in excerpt.pieces:
        yield material.pen.piece(excerpt.document, piece, selection.parts(excerpt.document, piece))


def _subheading(material: LessonMaterial, excerpt: Excerpt) -> str:
    """The heading as it stands in the source, unless the lesson has just that title."""
    heading = excerpt.heading
    if heading in {"", material.plan.title, material.index.material.title}:
        return ""
    return f"#### {escape(heading)}"


def _spoken_heading(material: LessonMaterial, excerpt: Excerpt) -> str:
    heading = _subheading(material, excerpt)
    if not heading:
        return ""
    title = plain(excerpt.heading)
    if title.endswith("?") or not material.can_say("question"):
        return heading
    if as_question(title, material.plan.language):  # it asks already
        return heading
    return f"#### {escape(material.say('question', heading=material.quoted(title)))}"


def _lead(material: LessonMaterial) -> str:
    question = as_question(material.topic(), material.plan.language)
    if question and material.can_say("lead_question"):
        return escape(material.say("lead_question", question=question))
    return escape(material.say("lead", heading=material.quoted(material.topic())))


def _pause(material: LessonMaterial) -> str:
    if not material.terms:
        return ""
    wording = material.say("pause", term=material.quoted(material.terms[0].text))
    return f"*{wording}*" if wording else ""


def _middle(material: LessonMaterial) -> int:
    words = sum(piece.words for excerpt in material.excerpts for piece in excerpt.pieces)
    return words // 2 if words >= _FEWEST_WORDS_FOR_A_PAUSE else 0


def _few(piece: Piece, parts: list[Span]) -> Iterator[list[Span]]:
    """Prose by two or three sentences, evenly; anything else at once."""
    if piece.form is not Form.PROSE or len(parts) <= _SENTENCES_PER_SHORT_PARAGRAPH:
        yield parts
        return
    groups = -(-len(parts) // _SENTENCES_PER_SHORT_PARAGRAPH)
    for number in range(groups):
        yield parts[len(parts) * number // groups : len(parts) * (number + 1) // groups]


def _actions(material: LessonMaterial, selection: Selection) -> list[Sentence]:
    """Sentences that tell the reader to do something, as far as they can be taken out of their paragraph."""
    language = material.plan.language
    told = {
        (excerpt.document, part)
        for excerpt in material.excerpts
        for piece in excerpt.pieces
        if piece.form is Form.PROSE
        for part in selection.parts(excerpt.document, piece)
    }
    chosen: list[Sentence] = []
    for at, sentence in enumerate(material.sentences):
        if (sentence.document, sentence.span) not in told or not tells_to_act(sentence.text, language):
            continue
        following = material.sentences[at + 1] if at + 1 < len(material.sentences) else None
        needed = following is not None and not following.opens_piece and dangles(following.text, language)
        if not needed:
            chosen.append(sentence)
    return material.ranking.best(chosen, _MOST_ACTIONS)
