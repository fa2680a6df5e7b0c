"""What is read from squeue and from Snakemake's log, without SLURM."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from autotune import slurm, snakemake, watch
from autotune.config import StudyConfig
from autotune.files import json_bytes
from autotune.storage import StudyDir
from autotune.watch import Belief, Watch

LOG = """\
[Sun Nov 22 12:12:15 2026]
rule batch:
    output: .autotune/batches/00000-00015-5bd8b6f6.json
    jobid: 1
    wildcards: batch=00000-00015-5bd8b6f6
Job 2 has been submitted with SLURM jobid 11 (log: /tmp/11.log).
Job 1 has been submitted with SLURM jobid 12 (log: /tmp/12.log).
[Sun Nov 22 12:12:28 2026]
Finished jobid: 2 (Rule: batch)
1 of 4 steps (25%) done
"""
ERROR = """\
[Sun Nov 22 12:12:28 2026]
Error in rule batch:
    message: SLURM-job '12' failed, SLURM status is: 'TIMEOUT'. Detailed failure reason unavailable.
    jobid: 1
    output: .autotune/batches/00000-00015-5bd8b6f6.json
Trying to restart job 1.
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "snakemake.log"
    path.write_text(LOG)
    return path


def job(id_: str, state: str, batch: str = "00000-00015-5bd8b6f6") -> slurm.Job:
    return slurm.Job(id_, state, "autotune-x_1", "/", "None", batch)


def test_belief_follows_the_log(log: Path) -> None:
    belief = Belief(str(log))
    belief.refresh()
    assert belief.waiting == {"1": "12"}
    with log.open("a") as file:
        file.write(ERROR)
    belief.refresh()
    assert belief.waiting == {}
    with log.open("a") as file:
        file.write("Job 1 has been submitted with SLURM jobid 13 (lo")  # the rest of the line is still to come
    belief.refresh()
    assert belief.waiting == {}
    with log.open("a") as file:
        file.write("g: /tmp/13.log).\n")
    belief.refresh()
    assert belief.waiting == {"1": "13"}


@pytest.mark.parametrize(
    ("jobs", "wanted"),
    [
        ([job("12", "RUNNING")], {}),
        ([job("12", "PENDING")], {}),
        ([job("12", "CANCELLED")], {"12": "CANCELLED"}),
        ([job("12", "COMPLETED")], {"12": "COMPLETED"}),
        ([job("12", "PREEMPTED")], {"12": "PREEMPTED"}),
        ([job("11", "RUNNING")], {"12": "unknown"}),
        ([], {"12": "unknown"}),
    ],
)
def test_watch_names_what_snakemake_waits_for_in_vain(
    log: Path, monkeypatch: pytest.MonkeyPatch, jobs: list[slurm.Job], wanted: dict[str, str]
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(watch.time, "monotonic", lambda: clock[0])
    seen = Watch(Belief(str(log)), first_pause_s=20, latency_s=60)
    assert seen.look(jobs) == {}
    clock[0] += 60  # the plugin may not have looked yet
    assert seen.look(jobs) == {}
    clock[0] += 200
    assert seen.look(jobs) == wanted


def test_job_that_comes_back_is_no_longer_missed(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(watch.time, "monotonic", lambda: clock[0])
    seen = Watch(Belief(str(log)), first_pause_s=20, latency_s=60)
    seen.look([job("12", "NODE_FAIL")])
    clock[0] += 100
    seen.look([job("12", "PENDING")])  # SLURM has queued it again
    clock[0] += 150
    assert seen.look([job("12", "NODE_FAIL")]) == {}


def test_troubles_are_said_once_each(log: Path) -> None:
    refused = (
        "SLURM sbatch failed. The error message was 'sbatch: error: invalid partition\nsbatch: error: no'.\n    call\n"
    )
    log.write_text(ERROR + ERROR.replace("12", "14") + refused + refused)
    said, ended = watch.troubles(str(log), 0)
    assert said.startswith("SLURM refused jobs: sbatch: error: invalid partition sbatch: error: no; what jobs ask for")
    assert ended == "SLURM ended jobs 12, 14 with TIMEOUT; finished trials are kept"


@pytest.fixture
def fake_squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., StudyDir]:
    """``fake_squeue(line, ..., status=0)``: a study directory, and a squeue that prints these lines."""

    def make(*lines: str, status: int = 0) -> StudyDir:
        program = tmp_path / "bin" / "squeue"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\ncat {tmp_path}/queue\nexit {status}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        store = StudyDir(tmp_path / "project" / ".autotune")
        store.make()
        Path(store.index_file).write_bytes(json_bytes({"batches": ["00000-00001-00000000"]}))
        (tmp_path / "queue").write_text("".join(line.format(prefix=slurm.prefix(store)) + "\n" for line in lines))
        return store

    return make


def test_jobs_of_a_study_are_known_by_name_or_by_batch_and_folder(
    fake_squeue: Callable[..., StudyDir], tmp_path: Path
) -> None:
    mine = "rule_batch_wildcards_00000-00001-00000000"
    store = fake_squeue(
        f"1|RUNNING|{{prefix}}_uuid|/elsewhere|None|{mine}",
        f"2|PENDING|0b1c-uuid|{tmp_path}/project|Resources|{mine}",  # a plain snakemake's
        f"3|PENDING|autotune-000000000000_uuid|{tmp_path}/project|Resources|{mine}",  # another study's
        f"4|RUNNING|0b1c-uuid|{tmp_path}/other|None|{mine}",
        f"5|RUNNING|0b1c-uuid|{tmp_path}/project|None|rule_batch_wildcards_00000-00001-11111111",
        f"6|RUNNING|bash|{tmp_path}|None|(null)",
    )
    jobs = slurm.queue(store)
    assert jobs is not None
    assert [item.id for item in jobs] == ["1", "2"]
    assert slurm.described(jobs) == "2 jobs (1 pending, 1 running)"
    assert slurm.trials_by_state(jobs, [0, 1, 2]) == {"running": [], "pending": [0, 1], "lost": []}


def test_queue_is_none_where_slurm_does_not_answer(fake_squeue: Callable[..., StudyDir]) -> None:
    assert slurm.queue(fake_squeue(status=1)) is None


def test_trials_are_where_their_last_job_is() -> None:
    batch = "00000-00001-00000000"
    ended, later = job("9", "TIMEOUT", batch), job("10", "RUNNING", batch)
    assert slurm.trials_by_state([later, ended], [1]) == {"running": [1], "pending": [], "lost": []}
    assert slurm.trials_by_state([ended], [1, 7]) == {"running": [], "pending": [], "lost": [1]}


@pytest.mark.parametrize(
    ("rest", "wanted"),
    [
        (["--profile", "mine"], "slurm"),
        (["--profile=mine"], "slurm"),
        (["--profile", "slurm"], "slurm"),  # the packaged one
        (["--profile", "quiet"], None),
        (["--profile", "mine", "--executor", "local"], "local"),
        (["-e", "slurm"], "slurm"),
        (["--profile", "mine", "--profile", "here"], "local"),
        ([], None),
    ],
)
def test_executor_is_what_profile_and_flags_say_not_the_profiles_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rest: list[str], wanted: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in {"mine": "executor: slurm", "quiet": "quiet: all", "here": "executor: local"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(content + "\n")
    assert snakemake.settings(rest)["executor"] == wanted


def test_name_of_a_studys_jobs_is_that_of_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = slurm.prefix(StudyDir(".autotune"))
    assert name == slurm.prefix(StudyDir(tmp_path / ".autotune")) != slurm.prefix(StudyDir("other"))
    assert len(name) <= 50  # what the plugin allows
    assert StudyConfig(metric="loss").log_dir == ".autotune"
