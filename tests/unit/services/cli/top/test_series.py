"""Stages from a page of metrics."""

from __future__ import annotations

from services.cli.top.series import Stage, silent, stages

_PAGE = """\
# TYPE stage_job_duration_seconds histogram
stage_job_duration_seconds_bucket{job_type="A",le="1.0"} 3.0
stage_job_duration_seconds_count{job_type="A"} 3.0
stage_job_duration_seconds_sum{job_type="A"} 6.0
stage_job_duration_seconds_count{job_type="A",process="worker-2"} 1.0
stage_job_duration_seconds_sum{job_type="A",process="worker-2"} 2.0
stage_jobs_running{job_type="A"} 2.0
stage_jobs_total{job_type="A",result="applied"} 3.0
stage_jobs_total{job_type="A",result="failed"} 1.0
stage_jobs_running{job_type="B"} 0.0
coursegen_process_up{process="api"} 1
coursegen_process_up{process="worker-analysis"} 0
"""


def test_workers_are_added_up() -> None:
    """Buckets and other outcomes than failures do not count."""
    assert stages(_PAGE) == {"A": Stage(jobs=4, seconds=8, running=2, failed=1), "B": Stage()}


def test_a_stage_without_jobs_has_no_mean() -> None:
    """And one with jobs has the mean of them."""
    found = stages(_PAGE)

    assert (found["A"].mean, found["B"].mean) == (2.0, None)


def test_a_worker_that_started_anew_takes_nothing_away() -> None:
    """What is less than before is nothing; what runs is what runs now."""
    assert Stage(1, 0.5, 3, 0).since(Stage(10, 20, 1, 4)) == Stage(0, 0, 3, 0)


def test_who_did_not_answer_is_named() -> None:
    """By whoever put the page together."""
    assert silent(_PAGE) == ["worker-analysis"]
