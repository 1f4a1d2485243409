#!/usr/bin/env python3
"""Fetch a Kafka broker for tests, once: ``python3 scripts/kafka.py``; prints the folder of its jars.

Java runs it (17 or newer), Maven fetches it, at the version pinned here, into $COURSEGEN_TOOLS (default: coursegen/tools in the
user's cache). ``--find`` looks and never fetches. Ends with 1 and a sentence when it cannot be had. Needs nothing but Python.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

VERSION = "4.2.1"
"""Of Apache Kafka."""
_OLDEST_JAVA = 17
_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_PROJECT = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>coursegen</groupId>
  <artifactId>kafka-for-tests</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>{VERSION}</version>
    </dependency>
  </dependencies>
</project>
"""


class Missing(Exception):
    """Something that is needed is not there; its text says what to do."""


def folder() -> Path:
    """Where the jars are kept."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("COURSEGEN_TOOLS") or Path(cache) / "coursegen" / "tools") / f"kafka-{VERSION}"


def java() -> str:
    """The program that runs it.

    Raises:
        Missing: there is none, or it is too old.
    """
    found = shutil.which("java")
    if found is None:
        raise Missing(
            "Java is not on the PATH. Install it (apt-get install openjdk-17-jre-headless), then: make prove-kafka"
        )
    said = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr
    number = re.search(r'version "(\d+)', said)
    if number is None or int(number[1]) < _OLDEST_JAVA:
        raise Missing(
            f"{found} is no Java {_OLDEST_JAVA} or newer. Put one on the PATH (apt-get install openjdk-17-jre-headless), "
            "then: make prove-kafka"
        )
    return found


def find() -> Path:
    """The jars that were fetched.

    Raises:
        Missing: they were not.
    """
    if not any(folder().glob("kafka_*.jar")):
        raise Missing(f"Kafka {VERSION} was not fetched. Fetch it and run its tests: make prove-kafka")
    return folder()


def fetch() -> Path:
    """The jars, fetched when they are not there.

    Raises:
        Missing: they cannot be fetched.
    """
    try:
        return find()
    except Missing:
        maven = shutil.which("mvn")
        if maven is None:
            raise Missing(
                "Maven is not on the PATH. Install it (apt-get install maven), then: make prove-kafka"
            ) from None
    folder().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder().parent) as name:
        project = Path(name) / "pom.xml"
        project.write_text(_PROJECT, encoding="utf-8")
        jars = Path(name) / "jars"
        argv = [maven, "-q", "-B", "-f", str(project), _PLUGIN, f"-DoutputDirectory={jars}", "-DincludeScope=runtime"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Missing(
                f"Maven could not fetch Kafka {VERSION}; look at the network and Maven's settings, then: make prove-kafka\n"
                f"{done.stdout[-2000:]}"
            )
        if not folder().exists():
            jars.rename(folder())
    return find()


def main(arguments: list[str]) -> int:
    """Print where the jars are; returns the exit code."""
    try:
        java()
        print(find() if arguments == ["--find"] else fetch())
    except Missing as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
