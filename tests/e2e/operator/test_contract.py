"""Files of phase contract on a cluster: after rollout, soak and backup, and never while the rollout is undone."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.operator.conftest import OPERATED
from tests.support.kube.commands import Object
from tests.support.kube.installation import Installation, own_namespace
from tests.support.kube.operator import OperatorRelease, await_condition, condition, reads
from tests.support.kube.own_migrations import command_with
from tests.support.kube.values import CHART, Values
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.cluster, pytest.mark.install, pytest.mark.timeout(600)]

SOAK_SECONDS = 30
"""Longer than the operator takes to look again at Deployments, so that the soak is seen."""
OLD_VERSION = "0.0.9"
TABLES = ("relics", "leftovers", "remnants", "traces")
MAKE = {"20990101000000_make_relics": "".join(f"CREATE TABLE {each} (id integer);\n" for each in TABLES)}
DROP_RELICS = {"20990102000000_drop_relics": "-- migrate: contract\nDROP TABLE relics;\n"}
DROP_LEFTOVERS = {"20990103000000_drop_leftovers": "-- migrate: contract\nDROP TABLE leftovers;\n"}
DROP_REMNANTS = {"20990104000000_drop_remnants": "-- migrate: contract\nDROP TABLE remnants;\n"}
DROP_TRACES = {"20990105000000_drop_traces": "-- migrate: contract\nDROP TABLE traces;\n"}


def bringing(*files: dict[str, str], soak_seconds: int = SOAK_SECONDS) -> Values:
    """Values of a release that has these migrations beside the image's own."""
    spec: dict[str, Any] = {
        "command": command_with({name: text for each in files for name, text in each.items()}),
        "policy": {"destructive": "Allow"},
        "contract": {"soakSeconds": soak_seconds},
        "drift": {"mode": "Off"},
    }
    return {"migrations": {"resource": {"spec": spec}}}


@pytest.fixture(scope="module")
def old_chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart of the release before: of another version of the application."""
    chart = tmp_path_factory.mktemp("old") / "coursegen"
    shutil.copytree(CHART, chart)
    described = yaml.safe_load((chart / "Chart.yaml").read_text(encoding="utf-8"))
    (chart / "Chart.yaml").write_text(yaml.safe_dump(described | {"appVersion": OLD_VERSION}), encoding="utf-8")
    return chart


@pytest.fixture(scope="module")
def upgraded(operator: OperatorRelease, old_chart: Path) -> Iterator[Installation]:
    """An application that was upgraded to a release with one file of phase contract, and nobody has named a backup."""
    assert operator.pods()
    with own_namespace("contract") as namespace:
        installation = Installation(namespace, OPERATED)
        installation.install(bringing(MAKE), chart=old_chart)
        await_condition(namespace, "dbm", "main", "Ready", reason="Applied", within=240)
        installation.rolled_out("api", "outbox-relay")
        installation.install(bringing(MAKE, DROP_RELICS))
        installation.rolled_out("api", "outbox-relay")
        yield installation


def await_contract(installation: Installation, reason: str, *said: str) -> Object:
    """The resource, Ready all the while, once its contract phase waits by `reason` with all of `said` in the message."""

    def waits() -> Object:
        found = reads(installation.namespace, "dbm", "main")
        pending = condition(found, "ContractPending")
        assert (pending.get("status"), pending.get("reason")) == ("True", reason), pending
        assert [each for each in said if each not in pending["message"]] == [], pending
        assert condition(found, "Ready")["status"] == "True", found["status"]
        return found

    found: Object = eventually_sync(waits, within=120, every=0.3)
    return found


def contract_jobs(installation: Installation) -> list[str]:
    """The Jobs of phase contract."""
    found = installation.items("jobs", "-l", "ops.coursegen.dev/task=contract")
    return [each["metadata"]["name"] for each in found]


def has(installation: Installation, table: str) -> bool:
    """Whether the database has the table."""
    return installation.sql(f"SELECT to_regclass('public.{table}') IS NOT NULL") == "t"


def undo(installation: Installation) -> None:
    """`kubectl rollout undo` of the api, to its end."""
    installation.kubectl("rollout", "undo", f"deployment/{installation.fullname}-api")
    installation.rolled_out("api")


def looks_again(installation: Installation) -> None:
    """Have the operator make a new plan, and return when it has come to rest with it."""
    mark = f"{time.time()}"
    installation.kubectl("annotate", "dbm/main", f"ops.coursegen.dev/reconcile-at={mark}", "--overwrite")

    def is_at_rest() -> bool:
        status = reads(installation.namespace, "dbm", "main")["status"]
        return status.get("lastHandledReconcileAt") == mark and "task" not in status

    eventually_sync(is_at_rest, within=120, every=0.3)


def applied(installation: Installation, table: str) -> Callable[[], Object]:
    """Looks whether the contract phase is done and the table gone; returns the resource."""

    def is_done() -> Object:
        found = reads(installation.namespace, "dbm", "main")
        assert condition(found, "ContractPending").get("status") == "False", found["status"]["conditions"]
        assert not has(installation, table)
        return found

    return is_done


def test_the_contract_phase_asks_for_a_backup(upgraded: Installation) -> None:
    """The release is Ready and serves; the table is there, and no Job for it."""
    await_contract(upgraded, "DestructiveDenied", "20990102000000", 'ops.coursegen.dev/backup="$BACKUP"')

    assert contract_jobs(upgraded) == []
    assert has(upgraded, "relics")


def test_an_undone_rollout_holds_the_contract_phase(upgraded: Installation) -> None:
    """The old code runs again: it is rolled out, and has soaked, and nothing may be taken from it."""
    undo(upgraded)
    undone_at = time.time()
    upgraded.kubectl("annotate", "dbm/main", "ops.coursegen.dev/backup=dump-1")
    await_contract(upgraded, "WaitingForRollout", f"{upgraded.fullname}-api was put back to version {OLD_VERSION}")

    eventually_sync(lambda: time.time() > undone_at + SOAK_SECONDS + 1, within=2 * SOAK_SECONDS, every=1)
    looks_again(upgraded)

    await_contract(upgraded, "WaitingForRollout")
    assert contract_jobs(upgraded) == []
    assert has(upgraded, "relics")


def test_rolled_out_and_soaked_it_is_applied(upgraded: Installation) -> None:
    """By one Job, with the backup's id in the list; the Events tell what it has waited for."""
    undo(upgraded)
    await_contract(upgraded, "Soaking", f"soaks for {SOAK_SECONDS}s")

    found: Object = eventually_sync(applied(upgraded, "relics"), within=120, every=0.5)

    (job,) = contract_jobs(upgraded)
    used = found["status"]["usedBackup"]
    assert (used["id"], used["task"], found["status"]["lastAttempt"]["jobName"]) == ("dump-1", "contract", job)
    noted = "SELECT backup_id FROM supabase_migrations.schema_migrations WHERE version = '20990102000000'"
    assert upgraded.sql(noted) == "dump-1"
    assert has(upgraded, "leftovers")
    said = upgraded.kubectl("events", "--for", "dbm/main")
    for reason in ("ContractDeferred", "ApprovalRequired", "MigrationStarted", "ContractApplied"):
        assert reason in said, said
    assert "was put back to version" in said
    assert f"the rollout soaks for {SOAK_SECONDS}s" in said


def test_the_next_contract_phase_needs_a_backup_of_its_own(upgraded: Installation) -> None:
    """The annotation still names the one that was used."""
    upgraded.install(bringing(MAKE, DROP_RELICS, DROP_LEFTOVERS))
    await_contract(upgraded, "DestructiveDenied", "backup dump-1 was used for another plan")
    assert len(contract_jobs(upgraded)) == 1

    upgraded.kubectl("annotate", "dbm/main", "ops.coursegen.dev/backup=dump-2", "--overwrite")

    found: Object = eventually_sync(applied(upgraded, "leftovers"), within=120, every=0.5)
    assert found["status"]["usedBackup"]["id"] == "dump-2"
    assert len(contract_jobs(upgraded)) == 2


def name_backup(installation: Installation, backup: str) -> None:
    """Say which backup there is."""
    installation.kubectl("annotate", "dbm/main", f"ops.coursegen.dev/backup={backup}", "--overwrite")


def test_a_spent_backup_is_refused_by_the_database(upgraded: Installation) -> None:
    """The operator remembers the last one only, and the line of the first one is written over: the Job refuses it."""
    upgraded.install(bringing(MAKE, DROP_RELICS, DROP_LEFTOVERS, DROP_REMNANTS))
    await_contract(upgraded, "DestructiveDenied", "20990104000000", "backup dump-2 was used for another plan")
    line = (
        "UPDATE supabase_migrations.schema_migrations SET backup_id = NULL, plan_hash = NULL WHERE backup_id = 'dump-1'"
    )
    upgraded.sql(line)
    name_backup(upgraded, "dump-1")

    found = await_contract(upgraded, "DestructiveDenied", "backup dump-1 was used for another plan")

    last = found["status"]["lastAttempt"]
    assert (last["task"], last["outcome"], found["status"]["failedAttempts"]) == ("contract", "Denied", 0)
    assert len(contract_jobs(upgraded)) == 3
    assert has(upgraded, "remnants")
    name_backup(upgraded, "dump-3")
    eventually_sync(applied(upgraded, "remnants"), within=120, every=0.5)
    uses = "SELECT string_agg(concat_ws(' ', backup_id, version), ', ' ORDER BY used_at) FROM supabase_migrations.used_backups"
    assert upgraded.sql(uses) == "dump-1 20990102000000, dump-2 20990103000000, dump-3 20990104000000"


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("PROVE_OPERATOR"), reason="a proof that runs by hand: make prove-operator")
def test_pods_of_other_migrations_hold_the_contract_phase(upgraded: Installation) -> None:
    """Also when both have one version: undone twice, the pods are those of the other image again."""
    name, soak_seconds = f"deployment/{upgraded.fullname}-api", 5
    upgraded.install(bringing(MAKE, DROP_RELICS, DROP_LEFTOVERS, DROP_REMNANTS, DROP_TRACES, soak_seconds=soak_seconds))
    await_contract(upgraded, "DestructiveDenied", "20990105000000", "backup dump-3 was used for another plan")
    jobs = contract_jobs(upgraded)
    other = {"spec": {"template": {"metadata": {"labels": {"ops.coursegen.dev/migrations": "0" * 16}}}}}
    upgraded.kubectl("patch", name, "--type=merge", "-p", json.dumps(other))
    upgraded.rolled_out("api")
    undo(upgraded)
    undo(upgraded)
    undone_at = time.time()
    name_backup(upgraded, "dump-4")
    await_contract(upgraded, "WaitingForRollout", "rolled out with other migrations", "0" * 16)

    eventually_sync(lambda: time.time() > undone_at + soak_seconds + 1, within=2 * soak_seconds, every=1)
    looks_again(upgraded)

    await_contract(upgraded, "WaitingForRollout")
    assert contract_jobs(upgraded) == jobs
    assert has(upgraded, "traces")
    undo(upgraded)
    eventually_sync(applied(upgraded, "traces"), within=120, every=0.5)


def test_an_older_release_finds_the_database_ahead(upgraded: Installation) -> None:
    """`helm rollback` to one with fewer files is no error: nothing is done, and nothing waits."""
    versions = "SELECT version FROM supabase_migrations.schema_migrations ORDER BY version"
    before, jobs = upgraded.sql(versions), contract_jobs(upgraded)
    upgraded.helm("rollback", upgraded.release)

    found = await_condition(upgraded.namespace, "dbm", "main", "Ready", reason="AheadOfImage", within=90)

    status = found["status"]
    assert status["aheadOfImage"] is True
    assert status["currentRevision"] == before.splitlines()[-1]
    assert (condition(found, "ContractPending")["status"], condition(found, "Stalled")["status"]) == ("False", "False")
    assert (upgraded.sql(versions), contract_jobs(upgraded)) == (before, jobs)
    upgraded.rolled_out("api", "outbox-relay")
