"""What else must harm nothing: the same batch twice at once, clocks, descriptors, dead runners, shared GPUs."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import autotune
from autotune.storage import StudyDir

INJECT = Path(__file__).with_name("inject")
ROOT = Path(__file__).resolve().parents[2]

LOGS = """\
import time


def objective(params, trial):
    with open("executions.txt", "a") as log:
        log.write(f"{trial.number}\\n")
    trial.log("half", params["x"] / 2)
    time.sleep(0.003)
    return {"loss": params["x"]}
"""

SLEEPS = """\
import os
import time


def objective(params, trial):
    with open("pids.txt", "a") as log:
        log.write(f"{os.getpid()}\\n")
    time.sleep(60)
    return 1.0
"""

# Says which device it has, from when to when; the monotonic clock is the same in all processes.
USES_GPU = """\
import json
import os
import time


def objective(params, trial):
    began = time.monotonic()
    with open("begun.txt", "a") as log:
        log.write(os.environ["CUDA_VISIBLE_DEVICES"] + "\\n")
    while os.path.exists("hold") or time.monotonic() < began + 0.05:
        time.sleep(0.01)
    with open("devices.txt", "a") as log:
        log.write(json.dumps([os.environ["CUDA_VISIBLE_DEVICES"], began, time.monotonic()]) + "\\n")
    return 1.0
"""


class Place:
    """A folder with a planned study, whose jobs a test starts by itself."""

    def __init__(self, folder: Path, environment: Callable[..., dict[str, str]]) -> None:
        self.folder, self.store = folder, StudyDir(folder / ".autotune")
        self._environment = environment
        self.started: list[subprocess.Popen[str]] = []

    @property
    def batches(self) -> list[str]:
        return json.loads((self.folder / ".autotune/batches/index.json").read_text())["batches"]

    def start(self, name: str, *, files: int | None = None, **env: str) -> subprocess.Popen[str]:
        """Start the job of a batch; ``files`` is how many it may have open."""
        job = subprocess.Popen(
            [sys.executable, "-m", "autotune.cli", "run-batch", name],
            cwd=self.folder,
            env=self._environment(TMPDIR=str(self.folder), **env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if files is not None:
            resource.prlimit(job.pid, resource.RLIMIT_NOFILE, (files, files))
        self.started.append(job)
        return job

    def lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().split("\n")[:-1] if path.exists() else []

    def wait_for_lines(self, name: str, count: int) -> list[str]:
        assert wait(lambda: len(self.lines(name)) >= count), f"{name} has {self.lines(name)}"
        return self.lines(name)


def wait(is_so: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.01)
    return is_so()


@pytest.fixture
def place(
    tmp_path: Path,
    cli: Callable[..., Any],
    write_study: Callable[..., Path],
    environment: Callable[..., dict[str, str]],
) -> Iterator[Callable[..., Place]]:
    """``place(source, max_trials=8)``: a planned study in a folder of its own."""
    places: list[Place] = []

    def make(source: str, **keys: Any) -> Place:
        folder = tmp_path / f"place-{len(places)}"
        write_study(folder, source=source, **keys)
        planned = cli("plan", "study.yaml", cwd=folder)
        assert planned.returncode == 0, planned.stderr
        places.append(Place(folder, environment))
        return places[-1]

    yield make
    for job in [job for item in places for job in item.started]:
        job.kill()
        job.communicate()


@pytest.mark.parametrize("isolation", ["trial", "worker", "none"])
def test_a_batch_run_three_times_at_once_executes_each_trial_once(place: Callable[..., Place], isolation: str) -> None:
    for _ in range(3):
        study = place(LOGS, max_trials=60, trials_per_job=60, isolation=isolation)
        jobs = [study.start(study.batches[0]) for _ in range(3)]
        outputs = [job.communicate(timeout=60)[0] for job in jobs]
        assert [job.returncode for job in jobs] == [0, 0, 0], outputs
        assert Counter(study.lines("executions.txt")) == Counter(str(number) for number in range(60))
        assert all(study.store.read_result(number).attempt == 1 for number in range(60))
        assert sorted(os.listdir(study.folder / ".autotune/batches")) == sorted(
            [f"{study.batches[0]}.json", "index.json"]
        )


def test_what_a_killed_writer_left_of_a_batch_is_removed_but_not_while_it_is_written(
    place: Callable[..., Place], cli: Callable[..., Any]
) -> None:
    study = place(LOGS, max_trials=4, trials_per_job=2)
    assert [study.start(name).wait(30) for name in study.batches] == [0, 0]
    strays = [study.folder / f".autotune/batches/.{name}.json.tmp" for name in study.batches]
    for stray in strays:
        stray.write_text("{")
    with contextlib.closing(study.store.lock()) as lock, lock.holding((1 << 61) + 2):  # the second batch's
        assert cli("plan", "study.yaml", cwd=study.folder).returncode == 0
    assert [stray.exists() for stray in strays] == [False, True]
    assert cli("plan", "study.yaml", cwd=study.folder).returncode == 0
    assert not strays[1].exists()


@pytest.mark.parametrize("step_s", ["0.7", "86400"])
def test_a_clock_that_jumps_back_harms_nothing(
    tmp_path: Path, cli: Callable[..., Any], write_study: Callable[..., Path], step_s: str
) -> None:
    write_study(tmp_path, source=LOGS, max_trials=12, trials_per_job=3)
    env = {"PYTHONPATH": f"{INJECT}{os.pathsep}{ROOT}", "CHAOS_CLOCK": step_s}
    ran = cli("study", "study.yaml", "-j", "2", env=env, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    store = StudyDir(tmp_path / ".autotune")
    results = [store.read_result(number) for number in range(12)]
    assert all(result.state == "complete" and 0 <= result.duration_s < 10 for result in results)
    assert cli("study", "study.yaml", "-n", env=env).returncode == 0
    assert len((tmp_path / "executions.txt").read_text().split()) == 12


@pytest.mark.parametrize("isolation", ["trial", "worker", "none"])
def test_three_hundred_trials_that_log_need_few_descriptors(place: Callable[..., Place], isolation: str) -> None:
    study = place(LOGS.replace("0.003", "0"), max_trials=300, trials_per_job=300, isolation=isolation)
    job = study.start(study.batches[0], files=64)
    output = job.communicate(timeout=120)[0]
    assert job.returncode == 0, output
    assert len(os.listdir(study.folder / ".autotune/work")) == 300


# What a job reads


def opened(path: Path, folder: Path) -> set[str]:
    """Return the files of the study that were opened or listed, relative to the study directory."""
    root = os.path.join(os.path.realpath(folder), ".autotune")
    names = (line.partition(" ")[2] for line in path.read_text(errors="replace").splitlines())
    full = (os.path.realpath(os.path.join(folder, name)) for name in names)
    return {os.path.relpath(name, root) for name in full if name == root or name.startswith(root + os.sep)}


@pytest.mark.parametrize("way", ["run-batch", "snakemake"])
def test_a_job_of_a_large_study_reads_only_its_own_files(
    place: Callable[..., Place], environment: Callable[..., dict[str, str]], tmp_path: Path, way: str
) -> None:
    study = place(LOGS.replace("0.003", "0"), max_trials=5000, trials_per_job=50)
    name = study.batches[40]
    own = {f"trial_{number:05d}" for number in range(2000, 2050)}
    argv = ["-m", "autotune.cli", "run-batch", name]
    if way == "snakemake":  # as the SLURM plugin starts it on a node
        argv = ["-m", "snakemake", "--snakefile", autotune.snakefile(), "--target-jobs", f"batch:batch={name}"]
        argv += [
            "--allowed-rules",
            "batch",
            "--cores",
            "1",
            "--attempt",
            "1",
            "--force-use-threads",
            "--mode",
            "remote",
        ]
        argv += ["--max-inventory-time", "0", "--nocolor", "--notemp", "--no-hooks", "--nolock", "--ignore-incomplete"]
        argv += ["--latency-wait", "5", "--wait-for-files-file", os.devnull, "--config", "log_dir=.autotune"]
    log = tmp_path / "opens.txt"
    env = environment(PYTHONPATH=f"{INJECT}{os.pathsep}{ROOT}", CHAOS_OPENS=str(log))
    ran = subprocess.run(
        [sys.executable, *argv], cwd=study.folder, env=env, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (study.folder / f".autotune/batches/{name}.json").exists()
    files = opened(log, study.folder)
    assert {f"configs/{trial}.json" for trial in own} <= files, "the hook saw nothing"
    alien = {file for file in files for trial in re.findall(r"trial_\d+", file) if trial not in own}
    assert not alien, sorted(alien)[:10]
    lists = {"batches/index.json", "configs", "trials", "work", "batches", "."} & files
    lists |= {file for file in files if re.search(r"\d+-\d+-[0-9a-f]{8}", file) and name not in file}
    assert not lists, "a job must read no list of the whole study"


# Runners that die


@pytest.mark.parametrize("isolation", ["trial", "worker", "command"])
def test_a_trial_dies_with_its_killed_runner(place: Callable[..., Place], isolation: str) -> None:
    keys: dict[str, Any] = {"isolation": isolation}
    if isolation == "command":
        program = "import os, time; open('pids.txt', 'a').write(f'{os.getpid()}\\n'); time.sleep(60)"
        keys = {"objective": None, "command": f'{sys.executable} -c "{program}"'.replace("{", "{{").replace("}", "}}")}
    study = place(SLEEPS, max_trials=2, trials_per_job=2, **keys)
    job = study.start(study.batches[0])
    (pid,) = map(int, study.wait_for_lines("pids.txt", 1))
    assert study.store.running([0, 1]) == [0]
    job.kill()
    job.wait()
    assert wait(lambda: not is_alive(pid), 5), "the trial outlived its runner"
    assert study.store.running([0, 1]) == [], "the trial's lock outlived it"
    again = study.start(study.batches[0])
    assert len(study.wait_for_lines("pids.txt", 2)) == 2, "the trial in flight starts again"
    again.kill()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


# GPUs


def gpu_study(place: Callable[..., Place], gpus: float, trials: int) -> Place:
    return place(USES_GPU, max_trials=trials, trials_per_job=1, resources={"gpus": gpus})


def test_jobs_side_by_side_never_share_a_gpu(place: Callable[..., Place]) -> None:
    study = gpu_study(place, 1, 7)
    jobs = [study.start(name, CUDA_VISIBLE_DEVICES="0,1,2") for name in study.batches]
    outputs = [job.communicate(timeout=60)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0] * 7, outputs
    uses = [json.loads(line) for line in study.lines("devices.txt")]
    assert len(uses) == 7
    assert {device for device, *_ in uses} <= {"0", "1", "2"}
    for place_, (device, _, ended) in enumerate(sorted(uses, key=lambda use: use[1])):
        for other, began, _ in sorted(uses, key=lambda use: use[1])[place_ + 1 :]:
            assert other != device or began >= ended, f"device {device} was shared"


def test_jobs_that_need_two_gpus_get_two(place: Callable[..., Place]) -> None:
    study = gpu_study(place, 2, 3)
    jobs = [study.start(name, CUDA_VISIBLE_DEVICES="3,GPU-ab/c,5") for name in study.batches]
    assert [job.wait(60) for job in jobs] == [0, 0, 0]
    assert all(len(set(json.loads(line)[0].split(","))) == 2 for line in study.lines("devices.txt"))
    uses = sorted((json.loads(line) for line in study.lines("devices.txt")), key=lambda use: use[1])
    assert all(second[1] >= first[2] for first, second in itertools.pairwise(uses)), "only one job of two fits on three"


def test_two_halves_of_a_gpu_are_leased_and_a_third_waits(place: Callable[..., Place]) -> None:
    study = gpu_study(place, 0.5, 3)
    (study.folder / "hold").touch()
    jobs = [study.start(name, CUDA_VISIBLE_DEVICES="4") for name in study.batches]
    assert study.wait_for_lines("begun.txt", 2) == ["4", "4"]
    time.sleep(1.0)
    assert len(study.lines("begun.txt")) == 2, "a third half of one device was leased"
    (study.folder / "hold").unlink()
    assert [job.wait(30) for job in jobs] == [0, 0, 0]


def test_a_lease_ends_when_its_holder_is_killed(place: Callable[..., Place]) -> None:
    study = gpu_study(place, 1, 2)
    (study.folder / "hold").touch()
    holder = study.start(study.batches[0], CUDA_VISIBLE_DEVICES="0")
    study.wait_for_lines("begun.txt", 1)
    waiting = study.start(study.batches[1], CUDA_VISIBLE_DEVICES="0")
    time.sleep(1.0)
    assert len(study.lines("begun.txt")) == 1
    holder.send_signal(signal.SIGKILL)
    study.wait_for_lines("begun.txt", 2)
    (study.folder / "hold").unlink()
    assert waiting.wait(30) == 0
    assert len(study.lines("devices.txt")) == 1


@pytest.mark.parametrize("devices", [None, "", "-1"])
def test_a_missing_gpu_is_a_sentence(place: Callable[..., Place], devices: str | None) -> None:
    study = gpu_study(place, 1, 1)
    env = {} if devices is None else {"CUDA_VISIBLE_DEVICES": devices}
    job = study.start(study.batches[0], PATH=os.path.dirname(sys.executable), **env)  # no nvidia-smi there
    output = job.communicate(timeout=30)[0]
    assert job.returncode == 2
    assert output.count("\n") == 1
    assert "`resources.gpus` must be at most the 0 GPUs of this machine, got 1" in output
    assert not study.lines("begun.txt")
