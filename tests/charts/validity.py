"""Objects against the schemas that Kubernetes publishes; what two Helms, or two files of values, make the same is judged once."""

from __future__ import annotations

import functools

import kubernetes_validate
import orjson
from kubernetes_validate import utils

from tests.charts.objects import Object

utils.schema_contents = functools.cache(utils.schema_contents)  # it reads megabytes anew for each object


def require_valid(each: Object, version: str) -> None:
    """No field but those that this version of Kubernetes knows.

    Raises:
        kubernetes_validate.ValidationError: it has another, or a wrong one.
    """
    _judge(orjson.dumps(each, option=orjson.OPT_SORT_KEYS), version)


@functools.cache
def _judge(text: bytes, version: str) -> None:
    kubernetes_validate.validate(orjson.loads(text), version, strict=True)
