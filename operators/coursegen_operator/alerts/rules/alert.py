"""What an alert is, as data: its condition, its words, and the figures that a policy may set.

Conditions and words are templates. `@name` stands for a figure of the preset; `@here` and `@and_here` narrow a series to the
policy's namespace, behind a plain name and behind other matchers; `@kubectl` is the beginning of a command line, `@workers` what
selects the workers' pods. What Prometheus fills in itself stays as it is: `{{ $value }}`, `{{ $labels.queue }}`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from operators.coursegen_operator.alerts.rules.figures import Figure

Severity = Literal["critical", "warning", "info"]

SEVERITIES: Final[tuple[Severity, ...]] = ("critical", "warning", "info")
"""What `severity` may say: somebody is woken, somebody looks the same day, nobody is told."""

PLACE: Final = "{{ with $labels.namespace }} in namespace {{ . }}{{ end }}"
"""Where it happened, for a summary; nothing where series have no namespace."""
DEAD_ROWS: Final = (
    "Next: admin GET dead-letters kind=outbox, a word of the runbook; or coursegen admin dead-letters list"
)
"""How dead rows of the outbox are listed, for a description: at night nobody may have `coursegen`."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert, before a policy's figures are filled in."""

    name: str
    severity: Severity
    condition: str
    """A template of PromQL: every series that it finds is an alert."""
    summary: str
    description: str
    """What is so, and the next command to run."""
    hold: str = "5m"
    """How long the condition must hold before the alert fires (GAP12), unless the policy says otherwise."""
    hold_figure: str = ""
    """The preset's field that sets `hold` for this alert alone."""
    is_on: bool = True
    """Whether it is part of its preset by default."""


@dataclass(frozen=True, slots=True)
class Record:
    """A series that Prometheus keeps beforehand, since alerts ask for it again and again."""

    name: str
    expression: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Preset:
    """Alerts that belong together: one field of a policy, one group of rules."""

    name: str
    """The field of `spec.presets`."""
    group: str
    """The name of the group of rules."""
    doc: str
    alerts: tuple[Alert, ...]
    figures: tuple[Figure, ...] = ()
    interval: str = ""
    """How often the rules are evaluated, whatever the policy says of others."""
    records: Callable[[Mapping[str, Any], str], tuple[Record, ...]] | None = None
    """Makes the series that its alerts ask for, from the preset's settings and the namespace."""
    rules: tuple[tuple[str, str], ...] = ()
    """What the API server checks of its settings together, in CEL, each with what it says."""
    derived: Callable[[Mapping[str, Any], str], Mapping[str, str]] | None = None
    """Makes further names for the templates, likewise."""
