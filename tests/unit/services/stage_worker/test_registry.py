"""Stages, engines and followers by name; plugins that cannot be loaded are named."""

from __future__ import annotations

from typing import Any, cast

import pytest

from services.kernel.envelopes import Job
from services.kernel.errors import SettingsInvalid
from services.stage_worker import builtin
from services.stage_worker.registry import EngineMeans, Registry, Workbench, load_plugins
from services.stage_worker.runner import Follower
from services.stage_worker.settings import WorkerSettings
from services.stage_worker.stages.stage import Stage

NOTHING = cast(Workbench, None)
MEANS = EngineMeans(
    WorkerSettings.from_environ({"DATABASE_URL": "postgresql://u@h/d", "ENGINE": "mine"}), cast(Any, None)
)


class Quiz(Stage[Job, Any]):
    """A stage beside the pipeline."""

    job_type = "QUIZ"
    queue = "quiz"
    model = Job


def register(registry: Registry) -> None:
    """A plugin."""
    registry.add_stage(lambda _: Quiz())
    registry.add_engine("mine", lambda _: cast(Any, "an engine"))
    registry.follow("STRUCTURE_GENERATION", queue="quiz", then="QUIZ")


def test_a_plugin_adds_stage_engine_and_follower() -> None:
    """By the name of its function."""
    registry = Registry()
    load_plugins(registry, [f"{__name__}:register"])

    assert registry.stages(NOTHING)["quiz"]["QUIZ"].queue == "quiz"
    assert registry.engine(MEANS) == cast(Any, "an engine")
    assert registry.followers_of("STRUCTURE_GENERATION") == (Follower("quiz", "QUIZ"),)
    assert registry.followers_of("QUIZ") == ()


def test_two_takers_of_one_job_type_are_refused() -> None:
    """Nobody could say which one runs."""
    registry = Registry()
    register(registry)
    register(registry)
    with pytest.raises(SettingsInvalid, match="QUIZ"):
        registry.stages(NOTHING)


def test_an_unknown_engine_is_refused_with_the_known_ones() -> None:
    """The fault names the choice."""
    registry = Registry()
    builtin.register(registry)
    with pytest.raises(SettingsInvalid, match="ENGINE: there is no engine 'mine'"):
        registry.engine(MEANS)


@pytest.mark.parametrize("name", ["no.such.module:register", f"{__name__}:nothing", "", ":", "json", "json:"])
def test_a_plugin_that_cannot_be_loaded_is_named(name: str) -> None:
    """With every other one that cannot."""
    with pytest.raises(SettingsInvalid) as raised:
        load_plugins(Registry(), [name, "also.missing:register"])

    assert len(raised.value.faults) == 2


def test_the_builtin_stages() -> None:
    """One per queue of the pipeline (D12), and what tells of a run's end."""
    registry = Registry()
    builtin.register(registry)
    bench = Workbench(*([cast(Any, None)] * 5))

    assert {queue: list(takers) for queue, takers in registry.stages(bench).items()} == {
        "course-generation:documents": ["DOCUMENT_PROCESSING"],
        "course-generation:analysis": ["STRUCTURE_ANALYSIS"],
        "course-generation:generation": ["STRUCTURE_GENERATION"],
        "webhooks": ["WEBHOOK_DELIVERY"],
    }
