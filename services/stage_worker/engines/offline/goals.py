"""Goals: what a reader can do after a lesson, and the exercises that show it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from services.stage_worker.course.model import Exercise, KeyTerm
from services.stage_worker.engines.offline.actions import tells_to_act
from services.stage_worker.engines.offline.excerpts import without_item
from services.stage_worker.engines.offline.lesson import LessonMaterial
from services.stage_worker.engines.offline.pieces import Form
from services.stage_worker.engines.offline.terms import Term
from services.stage_worker.engines.questions import as_question

_MOST_OBJECTIVES = 3
_GAP = "_____"
_ITEM_NUMBER = re.compile(r"^ *\d+\. ")
_FEWEST_STEPS, _MOST_STEPS = 3, 7
_LONGEST_STEP = 140


def objectives(material: LessonMaterial) -> tuple[str, ...]:
    """Up to three: the lesson's topic, then its other headings, then its first terms."""
    topics = list(dict.fromkeys([material.topic(), *material.headings()]))
    wanted = [objective(material, topic) for topic in topics[: _MOST_OBJECTIVES - 1]]
    wanted += [material.say("objective_term", term=material.quoted(term.text)) for term in _marked(material)]
    return tuple(dict.fromkeys(wanted))[:_MOST_OBJECTIVES]


def objective(material: LessonMaterial, topic: str) -> str:
    """What to be able to do with a topic."""
    question = as_question(topic, material.plan.language)
    if question:
        return material.say("objective_question", question=question)
    return material.say("objective_topic", heading=material.quoted(topic))


def key_terms(material: LessonMaterial) -> tuple[KeyTerm, ...]:
    """The lesson's terms, with the material's own definition where it has one."""
    found: list[KeyTerm] = []
    for term in _defined_first(material):
        definition = material.definition_of(term)
        if definition is None:
            found.append(KeyTerm(term=term.text))
            continue
        sentence = definition.sentence
        number = material.pen.cite_within(sentence.document, sentence.span)
        found.append(KeyTerm(term=term.text, definition=without_item(sentence.text), citation=number))
    return tuple(found)


def exercises(material: LessonMaterial) -> tuple[Exercise, ...]:
    """Two to four things to do; which ones depends on the style."""
    makers = {
        "academic": (_gap, _define, _explain, _compare),
        "practical": (_order, _task, _check, _explain),
        "conversational": (_explain, _define),
        "concise": (_gap, _define),
    }[material.style]
    return tuple(exercise for make in makers for exercise in make(material))


def _defined_first(material: LessonMaterial) -> list[Term]:
    return sorted(material.terms, key=lambda term: material.definition_of(term) is None)


def _marked(material: LessonMaterial) -> list[Term]:
    """Terms worth asking for: the material defines them or puts them in a heading."""
    return [term for term in _defined_first(material) if term.marked]


def _explain(material: LessonMaterial) -> Iterator[Exercise]:
    question = as_question(material.topic(), material.plan.language)
    prompt = material.say("exercise_question", question=question) if question else ""
    if prompt:
        yield Exercise(kind="explain", prompt=prompt)
    else:
        heading = material.quoted(material.topic())
        yield Exercise(kind="explain", prompt=material.say("exercise_explain", heading=heading))


def _define(material: LessonMaterial) -> Iterator[Exercise]:
    used = _gap_term(material) if material.style in {"academic", "concise"} else None
    for term in _marked(material):
        if term is used:
            continue
        definition = material.definition_of(term)
        number = (
            material.pen.cite_within(definition.sentence.document, definition.sentence.span) if definition else None
        )
        yield Exercise(
            kind="recall",
            prompt=material.say("exercise_term", term=material.quoted(term.text)),
            answer=without_item(definition.sentence.text) if definition else None,
            citation=number,
        )
        return


def _compare(material: LessonMaterial) -> Iterator[Exercise]:
    terms = _marked(material)
    if len(terms) >= 2:
        first, second = (material.quoted(term.text) for term in terms[:2])
        yield Exercise(kind="compare", prompt=material.say("exercise_compare", first=first, second=second))


def _gap_term(material: LessonMaterial) -> Term | None:
    return next((term for term in _defined_first(material) if material.definition_of(term)), None)


def _gap(material: LessonMaterial) -> Iterator[Exercise]:
    """A sentence of the lesson with its term taken out: the definition of one, or the best sentence with one."""
    for term in _defined_first(material):
        definition = material.definition_of(term)
        options = [definition.sentence] if definition else [
            each for each in material.ranking.best(material.sentences, 12) if material.ranking.score(each) > 0
        ]  # fmt: skip
        for sentence in options:
            for surface in term.surfaces:
                text, count = re.subn(
                    rf"\b{re.escape(surface)}\b", _GAP, without_item(sentence.text), flags=re.IGNORECASE
                )
                if count:
                    number = material.pen.cite_within(sentence.document, sentence.span)
                    prompt = material.say("exercise_gap", sentence=text)
                    yield Exercise(kind="gap", prompt=prompt, answer=surface, citation=number)
                    return


def _task(material: LessonMaterial) -> Iterator[Exercise]:
    wording = material.say("exercise_task", heading=material.quoted(material.topic()))
    if wording:
        yield Exercise(kind="task", prompt=wording)


def _check(material: LessonMaterial) -> Iterator[Exercise]:
    """A rule of the lesson to hold against one's own work."""
    rules = [each for each in material.sentences if tells_to_act(each.text, material.plan.language)]
    for sentence in material.ranking.best(rules, 1):
        wording = material.say("exercise_check", sentence=material.quoted(sentence.text))
        if wording:
            number = material.pen.cite_within(sentence.document, sentence.span)
            yield Exercise(kind="task", prompt=wording, citation=number)


def _order(material: LessonMaterial) -> Iterator[Exercise]:
    """The steps of a numbered list, out of order."""
    for excerpt in material.excerpts:
        for piece in excerpt.pieces:
            texts = [material.index.text(excerpt.document, part) for part in piece.parts]
            numbered = piece.form is Form.LIST and all(_ITEM_NUMBER.match(text) for text in texts)
            steps = [without_item(text).rstrip(".;") for text in texts]
            if numbered and _FEWEST_STEPS <= len(steps) <= _MOST_STEPS and max(map(len, steps)) <= _LONGEST_STEP:
                number = material.pen.cite_within(excerpt.document, (piece.start, piece.end))
                shuffled = "; ".join(sorted(steps, key=lambda step: (step[::-1], step)))
                prompt = material.say("exercise_order", items=shuffled)
                yield Exercise(kind="task", prompt=prompt, answer=" → ".join(steps), citation=number)
                return
