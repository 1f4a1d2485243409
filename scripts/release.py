#!/usr/bin/env python3
"""What a release of the images says of itself; .github/workflows/release-images.yml is its caller.

    python3 scripts/release.py version v0.1.0             # 0.1.0, if that is the project's version and the chart's appVersion
    python3 scripts/release.py servers                    # images of others that the chart names: "postgresql IMAGE" …
    python3 scripts/release.py values PREFIX < digests    # values for the chart that name each image by its digest
    python3 scripts/release.py operator-values PREFIX < digests    # the same for the operator's chart

PREFIX stands before the images' names, as IMAGE_PREFIX of scripts/build-images.sh does; the digests are JSON
objects one behind the other, by target; for the chart coursegen those of the servers as well, by the names that `servers` prints.
Ends with 1 and a sentence when they are not what a release needs. Needs nothing but Python: it runs before there is a .venv.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

TREE = Path(__file__).resolve().parents[1]
PARTS = {
    "api": "api", "outbox-relay": "outboxRelay", "stage-worker": "stageWorker", "persistence-worker": "persistenceWorker",
    "migrate": "migrations",
}  # fmt: skip
"""Each image's target, and the part of the chart's values that names it."""
SERVERS = ("postgresql", "redis")
"""Images of others, under `dev` in the chart's values: development runs them, and the tools pod, which is shown a password."""
OPERATOR = "operator"
"""The target of the other chart's only image."""
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Unfit(Exception):
    """It must not be released so; the message says what to mend."""


def project_version(tree: Path) -> str:
    """What pyproject.toml says."""
    return str(tomllib.loads((tree / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])


def version_of(tag: str, tree: Path = TREE) -> str:
    """The version that a tag releases. Raises Unfit unless the project and the chart are of that version."""
    project = project_version(tree)
    for name in ("coursegen", "coursegen-operator"):
        chart = (tree / "charts" / name / "Chart.yaml").read_text(encoding="utf-8")
        (app,) = re.findall(r'^appVersion: "(.*)"$', chart, re.MULTILINE)
        if not tag == f"v{project}" == f"v{app}":
            raise Unfit(
                f"The tag is {tag}, pyproject.toml says {project}, and appVersion of charts/{name}/Chart.yaml is {app}: "
                "they must be of one version. Make them so, and move the tag to that commit."
            )
    return project


def servers(tree: Path = TREE) -> dict[str, str]:
    """The images of others that the chart coursegen names, by what they are."""
    text = (tree / "charts" / "coursegen" / "values.yaml").read_text(encoding="utf-8")
    development = text[re.search(r"^dev:$", text, re.MULTILINE).start() :]  # type: ignore[union-attr]
    return {
        each: re.findall(rf"^  {each}:\n(?:    .*\n)*?    image: (\S+)$", development, re.MULTILINE)[0]
        for each in SERVERS
    }


def values(prefix: str, digests: Mapping[str, str], version: str) -> str:
    """A file of values for the chart coursegen. Raises Unfit unless there is a digest for each image."""
    _check(digests, [*PARTS, *SERVERS])
    registry, _, repositories = prefix.partition("/")
    lines = [
        f"# The images of coursegen {version} by their digests: helm install … -f digests-values.yaml -f values-of-yours.yaml",
        f'image: {{registry: {registry}, repositoryPrefix: {repositories}, tag: "{version}"}}',
        *(f'{part}: {{image: {{digest: "{digests[target]}"}}}}' for target, part in PARTS.items()),
        "# PostgreSQL and Redis of dev.enabled, and of the tools pod unless tools.postgresqlImage, tools.redisImage name others.",
        "dev:",
        *(f'  {name}: {{image: "{image}@{digests[name]}"}}' for name, image in servers().items()),
    ]
    return "\n".join(lines) + "\n"


def operator_values(prefix: str, digests: Mapping[str, str], version: str) -> str:
    """A file of values for the chart coursegen-operator. Raises Unfit unless there is a digest."""
    _check(digests, [OPERATOR])
    registry, _, repositories = prefix.partition("/")
    image = f'{{registry: {registry}, repository: {repositories}{OPERATOR}, tag: "{version}", digest: "{digests[OPERATOR]}"}}'
    return f"# The operator of coursegen {version} by its digest.\nimage: {image}\n"


def _read(text: str) -> dict[str, str]:
    """All the objects of a text as one."""
    found: dict[str, str] = {}
    decoder, rest = json.JSONDecoder(), text.strip()
    while rest:
        part, end = decoder.raw_decode(rest)
        found |= part
        rest = rest[end:].lstrip()
    return found


def _check(digests: Mapping[str, str], targets: Iterable[str]) -> None:
    without = [target for target in targets if not _DIGEST.fullmatch(digests.get(target, ""))]
    if without:
        raise Unfit(f"There is no digest for {', '.join(without)}: see what became of their jobs.")


def main() -> int:
    """Print what is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("version", help="the version that a tag releases").add_argument("tag")
    commands.add_parser("servers", help="the images of others that the chart names")
    for name, chart in (("values", "coursegen"), ("operator-values", "coursegen-operator")):
        commands.add_parser(name, help=f"values for {chart} with the digests that the input has").add_argument("prefix")
    wanted = parser.parse_args()
    try:
        if wanted.command == "version":
            print(version_of(wanted.tag))
        elif wanted.command == "servers":
            print("\n".join(f"{name} {image}" for name, image in servers().items()))
        else:
            make = values if wanted.command == "values" else operator_values
            print(make(wanted.prefix, _read(sys.stdin.read()), project_version(TREE)), end="")
    except Unfit as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
