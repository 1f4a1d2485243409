"""A running installation does its work: the seven smoke tests through forwarded ports, and a course through the Service."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from services.cli.commands.demo import example_files
from services.cli.stack import redis_binary
from tests.support.kube.clients import PROGRAMS, client_pod
from tests.support.kube.commands import run
from tests.support.kube.installation import Installation, port_forward
from tests.support.servers import REPOSITORY, cache_folder, psql

pytestmark = [pytest.mark.cluster, pytest.mark.install, pytest.mark.timeout(900)]


@pytest.fixture
def forwarded(shared: Installation, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The variables of scripts/smoke-test.sh, with psql and redis-cli on the PATH: nothing need be skipped."""
    tools = tmp_path / "bin"
    tools.mkdir()
    client = redis_binary.find_client(redis_binary.find_server(cache_folder()))
    assert client is not None
    (tools / "psql").symlink_to(psql())
    (tools / "redis-cli").symlink_to(client)
    with ExitStack() as ports:

        def local(target: str, port: int) -> str:
            return urlsplit(ports.enter_context(port_forward(shared, target, port))).netloc

        api = local(f"service/{shared.fullname}-api", 3000)
        database = local(f"pod/{shared.fullname}-postgresql-0", 5432)
        redis = local(f"service/{shared.fullname}-redis", 6379)
        yield {
            **os.environ,
            "PATH": f"{tools}:{os.environ['PATH']}",
            "API_URL": f"http://{api}",
            "API_TOKEN": shared.token(),
            "DATABASE_URL": f"postgresql://postgres:{shared.secret('owner-password')}@{database}/coursegen",
            "REDIS_URL": f"redis://:{shared.secret('redis-password')}@{redis}/0",
        }


def test_the_seven_smoke_tests(forwarded: dict[str, str]) -> None:
    """All pass, none is skipped; and again at once, on the used system."""
    for _ in range(2):
        done = run([str(REPOSITORY / "scripts" / "smoke-test.sh")], environment=forwarded, seconds=180, check=False)

        assert done.returncode == 0, done.stdout + done.stderr
        assert "smoke test: passed" in done.stdout
        assert [line for line in done.stdout.splitlines() if "----" in line or "Not seen" in line] == []
        assert [each for each in "1234567" if f"\n{each} " not in f"\n{done.stdout}"] == []


def test_documents_become_a_course_through_the_service(shared: Installation) -> None:
    """Four documents from a pod, by the Service's name: completed, and every lesson cites one of them."""
    environment = {"API_URL": f"http://{shared.fullname}-api:3000", "API_TOKEN": shared.token()}
    with client_pod(shared.namespace, "author", environment=environment) as author:
        for path in example_files():
            author.copy_in(path)
        made = json.loads(author.python((PROGRAMS / "course.py").read_text(encoding="utf-8"), seconds=300))

    lessons = [lesson for section in made["course"]["sections"] for lesson in section["lessons"]]
    cited = {each["documentId"] for lesson in lessons for each in lesson["citations"]}
    documents = shared.sql(f"SELECT id FROM documents WHERE course_id = '{made['id']}'").splitlines()
    assert shared.sql(f"SELECT generation_status FROM courses WHERE id = '{made['id']}'") == "completed"
    assert made["course"]["draft"] is False
    assert len(lessons) >= 9
    assert [lesson["title"] for lesson in lessons if not lesson["citations"]] == []
    assert cited == set(documents)
    assert len(documents) == len(example_files()) == 4
