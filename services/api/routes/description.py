"""The api's own description: `/openapi.json`, and a page for people that loads nothing from outside."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Final

import orjson

from services.api.messages import Reply, Request
from services.api.routing import Answer, Operation

TAG: Final = "Description"

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}
h2{margin-top:2.5rem;border-bottom:1px solid #d0d7de}
article{margin:1.25rem 0;padding:.75rem 1rem;border:1px solid #d0d7de;border-radius:6px}
code,pre{font:14px/1.45 ui-monospace,monospace}
pre{overflow:auto;background:#f6f8fa;padding:.75rem;border-radius:6px}
.method{display:inline-block;min-width:4.5rem;font-weight:700}
.open{color:#57606a;font-size:.85rem}
table{border-collapse:collapse}
td{padding:.1rem 1rem .1rem 0;vertical-align:top}
@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}pre{background:#161b22}}
"""
_POLICY = b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"


class DescriptionRoutes:
    """Serves the description, which is made once, when somebody asks for it first: a process that starts has no time for it."""

    def __init__(self) -> None:
        self._describe: Callable[[], Mapping[str, Any]] = dict

    @cached_property
    def _description(self) -> Mapping[str, Any]:
        return self._describe()

    @cached_property
    def _document(self) -> bytes:
        return orjson.dumps(self._description)

    @cached_property
    def _page(self) -> bytes:
        return page(self._description).encode()

    def operations(self) -> list[Operation]:
        """This module's part of the table."""
        return [
            Operation(
                method="GET",
                path="/openapi.json",
                handler=self.openapi,
                tag=TAG,
                answers={200: Answer("The description", dict[str, Any])},
                public=True,
            ),
            Operation(
                method="GET",
                path="/docs",
                handler=self.docs,
                tag=TAG,
                answers={200: Answer("A page", content_type="text/html")},
                public=True,
            ),
        ]

    def publish(self, describe: Callable[[], Mapping[str, Any]]) -> None:
        """Serve what this makes, once the table of routes is whole."""
        self._describe = describe

    async def openapi(self, request: Request) -> Reply:
        """This api as an OpenAPI 3.1 document."""
        del request
        return Reply(200, self._document)

    async def docs(self, request: Request) -> Reply:
        """This api as a page for people."""
        del request
        return Reply(200, self._page, b"text/html; charset=utf-8", ((b"content-security-policy", _POLICY),))


def page(description: Mapping[str, Any]) -> str:
    """The description as one HTML page without scripts, fonts or anything else from elsewhere."""
    groups: dict[str, list[str]] = {}
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            groups.setdefault(operation["tags"][0], []).append(_article(method, path, operation))
    body = "".join(f"<h2>{html.escape(tag)}</h2>{''.join(articles)}" for tag, articles in groups.items())
    schemas = orjson.dumps(description["components"]["schemas"], option=orjson.OPT_INDENT_2).decode()
    title = html.escape(description["info"]["title"])
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title} api</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
        f"<h1>{title} api</h1><p>{html.escape(description['info']['description'])} "
        'Machine-readable: <a href="/openapi.json">/openapi.json</a>.</p>'
        f"{body}<h2>Bodies</h2><pre>{html.escape(schemas)}</pre></body></html>"
    )


def _article(method: str, path: str, operation: Mapping[str, Any]) -> str:
    answers = "".join(
        f"<tr><td><code>{status}</code></td><td>{html.escape(answer['description'])}</td></tr>"
        for status, answer in operation["responses"].items()
    )
    parameters = "".join(
        f"<tr><td><code>{html.escape(each['name'])}</code> ({each['in']})</td><td>{html.escape(each['description'])}</td></tr>"
        for each in operation["parameters"]
    )
    access = "" if operation["security"] else ' <span class="open">no token needed</span>'
    more = html.escape(operation.get("description", ""))
    return (
        f'<article><p><code><span class="method">{method.upper()}</span>{html.escape(path)}</code>{access}</p>'
        f"<p>{html.escape(operation['summary'])} {more}</p><table>{parameters}{answers}</table></article>"
    )
