"""Who reaches whom: tried from inside every pod, at every port, and compared with the allow list.

A packet that a policy stops is lost, and nothing comes back; one that arrives where nobody listens is refused at once. The two
are told apart, so that a path shows that is open to nobody's use.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from tests.support.kube.clients import PROGRAMS
from tests.support.kube.commands import Object, kubectl
from tests.support.network_paths import Party, Paths, is_open

Port = tuple[str, int]
"""Protocol and number."""
Trial = tuple[str, str, Port]
"""From where, to where, at which port; by the names of the places."""
Outcomes = dict[Trial, str]
"""open, refused or dropped."""

PORTS: Final[tuple[Port, ...]] = (
    *(("tcp", number) for number in (53, 443, 3000, 5432, 6379, 6443, 9090)),
    ("udp", 53),
)
"""What anything in the chart listens on, and what it may need outside."""
_AT_ONCE: Final = 4
_SHELLS: Final = {"postgresql", "redis"}
"""Whose images have no Python."""


@dataclass(frozen=True)
class Place:
    """Something that can be reached."""

    name: str
    address: str
    party: Party
    listens: frozenset[Port]
    ports: tuple[Port, ...] = PORTS
    """Where it is tried."""


@dataclass(frozen=True)
class Pod(Place):
    """Something from which others can be reached as well."""

    namespace: str = ""
    container: str = ""

    @classmethod
    def of(cls, pod: Object, party: str) -> Pod:
        """The place that a running pod is."""
        container = pod["spec"]["containers"][0]
        named = {each["name"]: each["containerPort"] for each in container.get("ports", ())}
        metadata = pod["metadata"]
        return cls(
            name=metadata["name"],
            address=pod["status"]["podIP"],
            party=Party(party, named),
            listens=frozenset(("tcp", number) for number in named.values()),
            namespace=metadata["namespace"],
            container=container["name"],
        )

    def attempt(self, targets: Sequence[tuple[Place, Port]]) -> Outcomes:
        """What comes of each, tried from inside."""
        if not targets:
            return {}
        program, command = (
            ("reach.bash", ["bash", "-s"]) if self.container in _SHELLS else ("reach.py", ["python", "-"])
        )
        words = [f"{protocol} {place.address} {number}" for place, (protocol, number) in targets]
        text = (PROGRAMS / program).read_text(encoding="utf-8")
        said = kubectl("-n", self.namespace, "exec", "-i", self.name, "-c", self.container, "--", *command, *words,
                       stdin=text, seconds=120)  # fmt: skip
        came = dict(line.split("\t", 1) for line in said.splitlines())
        return {(self.name, place.name, port): came[word] for word, (place, port) in zip(words, targets, strict=True)}


@dataclass
class Landscape:
    """All places of a cluster that count."""

    pods: Sequence[Pod]
    others: Sequence[Place] = ()
    beyond: set[Trial] = field(default_factory=set)
    """What the cluster does not close though it is told to: see `excuse`."""

    def excuse(self, trials: Iterable[Trial]) -> None:
        """Ask of these no more that they be closed: Kubernetes lets a cluster leave open what runs on the pod's own node.

        Raises:
            AssertionError: it is a path to one of the pods, which policies close in every cluster.
        """
        chosen = set(trials)
        pods = {each.address for each in self.pods}
        beside = {each.name for each in self.others if each.address not in pods}
        assert {target for _, target, _ in chosen} <= beside, (
            f"only {sorted(beside)} may be left open: {sorted(chosen)}"
        )
        self.beyond = chosen

    def expected(self, paths: Paths, *, of: str = "") -> Outcomes:
        """What must come of every trial by the allow list; or of those from and to the pods `of` one name."""
        return {
            (source.name, target.name, port): _must(paths, source, target, port)
            for source, target, port in self._trials()
            if not of or of in {source.party.name, target.party.name}
        }

    def attempt(self, wanted: Iterable[Trial]) -> Outcomes:
        """What comes of these trials, several pods at a time."""
        chosen = set(wanted)
        targets: dict[str, list[tuple[Place, Port]]] = {}
        for source, target, port in self._trials():
            if (source.name, target.name, port) in chosen:
                targets.setdefault(source.name, []).append((target, port))
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            parts = threads.map(lambda pod: pod.attempt(targets.get(pod.name, [])), self.pods)
            return {trial: outcome for part in parts for trial, outcome in part.items()}

    def wrong(self, paths: Paths, *, of: str = "", within: float = 30) -> list[str]:
        """Sentences about what is not as the allow list says, of all trials or those from and to the pods `of` one name.

        What differs is tried again for some seconds: policies follow a change of pods after a second or two.
        """
        expected = {trial: must for trial, must in self.expected(paths, of=of).items() if trial not in self.beyond}
        differing = dict.fromkeys(expected, "")
        deadline = time.monotonic() + within
        while differing:
            came = self.attempt(differing)
            differing = {trial: outcome for trial, outcome in came.items() if outcome != expected[trial]}
            if time.monotonic() > deadline:
                break
        return sorted(_sentence(trial, outcome, expected[trial]) for trial, outcome in differing.items())

    def _trials(self) -> Iterable[tuple[Pod, Place, Port]]:
        for source in self.pods:
            for target in (*self.pods, *self.others):
                for port in target.ports if target.name != source.name else ():
                    yield source, target, port


def _must(paths: Paths, source: Pod, target: Place, port: Port) -> str:
    if not is_open(paths, source.party, target.party, port[1]):
        return "dropped"
    return "open" if port in target.listens else "refused"


def _sentence(trial: Trial, outcome: str, expected: str) -> str:
    source, target, (protocol, number) = trial
    return f"{source} to {target} at {protocol}/{number}: {outcome}, must be {expected}"
