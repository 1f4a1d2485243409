"""Sizes: how long lessons and sections should be for the amount of material there is."""

from __future__ import annotations

from dataclasses import dataclass

from services.stage_worker.course.checks import MINIMUM_WORDS

_MOST_WORDS_TOLD = 60_000
"""A course longer than this is condensed: nobody reads a first draft of more."""
_USUAL_LESSONS = 14
_SHORTEST_TARGET = 190
_USUAL_TARGET = 450
_LONGEST_TARGET = 650
_MOST_LESSONS = 92
_LESSONS_PER_SECTION = 3.5
_FEWEST_SECTIONS, _MOST_SECTIONS = 3, 16
_LARGEST_LESSON = 850
_FRAME_WORDS = 5
_CONCISE_SHARE = 0.5
"""What a concise course tells of its material."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Wanted sizes, in words of the material."""

    density: float
    """How much of the material is told, from 0 to 1."""
    lesson: float
    smallest_lesson: float
    largest_lesson: float
    section: float
    fewest_sections: int

    @classmethod
    def of(cls, words: int, density: float) -> Sizes:
        """For that many words, of which `density` is told."""
        told = max(1.0, words * density)
        target = min(_USUAL_TARGET, max(_SHORTEST_TARGET, told / _USUAL_LESSONS))
        target = min(_LONGEST_TARGET, max(target, told / _MOST_LESSONS))
        lessons = max(1.0, told / target)
        sections = int(min(_MOST_SECTIONS, max(min(_FEWEST_SECTIONS, lessons), round(lessons / _LESSONS_PER_SECTION))))
        return cls(
            density=density,
            lesson=target / density,
            smallest_lesson=(MINIMUM_WORDS + _FRAME_WORDS) / density,
            largest_lesson=min(1.6 * target, _LARGEST_LESSON) / density,
            section=max(1.0, words / sections),
            fewest_sections=min(_FEWEST_SECTIONS, sections),
        )


def density_of(words: int, style: str) -> float:
    """How much of so much material one course in that style tells, from 0 to 1."""
    told = min(1.0, _MOST_WORDS_TOLD / max(1, words))
    return told * _CONCISE_SHARE if style == "concise" else told
