"""A cluster for the whole session, and for each test a project on it: start studies, break things, count executions."""

from __future__ import annotations

import collections
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

from cluster import Cluster, missing_programs, wait_until  # noqa: E402  beside this file

# Behind a shell's `&` SIGINT is ignored, and what is started here would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Notes in executions.txt when a trial begins and ends, where, and on which GPU; what happens between is the test's.
OBJECTIVE = """\
import os, signal, sys, time
from pathlib import Path

HERE = Path(__file__).parent


def note(what, trial):
    words = (what, trial.number, time.time(), os.environ.get("SLURMD_NODENAME"), os.environ.get("CUDA_VISIBLE_DEVICES"))
    with open(HERE / "executions.txt", "a") as log:
        log.write(" ".join(map(str, words)) + "\\n")


def wait_for(name):
    while not (HERE / name).exists():
        time.sleep(0.1)


def objective(params, trial):
    note("begin", trial)
    number = trial.number
BODY
    note("end", trial)
    return {"loss": (params["x"] - 0.3) ** 2}
"""

STUDY: dict[str, Any] = {
    "objective": "objective:objective",
    "metric": "loss",
    "seed": 1337,
    "max_trials": 4,
    "trials_per_job": 2,
    "space": {"x": {"type": "uniform", "low": 0.0, "high": 1.0}},
    "resources": {"cpus": 1, "mem_mb": 500, "runtime": 10},
}

# Look at the jobs at once, do not wait long for files on a local disk.
QUICK = ("--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "5")


class Lab:
    """A project on the cluster, and the programs that were started in it.

    Args:
        cluster: the cluster.
        folder: the project's folder.
    """

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        self._running: list[subprocess.Popen[bytes]] = []
        self._submitted = len(cluster.submissions())

    def write(self, body: str = "", profile: str | None = None, **keys: Any) -> None:
        """Write study.yaml, objective.py with this body, and the packaged profile (or another) as the project's own."""
        text = OBJECTIVE.replace("BODY", textwrap.indent(textwrap.dedent(body).strip() or "pass", "    "))
        (self.folder / "objective.py").write_text(text)
        study = {**STUDY, **keys, "resources": {**STUDY["resources"], **keys.get("resources", {})}}
        (self.folder / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
        (self.folder / "slurm").mkdir(exist_ok=True)
        packaged = (ROOT / "profiles" / "slurm" / "config.yaml").read_text()
        (self.folder / "slurm" / "config.yaml").write_text(profile or packaged)

    def environment(self, *, quick: bool = True) -> dict[str, str]:
        """Return the environment of a login node; ``quick`` shortens the plugin's pauses between looks at its jobs."""
        leaks = (
            "AUTOTUNE_",
            "SNAKEMAKE_",
            "SLURM_",
            "PYTHON",
            "CUDA_VISIBLE_DEVICES",
            "XDG_CONFIG_HOME",
            "VIRTUAL_ENV",
        )
        kept = {name: value for name, value in os.environ.items() if not name.startswith(leaks)}
        settings = self.cluster.environment()
        path = os.pathsep.join([settings["PATH"], os.path.dirname(sys.executable), kept.get("PATH", os.defpath)])
        search = os.pathsep.join([str(HERE / "inject"), str(ROOT)] if quick else [str(ROOT)])
        return {**kept, **settings, "PATH": path, "PYTHONPATH": search, "NO_COLOR": "1", "COLUMNS": "120"}

    def run(self, *command: str, quick: bool = True, timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
        """Run a command line to its end; ``stdout`` has all that it printed."""
        process = self.start(*command, quick=quick)
        return self.finish(process, timeout_s)

    def start(self, *command: str, quick: bool = True) -> subprocess.Popen[bytes]:
        """Start a command line."""
        log = open(self.folder / "terminal.txt", "wb")  # noqa: SIM115  # the process has it for longer
        with log:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment(quick=quick),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._running.append(process)
        return process

    def finish(self, process: subprocess.Popen[bytes], timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
        """Wait for the end of what was started last."""
        process.wait(timeout_s)
        return subprocess.CompletedProcess(process.args, process.returncode, self.terminal())

    def study(self, *flags: str) -> tuple[str, ...]:
        """Return the command line of `autotune study` on SLURM."""
        return ("autotune", "study", "study.yaml", "--profile", "slurm", *QUICK, *flags)

    def snakemake(self, *flags: str) -> tuple[str, ...]:
        """Return the command line of a plain Snakemake on the packaged workflow."""
        return ("snakemake", "--snakefile", str(ROOT / "workflow" / "Snakefile"), "--profile", "slurm", *QUICK, *flags)

    # What came of it

    def terminal(self) -> str:
        """Return what the last program printed so far."""
        return (self.folder / "terminal.txt").read_text(errors="replace")

    def notes(self, what: str = "begin") -> list[list[str]]:
        """Return number, time, node and GPUs of each execution that began (or ended)."""
        with contextlib.suppress(FileNotFoundError):
            lines = (self.folder / "executions.txt").read_text().splitlines()
            return [line.split(" ")[1:] for line in lines if line.startswith(what)]
        return []

    def executions(self) -> dict[int, int]:
        """Return trial number -> how often it was begun."""
        return dict(sorted(collections.Counter(int(note[0]) for note in self.notes()).items()))

    def submissions(self) -> list[str]:
        """Return the calls of sbatch since the test began."""
        return self.cluster.submissions()[self._submitted :]

    def go(self, name: str = "go") -> None:
        """Let trials go on that wait for this file."""
        (self.folder / name).touch()

    def wait(self, condition: Callable[[], object], what: str, timeout_s: float = 90, every_s: float = 0.1) -> None:
        """Wait until the condition holds; fail with what was printed if it does not."""
        try:
            wait_until(condition, timeout_s, what, every_s)
        except RuntimeError as error:
            logs = [f"{path.name}: {path.read_text()[-500:]}" for path in self.folder.glob(".autotune/logs/0*.log")]
            found = [f"executions {self.executions()}", *logs]
            with contextlib.suppress(subprocess.SubprocessError):
                found += map(str, self.cluster.jobs()[-6:])
            pytest.fail("\n".join([str(error), *found, self.terminal()[-3000:]]))

    def wait_for_running(self, trials: int) -> None:
        """Wait until that many executions have begun."""
        self.wait(lambda: len(self.notes()) >= trials, f"{trials} executions have begun")

    def close(self) -> None:
        """End what still runs."""
        for process in self._running:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self.cluster.mend()
        self.cluster.cancel_all()
        for node, state in self.cluster.node_states().items():
            if state.startswith("drain"):  # one that was down comes back by itself
                self.cluster.resume(node)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Say why these tests are skipped, where they are."""
    missing = missing_programs()
    reason = f"needs {', '.join(missing)}; `make test-slurm` installs them" if missing else ""
    if "PYTEST_XDIST_WORKER" in os.environ:
        reason = "one cluster, one test at a time: `make test-slurm` runs these"
    for item in items:
        if HERE in item.path.parents and "lab" in getattr(item, "fixturenames", ()) and reason:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster of four nodes with four processors and two fake GPUs each."""
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def lab(cluster: Cluster, tmp_path: Path) -> Iterator[Lab]:
    """An empty project on the cluster."""
    lab = Lab(cluster, tmp_path)
    started = time.monotonic()
    yield lab
    lab.close()
    print(f"\n{time.monotonic() - started:.0f} s")
    print(lab.terminal() if (tmp_path / "terminal.txt").exists() else "")
    shutil.rmtree(tmp_path / ".snakemake", ignore_errors=True)
