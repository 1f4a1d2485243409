"""One lesson's material, looked at once and shared by everything that writes a part of the lesson."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.stage_worker.course.structure import LessonPlan
from services.stage_worker.engines.offline.definitions import Definition, definitions_in
from services.stage_worker.engines.offline.excerpts import Excerpt, Sentence, excerpts_of, plain_text, sentences_of
from services.stage_worker.engines.offline.index import Index
from services.stage_worker.engines.offline.pen import Pen
from services.stage_worker.engines.offline.ranking import Ranking
from services.stage_worker.engines.offline.terms import Lexicon, Term
from services.stage_worker.engines.offline.titles import JOINT, is_generic, plain
from services.stage_worker.language.phrases import Phrases, phrases

_MOST_TERMS = 6


@dataclass(frozen=True, slots=True)
class LessonMaterial:
    """What a lesson is written from."""

    index: Index
    plan: LessonPlan
    style: str
    speech: Phrases
    excerpts: tuple[Excerpt, ...]
    sentences: tuple[Sentence, ...]
    ranking: Ranking
    terms: tuple[Term, ...]
    definitions: tuple[Definition, ...]
    pen: Pen

    @classmethod
    def of(
        cls, index: Index, plan: LessonPlan, style: str, lexicon: Lexicon, weights: Mapping[str, float]
    ) -> LessonMaterial:
        """Look up and rank everything the plan points at."""
        excerpts = excerpts_of(index, plan)
        sentences = sentences_of(index, excerpts)
        definitions = definitions_in(sentences, plan.language)
        defined = frozenset(definition.stems for definition in definitions)
        headings = [excerpt.heading for excerpt in excerpts]
        terms = lexicon.terms(plain_text(index, excerpts), headings, defined, _MOST_TERMS)
        return cls(
            index=index,
            plan=plan,
            style=style,
            speech=phrases(plan.language),
            excerpts=tuple(excerpts),
            sentences=tuple(sentences),
            ranking=Ranking(sentences, weights, plan.language),
            terms=tuple(terms),
            definitions=tuple(definitions),
            pen=Pen(index),
        )

    def headings(self) -> list[str]:
        """The headings of the lesson without their numbers, each once."""
        found = dict.fromkeys(plain(excerpt.heading) for excerpt in self.excerpts if excerpt.heading)
        return list(found)

    def topic(self) -> str:
        """What to call the lesson within a sentence: its title, or the first of several headings in it."""
        headings = self.headings()
        if self.plan.title in headings or not headings:
            return self.plan.title
        telling = [heading for heading in headings if not is_generic(heading, self.plan.language)]
        starts = [heading for heading in telling if self.plan.title.startswith(heading)]
        return (starts or telling or headings)[0] if JOINT in self.plan.title else self.plan.title

    def quoted(self, text: str) -> str:
        """The text in the quotation marks of the lesson's language."""
        return self.speech.quoted(text.rstrip(" .:;,"))

    def say(self, name: str, **values: object) -> str:
        """A wording in the lesson's language and style."""
        return self.speech.say(name, self.style, **values)

    def can_say(self, name: str) -> bool:
        """Whether the lesson's language has that wording in its style."""
        return self.speech.has(name, self.style)

    def definition_of(self, term: Term) -> Definition | None:
        """The sentence that defines the term."""
        return next((each for each in self.definitions if each.stems == term.stems), None)
