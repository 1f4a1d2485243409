"""The providers of tests on a cluster check keys as real ones do: AWS' own client and ours are let in and refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import obstore
import pytest
from obstore.exceptions import BaseError
from obstore.store import S3Store

from tests.support.kube.providers import BUCKET, ENGINE_PROGRAM, STORE_PROGRAM, code_of

GOOD, OTHER = ("ID1", "key/one+="), ("ID2", "key-two")


@contextmanager
def running(program: str, keys: Path) -> Iterator[str]:
    """The program as a process here, in the form in which a pod gets it; the address."""
    variables = {**os.environ, "PORT": "0", "KEYS_FILE": str(keys)}
    command = [sys.executable, "-I", "-c", program]  # isolated: nothing of the project can be imported, as in the pod
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True, cwd="/") as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{process.stdout.readline().removeprefix('serving on ').strip()}"
        finally:
            process.kill()


def ours(url: str, key_id: str, key: str) -> S3Store:
    """The client of the document store."""
    return S3Store(
        BUCKET, prefix="x", endpoint=url, region="us-east-1", access_key_id=key_id, secret_access_key=key,
        client_options={"allow_http": True}, retry_config={"max_retries": 0},
    )  # fmt: skip


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """The file of keys."""
    return tmp_path / "keys.json"


def test_the_store_takes_what_is_signed_with_a_good_key(keys: Path) -> None:
    """In parts and whole, by range; a deleted key, a stranger's and a wrong secret each get their code."""
    keys.write_text(json.dumps({"first": GOOD, "second": OTHER}))
    with running(STORE_PROGRAM, keys) as url:
        store = ours(url, *GOOD)
        content = bytes(range(256)) * 30_000
        obstore.put(store, "a b/ä", iter([content]), chunk_size=5 << 20)
        assert bytes(obstore.get(ours(url, *OTHER), "a b/ä").bytes()) == content
        assert bytes(obstore.get_range(store, "a b/ä", start=5, length=9)) == content[5:14]
        assert code_of(url, *GOOD) == "NoSuchKey"
        assert code_of(url, GOOD[0], OTHER[1]) == "SignatureDoesNotMatch"
        keys.write_text(json.dumps({"second": OTHER}))
        assert code_of(url, *GOOD) == "InvalidAccessKeyId"
        with pytest.raises(BaseError):
            obstore.put(store, "c", b"1")
        obstore.delete(ours(url, *OTHER), "a b/ä")
        with pytest.raises(FileNotFoundError):
            obstore.get(ours(url, *OTHER), "a b/ä")


def test_the_engine_answers_those_who_have_a_key(keys: Path) -> None:
    """401 for all others, in OpenAI's form."""
    keys.write_text(json.dumps({"first": "sk-one", "second": "sk-two"}))
    asked = {"messages": [{"role": "user", "content": "---"}], "response_format": {}}
    with running(ENGINE_PROGRAM, keys) as url:

        def answer(key: str) -> httpx.Response:
            headers = {"Authorization": f"Bearer {key}"}
            return httpx.post(f"{url}/v1/chat/completions", json=asked, headers=headers, timeout=10)

        assert [answer(key).status_code for key in ("sk-one", "sk-two", "sk-three", "sk")] == [200, 200, 401, 401]
        keys.write_text(json.dumps({"second": "sk-two"}))
        assert [answer(key).status_code for key in ("sk-one", "sk-two")] == [401, 200]
        assert answer("sk-one").json()["error"]["code"] == "invalid_api_key"
