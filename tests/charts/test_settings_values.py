"""Every setting of docs/SETTINGS.md has its place in the chart's values."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.charts.conftest import CHART

_DOCS = Path(__file__).resolve().parents[2] / "docs" / "SETTINGS.md"
_OWN_VALUES = {
    "DATABASE_URL": "database", "REDIS_URL": "redis", "REDIS_PASSWORD": "redis",
    "JWT_SECRET": "auth", "JWT_SECRET_PREVIOUS": "auth",
    "WEBHOOK_ENCRYPTION_KEYS": "webhooks",
    "OPENAI_API_KEY": "engine", "OBJECT_STORE_ACCESS_KEY_ID": "objectStore", "OBJECT_STORE_SECRET_ACCESS_KEY": "objectStore",
    "PORT": "api", "METRICS_PORT": "metrics", "DRAIN_SECONDS": "api", "UPLOAD_FOLDER": "api",
    "STAGE_WORKER_QUEUES": "stageWorker", "RELAY_ELECTION": "leaderElection", "RELAY_REPLICAS": "outboxRelay",
    "RELAY_LEASE_NAME": "leaderElection", "RELAY_LEASE_NAMESPACE": "leaderElection", "RELAY_NODE_ID": "outboxRelay",
    "STREAM_WORKER_ID": "persistenceWorker",
    "REPORT_FILE": "migrations",
}  # fmt: skip
"""Settings that are given by a value of another name, or by the operator to its Jobs."""
_SECTIONS = {
    "every process": "common",
    "the api": "api",
    "the outbox-relay": "relay",
    "a stage-worker": "worker",
    "a persistence-worker": "persistence",
    "migrate": "migrate",
}
_ELSEWHERE = {
    "retention": "a RetentionPolicy says them",
    "the operator": "values of its own chart, whose test compares them",
}


def test_every_documented_setting_has_a_value() -> None:
    """Under `config`, in its process' part or the stream's, or by a value of its own; `config` takes nothing undocumented."""
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))["properties"]
    every = re.split(r"^## Of ", _DOCS.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    sections = [each for each in every if each.partition("\n")[0] not in _ELSEWHERE]
    assert len(sections) == len(every) - len(_ELSEWHERE) == len(_SECTIONS)
    documented = set(re.findall(r"^\| `([A-Z_0-9]+)` \|", "".join(sections), re.MULTILINE))

    stream = set(schema["config"]["properties"]["stream"]["properties"])
    assert {"REDIS_HOST", "REDIS_STREAM_DB", "STREAM_PARTITIONS"} <= stream <= documented

    for section in sections:
        part = _SECTIONS[section.partition("\n")[0]]
        taken = set(schema["config"]["properties"][part]["properties"])
        settings = set(re.findall(r"^\| `([A-Z_0-9]+)` \|", section, re.MULTILINE))
        shared = settings & stream if part in {"api", "persistence"} else set()
        assert settings - taken == (settings & _OWN_VALUES.keys()) | shared, part
        assert taken <= documented
    assert set(_OWN_VALUES.values()) <= schema.keys()
