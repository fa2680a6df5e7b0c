"""A budget and a pilot on real daemons, by the lines that docs/reuse.md has."""

from __future__ import annotations

import json
from typing import Any

import pytest

from autotune import slurm
from autotune.storage import StudyDir

GPU_S = 3600.0
SLEEP = "time.sleep(2)"
ONE_NODE_EACH = {"cpus": 3, "gpus": 1}


@pytest.mark.slow
def test_a_spent_budget_ends_the_study_and_its_queue_and_a_higher_one_goes_on(lab: Any) -> None:
    budget = {"gpu_hours": 7 / GPU_S}
    lab.write(SLEEP, max_trials=16, trials_per_job=1, budget=budget, resources=ONE_NODE_EACH)

    spent = lab.run(*lab.study())

    assert spent.returncode == 1, spent.stdout
    assert "budget spent: waiting for the trials that run, cancelling the jobs that have not started" in spent.stdout
    assert spent.stdout.splitlines()[-1].endswith("raise `budget`, and the same command goes on")
    assert "Snakemake" not in spent.stdout
    mine = slurm.prefix(StudyDir(lab.folder / ".autotune"))
    states = {job["state"] for job in lab.cluster.jobs() if job["name"].startswith(mine)}
    assert "CANCELLED" in states  # a job that has not started does not start only to end
    assert not states & {"PENDING", "RUNNING"}
    first = lab.executions()
    assert 4 <= len(first) < 16
    assert len(lab.submissions()) == 16  # none twice
    account = json.loads((lab.folder / ".autotune/spent.json").read_text())
    assert account["gpu_seconds"] >= 2 * len(first)

    low = lab.run(*lab.study("--budget", f"gpu_hours={9 / GPU_S}"))
    assert low.returncode == 2
    assert f"`budget.gpu_hours` must hold the study: {len(first)} trials that are done took" in low.stdout

    done = lab.run(*lab.study("--budget", f"gpu_hours={100 / GPU_S}"))
    assert done.returncode == 0, done.stdout
    assert lab.executions() == dict.fromkeys(range(16), 1)


@pytest.mark.slow
def test_a_pilot_runs_as_a_job_of_the_studys_and_is_kept(lab: Any) -> None:
    lab.write(SLEEP, max_trials=9, trials_per_job=3, resources=ONE_NODE_EACH)

    pilot = lab.run("autotune", "plan", "study.yaml", "--dry-run", "--pilot", "3", "--profile", "slurm")

    assert pilot.returncode == 0, pilot.stdout
    assert "estimate: 6 of 9 trials to run in 2 jobs" in pilot.stdout
    assert "with 100 jobs at a time" in pilot.stdout  # as the profile says, not this machine's processors
    assert lab.executions() == {0: 1, 1: 1, 2: 1}
    (submission,) = lab.submissions()
    assert "autotune-" in submission  # so `status` and `cancel` know the job
    node = lab.notes()[0][2]
    shown = lab.run("autotune", "show", "0")
    assert f"on {node}," in shown.stdout

    done = lab.run(*lab.study())
    assert done.returncode == 0, done.stdout
    assert lab.executions() == dict.fromkeys(range(9), 1)
