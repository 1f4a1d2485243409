"""Fields of a spec that say how Jobs run, the same for every kind that has some."""

from __future__ import annotations

from typing import Final

from operators.coursegen_operator.schemas.openapi import (
    Schema,
    array,
    cel,
    integer,
    list_map,
    name,
    obj,
    quantity,
    string,
    text_map,
)

LABEL_VALUE: Final = r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"
LABEL_KEY: Final = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"


def labels(doc: str, *, checks_names: bool = False) -> Schema:
    """Labels; with `checks_names` a name that is none is refused here already, not when the Job is made."""
    names = cel(
        f"self.all(key, key.matches('{LABEL_KEY}'))", "names are labels: [prefix/]name, of at most 63 characters"
    )
    rules = [
        *([names] if checks_names else []),
        cel(f"self.all(key, self[key].matches('{LABEL_VALUE}'))", "values are those of labels: letters, digits, - _ ."),
        cel(
            "self.all(key, !key.startsWith('ops.coursegen.dev/'))",
            "labels of ops.coursegen.dev/ are the operator's own",
        ),
    ]
    return text_map(doc, max_length=63, max_items=16, rules=rules)


def resources(example: str) -> Schema:
    """What a pod asks for; `example` is an amount of memory."""
    return obj(
        "What a pod asks for and may use.",
        {
            "requests": _amounts(f"What the node must have free, such as cpu: 50m or memory: {example}."),
            "limits": _amounts("What the pod may use at most."),
        },
    )


def service_account_name() -> Schema:
    """Whose name the pods bear."""
    return name("The pods' service account; they get no token. Without one: default.")


def tolerations() -> Schema:
    """Which tainted nodes the pods may run on; what Kubernetes would refuse in a pod is refused here already."""
    toleration = obj(
        "Taints of one kind.",
        {
            "key": string(
                "The taint's key; without one: of any, with operator Exists.",
                pattern=rf"^$|{LABEL_KEY}",
                max_length=316,
            ),
            "operator": string(
                "Equal: of this value; Exists: of any. Without one: Equal.", enum=("Equal", "Exists"), default="Equal"
            ),
            "value": string("The taint's value, with operator Equal.", pattern=LABEL_VALUE, max_length=63),
            "effect": string(
                "What the taint does. Without one: any.", enum=("NoSchedule", "PreferNoSchedule", "NoExecute")
            ),
            "tolerationSeconds": integer("So long only, with effect NoExecute. Without it: for ever."),
        },
        rules=[
            cel(
                "(has(self.key) && self.key != '') || (has(self.operator) && self.operator == 'Exists')",
                "without a key, operator must be Exists",
            ),
            cel(
                "!has(self.operator) || self.operator != 'Exists' || !has(self.value) || self.value == ''",
                "operator Exists takes no value",
            ),
            cel(
                "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
                "tolerationSeconds needs effect NoExecute",
            ),
        ],
    )
    return array("Taints that the pods tolerate, as in a pod.", toleration, max_items=16)


def image(doc: str) -> Schema:
    """An image with its tag or digest."""
    tagged = cel("self.contains(':') || self.contains('@')", "must name a tag or a digest: name:tag or name@sha256:…")
    return string(doc, pattern=r"^[^\s]+$", min_length=3, max_length=512, rules=[tagged])


def image_pull_policy() -> Schema:
    """When it is pulled."""
    return string(
        "When the image is pulled. Without one, as Kubernetes does by its tag.",
        enum=("Always", "IfNotPresent", "Never"),
    )


def image_pull_secrets() -> Schema:
    """Who may pull it."""
    secret = obj(
        "A Secret.", {"name": name("Name of the Secret, in the namespace of this resource.")}, required=("name",)
    )
    return list_map("Secrets for pulling the image.", secret, max_items=8)


def command(doc: str) -> Schema:
    """What the image runs."""
    return array(doc, string("A word of the command.", min_length=1, max_length=512), max_items=16)


def _amounts(doc: str) -> Schema:
    found: Schema = {"type": "object", "description": doc, "maxProperties": 8}
    return {**found, "additionalProperties": quantity("How much of it.")}
