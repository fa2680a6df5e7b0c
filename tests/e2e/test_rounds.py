"""Adaptive studies on the command line, under Snakemake alone and in Python: one decision, however they are run."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import autotune

# Random points at first, then such around the best; a file of the user's own.
SEARCHER = """\
import random


class Climber:
    def reset(self, space, seed):
        self.space, self.seed = space, seed

    def suggestions(self, space, max_trials):
        return iter(self.propose([], max_trials))

    def propose(self, history, n):
        draw = random.Random(f"{self.seed} {[(item.number, item.state, item.values) for item in history]}")
        known = [item for item in history if item.values]
        if not known:
            return [{"x": draw.random()} for _ in range(n)]
        best = min(known, key=lambda item: item.values)
        return [{"x": min(1.0, max(0.0, best.params["x"] + draw.gauss(0, 0.1)))} for _ in range(n)]
"""
OBJECTIVE = """\
import os
import time
from pathlib import Path


def objective(params, trial):
    with open(Path(__file__).with_name("executions.txt"), "a") as log:
        log.write(f"{trial.number}\\n")
    time.sleep(float(os.environ.get("TRIAL_S", "0")) * (5 if trial.number == 1 else 1))
    if trial.number == 2:
        raise RuntimeError("trial 2 always fails")
    return {"loss": (params["x"] - 0.3) ** 2}
"""
KEYS: dict[str, Any] = {
    "source": OBJECTIVE,
    "algo": "climber:Climber",
    "max_trials": 10,
    "batch_size": 4,
    "trials_per_job": 2,
}

Cli = Callable[..., subprocess.CompletedProcess[str]]
Write = Callable[..., Path]


def make(folder: Path, write_study: Write, **keys: Any) -> Path:
    study = write_study(folder, **{**KEYS, **keys})
    (folder / "climber.py").write_text(SEARCHER)
    return study


def decisions(folder: Path) -> dict[str, bytes]:
    """Return all that planning decided, by file."""
    store = folder / ".autotune"
    return {path.name: path.read_bytes() for name in ("configs", "rounds") for path in (store / name).iterdir()}


def executions(folder: Path) -> list[int]:
    return sorted(int(line) for line in (folder / "executions.txt").read_text().split())


def best(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / ".autotune/best.json").read_text())
    return record


def test_command_line_bare_snakemake_and_python_decide_alike(
    cli: Cli, write_study: Write, environment: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    for folder in (one, two, three):
        make(folder, write_study)
    done = cli("study", "study.yaml", "-j", "2", cwd=one)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "9 complete, 1 failed" in done.stdout

    assert cli("plan", "study.yaml", cwd=two).returncode == 0
    snakemake = [sys.executable, "-m", "snakemake", "-s", autotune.snakefile(), "--profile", autotune.profile("local")]
    ran = subprocess.run(snakemake, cwd=two, env=environment(), capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]

    code = (
        "from autotune import Study, StudyConfig; from autotune.spaces import SearchSpace, Uniform; "
        "from climber import Climber; from objective import objective; "
        "config = StudyConfig(max_trials=10, batch_size=4, seed=1337, trials_per_job=2); "
        "Study(config, SearchSpace({'x': Uniform(0.0, 1.0)}), Climber()).optimize(objective)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=three,
        env=environment(PYTHONPATH=f"{environment()['PYTHONPATH']}{os.pathsep}{three}"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]

    assert decisions(one) == decisions(two) == decisions(three)
    assert best(one) == best(two) == best(three)
    assert executions(one) == executions(two) == executions(three) == list(range(10))
    again = cli("study", "study.yaml", "-j", "2", cwd=one)
    assert again.returncode == 0 and "0 of 5 jobs to run" in again.stdout
    more = cli("study", "study.yaml", "--max-trials", "14", cwd=one)
    assert more.returncode == 0, more.stdout + more.stderr
    assert executions(one) == list(range(14))


def test_a_study_killed_in_mid_round_goes_on_with_the_same_decisions(
    cli: Cli, write_study: Write, environment: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    for folder in (undisturbed, killed):
        make(folder, write_study)
    assert cli("study", "study.yaml", cwd=undisturbed).returncode == 0
    for wait_for in ("trial_00002.json", "trial_00006.json"):
        process = subprocess.Popen(
            [sys.executable, "-m", "autotune.cli", "study", "study.yaml", "-j", "2"],
            cwd=killed,
            env=environment(TRIAL_S="0.3"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 120
        while not (killed / ".autotune/trials" / wait_for).exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    done = cli("study", "study.yaml", "-j", "2", cwd=killed)
    assert done.returncode == 0, done.stdout + done.stderr
    assert decisions(killed) == decisions(undisturbed)
    assert best(killed) == best(undisturbed)
    assert sorted(set(executions(killed))) == list(range(10))


def test_with_a_quorum_a_round_does_not_wait_for_its_last_trial(cli: Cli, write_study: Write, tmp_path: Path) -> None:
    make(tmp_path, write_study, quorum=0.75, trials_per_job=1, max_trials=8)
    done = cli("study", "study.yaml", "-j", "2", env={"TRIAL_S": "1.5"})
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((tmp_path / ".autotune/rounds/round_00001.json").read_text())
    assert record["knew"]["running"] == [1]
    assert record["knew"]["states"] == {"complete": 2, "failed": 1, "running": 1}
    assert executions(tmp_path) == list(range(8))


def test_several_metrics_and_constraints(cli: Cli, write_study: Write, tmp_path: Path) -> None:
    source = "def objective(params, trial):\n    x = params['x']\n"
    source += "    return {'cost': x, 'error': 1 - x, 'memory': 100 * x}\n"
    metrics = [{"name": "cost", "mode": "min"}, {"name": "error"}]
    make(tmp_path, write_study, source=source, metric=None, mode=None, metrics=metrics, constraints=["memory <= 50"])
    done = cli("study", "study.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    found = best(tmp_path)
    assert all(item["metrics"]["memory"] <= 50 for item in found["pareto"])
    assert found["params"] == found["pareto"][0]["params"]
    assert [item["metrics"]["cost"] for item in found["pareto"]] == sorted(
        i["metrics"]["cost"] for i in found["pareto"]
    )
    table = (tmp_path / ".autotune/trials.csv").read_text()
    assert table.startswith("number,state,reason,feasible,rank,")
    scalars = (tmp_path / ".autotune/scalars.csv").read_text()
    volumes = [float(line.split(",")[2]) for line in scalars.splitlines() if "autotune.hypervolume" in line]
    assert len(volumes) == 3 and volumes == sorted(volumes)


def test_a_missing_metric_fails_the_trial_and_says_so(cli: Cli, write_study: Write, tmp_path: Path) -> None:
    write_study(tmp_path, constraints=["memory_gb <= 80"])
    done = cli("study", "study.yaml")
    assert done.returncode == 1
    assert "must return the metrics loss, memory_gb, got loss" in done.stdout


def test_a_constraint_that_makes_no_sense_is_refused(cli: Cli, write_study: Write, tmp_path: Path) -> None:
    write_study(tmp_path, constraints=["memory_gb < 80"])
    done = cli("plan", "study.yaml")
    assert done.returncode == 2
    assert "`constraints[0]` must have one `<=` or `>=`" in done.stderr
    assert not (tmp_path / ".autotune").exists()


def test_noisy_trials_are_repeated_and_the_best_is_so_by_its_mean(cli: Cli, write_study: Write, tmp_path: Path) -> None:
    source = (
        "import random\n\n\ndef objective(params, trial):\n"
        "    return params['x'] + random.Random(f'{trial.seed} {params}').gauss(0, 0.1)\n"
    )
    space = {"x": {"type": "choice", "options": [0.0, 0.01, 2.0, 4.0]}}
    repeats = {"min": 3, "max": 6}
    write_study(tmp_path, source=source, space=space, repeats=repeats, max_trials=20, batch_size=8, trials_per_job=4)
    done = cli("study", "study.yaml", "-j", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    found = best(tmp_path)
    assert found["params"]["x"] in (0.0, 0.01)
    assert {item["params"]["x"] for item in found["ties"]} == {0.0, 0.01}
    assert found["value"] == found["ties"][0]["mean"]
    assert found["ties"][0]["interval"][0] <= found["value"] <= found["ties"][0]["interval"][1]
    assert "repeat" in (tmp_path / ".autotune/trials.csv").read_text().splitlines()[0]


TRAINING = """\
import base64
import json
from pathlib import Path

import autotune


def objective(params, trial):
    begun = 0
    if trial.checkpoint_from is not None:
        begun = json.loads((trial.checkpoint_from / "checkpoint.json").read_text())["epochs"]
    with open(Path(__file__).with_name("epochs.txt"), "a") as log:
        log.write(f"{params['epochs'] - begun}\\n")
    (trial.dir / "checkpoint.json").write_text(json.dumps({"epochs": params["epochs"]}))
    loss = params["x"] + 1 / params["epochs"]
    trial.report(int(params["epochs"]), loss)
    return loss
"""


def test_halving_goes_on_from_checkpoints_so_that_no_epoch_is_paid_twice(
    cli: Cli, write_study: Write, tmp_path: Path
) -> None:
    fidelity = {"name": "epochs", "max": 9}
    write_study(tmp_path, source=TRAINING, algo="hyperband", fidelity=fidelity, max_trials=22, trials_per_job=4)
    done = cli("study", "study.yaml", "-j", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    study = json.loads((tmp_path / ".autotune/study.json").read_text())
    assert study["round_sizes"] == [17, 4, 1]
    paid = [float(line) for line in (tmp_path / "epochs.txt").read_text().split()]
    # 9 points begin with 1 epoch, 5 with 3, 3 with 9; of these 3 and 1 go on by 2 and 6, and the best by 6 more.
    assert sum(paid) == 9 * 1 + 5 * 3 + 3 * 9 + 3 * 2 + 1 * 6 + 1 * 6
    found = best(tmp_path)
    assert found["fidelity"] == 9 and "epochs" not in found["params"]
    assert "fidelity" in (tmp_path / ".autotune/trials.csv").read_text().splitlines()[0]


def test_a_command_gets_the_fidelity_and_its_parents_folder(cli: Cli, write_study: Write, tmp_path: Path) -> None:
    program = (
        "import json, os, sys; json.dump(dict(loss=float(sys.argv[1])), open(os.environ['AUTOTUNE_RESULT'], 'w')); "
        "print('from', os.environ['AUTOTUNE_CHECKPOINT_FROM'], 'epochs', sys.argv[2])"
    )
    command = f'{sys.executable} -c "{program}" {{x}} {{epochs}}'
    keys = {"objective": None, "command": command, "algo": "sha", "max_trials": 4}
    write_study(tmp_path, fidelity={"name": "epochs", "max": 3}, **keys)
    done = cli("study", "study.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / ".autotune/work/trial_00000/stdout.log").read_text().strip() == "from  epochs 1"
    last = (tmp_path / ".autotune/work/trial_00003/stdout.log").read_text()
    assert "work/trial_0000" in last and "epochs 3" in last


PRUNING = """\
import autotune


def objective(params, trial):
    for step in range(1, 11):
        trial.report(step, params["x"] + 1 / step)
        if trial.should_prune():
            raise autotune.Pruned
    return params["x"]
"""


def test_a_pruner_stops_the_hopeless_on_any_executor(cli: Cli, write_study: Write, tmp_path: Path) -> None:
    pruner = {"type": "median", "startup_trials": 2}
    write_study(tmp_path, source=PRUNING, pruner=pruner, max_trials=8)
    done = cli("study", "study.yaml", "-j", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    results = [json.loads(path.read_text()) for path in sorted((tmp_path / ".autotune/trials").iterdir())]
    pruned = [result for result in results if result["state"] == "pruned"]
    assert 1 <= len(pruned) <= 6
    assert all("loss" in result["metrics"] for result in pruned)
    assert best(tmp_path)["params"]["x"] == min(result["params"]["x"] for result in results)


def test_a_round_that_was_being_planned_at_a_kill_is_no_end(
    cli: Cli, write_study: Write, environment: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    """Snakemake marks what it was killed in; with `ancient` inputs it would then leave out all that follows."""
    make(tmp_path, write_study, max_trials=6, batch_size=2)
    assert cli("plan", "study.yaml").returncode == 0
    snakemake = [sys.executable, "-m", "snakemake", "-s", autotune.snakefile(), "--profile", autotune.profile("local")]
    first_rounds = [*snakemake, ".autotune/batches/round_00001.json"]
    assert (
        subprocess.run(first_rounds, cwd=tmp_path, env=environment(), capture_output=True, check=False).returncode == 0
    )
    mark = base64.b64encode(b".autotune/batches/round_00001.json").decode()
    (tmp_path / ".snakemake/incomplete" / mark).parent.mkdir(exist_ok=True)
    (tmp_path / ".snakemake/incomplete" / mark).touch()
    assert subprocess.run(snakemake, cwd=tmp_path, env=environment(), capture_output=True, check=False).returncode == 0
    assert executions(tmp_path) == list(range(6))
    assert best(tmp_path)["params"] is not None
