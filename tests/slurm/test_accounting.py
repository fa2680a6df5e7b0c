"""The same on a cluster with an accounting database: sacct is there, and a QOS has limits."""

from __future__ import annotations

import csv
import getpass
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster, missing_programs

PROFILE = (Path(__file__).parents[2] / "profiles" / "slurm" / "config.yaml").read_text()
ONCE = dict.fromkeys(range(4), 1)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A cluster with slurmdbd on MariaDB, and two QOS with limits."""
    if missing := missing_programs(accounting_too=True):
        pytest.skip(f"needs {', '.join(missing)}; `make test-slurm` installs them")
    with Cluster(accounting=True) as cluster:
        for qos, limit in (("submit1", "MaxSubmitJobsPerUser=1"), ("run1", "GrpJobs=1")):
            cluster.run("sacctmgr", "--immediate", "add", "qos", qos, limit)
            cluster.run("sacctmgr", "--immediate", "modify", "user", getpass.getuser(), "set", f"qos+={qos}")
        yield cluster


def all_done(lab: Any) -> bool:
    with open(lab.folder / ".autotune" / "trials.csv", newline="") as file:
        return [row["state"] for row in csv.DictReader(file)] == ["complete"] * 4


def accounted(lab: Any, *jobs: str) -> list[str]:
    """Return the states that the accounting database has for these jobs."""
    return list(lab.cluster.run("sacct", "-X", "-n", "-P", "-o", "State", "-j", ",".join(jobs)).split())


def test_literal_line_with_accounting(lab: Any) -> None:
    lab.write()
    assert lab.run("autotune", "plan", "study.yaml").returncode == 0
    assert lab.run(*lab.snakemake()).returncode == 0, lab.terminal()
    assert all_done(lab)
    assert lab.executions() == ONCE
    assert len(lab.submissions()) == 2
    jobs = [job["id"] for job in lab.cluster.jobs()[-2:]]
    lab.wait(lambda: accounted(lab, *jobs) == ["COMPLETED"] * 2, "the database has both jobs", every_s=1)


@pytest.mark.slow
def test_job_cancelled_under_sacct_runs_again_while_the_other_goes_on(lab: Any) -> None:
    # The plugin compares sacct's "CANCELLED by 0" with "CANCELLED", and waits for ever.
    lab.write("if number % 2: wait_for(f'go{number}')")
    study = lab.start(*lab.study("--slurm-status-command", "sacct"))
    lab.wait_for_running(4)
    lost, other = (job["id"] for job in sorted(lab.cluster.active(), key=lambda job: job["comment"]))
    lab.cluster.run("scancel", lost)
    lab.wait(lambda: lab.executions()[1] == 2, "the cancelled job's trial runs again", every_s=1)
    assert f"waits for SLURM job {lost}, but SLURM says CANCELLED" in lab.terminal()
    assert other in {job["id"] for job in lab.cluster.active()}
    lab.go("go1")
    lab.go("go3")
    assert lab.finish(study).returncode == 0, lab.terminal()
    assert all_done(lab)
    assert lab.executions() == {0: 1, 1: 2, 2: 1, 3: 1}


@pytest.mark.slow
def test_status_knows_by_sacct_what_squeue_has_forgotten(lab: Any) -> None:
    lab.write("if number % 2: wait_for('go')")
    study = lab.start(*lab.study())
    lab.wait_for_running(4)
    study.kill()
    study.wait()
    jobs = [job["id"] for job in lab.cluster.active()]
    lab.cluster.forget_ended_jobs(after_s=5)
    lab.cluster.run("scancel", *jobs)
    lab.wait(lambda: not lab.cluster.jobs(), "squeue has forgotten the jobs", every_s=1)
    assert accounted(lab, *jobs) == ["CANCELLED", "by", "0"] * 2

    assert "2 lost (their jobs have ended without them: 1, 3)" in lab.run("autotune", "status").stdout
    lab.cluster.stop_controller()  # the database answers all the same
    assert "2 lost (their jobs have ended without them: 1, 3)" in lab.run("autotune", "status").stdout
    lab.cluster.start_controller()
    lab.go()
    assert lab.run(*lab.study()).returncode == 0, lab.terminal()
    assert "lost" not in lab.run("autotune", "status").stdout
    assert lab.executions() == {0: 1, 1: 2, 2: 1, 3: 2}


def test_submission_that_a_qos_refuses(lab: Any) -> None:
    lab.write("wait_for('go')", profile=PROFILE.replace("  # qos: normal\n", "  qos: submit1\n"))
    study = lab.start(*lab.study("--retries", "0"))
    lab.wait_for_running(1)
    lab.go()
    done = lab.finish(study)
    assert done.returncode == 1
    assert "SLURM refused jobs: sbatch: error: QOSMaxSubmitJobPerUserLimit" in done.stdout, done.stdout
    first = lab.executions()
    assert sorted(first.values()) == [1, 1]

    assert lab.run(*lab.study("--retries", "0")).returncode == 0, lab.terminal()
    assert all_done(lab)
    assert lab.executions() == ONCE
    assert len(lab.submissions()) == 3


@pytest.mark.slow
def test_job_that_a_qos_holds_back_runs_later(lab: Any) -> None:
    lab.write("wait_for('go')", profile=PROFILE.replace("  # qos: normal\n", "  qos: run1\n"))
    study = lab.start(*lab.study())
    lab.wait_for_running(1)
    lab.wait(lambda: len(lab.submissions()) == 2, "both jobs are submitted")
    reasons = lab.cluster.run("squeue", "-h", "-t", "PENDING", "-o", "%r").split()
    assert reasons == ["QOSGrpJobsLimit"], reasons
    lab.go()
    assert lab.finish(study).returncode == 0, lab.terminal()
    assert all_done(lab)
    assert lab.executions() == ONCE
