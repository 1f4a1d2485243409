"""What a well-behaved model answers, from the question itself: nothing but the standard library, so that it runs in pods, too.

A lesson is made of the passages it was given, an arrangement of the lessons it was shown.
"""

from __future__ import annotations

import re
from typing import Any

_PASSAGE = re.compile(r'<passage number="(\d+)" heading="[^"]*">\n(.*?)\n</passage>', re.DOTALL)
_LISTED = re.compile(r"^(\d+)\. \[\w+\] (.*?): ", re.MULTILINE)
_ENOUGH_WORDS = 260


def answer_to(asked: dict[str, Any]) -> dict[str, Any]:
    """The content of a proper answer, by the form that is asked for."""
    form = asked["response_format"].get("json_schema", {}).get("name")
    question = next(
        each["content"]
        for each in reversed(asked["messages"])
        if "---" in each["content"] or "<passage" in each["content"] or "1. [" in each["content"]
    )
    makers = {"LessonReply": _lesson, "PlanReply": _plan, "OutlineReply": _outline}
    if form is None:
        form = "LessonReply" if "<passage" in question else "PlanReply" if "1. [" in question else "OutlineReply"
    return makers[form](question)


def _lesson(question: str) -> dict[str, Any]:
    passages = [(int(number), text) for number, text in _PASSAGE.findall(question)]
    citations = [{"passage": number, "quote": _sentence(text)} for number, text in passages]
    bodies: list[str] = []
    words = 0
    for at, (_, text) in enumerate(passages, 1):
        if words < _ENOUGH_WORDS or at <= len(passages):
            part = " ".join(re.sub(r"[|`\[\]#-]", " ", text).split()[: max(40, _ENOUGH_WORDS // len(passages))])
            bodies.append(f"{part} [{at}]")
            words += len(part.split())
    title = re.search(r"“(.*?)”", question)
    name = title.group(1) if title else "it"
    return {
        "objectives": [bodies[0][:60]],
        "summary": citations[0]["quote"],
        "content": "\n\n".join(bodies),
        "key_terms": [{"term": name, "definition": "", "citation": 1}],
        "exercises": [{"prompt": bodies[0][:80], "answer": ""}],
        "citations": citations,
    }


def _plan(question: str) -> dict[str, Any]:
    lessons = [{"number": int(number), "title": title} for number, title in _LISTED.findall(question)]
    third = max(1, -(-len(lessons) // 3))
    parts = [lessons[at : at + third] for at in range(0, len(lessons), third)]
    return {"sections": [{"title": part[0]["title"], "lessons": part} for part in parts]}


def _outline(question: str) -> dict[str, Any]:
    lesson = {"title": "First steps", "objective": "Take the first steps."}
    return {"sections": [{"title": f"Part {number}", "lessons": [lesson, lesson]} for number in range(1, 4)]}


def _sentence(text: str) -> str:
    found = re.search(r"[A-ZА-ЯЁ][^.|\n]{30,}\.", text)
    return found.group() if found else text[:120]


def completion(content: str, finish: str = "stop", refusal: str | None = None) -> dict[str, Any]:
    """The body in which the API sends it."""
    message = {"role": "assistant", "content": content, "refusal": refusal}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "choices": [{"index": 0, "finish_reason": finish, "message": message}],
        "usage": {"prompt_tokens": 1_000, "completion_tokens": 500, "total_tokens": 1_500},
    }
