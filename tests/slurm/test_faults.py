"""What goes wrong on a cluster: what the user sees, what is kept, and that only what is missing runs again.

The tests marked slow wait for SLURM's own clocks (a time limit of a minute, a node that is given up): they are run by
`make test-slurm SLURM_TESTS="slow or not slow"`.
"""

from __future__ import annotations

import csv
import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

# Trials 0 and 1 are the first job, 2 and 3 the second; 1 and 3 wait until the test lets them go.
HOLD = "if number % 2: wait_for('go')"


def states(lab: Any) -> list[str]:
    with open(lab.folder / ".autotune" / "trials.csv", newline="") as file:
        return [row["state"] for row in csv.DictReader(file)]


def all_done(lab: Any, trials: int = 4) -> bool:
    return states(lab) == ["complete"] * trials


def job_of(lab: Any, batch: str) -> str:
    """Return SLURM's number of the running job whose batch's name begins so."""
    (job,) = [job for job in lab.cluster.active() if f"wildcards_{batch}" in job["comment"]]
    return str(job["id"])


def state_of(lab: Any, job: str) -> str:
    return next(item["state"] for item in lab.cluster.jobs() if item["id"] == job)


def test_cancelled_job_is_queued_again_and_repeats_only_the_trial_in_flight(lab: Any) -> None:
    lab.write(HOLD)
    study = lab.start(*lab.study())
    lab.wait_for_running(4)
    lab.cluster.run("scancel", job_of(lab, "00000-00001"))
    lab.wait(lambda: lab.executions()[1] == 2, "trial 1 runs again")
    lab.go()

    assert lab.finish(study).returncode == 0, lab.terminal()
    assert all_done(lab)
    assert lab.executions() == {0: 1, 1: 2, 2: 1, 3: 1}
    log = (lab.folder / ".autotune" / "logs" / "snakemake.log").read_text()
    assert "SLURM status is: 'CANCELLED'" in log and "Trying to restart job" in log


def test_requeued_job_repeats_only_the_trial_in_flight(lab: Any) -> None:
    lab.write(HOLD)
    study = lab.start(*lab.study())
    lab.wait_for_running(4)
    job = job_of(lab, "00002-00003")
    lab.cluster.run("scontrol", "requeue", job)
    lab.wait(lambda: state_of(lab, job) == "PENDING", "it is pending again")
    lab.cluster.run("scontrol", "update", f"jobid={job}", "starttime=now")  # SLURM would hold it back for two minutes
    lab.wait(lambda: lab.executions()[3] == 2, "trial 3 runs again")
    lab.go()

    assert lab.finish(study).returncode == 0, lab.terminal()
    assert all_done(lab)
    assert lab.executions() == {0: 1, 1: 1, 2: 1, 3: 2}
    assert len(lab.submissions()) == 2


def test_crashing_trial_harms_no_other_and_alone_runs_again(lab: Any) -> None:
    lab.write("if number == 1 and not (HERE / 'mended').exists(): os.kill(os.getpid(), signal.SIGSEGV)")
    done = lab.run(*lab.study("--retries", "0"))

    assert done.returncode == 1
    assert "failed (crash)" in done.stdout and "SIGSEGV" in done.stdout, done.stdout
    assert "of 4 trials 1 failed" in done.stdout.splitlines()[-1]
    assert lab.executions() == dict.fromkeys(range(4), 1)
    assert states(lab) == ["complete", "failed", "complete", "complete"]
    lab.go("mended")
    assert lab.run(*lab.study()).returncode == 0, lab.terminal()
    assert all_done(lab)
    assert lab.executions() == {0: 1, 1: 2, 2: 1, 3: 1}
    assert len(lab.submissions()) == 3


def test_job_killed_for_memory_gets_more_in_its_next_attempt(lab: Any) -> None:
    # Snakemake's own two processes take some 270 MB of a job; a trial of 400 MB does not fit in beside them.
    lab.write("if number == 1: hog = bytearray(400_000_000); time.sleep(4)", max_trials=2, resources={"mem_mb": 500})
    done = lab.run(*lab.study())

    assert done.returncode == 0, done.stdout
    assert all_done(lab, 2)
    assert lab.executions() == {0: 1, 1: 2}
    first, second = lab.submissions()
    assert "--mem 500" in first and "--mem 1000" in second
    assert "-t 10" in first and "-t 20" in second


def test_refused_submission_is_said_in_slurms_own_words(lab: Any) -> None:
    profile = (Path(__file__).parents[2] / "profiles/slurm/config.yaml").read_text()
    lab.write(profile=profile.replace("  # slurm_partition: gpu\n", "  slurm_partition: nosuch\n"))
    done = lab.run(*lab.study("--retries", "0"))
    assert done.returncode == 1
    assert "SLURM refused" in done.stdout and "invalid partition specified: nosuch" in done.stdout, done.stdout
    assert lab.executions() == {}

    # What no node of a partition may run (its limit is five minutes); a QOS limit is refused in the same way.
    lab.write(profile=profile.replace("  # slurm_partition: gpu\n", "  slurm_partition: short\n"))
    done = lab.run(*lab.study("--retries", "0"))
    assert done.returncode == 1
    assert "Requested time limit is invalid" in done.stdout, done.stdout
    assert lab.executions() == {}

    lab.write(profile=profile)
    assert lab.run(*lab.study()).returncode == 0
    assert lab.executions() == dict.fromkeys(range(4), 1)


@pytest.mark.slow
def test_drained_nodes_finish_their_jobs_and_the_user_learns_why_the_rest_waits(lab: Any) -> None:
    lab.write("wait_for('go')", max_trials=2, trials_per_job=1)
    study = lab.start(*lab.study("--jobs", "1"))
    lab.wait_for_running(1)
    for node in lab.cluster.nodes:
        lab.cluster.drain(node)
    lab.go()  # the first job ends on its drained node, the second finds none
    lab.wait(lambda: "SLURM starts none of" in lab.terminal(), "the study says that SLURM starts nothing", 120)
    assert "DRAINED" in lab.terminal(), lab.terminal()
    for node in lab.cluster.nodes:
        lab.cluster.resume(node)

    assert lab.finish(study).returncode == 0, lab.terminal()
    assert lab.executions() == {0: 1, 1: 1}
    assert len(lab.submissions()) == 2


@pytest.mark.slow
def test_job_past_its_walltime_gets_more_in_its_next_attempt(lab: Any) -> None:
    lab.write("if number == 1 and not (HERE / 'go').exists(): time.sleep(600)", max_trials=2, resources={"runtime": 1})
    study = lab.start(*lab.study())
    lab.wait_for_running(2)
    lab.wait(lambda: len(lab.submissions()) == 2 or lab.go(), "SLURM ends the job after a minute", 150)
    lab.go()

    assert lab.finish(study).returncode == 0, lab.terminal()
    assert all_done(lab, 2)
    assert lab.executions() == {0: 1, 1: 2}
    assert ["-t 1 " in call for call in lab.submissions()] == [True, False]


@pytest.mark.slow
@pytest.mark.parametrize("processes", [True, False], ids=["power fails", "slurmd alone dies"])
def test_dead_node_costs_at_most_the_trials_in_flight_there(lab: Any, processes: bool) -> None:
    lab.write(HOLD, resources={"gpus": 2})  # a job fills a node's GPUs
    study = lab.start(*lab.study())
    lab.wait_for_running(4)
    job = job_of(lab, "00000-00001")
    (node,) = [item["node"] for item in lab.cluster.active() if item["id"] == job]
    lab.cluster.kill_node(node, processes=processes)
    lab.wait(lambda: lab.cluster.node_states()[node].startswith("down"), "SLURM gives the node up", 90)
    lab.wait(lambda: state_of(lab, job) == "PENDING", "SLURM queues the job again")
    lab.cluster.run("scontrol", "update", f"jobid={job}", "starttime=now")  # SLURM would hold it back for two minutes
    lab.wait(lambda: state_of(lab, job) == "RUNNING", "it starts elsewhere")
    if processes:
        lab.wait(lambda: lab.executions()[1] == 2, "the trial that was lost runs again")
    else:
        log = lab.folder / ".autotune" / "logs"
        waiting = "waiting for trials that another process runs: 1"
        lab.wait(lambda: any(waiting in path.read_text() for path in log.glob("00000*.log")), "the trial goes on there")
    lab.go()

    assert lab.finish(study).returncode == 0, lab.terminal()
    assert all_done(lab)
    assert lab.executions() == {0: 1, 1: 2 if processes else 1, 2: 1, 3: 1}
    assert len(lab.submissions()) == 2


@pytest.mark.slow
def test_slurm_controller_away_for_a_minute(lab: Any) -> None:
    lab.write(HOLD)
    study = lab.start(*lab.study())
    lab.wait_for_running(4)
    lab.cluster.stop_controller()
    lab.go()  # trials end while nobody can be asked
    lab.wait(lambda: len(lab.notes("end")) == 4, "all trials end")
    lab.wait(lambda: "SLURM does not answer" in lab.terminal(), "the study says so")
    time.sleep(60)
    assert study.poll() is None
    lab.cluster.start_controller()

    assert lab.finish(study).returncode == 0, lab.terminal()
    assert "SLURM answers again" in lab.terminal()
    assert all_done(lab)
    assert lab.executions() == dict.fromkeys(range(4), 1)


def test_jobs_killed_in_the_midst_of_writing_run_again(lab: Any) -> None:
    # Only `rerun-incomplete` in the profile lets Snakemake run what an earlier one has left half finished.
    lab.write(HOLD)
    assert lab.run("autotune", "plan", "study.yaml").returncode == 0
    first = lab.start(*lab.snakemake())
    lab.wait_for_running(4)
    first.kill()
    first.wait()
    jobs = [job["id"] for job in lab.cluster.active()]
    for job in jobs:
        lab.cluster.stop_snakemake(job)  # which would look at the output and sign it
    lab.go()
    outputs = lab.folder / ".autotune" / "batches"
    lab.wait(lambda: len(list(outputs.glob("0*.json"))) == 2, "both jobs have written their output")
    for job in jobs:
        lab.cluster.kill_processes(job)
    lab.cluster.run("scancel", *jobs)  # SLURM takes it for the node's failure and would run them again
    lab.wait(lambda: not lab.cluster.active(), "the jobs are dead")
    assert len(list(outputs.glob("0*.json"))) == 2

    assert lab.run(*lab.snakemake()).returncode == 0, lab.terminal()
    assert all_done(lab)
    assert lab.executions() == dict.fromkeys(range(4), 1)


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGKILL,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
    ],
    ids=lambda number: number.name,
)
def test_plain_snakemake_ended_and_started_again_at_once(lab: Any, number: signal.Signals) -> None:
    lab.write(HOLD)
    assert lab.run("autotune", "plan", "study.yaml").returncode == 0
    first = lab.start(*lab.snakemake())
    lab.wait_for_running(4)
    first.send_signal(number)
    if number == signal.SIGTERM:  # it waits for the jobs that run, and submits no more
        lab.go()
    first.wait(60)
    again = lab.start(*lab.snakemake())
    if number == signal.SIGKILL:
        lab.wait(lambda: len(lab.cluster.active()) == 4, "a job of each batch beside that of the killed Snakemake")
    if number == signal.SIGINT:
        lab.wait(lambda: lab.executions() == {0: 1, 1: 2, 2: 1, 3: 2}, "the cancelled jobs' trials run again")
    lab.go()

    assert lab.finish(again).returncode == 0, lab.terminal()
    assert all_done(lab)
    wanted = 2 if number == signal.SIGINT else 1  # it cancels the jobs, and with them the trials in flight
    assert lab.executions() == {0: 1, 1: wanted, 2: 1, 3: wanted}
    assert json.loads((lab.folder / ".autotune" / "best.json").read_text())["value"] is not None
