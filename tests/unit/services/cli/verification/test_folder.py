"""What the script leaves in its folder, read."""

from __future__ import annotations

from pathlib import Path

from services.cli.verification import folder


def test_each_form_is_read(tmp_path: Path) -> None:
    """JSON of psql, INFO and CONFIG GET of redis-cli, status and body of curl, and why there is nothing."""
    (tmp_path / "database.outbox.json").write_text('{"depth": 1}\n')
    (tmp_path / "redis.info.info").write_text("# Server\r\nredis_version:7.2\r\nrole:master\r\n")
    (tmp_path / "stream.config.config").write_text("appendonly\nyes\nappendfsync\nalways\n")
    (tmp_path / "api.health.http").write_text('503 0.25\n{"healthy": false}')
    (tmp_path / "api.numbers.fault").write_text("curl: (7)\n  refused\n")
    (tmp_path / "database.connection.missing").write_text("psql\n")

    assert folder.read(tmp_path) == {
        "database.outbox": {"value": {"depth": 1}},
        "redis.info": {"value": {"redis_version": "7.2", "role": "master"}},
        "stream.config": {"value": {"appendonly": "yes", "appendfsync": "always"}},
        "api.health": {"value": {"status": 503, "seconds": 0.25, "body": {"healthy": False}}},
        "api.numbers": {"fault": "curl: (7) refused"},
        "database.connection": {"missing": "psql"},
    }


def test_what_is_no_answer_is_a_fault(tmp_path: Path) -> None:
    """An older redis-cli ends well also when it is refused; a page in HTML is no JSON."""
    (tmp_path / "redis.info.info").write_text("NOAUTH Authentication required.\n")
    (tmp_path / "stream.config.config").write_text("NOPERM this user has no permissions\n")
    (tmp_path / "database.outbox.json").write_text("")
    (tmp_path / "api.health.http").write_text("404 0.1\n<html>")

    assert folder.read(tmp_path) == {
        "redis.info": {"fault": "NOAUTH Authentication required."},
        "stream.config": {"fault": "NOPERM this user has no permissions"},
        "database.outbox": {"fault": "it says nothing"},
        "api.health": {"value": {"status": 404, "seconds": 0.1, "body": None}},
    }


def test_whose_a_database_of_redis_is(tmp_path: Path) -> None:
    """Its number and a name, no name while it is nobody's, or what Redis said instead."""
    for name, text in (
        ("one", "4\n2020-01-01T00:00:00Z\n"),
        ("none", "1\n\n"),
        ("no", "1\nNOPERM this user may not\n"),
    ):
        (tmp_path / f"{name}.owner").write_text(text)

    assert folder.read(tmp_path) == {
        "one": {"value": {"number": 4, "name": "2020-01-01T00:00:00Z"}},
        "none": {"value": {"number": 1, "name": None}},
        "no": {"fault": "NOPERM this user may not"},
    }


def test_a_pod_brings_several_facts_at_once(tmp_path: Path) -> None:
    """What the script itself has found besides counts more."""
    (tmp_path / "pod.facts").write_text('{"redis.info": {"value": {}}, "api.health": {"fault": "in the pod"}}')
    (tmp_path / "api.health.fault").write_text("no pod of the api runs")

    assert folder.read(tmp_path) == {"redis.info": {"value": {}}, "api.health": {"fault": "no pod of the api runs"}}
