"""The figures of a preset: thresholds and windows, each with a default, a form and a sentence about it.

Whatever a policy's schema admits can be rendered: a window of nothing, which PromQL refuses, becomes one second; one of
centuries, which it cannot count, becomes a year.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any, Final

from operators.coursegen_operator import durations
from operators.coursegen_operator.alerts.rules import periods
from operators.coursegen_operator.schemas import openapi

LONGEST_SECONDS: Final = 365 * 86_400
"""No window and no wait is longer: Prometheus keeps less."""

PERCENT_PATTERN: Final = r"^[0-9]{1,2}(\.[0-9]{1,5})?$"
_SIGN: Final = r"[a-zA-Z0-9_./:-][?*+]?"
_GROUP: Final = rf"\(({_SIGN})+(\|({_SIGN})+)*\)[?*+]?"
JOB_PATTERN: Final = rf"^({_SIGN}|{_GROUP})+(\|({_SIGN}|{_GROUP})+)*$"
"""A regular expression that is one, and can stand between quotes as it is."""


class Form(Enum):
    """How a figure is written."""

    COUNT = "count"
    """A whole number, 0 included."""
    SECONDS = "seconds"
    """A whole number of seconds, or of whatever the name ends in."""
    RATIO = "ratio"
    """A share from 0 to 1, as text."""
    WINDOW = "window"
    """How far a rate looks back, such as 5m; at least a second."""
    WAIT = "wait"
    """How long something must last, such as 1m or 0s. It has no default of its own in the schema."""
    PERIOD = "period"
    """What an objective is for, such as 30d: whole days or weeks."""
    PERCENT = "percent"
    """Below 100, as text."""
    JOB = "job"
    """A regular expression for the label `job`."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One field of a preset."""

    name: str
    form: Form
    default: int | str
    doc: str

    def schema(self) -> openapi.Schema:
        """What the API server checks."""
        if self.form in {Form.COUNT, Form.SECONDS}:
            return openapi.integer(self.doc, default=int(self.default), minimum=0, maximum=1_000_000_000)
        text = str(self.default)
        if self.form is Form.RATIO:
            return openapi.fraction(self.doc, default=text)
        if self.form is Form.PERCENT:
            return openapi.string(self.doc, pattern=PERCENT_PATTERN, default=text, max_length=8)
        if self.form is Form.PERIOD:
            return periods.period(self.doc)
        if self.form in {Form.WINDOW, Form.WAIT}:
            return openapi.duration(self.doc, default=text if self.form is Form.WINDOW else None)
        return openapi.string(self.doc, pattern=JOB_PATTERN, default=text, min_length=1, max_length=253)

    def values(self, settings: Mapping[str, Any]) -> dict[str, str]:
        """What stands for the figure in conditions, and of a share also what does in sentences: `name_percent`."""
        value = settings.get(self.name)
        text = str(self.default if value is None else value)
        if self.form is Form.RATIO:
            return {self.name: text, f"{self.name}_percent": f"{(100 * Decimal(text)).normalize():f} %"}
        return {self.name: window(text) if self.form is Form.WINDOW else text}


def window(text: str) -> str:
    """`text` as a range of PromQL."""
    return _bounded(text, 1)


def wait(text: str) -> str:
    """`text` as an alert's `for`."""
    return _bounded(text, 0)


def _bounded(text: str, shortest: int) -> str:
    seconds = durations.seconds_of(text)
    within = min(max(seconds, shortest), LONGEST_SECONDS)
    return text if within == seconds else durations.text_of(within)
