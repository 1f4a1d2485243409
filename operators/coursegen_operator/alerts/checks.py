"""What is wrong with a PrometheusRule, found before it is written: one rule that Prometheus cannot read costs all of them.

Every fault says which alert it is about and what to do. `limits` first, since the parser of PromQL is not made for
whatever somebody may write: it takes quadratic time for long chains of operators, and ends the process on brackets nested
some ten thousand deep.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

import promql_parser

from operators.coursegen_operator.alerts.selectors import is_label
from operators.coursegen_operator.resources import Object

RULE_BYTES: Final = 512 * 1024
"""The Prometheus Operator refuses more: its rules travel in a ConfigMap."""
EXPRESSION_LENGTH: Final = 16_384
NESTING: Final = 64
OPERATORS: Final = 256

NEEDED: Final = ("summary", "description", "runbook_url")
"""The annotations of every alert; its label `severity` is needed, too."""

_DURATION: Final = re.compile(r"(0|([0-9]+y)?([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)")
_METRIC: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_QUOTED: Final = re.compile(r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`|\#[^\n]*""", re.DOTALL)
_ACTION: Final = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_OPERATOR: Final = re.compile(r"[-+*/%^<>=!]+|\b(?:and|or|unless|atan2)\b", re.IGNORECASE)

_FUNCTIONS: Final = (
    # Prometheus 2 has it by this name, and so have rules that people bring along.
    promql_parser.Function(
        "holt_winters",
        [promql_parser.ValueType.Matrix, promql_parser.ValueType.Scalar, promql_parser.ValueType.Scalar],
        promql_parser.ValueType.Vector,
    ),
)


def faults(manifest: Object) -> list[str]:
    """Everything that is wrong with a PrometheusRule; nothing, if Prometheus will take it."""
    size = len(json.dumps(manifest, separators=(",", ":"), ensure_ascii=False).encode(errors="replace"))
    if size > RULE_BYTES:
        return [
            f"the PrometheusRule has {size} bytes and may have {RULE_BYTES}: move some of spec.extraGroups or spec.slos "
            "to a second AlertPolicy"
        ]
    groups = manifest["spec"]["groups"]
    found = [
        f"spec.ruleLabels: {name}={value} is no label of Kubernetes: letters, digits, - _ . and at most 63 of them"
        for name, value in manifest["metadata"]["labels"].items()
        if not is_label(name, value)
    ]
    names = Counter(group.get("name", "") for group in groups)
    found += [
        f"{times} groups are called {name!r}: give each of spec.extraGroups a name of its own"
        for name, times in names.items()
        if times > 1
    ]
    for group in groups:
        found += _group_faults(group)
    return found


def _group_faults(group: Object) -> Iterator[str]:
    name = group.get("name")
    if not isinstance(name, str) or not name:
        yield "a group of spec.extraGroups has no name: give it one"
    for field in ("interval", "query_offset"):
        if field in group and not is_duration(group[field]):
            yield f"group {name}: {field} {group[field]!r} is no duration: write 30s, 5m or 1h30m"
    if "limit" in group and not _is_count(group["limit"]):
        yield f"group {name}: limit {group['limit']!r} is no whole number"
    yield from (f"group {name}: {fault}" for fault in _label_faults(group.get("labels")))
    for rule in group.get("rules") or ():
        where = f"{_title_of(rule)} of group {name}"
        yield from (f"{where}: {fault}" for fault in _rule_faults(rule))


def _title_of(rule: Object) -> str:
    if "alert" in rule:
        return f"alert {rule['alert']}"
    return f"record {rule['record']}" if "record" in rule else "a rule"


def _rule_faults(rule: Object) -> Iterator[str]:
    if ("alert" in rule) == ("record" in rule):
        yield "it needs either alert or record"
    yield from _expression_faults(rule.get("expr"))
    yield from _label_faults(rule.get("labels"))
    if "alert" in rule:
        yield from _alert_faults(rule)
    elif "record" in rule:
        yield from _record_faults(rule)


def _alert_faults(rule: Object) -> Iterator[str]:
    if not isinstance(rule["alert"], str) or not rule["alert"].strip():
        yield "its name is empty"
    for field in ("for", "keep_firing_for"):
        if field in rule and not is_duration(rule[field]):
            yield f"{field} {rule[field]!r} is no duration: write 30s, 5m or 1h30m"
    if not _texts(rule.get("labels")).get("severity", "").strip():
        yield "label severity is missing: add severity critical, warning or info to its labels"
    yield from _annotation_faults(_texts(rule.get("annotations")))


def _annotation_faults(annotations: Mapping[str, str]) -> Iterator[str]:
    for field in NEEDED:
        if not annotations.get(field, "").strip():
            yield f"annotation {field} is missing: add {field} to its annotations"
    url = annotations.get("runbook_url", "").strip()
    if url and not is_url(url):
        yield f"annotation runbook_url {url!r} is no address: write https://host/path"
    for field, text in annotations.items():
        if not _LABEL.fullmatch(field):
            yield f"annotation {field!r} is no name: letters, digits and _ are allowed"
        if not is_template(text):
            yield f"annotation {field} has {{{{ without }}}}"


def _record_faults(rule: Object) -> Iterator[str]:
    if not isinstance(rule["record"], str) or not _METRIC.fullmatch(rule["record"]):
        yield "its name is no name of a series: letters, digits, _ and : are allowed"
    for field in ("for", "keep_firing_for", "annotations"):
        if field in rule:
            yield f"{field} is for alerts only: remove it"


def _label_faults(labels: Any) -> Iterator[str]:
    for name, value in _texts(labels).items():
        if not _LABEL.fullmatch(name) or name == "__name__":
            yield f"label {name!r} is no name: letters, digits and _ are allowed"
        if not is_template(value):
            yield f"label {name} has {{{{ without }}}}"


def _expression_faults(expression: Any) -> Iterator[str]:
    if isinstance(expression, bool) or not isinstance(expression, str | int) or expression == "":
        yield "expr is missing: add the PromQL that finds what is wrong"
        return
    fault = fault_of(str(expression))
    if fault:
        yield f"expr does not parse: {fault}"


@lru_cache(maxsize=4096)
def fault_of(expression: str) -> str:
    """Why Prometheus cannot evaluate `expression`; empty when it can."""
    too_much = _limits(expression)
    if too_much:
        return too_much
    try:
        parsed = promql_parser.parse(expression)
    except Exception as error:  # noqa: BLE001  # whatever it is, the expression is not to be written
        return str(error).strip().rstrip(".") or "it is no PromQL"
    except BaseException as error:  # a panic of the parser is no Exception
        if type(error).__name__ != "PanicException":
            raise
        return "the parser of PromQL gives up on it"
    while isinstance(parsed, promql_parser.ParenExpr):
        parsed = parsed.expr
    if isinstance(parsed, promql_parser.MatrixSelector | promql_parser.SubqueryExpr):
        return "it gives a range, and a rule needs one value per series: put rate(), or the like, around it"
    if isinstance(parsed, promql_parser.StringLiteral):
        return "it gives a text, and a rule needs one value per series"
    return ""


def _limits(expression: str) -> str:
    if len(expression) > EXPRESSION_LENGTH:
        return f"it has {len(expression)} characters, and may have {EXPRESSION_LENGTH}"
    bare = _QUOTED.sub("", expression)
    depth = deepest = 0
    for sign in bare:
        depth += (sign in "([{") - (sign in ")]}")
        deepest = max(deepest, depth)
    if deepest > NESTING:
        return f"its brackets are nested {deepest} deep, and may be {NESTING}: keep a part of it as a record"
    operators = sum(1 if part[0].isalpha() else len(part) for part in _OPERATOR.findall(bare))
    if operators > OPERATORS:
        return f"it has {operators} operators, and may have {OPERATORS}: keep a part of it as a record"
    return ""


def is_duration(text: Any) -> bool:
    """Whether Prometheus reads `text` as a duration."""
    return isinstance(text, str) and text != "" and _DURATION.fullmatch(text) is not None


def is_url(text: str) -> bool:
    """Whether a browser can open `text`."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.netloc) and not any(map(str.isspace, text))


def is_template(text: str) -> bool:
    """Whether every `{{` has its `}}`; what stands between is Prometheus' to judge."""
    return "{{" not in _ACTION.sub("", text)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _texts(values: Any) -> Mapping[str, str]:
    return {key: str(value) for key, value in values.items()} if isinstance(values, dict) else {}


promql_parser.register_extra_functions(list(_FUNCTIONS))
