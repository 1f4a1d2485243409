"""Whether an object still looks as it was written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from operators.coursegen_operator.resources import Object


def differs(wanted: Object, live: Object) -> bool:
    """Whether `live` lacks something of `wanted`, or has more items in one of its lists.

    Fields that `wanted` does not name are none of ours: the API server's defaults, and what others have added.
    """
    return not (
        all(_has(live.get(key), value) for key, value in wanted.items() if key != "metadata")
        and _has(live.get("metadata", {}), _metadata(wanted))
        and _is_owned_alike(wanted, live)
    )


def spec_differs(wanted: Object, live: Object) -> bool:
    """Whether that is so beside the metadata: what others have added to lists survives an apply."""
    return not all(_has(live.get(key), value) for key, value in wanted.items() if key != "metadata")


def differences(wanted: Any, live: Any, path: str = "") -> Iterator[str]:
    """Where `live` lacks something of `wanted`, as `spec.containers[0].image`; below `path`."""
    if isinstance(wanted, dict) and isinstance(live, dict):
        for key, value in wanted.items():
            if not _has(live.get(key), value):
                yield from differences(value, live.get(key), f"{path}.{key}" if path else key)
    elif isinstance(wanted, list) and isinstance(live, list) and len(wanted) == len(live):
        for index, (here, there) in enumerate(zip(wanted, live, strict=True)):
            if not _has(there, here):
                yield from differences(here, there, f"{path}[{index}]")
    else:
        yield path


def without_nothing(value: Any) -> Any:
    """`value` without the fields that are None: to an API server they are orders to delete."""
    if isinstance(value, dict):
        return {key: without_nothing(each) for key, each in value.items() if each is not None}
    if isinstance(value, list | tuple):
        return [without_nothing(each) for each in value]
    return value


def _metadata(wanted: Object) -> Object:
    return {key: value for key, value in wanted.get("metadata", {}).items() if key != "ownerReferences"}


def _is_owned_alike(wanted: Object, live: Object) -> bool:
    there = live.get("metadata", {}).get("ownerReferences") or []
    return all(
        any(_has(each, owner) for each in there) for owner in wanted.get("metadata", {}).get("ownerReferences") or []
    )


def _has(live: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        if not wanted and live is None:  # the API server leaves out what is empty
            return True
        return isinstance(live, dict) and all(_has(live.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list | tuple):
        if not wanted and live is None:
            return True
        return (
            isinstance(live, list)
            and len(live) == len(wanted)
            and all(_has(there, here) for there, here in zip(live, wanted, strict=True))
        )
    if wanted is None:
        return True
    return bool(live == wanted) or (live is None and wanted in (False, 0, ""))
