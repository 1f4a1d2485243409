"""What the API server checks of a policy's presets."""

from __future__ import annotations

from typing import Final

from operators.coursegen_operator.alerts.rules.alert import SEVERITIES, Alert, Preset
from operators.coursegen_operator.alerts.rules.catalogue import PRESETS
from operators.coursegen_operator.schemas import openapi


def preset_schema(preset: Preset) -> openapi.Schema:
    """The field of `spec.presets` for one preset."""
    figures = {figure.name: figure.schema() for figure in preset.figures}
    interval = f"How often its rules are evaluated. Default: {preset.interval or 'spec.interval'}."
    properties = {
        "enabled": openapi.boolean("Whether its alerts are made.", default=True),
        "severity": openapi.string("One severity for all its alerts, instead of each one's own.", enum=SEVERITIES),
        "for": openapi.duration("One wait for all its alerts before they fire, instead of each one's own."),
        "interval": openapi.duration(interval),
        **figures,
        "alerts": openapi.obj("Settings of single alerts.", {each.name: _single(each) for each in preset.alerts}),
    }
    rules = [openapi.cel(*rule) for rule in preset.rules]
    return openapi.obj(f"{preset.doc} Each field has a default: {{}} turns the preset on.", properties, rules=rules)


def _single(alert: Alert) -> openapi.Schema:
    on = "on" if alert.is_on else "off"
    return openapi.obj(
        alert.name,
        {
            "enabled": openapi.boolean(f"Whether it is made. Default: {on}."),
            "severity": openapi.string(f"Default: {alert.severity}.", enum=SEVERITIES),
            "for": openapi.duration(f"How long it must hold before it fires. Default: {alert.hold}."),
        },
    )


PRESET_SCHEMAS: Final[dict[str, openapi.Schema]] = {preset.name: preset_schema(preset) for preset in PRESETS}
"""The properties of `spec.presets`, by name."""
