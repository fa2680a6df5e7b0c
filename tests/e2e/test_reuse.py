"""Results of equal work, taken over from other studies and from a cache, and `autotune why`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., subprocess.CompletedProcess[str]]

OBJECTIVE = """\
from pathlib import Path


def objective(params, trial):
    with open(Path(__file__).with_name("executions.txt"), "a") as log:
        log.write(f"{trial.number}\\n")
    trial.log("half", params["x"] / 2, 1)
    return {"loss": (params["x"] - 0.3) ** 2, "latency_ms": 1 + params["x"]}
"""
EDITED = OBJECTIVE + "\n# edited\n"


def executed(folder: Path) -> int:
    path = folder / "executions.txt"
    return len(path.read_text().split()) if path.exists() else 0


def result(folder: Path, number: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f".autotune/trials/trial_{number:05d}.json").read_bytes())
    return found


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def run(tmp_path: Path, write_study: Any, cli: Cli) -> Callable[..., subprocess.CompletedProcess[str]]:
    """``run("a", max_trials=4)``: write the study in folder ``a`` and run it to its end."""

    def run(name: str, *flags: str, command: str = "study", **keys: Any) -> subprocess.CompletedProcess[str]:
        write_study(tmp_path / name, **{"source": OBJECTIVE, **keys})
        return cli(command, "study.yaml", *flags, cwd=tmp_path / name)

    return run


def test_results_of_a_named_study_are_taken_over_and_marked(tmp_path: Path, run: Any, cli: Cli) -> None:
    assert run("a").returncode == 0
    before = contents(tmp_path / "a")
    dry = run("b", "--dry-run", command="plan", max_trials=6, reuse=["../a/.autotune"])
    assert "4 trials done already" in dry.stdout
    assert "by 4 finished trials of ../a/.autotune" in dry.stdout
    done = run("b", max_trials=6, reuse=["../a/.autotune"])
    assert done.returncode == 0, done.stderr
    assert "results taken over from ../a/.autotune: 4" in done.stderr
    assert (executed(tmp_path / "a"), executed(tmp_path / "b")) == (4, 2)
    assert contents(tmp_path / "a") == before
    reused = result(tmp_path / "b", 1)
    assert reused["reused_from"] == "../a/.autotune, trial 1"
    assert reused["metrics"] == result(tmp_path / "a", 1)["metrics"]
    rows = (tmp_path / "b/.autotune/trials.csv").read_text().splitlines()
    assert rows[0].split(",")[3] == "reused_from"
    assert ["../a/.autotune, trial" in row for row in rows[1:]] == [True] * 4 + [False] * 2
    assert "trial_00001/half" in (tmp_path / "b/.autotune/scalars.csv").read_text()
    assert "taken over from ../a/.autotune, trial 1" in cli("show", "1", cwd=tmp_path / "b").stdout
    assert "taken over from ../a/.autotune, trial 1" in cli("why", "1", cwd=tmp_path / "b").stdout
    why = json.loads(cli("why", "5", "--json", cwd=tmp_path / "b").stdout)
    assert why["differing"] == ["params.x"]
    assert "reused_from" not in (tmp_path / "a/.autotune/trials.csv").read_text()


def test_a_study_named_later_gives_its_results_to_the_trials_that_have_none(tmp_path: Path, run: Any) -> None:
    assert run("a").returncode == 0
    assert run("b", command="plan").returncode == 0
    assert run("b", reuse=["../a/.autotune"]).returncode == 0
    assert executed(tmp_path / "b") == 0


def test_another_version_is_other_work(tmp_path: Path, run: Any, cli: Cli) -> None:
    assert run("a", version=1).returncode == 0
    reuse = ["../a/.autotune"]
    assert run("b", version="1", reuse=reuse, source=EDITED).returncode == 0
    assert executed(tmp_path / "b") == 0
    refused = run("b", version=2, reuse=reuse)
    assert refused.returncode == 2
    assert 'version changed from "1" to "2"' in refused.stderr
    assert run("b", "--fresh", version=2, reuse=reuse).returncode == 0
    assert executed(tmp_path / "b") == 4
    why = json.loads(cli("why", "0", "--json", cwd=tmp_path / "b").stdout)
    assert why["differing"] == ["version"]
    assert why["fields"]["version"] == {"here": "2", "there": "1", "matters": True}


def test_a_changed_source_is_said_and_throws_nothing_away(tmp_path: Path, run: Any, cli: Cli) -> None:
    said = "were made before the objective's source (objective.py) changed, and are kept"
    assert run("a").returncode == 0
    assert said not in run("a").stderr
    again = run("a", source=EDITED)
    assert f"the study has 4 results, 4 of which {said}" in again.stderr
    assert executed(tmp_path / "a") == 4
    other = run("b", source=EDITED, reuse=["../a/.autotune"])
    assert f"results taken over from ../a/.autotune: 4; 4 of which {said}" in other.stderr
    assert executed(tmp_path / "b") == 0
    assert "  ~ source " in cli("why", "0", cwd=tmp_path / "b").stdout


def test_the_cache_gives_equal_source_only(tmp_path: Path, run: Any, cli: Cli) -> None:
    cache = str(tmp_path / "cache")
    assert run("a", cache=cache).returncode == 0
    assert len(list((tmp_path / "cache").rglob("*.json"))) == 4
    assert "results taken over from the cache" in run("b", cache=cache).stderr
    assert executed(tmp_path / "b") == 0
    assert result(tmp_path / "b", 3)["reused_from"] == f"{tmp_path}/a/.autotune, trial 3"
    assert run("c", cache=cache, source=EDITED).returncode == 0
    assert executed(tmp_path / "c") == 4
    assert len(list((tmp_path / "cache").rglob("*.json"))) == 8
    assert [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.suffix != ".json"] == []
    (tmp_path / "cache" / "broken.json").write_text("{")  # cut off by hand: as if it were not there
    assert run("d", command="plan", cache=cache, source=EDITED + "# again\n").returncode == 0
    why = json.loads(cli("why", "0", "--json", cwd=tmp_path / "d").stdout)
    assert why["differing"] == ["source"]


def test_a_job_finds_in_the_cache_what_came_after_the_plan(tmp_path: Path, run: Any, cli: Cli) -> None:
    cache = str(tmp_path / "cache")
    assert run("b", command="plan", cache=cache).returncode == 0
    assert run("a", cache=cache).returncode == 0
    for batch in json.loads((tmp_path / "b/.autotune/batches/index.json").read_bytes())["batches"]:
        assert cli("run-batch", batch, cwd=tmp_path / "b").returncode == 0
    assert executed(tmp_path / "b") == 0


def test_many_writers_share_a_cache(tmp_path: Path, write_study: Any, environment: Any) -> None:
    folders = [tmp_path / str(place) for place in range(4)]
    for folder in folders:
        write_study(folder, source=OBJECTIVE, max_trials=40, trials_per_job=40, cache=str(tmp_path / "cache"))
        plan = [sys.executable, "-m", "autotune.cli", "plan", "study.yaml"]
        subprocess.run(plan, cwd=folder, env=environment(), check=True, capture_output=True)
    batch = json.loads((folders[0] / ".autotune/batches/index.json").read_bytes())["batches"][0]
    jobs = [
        subprocess.Popen(
            [sys.executable, "-m", "autotune.cli", "run-batch", batch], cwd=folder, env=environment(), stdout=-3
        )
        for folder in folders
    ]
    assert [job.wait(120) for job in jobs] == [0] * 4
    files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert len(files) == 40
    assert all(json.loads(path.read_bytes())["result"]["state"] == "complete" for path in files)
    results = [[result(folder, number)["metrics"] for number in range(40)] for folder in folders]
    assert results.count(results[0]) == 4


def test_a_cache_that_cannot_be_written_stops_no_trial(tmp_path: Path, run: Any) -> None:
    (tmp_path / "file").touch()
    refused = run("a", cache=str(tmp_path / "file" / "cache"))
    assert refused.returncode == 2
    assert "`cache` must be a folder that can be made" in refused.stderr


def test_a_time_counts_on_equal_hardware_only(tmp_path: Path, run: Any, cli: Cli) -> None:
    assert run("a", metric="latency_ms").returncode == 0
    own = result(tmp_path / "a", 0)["hardware"]
    for path in (tmp_path / "a/.autotune/trials").iterdir():
        record = json.loads(path.read_bytes())
        path.write_text(json.dumps({**record, "hardware": "Abacus 9"} if record["number"] else record))
    keys = {"metric": "latency_ms", "reuse": ["../a/.autotune"]}
    assert run("b", **keys).returncode == 0
    assert executed(tmp_path / "b") == 3
    why = json.loads(cli("why", "1", "--json", cwd=tmp_path / "b").stdout)
    assert why["differing"] == ["hardware"]
    assert why["fields"]["hardware"] == {"here": own, "there": "Abacus 9", "matters": True}
    assert run("c", **keys, hardware="any").returncode == 0
    assert executed(tmp_path / "c") == 0
    assert result(tmp_path / "c", 1)["hardware"] == "Abacus 9"


def test_an_adaptive_study_takes_over_round_by_round(tmp_path: Path, run: Any) -> None:
    keys = {"algo": "auto", "max_trials": 9, "batch_size": 3, "trials_per_job": 3}
    assert run("a", **keys).returncode == 0
    assert run("b", **keys, reuse=["../a/.autotune"]).returncode == 0
    assert (executed(tmp_path / "a"), executed(tmp_path / "b")) == (9, 0)
    for number in range(9):
        assert result(tmp_path / "b", number)["reused_from"] == f"../a/.autotune, trial {number}"


def test_rungs_go_on_from_checkpoints_that_were_taken_over(tmp_path: Path, run: Any) -> None:
    source = """\
from pathlib import Path


def objective(params, trial):
    with open(Path(__file__).with_name("executions.txt"), "a") as log:
        log.write(f"{trial.number}\\n")
    done = int((trial.checkpoint_from / "epochs").read_text()) if trial.checkpoint_from else 0
    assert params["epochs"] == 1 or done, "a later rung has a checkpoint"
    (trial.dir / "epochs").write_text(str(params["epochs"]))
    return {"loss": params["x"]}
"""
    fidelity = {"name": "epochs", "min": 1, "max": 4, "eta": 2}
    keys = {"source": source, "algo": "sha", "max_trials": 7, "fidelity": fidelity, "trials_per_job": 1}
    assert run("a", **keys).returncode == 0
    first = sorted((tmp_path / "a/.autotune/trials").iterdir())
    for path in first[4:]:  # only the first rung is there to be taken over
        path.unlink()
    assert run("b", **keys, reuse=["../a/.autotune"]).returncode == 0
    assert executed(tmp_path / "b") == len(first) - 4 > 0
    assert {result(tmp_path / "b", number)["state"] for number in range(len(first))} == {"complete"}


@pytest.mark.parametrize(("reuse", "says"), [("../nothing", "has no study.json"), (".autotune", "is this one")])
def test_what_cannot_be_reused_is_refused(run: Any, reuse: str, says: str) -> None:
    assert run("a", command="plan").returncode == 0
    refused = run("a", command="plan", reuse=[reuse])
    assert refused.returncode == 2
    assert says in refused.stderr
    assert "Traceback" not in refused.stderr


def test_python_shares_the_cache_with_the_command_line(tmp_path: Path, run: Any, environment: Any) -> None:
    cache = str(tmp_path / "cache")
    assert run("a", cache=cache).returncode == 0
    program = f"""\
from autotune import Study, StudyConfig
from autotune.algorithms.random import RandomSearch
from autotune.spaces import SearchSpace, Uniform
from objective import objective

config = StudyConfig(metric="loss", max_trials=6, log_dir="py", cache={cache!r})
print(Study(config, SearchSpace({{"x": Uniform(0.0, 1.0)}}), RandomSearch(seed=1337)).optimize(objective))
"""
    (tmp_path / "a/tune.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "tune.py"], cwd=tmp_path / "a", env=environment(), capture_output=True, text=True, check=True
    )
    assert "results taken over from the cache" in done.stderr
    assert executed(tmp_path / "a") == 6
