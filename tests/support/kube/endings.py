"""How containers end: what the kubelet says of each pod that leaves, seen while it leaves.

A pod that is deleted is gone with everything it was: whoever looks afterwards sees no exit code. So a watch stands by, and a
pod that left without the end of its container being seen is a fault of the test, never a good end.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from tests.support.kube.commands import Object
from tests.support.waiting import eventually_sync


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of one container."""

    pod: str
    container: str
    exit_code: int
    reason: str
    """What the kubelet calls it: "Completed", "Error", "OOMKilled"…"""
    seconds: float
    """From the request to delete the pod to the end of the container, in whole seconds as Kubernetes counts."""


class Endings:
    """Sees how containers end in a namespace, from the beginning of the block to its end."""

    def __init__(self, namespace: str, *, selector: str = "") -> None:
        self._command = ["kubectl", "-n", namespace, "get", "pods", "-l", selector, "--watch", "-o", "json",
                         "--output-watch-events"]  # fmt: skip
        self._there: set[str] = set()
        self._gone: set[str] = set()
        self._asked: dict[str, datetime] = {}
        self._ended: dict[tuple[str, str], tuple[Object, datetime | None]] = {}

    def __enter__(self) -> Self:
        """Begin to watch; returns when the pods that are there have been seen."""
        self._watching = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()
        eventually_sync(lambda: self._there, within=30)
        return self

    def __exit__(self, *_: object) -> None:
        """End the watch."""
        self._watching.terminate()
        self._watching.wait(timeout=10)
        self._reading.join(timeout=10)
        for pipe in (self._watching.stdout, self._watching.stderr):
            assert pipe is not None
            pipe.close()

    def of(self, pods: Iterable[str], *, within: float = 60) -> list[Ending]:
        """How the containers of these pods ended, once the pods are gone.

        Raises:
            AssertionError: a pod is still there, or the end of its containers was not seen.
        """
        names = sorted(pods)
        eventually_sync(lambda: self._gone.issuperset(names), within=within, every=0.1)
        unseen = set(names) - {pod for pod, _ in self._ended}
        assert not unseen, f"left without their end being seen: {', '.join(sorted(unseen))}"
        return [self._ending(*key) for key in sorted(self._ended) if key[0] in names]

    def gone(self) -> set[str]:
        """Names of the pods that have left so far."""
        return set(self._gone)

    def _ending(self, pod: str, container: str) -> Ending:
        state, asked = self._ended[pod, container]
        finished = _moment(state["finishedAt"])
        seconds = (finished - asked).total_seconds() if asked is not None else float("nan")
        return Ending(pod, container, state["exitCode"], state.get("reason", ""), seconds)

    def _read(self) -> None:
        assert self._watching.stdout is not None
        for line in self._watching.stdout:  # an event each
            event = json.loads(line)
            self._see(event["type"], event["object"])

    def _see(self, kind: str, pod: Object) -> None:
        name = pod["metadata"]["name"]
        asked = pod["metadata"].get("deletionTimestamp")
        if asked is not None and name not in self._asked:
            grace = pod["metadata"].get("deletionGracePeriodSeconds", 0)
            self._asked[name] = datetime.fromtimestamp(_moment(asked).timestamp() - grace, tz=_moment(asked).tzinfo)
        for status in pod["status"].get("containerStatuses", ()):
            state = status["state"].get("terminated")
            if state is not None:
                self._ended[name, status["name"]] = (state, self._asked.get(name))
        self._there.add(name)
        if kind == "DELETED":
            self._gone.add(name)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def assert_ended_well(endings: Collection[Ending], *, within: float) -> None:
    """Fail, naming them, if there are containers that ended with another code than 0 or took longer."""
    bad = [each for each in endings if each.exit_code != 0 or not each.seconds <= within]
    assert endings, "no container ended"
    assert not bad, f"of {len(endings)} containers {len(bad)} did not end with 0 within {within:g} s: {bad}"
