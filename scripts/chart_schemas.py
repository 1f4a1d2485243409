"""Write the schemas of foreign kinds for the chart's tests: ``.venv/bin/python scripts/chart_schemas.py``.

The kinds of Prometheus Operator, KEDA and the Gateway API are not Kubernetes' own. Their definitions are taken from the projects'
Go modules at the versions below, without what describes and judges by CEL, and made strict: no field that they do not know.
Needs Go; to be run when a version is raised.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

TARGET = Path(__file__).resolve().parents[1] / "tests" / "charts" / "schemas"
SOURCES = {
    "github.com/prometheus-operator/prometheus-operator@v0.88.0": (
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
    ),
    "github.com/kedacore/keda/v2@v2.20.2": ("config/crd/bases/keda.sh_scaledobjects.yaml",),
    "sigs.k8s.io/gateway-api@v1.6.3": ("config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",),
}
_DROPPED = {"description", "default", "format", "example"}


def strict(node: Any) -> Any:
    """A schema of OpenAPI as one of JSON Schema that takes no unknown field."""
    if isinstance(node, list):
        return [strict(each) for each in node]
    if not isinstance(node, dict):
        return node
    kept = {key: value for key, value in node.items() if key not in _DROPPED and not key.startswith("x-kubernetes-")}
    if "properties" in kept:
        kept = {key: strict(value) for key, value in kept.items() if key != "properties"}
        kept["properties"] = {name: strict(value) for name, value in node["properties"].items()}
        if not node.get("x-kubernetes-preserve-unknown-fields"):
            kept.setdefault("additionalProperties", False)
        return kept
    return {key: strict(value) for key, value in kept.items()}


def schema(definition: dict[str, Any], source: str) -> dict[str, Any]:
    """The schema of the version that is stored; metadata is left to Kubernetes."""
    (stored,) = (each for each in definition["spec"]["versions"] if each["storage"])
    found: dict[str, Any] = strict(stored["schema"]["openAPIV3Schema"])
    found["properties"] |= {
        "metadata": {"type": "object"},
        "kind": {"const": definition["spec"]["names"]["kind"]},
        "apiVersion": {"const": f"{definition['spec']['group']}/{stored['name']}"},
    }
    return {"$comment": f"From {source}, Apache License 2.0. Made by scripts/chart_schemas.py.", **found}


def main() -> int:
    """Write one file for each kind."""
    TARGET.mkdir(exist_ok=True)
    for module, paths in SOURCES.items():
        done = subprocess.run(["go", "mod", "download", "-json", module], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            print(f"{module} was not downloaded: {done.stdout}{done.stderr}", file=sys.stderr)
            return 1
        for path in paths:
            definition = yaml.safe_load(Path(json.loads(done.stdout)["Dir"], path).read_text(encoding="utf-8"))
            file = TARGET / f"{definition['spec']['names']['singular']}.json"
            text = json.dumps(schema(definition, module), separators=(",", ":"), sort_keys=True)
            file.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
