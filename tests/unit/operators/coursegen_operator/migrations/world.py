"""A small world for the planner: an API server, the Job controller, a kubelet, a database, and an operator that may die.

Time stands still unless it is moved. The database is a set of applied files; a Job does to it what its arguments say, so that
a plan that has changed meanwhile is refused here, too. What a plan is called, and which backup it may use, says the code of
the migration process itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from operators.coursegen_operator.child import adopt
from operators.coursegen_operator.conditions import Condition, merged, timestamp
from operators.coursegen_operator.migrations.planner import MigrationKind
from operators.coursegen_operator.migrations.rollout import migrations_label
from operators.coursegen_operator.planning import Child, Notice, Observed, Plan
from operators.coursegen_operator.resources import Object
from services.migrate.files import MigrationFile
from services.migrate.history import AppliedMigration, BackupUse
from services.migrate.plan import Plan as Work

START = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
UID = "6f1d7b6e-9a53-4e0c-8a7c-0a1b2c3d4e5f"

_LABELS = {"version": "app.kubernetes.io/version", "migrations": "ops.coursegen.dev/migrations"}

Fate = Literal["ok", "error", "unreachable", "killed", "lost", "evicted", "locked"]
Death = Literal["no", "before anything", "after children"]


@dataclass(frozen=True)
class File:
    """A migration of an image."""

    version: str
    phase: Literal["expand", "contract"] = "expand"
    destructive: bool = False


IMAGES: dict[str, tuple[File, ...]] = {
    "shop:1": (File("20260101000000"),),
    "shop:2": (File("20260101000000"), File("20260102000000"), File("20260103000000", "contract")),
    "shop:3": (File("20260101000000"), File("20260102000000", destructive=True), File("20260104000000")),
}


def new_resource(**spec: Any) -> Object:
    """A DatabaseMigration as the API server has just stored it."""
    return {
        "apiVersion": "ops.coursegen.dev/v1alpha1",
        "kind": "DatabaseMigration",
        "metadata": {
            "name": "main",
            "namespace": "shop",
            "uid": UID,
            "generation": 1,
            "labels": {"app.kubernetes.io/instance": "shop"},
            "annotations": {},
        },
        "spec": {"databaseSecretRef": {"name": "db"}, "image": "shop:1", **spec},
        "status": {"observedGeneration": -1},
    }


@dataclass
class World:
    """All there is."""

    resource: Object
    now: datetime = START
    jobs: dict[str, Object] = field(default_factory=dict)
    pods: dict[str, Object] = field(default_factory=dict)
    deployments: list[Object] = field(default_factory=list)
    applied: set[str] = field(default_factory=set)
    unlisted: set[str] = field(default_factory=set)
    """Files whose schema the database has without a list that says so: only a baseline makes them applied."""
    listed: dict[str, AppliedMigration] = field(default_factory=dict)
    """The lines of what was applied; one whose file is lost goes with it."""
    uses: dict[tuple[str, str], str | None] = field(default_factory=dict)
    """The newest file that was applied with a backup under a plan: kept whatever is lost."""
    breaks_after: int | None = None
    """So many files a Job applies before it fails."""
    drifted: bool = False
    notices: list[Notice] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    """Names of all Jobs that were ever created."""
    last_plan: Plan | None = None
    _serial: int = 0

    # ── The operator ──

    def look(self, death: Death = "no") -> Plan:
        """One reconciliation, which may die half-way."""
        before = self.resource["status"]
        plan = MigrationKind().plan(self.resource, self.observed())
        self.last_plan = plan
        if death == "before anything":
            return plan
        for obsolete in plan.obsolete:
            self.remove(obsolete["metadata"]["name"])
        for child in plan.children:
            self._create(child)
        if death == "after children":
            return plan
        self.write(plan)
        if without_times(before) != without_times(self.resource["status"]):
            self.notices += plan.notices
        return plan

    def observed(self) -> Observed:
        """What the operator sees."""
        around: dict[str, list[Object]] = {"pods": list(self.pods.values())}
        if self.resource["status"].get("contractPendingRevisions"):
            around["deployments"] = self.deployments
        return Observed(self.now, tuple(self.jobs.values()), around)

    def write(self, plan: Plan) -> None:
        """Store the status of `plan` as the reconciler does."""
        previous = self.resource["status"].get("conditions") or []
        new = [Condition.of(each) for each in plan.status["conditions"]]
        found = merged(previous, new, self.generation, self.now)
        self.resource["status"] = json.loads(json.dumps({**plan.status, "conditions": found}))

    def settle(self, looks: int = 20) -> Plan:
        """Look until a look changes nothing, without time going on."""
        for _ in range(looks):
            before = json.dumps([self.resource["status"], sorted(self.jobs)], sort_keys=True)
            plan = self.look()
            if before == json.dumps([self.resource["status"], sorted(self.jobs)], sort_keys=True):
                return plan
        raise AssertionError("the operator finds no rest")

    # ── Time, people ──

    @property
    def generation(self) -> int:
        """The number of the spec."""
        return int(self.resource["metadata"]["generation"])

    def wait(self, seconds: float) -> None:
        """Let time go on."""
        self.now += timedelta(seconds=seconds)

    def edit(self, **spec: Any) -> None:
        """Somebody changes the spec."""
        self.resource["spec"] = {**self.resource["spec"], **spec}
        self.resource["metadata"]["generation"] += 1

    def annotate(self, **annotations: str) -> None:
        """Somebody sets annotations: `approve`, `backup`, `reconcile_at`."""
        for name, value in annotations.items():
            self.resource["metadata"]["annotations"][f"ops.coursegen.dev/{name.replace('_', '-')}"] = value

    def remove(self, name: str) -> None:
        """Delete a Job; its pods are collected."""
        job = self.jobs.pop(name, None)
        if job is not None:
            self.pods = {
                key: pod
                for key, pod in self.pods.items()
                if pod["metadata"]["ownerReferences"][0]["uid"] != job["metadata"]["uid"]
            }

    def roll_out(self, *, generation: int = 1, ready: bool = True, version: str = "", is_marked: bool = False) -> None:
        """A Deployment of the release, as its controller has just left it; marked with the migrations that it belongs to."""
        labels = {"app.kubernetes.io/instance": "shop"} | ({"app.kubernetes.io/version": version} if version else {})
        if is_marked:
            labels["ops.coursegen.dev/migrations"] = migrations_label(self.resource)
        moment = timestamp(self.now)
        self.deployments = [
            {
                "metadata": {"name": "api", "generation": generation, "labels": labels},
                "spec": {"replicas": 2, "template": {"metadata": {"labels": dict(labels)}}},
                "status": {
                    "observedGeneration": generation,
                    "replicas": 2 if ready else 3,
                    "updatedReplicas": 2 if ready else 1,
                    "availableReplicas": 2,
                    "conditions": [
                        {
                            "type": "Progressing",
                            "status": "True",
                            "lastTransitionTime": timestamp(START),
                            "lastUpdateTime": moment,
                        }
                    ],
                },
            }
        ]

    def undo(self, **labels: str | None) -> None:
        """`kubectl rollout undo`: an older template, rolled out; the Deployment's own labels stay. `None` takes one away."""
        (deployment,) = self.deployments
        kept: Object = deployment["spec"]["template"]["metadata"]["labels"]
        named = {_LABELS[name]: value for name, value in labels.items()}
        deployment["spec"]["template"]["metadata"]["labels"] = {
            name: value for name, value in (kept | named).items() if value is not None
        }
        deployment["metadata"]["generation"] += 1
        deployment["status"]["observedGeneration"] += 1
        deployment["status"]["conditions"][0]["lastUpdateTime"] = timestamp(self.now)

    # ── The Job controller, the kubelet, the database ──

    @property
    def unfinished(self) -> list[Object]:
        """Jobs that have not ended."""
        return [job for job in self.jobs.values() if not job["status"].get("conditions")]

    @property
    def job(self) -> Object:
        """The one Job that has not ended."""
        (job,) = self.unfinished
        return job

    def task(self, job: Object | None = None) -> str:
        """What a Job is for."""
        return str((job or self.job)["metadata"]["labels"]["ops.coursegen.dev/task"])

    def begin(self, job: Object | None = None, *, waiting: Mapping[str, str] | None = None) -> None:
        """The pod of a Job comes up, or waits for something."""
        job = job or self.job
        state = {"waiting": dict(waiting)} if waiting else {"running": {"startedAt": timestamp(self.now)}}
        job["status"].setdefault("startTime", timestamp(self.now))
        name = f"{job['metadata']['name']}-x"
        self.pods[name] = {
            "kind": "Pod",
            "metadata": {
                "name": name,
                "creationTimestamp": timestamp(self.now),
                "ownerReferences": [{"kind": "Job", "uid": job["metadata"]["uid"], "controller": True}],
            },
            "status": {
                "phase": "Pending" if waiting else "Running",
                "containerStatuses": [{"name": "coursegen", "state": state}],
            },
        }

    def finish(self, fate: Fate = "ok", job: Object | None = None) -> None:
        """A Job ends, one way or the other."""
        job = job or self.job
        report = None if fate in {"killed", "lost", "evicted"} else self._report(job, fate)
        if fate == "lost":
            self.pods = {key: pod for key, pod in self.pods.items() if not key.startswith(job["metadata"]["name"])}
        else:
            self.begin(job)
            self._end_pod(job, report)
        is_good = report is not None and report["outcome"] in {"succeeded", "ahead"}
        moment = timestamp(self.now)
        job["status"]["conditions"] = [
            {"type": "Complete" if is_good else "Failed", "status": "True", "lastTransitionTime": moment}
        ]
        if is_good:
            job["status"]["completionTime"] = moment

    def _end_pod(self, job: Object, report: Object | None) -> None:
        pod = self.pods[f"{job['metadata']['name']}-x"]
        ended = {"exitCode": 0 if report else 137, "reason": "Completed" if report else "OOMKilled"}
        if report is not None:
            ended["message"] = json.dumps(report)
        pod["status"]["phase"] = "Succeeded" if report else "Failed"
        pod["status"]["containerStatuses"][0]["state"] = {"terminated": ended}

    def _create(self, child: Child) -> None:
        if child.name in self.jobs:
            return
        self._serial += 1
        manifest = adopt(child, self.resource)
        manifest["metadata"] |= {"uid": f"job-{self._serial}", "creationTimestamp": timestamp(self.now)}
        self.jobs[child.name] = {**manifest, "status": {}}
        self.made.append(child.name)

    def _report(self, job: Object, fate: Fate) -> Object:
        self.listed = {version: line for version, line in self.listed.items() if version in self.applied}
        arguments = job["spec"]["template"]["spec"]["containers"][0]["args"]
        task = arguments[1]
        options = dict(each.removeprefix("--").partition("=")[::2] for each in arguments[2:])
        image = job["spec"]["template"]["spec"]["containers"][0]["image"]
        if fate == "unreachable":
            return {"task": task, "outcome": "unreachable", "error": "connection refused", "transient": True}
        if fate == "error":
            return {"task": task, "outcome": "failed", "error": 'relation "courses" does not exist', "transient": False}
        if fate == "locked":
            return {"task": task, "outcome": "failed", "error": "Another session holds the lock", "transient": True}
        if task == "drift":
            state = "Drifted" if self.drifted else "InSync"
            summary = "column courses.extra" if self.drifted else ""
            return {
                **self._plan_report(image, options),
                "task": task,
                "outcome": "succeeded",
                "drift": {"state": state, "fingerprint": state, "summary": summary},
            }
        if task == "plan":
            return self._plan_report(image, options)
        return self._apply(task, image, options)

    def _plan_report(self, image: str, options: Mapping[str, str]) -> Object:
        versions = {file.version for file in IMAGES[image]}
        adopted = self._adopted(options)
        newest = max(self.applied | adopted, default=None)
        target = max(versions)
        expand, contract = self.work(image, "expand", adopted), self.work(image, "contract")
        return {
            "task": "plan",
            "outcome": "ahead" if self.applied - versions else "succeeded",
            "currentRevision": newest,
            "targetRevision": target,
            "pending": [file.version for file in expand.files],
            "pendingCount": len(expand.files),
            "baselineCount": len(adopted),
            "planHash": expand.hash,
            "destructive": [
                {"revision": file.version, "statement": each.statement} for file, each in expand.destructive
            ],
            "contractPending": [file.version for file in contract.files],
            "contractPlanHash": contract.hash,
        }

    def _apply(self, task: str, image: str, options: Mapping[str, str]) -> Object:
        adopted = self._adopted(options)
        plan = self.work(image, "expand" if task == "apply" else "contract", adopted)
        if options.get("expect-plan") != plan.hash or (plan.needs_backup and "allow-destructive" not in options):
            return {"task": task, "outcome": "denied", "error": "the plan has changed", "transient": False}
        backup = options.get("backup", "") if plan.needs_backup else ""
        uses = [BackupUse(*use, version) for use, version in self.uses.items()]
        if backup and not plan.may_use(backup, self.listed, uses):
            said = f"backup {backup} was used for another plan"
            return {"task": task, "outcome": "denied", "error": said, "transient": False, "backupSpent": True}
        self.applied |= adopted
        files = self._carried_out(plan, backup)
        if self.breaks_after is not None:
            return {"task": task, "outcome": "failed", "error": "value too long", "transient": False}
        return {
            "task": task,
            "outcome": "succeeded",
            "applied": [file.version for file in files],
            "revision": max(self.applied),
        }

    def _carried_out(self, plan: Work, backup: str) -> list[MigrationFile]:
        """The files of `plan` that a Job applies before it breaks off."""
        use = backup, str(plan.hash)
        for number, file in enumerate(plan.files):
            if backup and plan.takes_away(file):
                self.uses.setdefault(use, None)
            if number == self.breaks_after:
                return list(plan.files[:number])
            if use in self.uses:
                self.uses[use] = file.version
            self.listed[file.version] = AppliedMigration(file.version, file.name, None, file.checksum, use[1], backup)
            self.applied.add(file.version)
        return list(plan.files)

    def work(self, image: str, phase: Literal["expand", "contract"], adopted: Iterable[str] = ()) -> Work:
        """What a phase of an image would do."""
        done = {*self.applied, *adopted}
        files = tuple(_file(file) for file in IMAGES[image] if file.phase == phase)
        left = tuple(file for file in files if file.version not in done)
        noted = tuple(_file(File(version)) for version in sorted(adopted))
        return Work(phase, left, max((file.version for file in files), default=None), noted)

    def _adopted(self, options: Mapping[str, str]) -> set[str]:
        """What a baseline has still to note."""
        return {each for each in self.unlisted - self.applied if each <= options.get("baseline", "")}

    # ── What can be said about it ──

    def condition(self, condition_type: str) -> Object:
        """A condition of the stored status."""
        return next(each for each in self.resource["status"]["conditions"] if each["type"] == condition_type)

    def says(self) -> tuple[str, str]:
        """`done`, `working` or `stuck`, and the reason."""
        triple = "".join(self.condition(name)["status"][0] for name in ("Ready", "Reconciling", "Stalled"))
        return {"TFF": "done", "FTF": "working", "FFT": "stuck"}[triple], self.condition("Ready")["reason"]

    def told(self) -> list[str]:
        """The reasons of all Events so far."""
        return [notice.reason for notice in self.notices]


def _file(file: File) -> MigrationFile:
    """As it would lie in the image."""
    text = "DROP TABLE x;" if file.destructive else "SELECT 1;"
    return MigrationFile(file.version, "x", f"-- migrate: {file.phase}\n{text}")


def without_times(status: Object) -> Object:
    """A status as the reconciler compares it."""
    found = json.loads(json.dumps(status))
    for condition in found.get("conditions") or []:
        condition.pop("lastTransitionTime", None)
        condition.pop("observedGeneration", None)
    return dict(found)
