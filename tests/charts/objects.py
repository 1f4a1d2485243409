"""Looking into rendered objects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]


def of_kind(objects: list[Object], kind: str) -> dict[str, Object]:
    """Objects of a kind, by name."""
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}


def pods(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """The specification of every pod, with the name of what makes it."""
    for each in objects:
        if each["kind"] == "Pod":
            yield each["metadata"]["name"], each["spec"]
        elif each["kind"] in {"Deployment", "StatefulSet", "Job"}:
            yield each["metadata"]["name"], each["spec"]["template"]["spec"]


def settings(objects: list[Object], name: str) -> dict[str, str]:
    """The settings of a Deployment that are no secrets."""
    found: dict[str, str] = of_kind(objects, "ConfigMap")[name]["data"]
    return found
