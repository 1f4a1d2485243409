"""Assembles the definitions of the three kinds from their own modules; `scripts/crds.py` writes them into the chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from operators.coursegen_operator.alerts import schema as alerts
from operators.coursegen_operator.migrations import schema as migrations
from operators.coursegen_operator.resources import (
    ALERT_POLICY,
    CATEGORY,
    DATABASE_MIGRATION,
    RETENTION_POLICY,
    Object,
    ResourceType,
)
from operators.coursegen_operator.retention import schema as retention
from operators.coursegen_operator.schemas.openapi import Schema

NOT_SEEN: Final = -1
"""The generation in a status that no operator has written: whoever waits for the present one waits for the operator."""

_DOCS: Final = {
    DATABASE_MIGRATION: "Keeps the schema of one database at a revision of an image's migrations.",
    RETENTION_POLICY: "Deletes rows that are old enough, on a schedule.",
    ALERT_POLICY: "Has Prometheus watch coursegen: rules made from presets, objectives and thresholds.",
}


def definitions() -> dict[str, Object]:
    """The three definitions, by the plural of their kind."""
    return {
        each.plural: definition(each, module.SPEC, module.STATUS, module.COLUMNS, module.SELECTABLE)
        for each, module in (
            (DATABASE_MIGRATION, migrations),
            (RETENTION_POLICY, retention),
            (ALERT_POLICY, alerts),
        )
    }


def definition(
    resource_type: ResourceType,
    spec: Schema,
    status: Schema,
    columns: Sequence[Mapping[str, Any]],
    selectable: Sequence[str],
) -> Object:
    """One definition, with a status of its own that begins as not seen."""
    schema = {
        "type": "object",
        "description": _DOCS[resource_type],
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": "Version of the schema of this object."},
            "kind": {"type": "string", "description": "What this object is."},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": {**status, "default": {"observedGeneration": NOT_SEEN}},
        },
    }
    version = {
        "name": resource_type.version,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": schema},
        "additionalPrinterColumns": [dict(each) for each in columns],
        "selectableFields": [{"jsonPath": path} for path in selectable],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{resource_type.plural}.{resource_type.group}"},
        "spec": {
            "group": resource_type.group,
            "scope": "Namespaced",
            "names": {
                "kind": resource_type.kind,
                "listKind": f"{resource_type.kind}List",
                "plural": resource_type.plural,
                "singular": resource_type.kind.lower(),
                "shortNames": [resource_type.short],
                "categories": [CATEGORY],
            },
            "versions": [version],
        },
    }
