"""Label selectors, judged as Kubernetes does, and also where only some of the labels are known.

::

    absent                 selects nothing
    {}                     selects everything
    matchLabels            each label has that value
    matchExpressions       In, NotIn, Exists, DoesNotExist; NotIn also holds where the label is not there
    anything malformed     is refused by Kubernetes, and so selects nothing

All requirements must hold. `Labels.unknown` stands for labels that nobody was allowed to read: what depends on them is
`Unknown`, what does not is still told.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from operators.coursegen_operator.conditions import Standing

IN: Final = "In"
NOT_IN: Final = "NotIn"
EXISTS: Final = "Exists"
DOES_NOT_EXIST: Final = "DoesNotExist"

VALUE_PATTERN: Final = r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"
"""What a label may be, together with 63 characters at most."""
KEY_PATTERN: Final = (
    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$"
)
"""What a label may be called: an optional domain, and a name of 63 characters at most."""

_VALUE: Final = re.compile(VALUE_PATTERN)
_KEY: Final = re.compile(KEY_PATTERN)


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of an object, as far as they are known."""

    known: Mapping[str, str]
    is_complete: bool = True
    """False: there may be others."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One thing that a selector asks for."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def judge(self, labels: Labels) -> Standing:
        """Whether `labels` meet it."""
        if self.key not in labels.known and not labels.is_complete:
            return "Unknown"
        value = labels.known.get(self.key)
        if self.operator == IN:
            return _standing(value in self.values)
        if self.operator == NOT_IN:
            return _standing(value not in self.values)
        return _standing((value is not None) == (self.operator == EXISTS))

    def __str__(self) -> str:
        if self.operator in {EXISTS, DOES_NOT_EXIST}:
            return self.key if self.operator == EXISTS else f"!{self.key}"
        if self.operator == IN and len(self.values) == 1:
            return f"{self.key}={self.values[0]}"
        return f"{self.key} {'in' if self.operator == IN else 'notin'} ({','.join(self.values)})"


@dataclass(frozen=True, slots=True)
class Selector:
    """A selector that is there; one that is absent is None, wherever it may be absent."""

    requirements: tuple[Requirement, ...] = ()
    fault: str = ""
    """Why Kubernetes refuses it."""

    @classmethod
    def of(cls, written: Any) -> Selector | None:
        """The selector that an object states."""
        if written is None:
            return None
        if not isinstance(written, dict):
            return cls(fault="it is no object")
        asked = [Requirement(key, IN, (value,)) for key, value in (written.get("matchLabels") or {}).items()]
        asked += [
            Requirement(item.get("key", ""), item.get("operator", ""), tuple(item.get("values") or ()))
            for item in written.get("matchExpressions") or ()
        ]
        faults = [fault for requirement in asked if (fault := _fault_of(requirement))]
        return cls(fault=faults[0]) if faults else cls(tuple(asked))

    def judge(self, labels: Labels) -> Standing:
        """Whether it selects what has `labels`."""
        if self.fault:
            return "False"
        return all_of(*(requirement.judge(labels) for requirement in self.requirements))

    def unmet(self, labels: Labels) -> tuple[Requirement, ...]:
        """The requirements that `labels` do not meet."""
        return tuple(each for each in self.requirements if each.judge(labels) == "False")

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements)) or "everything"


def all_of(*standings: Standing) -> Standing:
    """False as soon as one is, Unknown if nothing is worse, else True."""
    if "False" in standings:
        return "False"
    return "Unknown" if "Unknown" in standings else "True"


def is_label(key: str, value: str) -> bool:
    """Whether the API server accepts this label."""
    name = key.rpartition("/")[2]
    prefix_fits = len(key) - len(name) <= 254  # 253 and the slash
    return prefix_fits and len(name) <= 63 and _fits(_KEY, key) and len(value) <= 63 and _fits(_VALUE, value)


def _fits(form: re.Pattern[str], text: str) -> bool:
    return form.match(text) is not None and not text.endswith("\n")


def _standing(holds: bool) -> Standing:
    return "True" if holds else "False"


def _fault_of(requirement: Requirement) -> str:
    if requirement.operator not in {IN, NOT_IN, EXISTS, DOES_NOT_EXIST}:
        return f"{requirement.operator!r} is no operator of a selector"
    if (requirement.operator in {IN, NOT_IN}) != bool(requirement.values):
        wanted = "at least one value" if requirement.operator in {IN, NOT_IN} else "no values"
        return f"{requirement.operator} on {requirement.key} takes {wanted}"
    for value in requirement.values or ("",):
        if not isinstance(value, str) or not is_label(requirement.key, value):
            return f"{requirement.key}={value} is no label"
    return ""
