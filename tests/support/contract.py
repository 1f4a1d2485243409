"""Every answer that a test sees, checked against the api's own description: documented status, type, body and headers.

`running_api` puts a `Contract` into its client, so that all tests of the api are contract tests as well.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import httpx
from jsonschema import Draft202012Validator, FormatChecker

Seen = Counter[tuple[str, str, int]]
"""How often each (method, path template, status) was answered."""


class Contract:
    """One description, and what was seen of it."""

    def __init__(self, description: Mapping[str, Any]) -> None:
        self._description = description
        self.seen: Seen = Counter()

    @cached_property
    def _paths(self) -> list[tuple[re.Pattern[str], str]]:
        paths = sorted(self._description["paths"], key=lambda path: path.count("{"))
        return [(re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path))), path) for path in paths]

    def operation(self, method: str, path: str) -> tuple[str, Mapping[str, Any]] | None:
        """The path template and the operation that a request is for; None when the description has none."""
        for pattern, template in self._paths:
            operation = self._description["paths"][template].get(("GET" if method == "HEAD" else method).lower())
            if pattern.fullmatch(path) and operation is not None:
                return template, operation
        return None

    async def hook(self, response: httpx.Response) -> None:
        """Check an answer as the client receives it; for httpx' `event_hooks`. A stream's body is left to its reader."""
        streams = response.headers.get("content-type", "").startswith("text/event-stream")
        self.check(response, None if streams else await response.aread())

    def check(self, response: httpx.Response, body: bytes | None) -> None:
        """Check an answer.

        Raises:
            AssertionError: it is not documented, or not as documented.
        """
        request = response.request
        found = self.operation(request.method, request.url.path)
        if found is None:
            return
        template, operation = found
        what = f"{request.method} {template} → {response.status_code}"
        documented = operation["responses"].get(str(response.status_code))
        assert documented is not None, f"{what}: the description does not know this status: {body!r}"
        self.seen[request.method, template, response.status_code] += 1
        self._check_headers(what, documented, response)
        if body is not None and request.method != "HEAD":
            self._check_body(what, documented, response, body)

    def _check_headers(self, what: str, documented: Mapping[str, Any], response: httpx.Response) -> None:
        for name, reference in documented.get("headers", {}).items():
            schema = self._resolve(reference)["schema"]
            value: Any = response.headers.get(name)
            if value is not None:
                value = int(value) if schema["type"] == "integer" else value
                Draft202012Validator(schema).validate(value)
        if response.status_code == 401:
            assert "www-authenticate" in response.headers, what
        if response.status_code == 429:
            assert "retry-after" in response.headers, what

    def _check_body(self, what: str, documented: Mapping[str, Any], response: httpx.Response, body: bytes) -> None:
        kinds = documented.get("content", {})
        if not kinds:
            assert body == b"", f"{what}: a body that is not described: {body[:200]!r}"
            return
        kind = response.headers["content-type"].partition(";")[0]
        assert kind in kinds, f"{what}: {kind} is not among {sorted(kinds)}"
        if kind != "application/json":
            return
        document = json.loads(body)
        faults = list(self._validator(kinds[kind]["schema"]).iter_errors(document))
        assert not faults, f"{what}: {faults[0].json_path}: {faults[0].message}\n{body[:2000]!r}"
        assert b'": ' not in body or json.dumps(document).encode() != body, f"{what}: the JSON is not compact"

    def _validator(self, schema: Mapping[str, Any]) -> Draft202012Validator:
        document = {**schema, "components": self._description["components"]}
        return Draft202012Validator(document, format_checker=FormatChecker())

    def _resolve(self, reference: Mapping[str, Any]) -> Mapping[str, Any]:
        if "$ref" not in reference:
            return reference
        found: Any = self._description
        for name in reference["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        return dict(found)
