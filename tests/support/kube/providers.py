"""Providers outside who ask for keys: an engine that speaks as OpenAI's does, and a store that speaks as S3 does, each in a pod.

What is good is written into the pod, as it is at a real provider's page: two keys are good at once until one is deleted.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import boto3
import botocore.config
import botocore.exceptions
import httpx

from tests.support.kube.clients import PROGRAMS, Client, bundle
from tests.support.kube.commands import get, kubectl
from tests.support.kube.installation import port_forward
from tests.support.servers import REPOSITORY

BUCKET = "documents"
PORT = 443
ANSWERS = REPOSITORY / "tests" / "support" / "openai_answers.py"
ENGINE_PROGRAM = bundle(PROGRAMS / "keys.py", ANSWERS, PROGRAMS / "engine.py")
STORE_PROGRAM = bundle(PROGRAMS / "keys.py", PROGRAMS / "store.py")
_WRITE = """
import os, pathlib
new = pathlib.Path("/documents/keys.new")
new.write_text({keys!r})
os.replace(new, "/documents/keys.json")
"""

Key = str | tuple[str, str]
"""A bearer token, or a key id with its key."""


@dataclass(frozen=True, slots=True)
class Request:
    """One that a provider has answered; `key` is the name of a key, or None for what was refused."""

    key: str | None
    status: int
    method: str


class Provider:
    """A pod that serves whoever has a key; nobody has one at first."""

    def __init__(self, pod: Client) -> None:
        self._pod = pod
        self._good: dict[str, Key] = {}
        self.url = f"http://{get('-n', pod.namespace, 'pod', pod.name)['status']['podIP']}:{PORT}"

    def admit(self, name: str, key: Key) -> None:
        """Make a key good, beside those that are."""
        self._say(self._good | {name: key})

    def delete(self, name: str) -> None:
        """Have it refused from now on."""
        self._say({each: key for each, key in self._good.items() if each != name})

    def requests(self) -> list[Request]:
        """All that it has answered."""
        lines = kubectl("-n", self._pod.namespace, "logs", self._pod.name).splitlines()
        return [Request(**json.loads(line)) for line in lines if line.startswith("{")]

    def served(self, name: str) -> int:
        """How many requests came with this key while it was good."""
        return sum(each.key == name for each in self.requests())

    def refused(self) -> int:
        """How many requests came without a good key."""
        return sum(each.key is None for each in self.requests())

    @contextmanager
    def from_here(self) -> Iterator[str]:
        """Its address for a test, while the block lasts."""
        with port_forward(self._pod, f"pod/{self._pod.name}", PORT) as url:
            yield url

    def _say(self, good: Mapping[str, Key]) -> None:
        self._good = dict(good)
        self._pod.python(_WRITE.format(keys=json.dumps(self._good)))


class Engine(Provider):
    """Writes lessons; its keys are bearer tokens."""

    def answer(self, key: str) -> int:
        """The status with which somebody with this key is answered."""
        with self.from_here() as url:
            asked = {"messages": [{"role": "user", "content": "---"}], "response_format": {}}
            headers = {"Authorization": f"Bearer {key}"}
            return httpx.post(f"{url}/v1/chat/completions", json=asked, headers=headers, timeout=30).status_code


class Store(Provider):
    """Keeps objects; its keys are an id and a secret."""

    def answer(self, key: tuple[str, str]) -> str:
        """The code with which somebody with this key is answered who asks for an object that is not there."""
        with self.from_here() as url:
            return code_of(url, *key)


def code_of(url: str, key_id: str, key: str) -> str:
    """What AWS' own client is told by the store at `url` about an object that is not there."""
    client = boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id=key_id, aws_secret_access_key=key,
        config=botocore.config.Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )  # fmt: skip
    try:
        client.get_object(Bucket=BUCKET, Key=f"none/{secrets.token_hex(4)}")
    except botocore.exceptions.ClientError as error:
        return str(error.response["Error"]["Code"])
    return "found"
