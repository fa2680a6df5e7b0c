"""What a study costs on SLURM: submissions, looks at the queue, time; beside plain Snakemake with a job for each trial.

    python benchmarks/slurm.py                  # a cluster of its own on this machine; a quarter of an hour
    python benchmarks/slurm.py --trials 1000 --plain 40 --memory 1000

The trials sleep for a tenth of a second, so that the processors have only the overhead to do. A *slot* is a place for
one job: the cluster has as many processors as slots, and a job asks for one. "On the slots" is from the start of the
first job to the end of the last, as SLURM says; what is left of the wall time is planning, polling and aggregating.
Needs slurmctld, slurmd and munged (`make test-slurm` installs them).
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "slurm"))

from cluster import Cluster  # noqa: E402  the cluster of the tests

TRIAL_S = 0.1
OBJECTIVE = "import time\n\ndef objective(params, trial):\n    time.sleep(0.1)\n    return params['x']\n"
STUDY = {
    "objective": "objective:objective",
    "max_trials": 1000,
    "space": {"x": {"type": "uniform", "low": 0, "high": 1}},
    "resources": {"cpus": 1, "mem_mb": 500, "runtime": 60},
}
PLAIN = """rule all:
    input: [f"out/{number}" for number in range(int(config["jobs"]))]
rule job:
    output: "out/{number}"
    resources: mem_mb=500, runtime=60
    shell: "sleep 0.1; touch {output}"
"""
# A queue that takes every job and never says anything of it.
FAKE = {
    "sbatch": "echo x >> {count}; echo $$",
    "scontrol": "echo 'MaxArraySize = 1001'; echo 'MinJobAge = 300 sec'",
    **dict.fromkeys(("squeue", "sinfo", "sacct", "scancel"), "true"),
}


@dataclass
class Row:
    """One measurement."""

    what: str
    trials: int
    jobs: int
    wall_s: float
    slots_s: float
    polls: int

    def __str__(self) -> str:
        return f"| {self.what} | {self.trials} | {self.jobs} | {self.polls} | {self.wall_s:.0f} | {self.slots_s:.0f} |"


def environment(cluster: Cluster) -> dict[str, str]:
    """Return the environment of a login node."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SNAKEMAKE_"))}
    settings = cluster.environment()
    path = os.pathsep.join([settings["PATH"], os.path.dirname(sys.executable), kept.get("PATH", os.defpath)])
    return {**kept, **settings, "PATH": path, "PYTHONPATH": str(ROOT)}


def on_slots_s(cluster: Cluster, known: set[str]) -> float:
    """Return the seconds from the start of the first new job to the end of the last."""
    text = cluster.run("scontrol", "show", "jobs", "--oneliner")
    jobs = [line for line in text.splitlines() if re.search(r"JobId=(\d+)", line)[1] not in known]  # type: ignore[index]
    starts, ends = (
        [dt.datetime.fromisoformat(re.search(rf"{key}=(\S+)", line)[1]) for line in jobs]  # type: ignore[index]
        for key in ("StartTime", "EndTime")
    )
    return (max(ends) - min(starts)).total_seconds()


def measure(cluster: Cluster, what: str, trials: int, command: list[str], folder: Path) -> Row:
    """Run a command and say what it cost."""
    known = {job["id"] for job in cluster.jobs()}
    calls, polls, started = len(cluster.submissions()), _polls(cluster), time.monotonic()
    with open(folder / "terminal.txt", "w") as log:
        subprocess.run(command, cwd=folder, env=environment(cluster), stdout=log, stderr=log, check=True)
    wall_s = time.monotonic() - started
    jobs = len(cluster.submissions()) - calls
    row = Row(what, trials, jobs, wall_s, on_slots_s(cluster, known), _polls(cluster) - polls)
    print(row, flush=True)
    return row


def _polls(cluster: Cluster) -> int:
    log = cluster.root / "log" / "squeue.calls"
    return len(log.read_text().splitlines()) if log.exists() else 0


def _count_polls(cluster: Cluster) -> None:
    program = cluster.bin / "squeue"
    program.write_text(
        program.read_text().replace("#!/bin/sh\n", f"#!/bin/sh\necho x >> {cluster.root}/log/squeue.calls\n")
    )


def studies(cluster: Cluster, folder: Path, trials: int) -> Iterator[Row]:
    """Measure studies with the packing that is asked for, and with what `auto` makes of it."""
    for size in (50, "auto"):
        project = folder / f"study-{size}"
        project.mkdir()
        (project / "objective.py").write_text(OBJECTIVE)
        study = {**STUDY, "max_trials": trials, "trials_per_job": size}
        (project / "study.json").write_text(json.dumps(study))
        command = [sys.executable, "-m", "autotune.cli", "study", "study.json", "--profile", "slurm"]
        yield measure(cluster, f"Autotune, `trials_per_job: {size}`", trials, command, project)
        done = len(list((project / ".autotune" / "trials").glob("*.json")))
        if done != trials:
            raise SystemExit(f"{done} of {trials} trials have a result; see {project}")


def plain(cluster: Cluster, folder: Path, jobs: int) -> Row:
    """Measure plain Snakemake with a job for each trial, under the same profile."""
    project = folder / "plain"
    project.mkdir()
    (project / "Snakefile").write_text(PLAIN)
    profile = str(ROOT / "profiles" / "slurm")
    command = [sys.executable, "-m", "snakemake", "--profile", profile, "--config", f"jobs={jobs}"]
    return measure(cluster, "plain Snakemake, a job a trial", jobs, command, project)


def memory_mb(folder: Path, jobs: int) -> float:
    """Return the memory of a main Snakemake process that has this many jobs in the queue; the queue is a pretence."""
    project, programs = folder / "memory", folder / "memory" / "bin"
    programs.mkdir(parents=True)
    counter = project / "count"
    for name, text in FAKE.items():
        (programs / name).write_text(f"#!/bin/sh\n{text.format(count=counter)}\n")
        (programs / name).chmod(0o755)
    (project / "objective.py").write_text(OBJECTIVE)
    (project / "study.json").write_text(json.dumps({**STUDY, "max_trials": jobs, "trials_per_job": 1}))
    search = os.pathsep.join([str(programs), os.path.dirname(sys.executable), os.environ["PATH"]])
    settings = {**os.environ, "PATH": search, "PYTHONPATH": str(ROOT)}
    python = [sys.executable, "-m"]
    subprocess.run(
        [*python, "autotune.cli", "plan", "study.json"],
        cwd=project,
        env=settings,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    command = [*python, "snakemake", "--snakefile", str(ROOT / "workflow" / "Snakefile"), "--jobs", str(jobs)]
    command += ["--profile", str(ROOT / "profiles" / "slurm")]
    with open(project / "terminal.txt", "w") as log:
        process = subprocess.Popen(command, cwd=project, env=settings, stdout=log, stderr=log)
    try:
        while not counter.exists() or counter.stat().st_size < 2 * jobs:
            time.sleep(1)
            if process.poll() is not None:
                raise SystemExit(f"Snakemake ended with status {process.returncode}; see {project}")
        time.sleep(25)  # one look at the queue with all jobs in it
        status = Path(f"/proc/{process.pid}/status").read_text()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


def main() -> int:
    """Measure and print the table of docs/slurm.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("trials", 1000), ("plain", 40), ("memory", 1000), ("slots", 4)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    print(
        f"{os.cpu_count()} cores (load {os.getloadavg()[0]:.1f} before), {args.slots} slots; "
        f"ideal: {args.trials * TRIAL_S / args.slots:.0f} s on the slots\n"
    )
    print("| what | trials | sbatch calls | squeue calls | wall s | on the slots s |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as name:
        folder = Path(name)
        with Cluster(nodes=args.slots, cpus=1, gpus=1) as cluster:
            _count_polls(cluster)
            if args.trials:
                list(studies(cluster, folder, args.trials))
            if args.plain:
                row = plain(cluster, folder, args.plain)
                share = args.trials / row.trials
                print(f"| the same, extrapolated | {args.trials} | {args.trials} | | | {row.slots_s * share:.0f} |")
        if args.memory:
            print(
                f"\nmain process with {args.memory} jobs in the queue: {memory_mb(folder, args.memory):.0f} MB at most"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
