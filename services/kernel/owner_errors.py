"""What went wrong, as the owner of a course is told: a sentence in his language that says what he can do.

The step that failed shows `code` for programs, `message` for the owner, and as `detail` what the part that failed said, which
names the documents, lessons or limits concerned. Whatever has no sentence of its own here is told in general words: the owner
is never shown the inside of the machine as an explanation.
"""

from __future__ import annotations

from typing import Any, Final

_AGAIN: Final = "Запустите генерацию ещё раз; если ошибка повторится, обратитесь в поддержку."
_SMALLER: Final = "Уберите часть документов или замените их более короткими и запустите генерацию снова."

UNFORESEEN: Final = f"Не удалось создать курс: произошла непредвиденная ошибка. {_AGAIN}"
"""For everything that nobody foresaw."""

_SENTENCES: Final = {
    "cancelled": "Генерация отменена",
    "discarded": "Генерация остановлена администратором. Запустите её ещё раз или обратитесь в поддержку.",
    "nothing_readable": "Не удалось прочитать ни одного документа. Замените файлы и запустите генерацию снова.",
    "document_rejected": "Документ не удалось прочитать. Замените файл и запустите генерацию снова.",
    "course_unsound": "Курс не прошёл проверку: цитаты не совпадают с документами. Запустите генерацию ещё раз.",
    "model_refused": "Модель отказалась писать на эту тему. Измените название или документы и запустите генерацию снова.",
    "unusable_answer": "Модель не смогла подготовить курс. Запустите генерацию ещё раз.",
    "budget_exhausted": f"Материал слишком велик для одного курса. {_SMALLER}",
    "task_timed_out": f"Создание курса заняло слишком много времени. {_SMALLER}",
    "task_out_of_memory": f"Материал слишком велик для одного курса. {_SMALLER}",
}


def told(code: str, detail: str) -> dict[str, Any]:
    """The step's `error` for an error of this code that was described as `detail`."""
    return {"code": code, "message": _SENTENCES.get(code, UNFORESEEN), "detail": detail}
