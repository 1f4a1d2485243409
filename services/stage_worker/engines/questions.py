"""Questions: headings that ask something can stand within a sentence, others are named in quotation marks."""

from __future__ import annotations

from services.stage_worker.language.phrases import phrases

_INVERTED = {
    "do", "does", "did", "can", "could", "should", "will", "would", "is", "are", "was", "were", "must", "has", "have",
    "had", "to", "if",
}  # fmt: skip


def as_question(heading: str, language: str) -> str:
    """The heading as an indirect question ("how a log is written"), or "" if it is none."""
    plain = heading.strip().rstrip("?").strip()
    if any(mark in plain for mark in "·:…?("):
        return ""
    lowered = plain[:1].lower() + plain[1:]
    openings = phrases(language).words("question_words")
    opening = next((each for each in openings if lowered.startswith(f"{each} ")), None)
    if opening is None:
        return ""
    rest = lowered[len(opening) :].split()
    if language == "en" and (len(rest) < 2 or rest[0] in _INVERTED):
        return ""
    return lowered
