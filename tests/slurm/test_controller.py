"""`autotune study --profile slurm` can be ended in any way and started again at once, and it never hangs."""

from __future__ import annotations

import csv
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

HOLD = "if number % 2: wait_for('go')"
ONCE = dict.fromkeys(range(4), 1)


def all_done(lab: Any) -> bool:
    with open(lab.folder / ".autotune" / "trials.csv", newline="") as file:
        return [row["state"] for row in csv.DictReader(file)] == ["complete"] * 4


def snakemakes(lab: Any) -> list[int]:
    """Return the main Snakemake processes of the project."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if "--slurm-jobname-prefix" in words and (entry / "cwd").resolve() == lab.folder.resolve():
                found.append(int(entry.name))
        except (OSError, ValueError):
            continue
    return found


@pytest.mark.parametrize(
    "number",
    [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGINT],
    ids=lambda number: number.name,
)
def test_ended_and_started_again_at_once(lab: Any, number: signal.Signals) -> None:
    lab.write(HOLD)
    first = lab.start(*lab.study())
    lab.wait_for_running(4)
    os.kill(first.pid, number)
    first.wait(60)
    told = lab.terminal()
    assert not snakemakes(lab)
    if number == signal.SIGINT:
        assert "cancelling the study's jobs" in told
        assert lab.cluster.active() == [] or {job["state"] for job in lab.cluster.active()} == {"COMPLETING"}
    if number == signal.SIGTERM:
        assert "2 jobs (2 running) of the study in the queue: the same command waits for them" in told

    again = lab.start(*lab.study())
    if number != signal.SIGINT:
        lab.wait(lambda: "2 jobs (2 running) of an earlier run in the queue: waiting" in lab.terminal(), "it waits")
    lab.go()
    assert lab.finish(again).returncode == 0, lab.terminal()
    assert all_done(lab)
    wanted = 2 if number == signal.SIGINT else 1
    assert lab.executions() == {0: 1, 1: wanted, 2: 1, 3: wanted}
    assert len(lab.submissions()) == 2 * wanted


@pytest.mark.slow
def test_leftover_jobs_can_be_cancelled_instead(lab: Any) -> None:
    lab.write(HOLD)
    first = lab.start(*lab.study())
    lab.wait_for_running(4)
    first.kill()
    first.wait()
    again = lab.start(*lab.study("--cancel-leftovers"))
    lab.wait(lambda: lab.executions() == {0: 1, 1: 2, 2: 1, 3: 2}, "the cancelled jobs' trials run again")
    assert "cancelling 2 jobs (2 running) of an earlier run" in lab.terminal()
    lab.go()
    assert lab.finish(again).returncode == 0, lab.terminal()
    assert all_done(lab)


def test_killed_snakemake_is_started_again_when_its_jobs_are_done(lab: Any) -> None:
    lab.write(HOLD)
    study = lab.start(*lab.study())
    lab.wait_for_running(4)
    (pid,) = snakemakes(lab)
    os.kill(pid, signal.SIGKILL)
    lab.wait(lambda: "2 jobs (2 running) of an earlier run" in lab.terminal(), "the study notices")
    lab.go()
    assert lab.finish(study).returncode == 0, lab.terminal()
    assert "Snakemake was killed by SIGKILL" in lab.terminal()
    assert "starting Snakemake again; 2 jobs (2 running) of the one before go on" in lab.terminal()
    assert lab.executions() == ONCE
    assert len(lab.submissions()) == 2


def test_snakemake_that_has_forgotten_its_jobs_is_ended_and_resumed(lab: Any) -> None:
    # Without accounting `sacct` fails; the plugin then drops all its jobs, and waits for them for ever.
    lab.write()
    done = lab.run(*lab.study("--slurm-status-command", "sacct", "--slurm-status-attempts", "1"))
    assert done.returncode == 0, done.stdout
    assert "but SLURM says COMPLETED" in done.stdout and "starting Snakemake again" in done.stdout, done.stdout
    assert lab.executions() == ONCE
    assert len(lab.submissions()) == 2
    assert all_done(lab)


@pytest.mark.slow
def test_lost_job_runs_again_while_the_others_go_on(lab: Any) -> None:
    lab.write("if number % 2: wait_for(f'go{number}')")
    study = lab.start(*lab.study())
    lab.wait_for_running(4)
    lost, other = (job["id"] for job in sorted(lab.cluster.active(), key=lambda job: job["comment"]))
    (pid,) = snakemakes(lab)
    os.kill(pid, signal.SIGSTOP)  # SLURM forgets a job between two looks at the queue
    lab.cluster.forget_ended_jobs(after_s=5)
    lab.cluster.run("scancel", lost)
    lab.wait(lambda: lost not in {job["id"] for job in lab.cluster.jobs()}, "SLURM has forgotten the job", every_s=1)
    os.kill(pid, signal.SIGCONT)

    lab.wait(lambda: lab.executions()[1] == 2, "the lost job's trial runs again", every_s=1)
    assert f"waits for SLURM job {lost}, but SLURM does not know it any more" in lab.terminal()
    assert "starting Snakemake again; 1 job (1 running) of the one before go on" in lab.terminal()
    assert other in {job["id"] for job in lab.cluster.active()}
    lab.go("go1")
    lab.wait(lambda: "1 job (1 running) of an earlier run in the queue: waiting" in lab.terminal(), "one is left")
    lab.go("go3")
    assert lab.finish(study).returncode == 0, lab.terminal()
    assert all_done(lab)
    assert lab.executions() == {0: 1, 1: 2, 2: 1, 3: 1}
    assert len(lab.submissions()) == 3


def test_status_and_cancel(lab: Any) -> None:
    lab.write("wait_for('go')", max_trials=8, resources={"gpus": 1, "cpus": 4})  # a node has room for one job
    lab.cluster.drain("node4")
    study = lab.start(*lab.study())
    lab.wait_for_running(3)
    for flags in ([], ["--fresh"]):
        twice = lab.run("autotune", "study", "study.yaml", "--profile", "slurm", *flags)
        assert twice.returncode == 2
        assert "only one `autotune study` must run the study" in twice.stdout
    assert not (lab.folder / ".autotune" / "archive").exists()

    status = lab.run("autotune", "status")
    assert "SLURM holds 4 jobs (1 pending, 3 running); of the trials to run: 6 running, 2 pending" in status.stdout
    on_slurm = json.loads(lab.run("autotune", "status", "--json").stdout)["slurm"]
    assert [len(on_slurm[state]) for state in ("running", "pending", "lost")] == [6, 2, 0]

    cancelled = lab.run("autotune", "cancel")
    assert cancelled.returncode == 0, cancelled.stdout
    assert "cancelled 4 jobs (1 pending, 3 running) and ended `autotune study`" in cancelled.stdout
    assert study.wait(30) == 130
    lab.wait(lambda: not lab.cluster.active(), "the queue is empty")
    assert "8 lost (their jobs have ended without them" in lab.run("autotune", "status").stdout
    assert lab.run("autotune", "cancel").stdout.startswith("cancelled no jobs")


@pytest.mark.slow
def test_status_and_cancel_know_the_jobs_of_a_plain_snakemake(lab: Any) -> None:
    lab.write("wait_for('go')")
    lab.run("autotune", "plan", "study.yaml")
    snakemake = lab.start(*lab.snakemake("--retries", "0"))
    lab.wait_for_running(2)
    assert "of the trials to run: 4 running" in lab.run("autotune", "status").stdout
    assert "a `snakemake` that still runs would submit them again" in lab.run("autotune", "cancel").stdout
    snakemake.wait(60)
    assert lab.cluster.active() == []
