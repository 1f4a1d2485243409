"""A runbook's command, typed with a real kubectl, whose loop has nothing to go through where all is as the chart makes it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from operators.coursegen_operator.resources import ALERT_POLICY, Object
from tests.support.kube.commands import program
from tests.support.marked import DOCS, typed_as
from tests.support.pretended_api import pretended_api
from tests.support.typist import Typist

pytestmark = pytest.mark.cluster

PROMETHEUS = """prometheus() { case $1 in *lost*) echo nothing ;; *) echo "asked $1" ;; esac; }"""
"""In place of the checklist's word, which asks a Prometheus."""


async def test_the_objectives_that_nothing_measures_are_found(tmp_path: Path) -> None:
    """SloMetricAbsent: each that is to be missed is asked for, over five minutes, also where its query has two lines."""
    program("kubectl")
    mine = _slo("mine", "sum(\n  rate(mine_total[{{ .window }}])\n)"), _slo("lost", "rate(lost_total[{{.window}}])")
    (block, *_) = typed_as(DOCS / "runbooks" / "SloMetricAbsent.md", "operator-runbooks")
    async with pretended_api() as api:
        api.further.add("")  # kubectl shows no token where there is no TLS
        api.cluster.add(_policy("platform", _slo("quiet", "rate(quiet_total[{{.window}}])", absent=False)))
        api.cluster.add(_policy("own", *mine))
        environment = {**os.environ, "HOME": str(tmp_path), "KUBECONFIG": str(api.kubeconfig(tmp_path))}

        said = await asyncio.to_thread(Typist(environment, tmp_path, PROMETHEUS).types, block)

    assert said == "mine: asked sum(\n  rate(mine_total[5m])\n)\nlost: nothing\n"


def _policy(name: str, *slos: Object) -> Object:
    return {
        "apiVersion": ALERT_POLICY.api_version,
        "kind": ALERT_POLICY.kind,
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"slos": list(slos)},
    }


def _slo(name: str, total: str, *, absent: bool = True) -> Object:
    return {"name": name, "objective": "99", "absent": absent, "sli": {"events": {"totalQuery": total}}}
