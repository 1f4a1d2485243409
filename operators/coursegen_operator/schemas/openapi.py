"""Structural schemas, written briefly: every field has a description, and every text and list an end.

CEL rules are charged by the longest that a text or list may be, so that each has a bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from operators.coursegen_operator import durations

Schema = dict[str, Any]

TEXT_LENGTH: Final = 1024
ITEMS: Final = 64

QUANTITY_PATTERN: Final = (
    r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
)
FRACTION_PATTERN: Final = r"^(0(\.[0-9]{1,6})?|1(\.0{1,6})?)$"
NAME_PATTERN: Final = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"


def cel(rule: str, message: str, *, path: str = "", message_expression: str = "") -> Schema:
    """A rule that the API server checks; `message` says what is allowed. `path` is the field to blame."""
    found: Schema = {"rule": rule, "message": message}
    if path:
        found["fieldPath"] = path
    if message_expression:
        found["messageExpression"] = message_expression
    return found


def string(
    doc: str,
    *,
    pattern: str = "",
    enum: Sequence[str] = (),
    default: str | None = None,
    min_length: int | None = None,
    max_length: int = TEXT_LENGTH,
    format: str = "",  # noqa: A002  # as OpenAPI calls it
    rules: Sequence[Schema] = (),
) -> Schema:
    """A text."""
    found = _field("string", doc, default, rules)
    if enum:
        return {**found, "enum": list(enum)}
    found["maxLength"] = max_length
    if min_length is not None:
        found["minLength"] = min_length
    if pattern:
        found["pattern"] = pattern
    if format:
        found["format"] = format
    return found


def name(doc: str, *, default: str | None = None, max_length: int = 253) -> Schema:
    """The name of an object."""
    return string(doc, pattern=NAME_PATTERN, default=default, min_length=1, max_length=max_length)


def duration(doc: str, *, default: str | None = None, rules: Sequence[Schema] = ()) -> Schema:
    """A duration, as `durations` reads it."""
    return string(
        doc,
        pattern=durations.PATTERN,
        default=default,
        min_length=durations.MINIMUM_LENGTH,
        max_length=durations.MAXIMUM_LENGTH,
        rules=rules,
    )


def fraction(doc: str, *, default: str | None = None) -> Schema:
    """A share from 0 to 1, as text: Kubernetes' objects have no floating point numbers."""
    return string(doc, pattern=FRACTION_PATTERN, default=default, max_length=8)


def date_time(doc: str) -> Schema:
    """A moment."""
    return {"type": "string", "description": doc, "format": "date-time"}


def quantity(doc: str, *, default: str | None = None) -> Schema:
    """An amount of a resource, such as 500m or 128Mi."""
    found: Schema = {"description": doc, "x-kubernetes-int-or-string": True, "pattern": QUANTITY_PATTERN}
    found["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    return found if default is None else {**found, "default": default}


def integer(
    doc: str,
    *,
    default: int | None = None,
    minimum: int | None = None,
    maximum: int | None = None,
    rules: Sequence[Schema] = (),
) -> Schema:
    """A whole number of up to 64 bits."""
    found = {**_field("integer", doc, default, rules), "format": "int64"}
    if minimum is not None:
        found["minimum"] = minimum
    if maximum is not None:
        found["maximum"] = maximum
    return found


def boolean(doc: str, *, default: bool | None = None) -> Schema:
    """Yes or no."""
    return _field("boolean", doc, default)


def array(
    doc: str,
    items: Schema,
    *,
    default: Sequence[Any] | None = None,
    min_items: int | None = None,
    max_items: int = ITEMS,
    rules: Sequence[Schema] = (),
) -> Schema:
    """A list that is written as a whole."""
    found = _field("array", doc, None if default is None else list(default), rules)
    found |= {"items": items, "maxItems": max_items, "x-kubernetes-list-type": "atomic"}
    return found if min_items is None else {**found, "minItems": min_items}


def list_map(
    doc: str,
    items: Schema,
    *,
    keys: Sequence[str] = ("name",),
    min_items: int | None = None,
    max_items: int = ITEMS,
    rules: Sequence[Schema] = (),
) -> Schema:
    """A list whose items are told apart by `keys`, each of which is required of an item."""
    found = array(doc, items, min_items=min_items, max_items=max_items, rules=rules)
    return {**found, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


def obj(
    doc: str,
    properties: Mapping[str, Schema],
    *,
    required: Sequence[str] = (),
    default: Mapping[str, Any] | None = None,
    rules: Sequence[Schema] = (),
) -> Schema:
    """An object with these fields; the API server drops others, and refuses them when it validates strictly."""
    found = _field("object", doc, None if default is None else dict(default), rules)
    found["properties"] = dict(properties)
    return {**found, "required": list(required)} if required else found


def text_map(
    doc: str, *, max_length: int = TEXT_LENGTH, max_items: int = ITEMS, rules: Sequence[Schema] = ()
) -> Schema:
    """Texts by name, such as labels."""
    found = _field("object", doc, None, rules)
    values = {"type": "string", "maxLength": max_length}
    return {**found, "additionalProperties": values, "maxProperties": max_items}


def secret_key_ref(doc: str, *, key: str = "DATABASE_URL") -> Schema:
    """One value of a Secret in the namespace of the resource. Only Jobs read it, never the operator."""
    return obj(
        doc,
        {
            "name": name("Name of the Secret, in the namespace of this resource."),
            "key": string("Key of the value in the Secret.", default=key, min_length=1, max_length=253),
        },
        required=("name",),
    )


def conditions() -> Schema:
    """The conditions of a status, as `metav1.Condition`."""
    item = obj(
        "One claim about the resource.",
        {
            "type": string("What is claimed.", max_length=316),
            "status": string("Whether it holds.", enum=("True", "False", "Unknown")),
            "reason": string("Why, in one word for programs.", min_length=1),
            "message": string("Why, in a sentence for people; a failure names the next command.", max_length=32768),
            "observedGeneration": integer("The generation of the spec this was seen at.", minimum=0),
            "lastTransitionTime": date_time("When the status last changed."),
        },
        required=("type", "status", "reason", "message", "lastTransitionTime"),
    )
    return list_map(
        "What holds of the resource. Ready, Reconciling and Stalled are always there.", item, keys=("type",)
    )


def observed_generation() -> Schema:
    """-1 until the operator has looked: Helm and `kubectl wait` do not mistake a new resource for a finished one."""
    return integer("The generation of the spec that this status tells of; -1: not looked at yet.", default=-1)


def column(title: str, path: str, doc: str, *, type: str = "string", wide: bool = False) -> Schema:  # noqa: A002
    """A column of `kubectl get`; `wide` ones are shown with `-o wide` only."""
    found: Schema = {"name": title, "type": type, "jsonPath": path, "description": doc}
    return {**found, "priority": 1} if wide else found


def _field(kind: str, doc: str, default: Any, rules: Sequence[Schema] = ()) -> Schema:
    found: Schema = {"type": kind, "description": doc}
    if default is not None:
        found["default"] = default
    if rules:
        found["x-kubernetes-validations"] = list(rules)
    return found
