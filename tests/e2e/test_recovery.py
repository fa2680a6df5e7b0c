"""Killed, told to end, run twice at once, extended: no finished trial runs again, and the results are the same."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import autotune
from autotune import Study, StudyConfig
from autotune.algorithms.grid import GridSearch
from autotune.algorithms.lhs import LatinHypercubeSearch
from autotune.algorithms.random import RandomSearch
from autotune.algorithms.sobol import SobolSearch
from autotune.errors import InvalidStudy, NoCompleteTrial
from autotune.spaces import SearchSpace, Uniform

Cli = Callable[..., subprocess.CompletedProcess[str]]
WriteStudy = Callable[..., Path]
Environment = Callable[..., dict[str, str]]

HANG_S = 120

# Says when a trial starts and ends, each in one write; a trial lasts as long as the environment says.
SOURCE = """\
import os, time
from pathlib import Path

LOG = Path(__file__).with_name("log.txt")


def say(line):
    handle = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(handle, f"{line}\\n".encode())
    os.close(handle)


def objective(params, trial):
    say(f"start {trial.number}")
    time.sleep(float(os.environ.get("TRIAL_S", "0")))
    trial.log("seen", params["x"])
    say(f"end {trial.number}")
    return {"loss": (params["x"] - 0.3) ** 2, "size": 3}
"""
TRIALS = 60
QUICK = {"source": SOURCE, "max_trials": TRIALS, "trials_per_job": 5}
VOLATILE = ("duration_s", "attempt", "host", "gpus", "started_at")


def said(folder: Path, word: str) -> Counter[int]:
    """Return trial number -> how often its objective said the word."""
    try:
        lines = (folder / "log.txt").read_text().splitlines()
    except FileNotFoundError:
        return Counter()
    return Counter(int(line.split()[1]) for line in lines if line.startswith(word + " "))


def finished(folder: Path) -> set[int]:
    """Return the trials that have a result."""
    return {int(path.stem[6:]) for path in (folder / ".autotune/trials").glob("trial_*.json")}


def tables(folder: Path) -> dict[str, Any]:
    """Return what a study came to, without times and places."""
    rows, scalars = (
        list(csv.DictReader((folder / ".autotune" / name).read_text().splitlines()))
        for name in ("trials.csv", "scalars.csv")
    )
    return {
        "best": (folder / ".autotune/best.json").read_bytes(),
        "trials": [{key: value for key, value in row.items() if key not in VOLATILE} for row in rows],
        "scalars": [{key: value for key, value in row.items() if key != "time"} for row in scalars],
    }


def processes_with(mark: str) -> list[int]:
    """Return the processes whose environment holds the mark."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + HANG_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {HANG_S} s until {what}"
        time.sleep(0.02)


class Run:
    """A command in the background, whose processes can be found by a mark."""

    def __init__(self, folder: Path, environment: Environment, argv: list[str], trial_s: float) -> None:
        self.mark = uuid.uuid4().hex
        self.folder = folder
        self._output = (folder / f"output-{self.mark[:6]}.txt").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", *argv],
            cwd=folder,
            env=environment(AUTOTUNE_TEST_MARK=self.mark, TRIAL_S=str(trial_s)),
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )

    def wait(self) -> int:
        status = self.process.wait(HANG_S)
        self._output.close()
        return status

    def output(self) -> str:
        return Path(self._output.name).read_text()

    def is_gone(self) -> bool:
        return not processes_with(self.mark)

    def kill(self) -> None:
        """SIGKILL to all of its processes at once, until none is left."""
        while pids := processes_with(self.mark):
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.01)
        self.wait()


STUDY = ["autotune.cli", "study", "study.yaml", "-j", "2"]


def bare() -> list[str]:
    return ["snakemake", "-s", autotune.snakefile(), "--profile", autotune.profile("local"), "-j", "2"]


@pytest.fixture
def start(environment: Environment) -> Iterator[Callable[..., Run]]:
    """``start(folder, argv)``: start a command; whatever the test does, it is gone afterwards."""
    runs: list[Run] = []

    def begin(folder: Path, argv: list[str], trial_s: float = 0.05) -> Run:
        runs.append(Run(folder, environment, argv, trial_s))
        return runs[-1]

    yield begin
    for run in runs:
        run.kill()


_UNDISTURBED: dict[str, Any] = {}


@pytest.fixture
def undisturbed(tmp_path_factory: pytest.TempPathFactory, cli: Cli, write_study: WriteStudy) -> dict[str, Any]:
    """What the study of 60 trials comes to when nothing happens to it."""
    if not _UNDISTURBED:
        folder = tmp_path_factory.mktemp("undisturbed")
        write_study(folder, **QUICK)
        assert cli(*STUDY[1:], cwd=folder).returncode == 0
        _UNDISTURBED.update(tables(folder))
        assert len(_UNDISTURBED["trials"]) == TRIALS
    return _UNDISTURBED


def assert_complete(folder: Path, before: set[int], expected: dict[str, Any]) -> None:
    """All is there, as it would be undisturbed, and what was finished before was executed once."""
    assert finished(folder) == set(range(TRIALS))
    starts = said(folder, "start")
    assert {number: starts[number] for number in before} == dict.fromkeys(before, 1)
    assert max(starts.values()) <= 2
    assert tables(folder) == expected
    assert not list((folder / ".autotune").rglob("*.tmp"))


@pytest.mark.slow
@pytest.mark.parametrize("driver", ["study", "snakemake"])
def test_a_killed_run_goes_on_where_it_was(
    driver: str,
    tmp_path: Path,
    start: Callable[..., Run],
    cli: Cli,
    write_study: WriteStudy,
    undisturbed: dict[str, Any],
) -> None:
    write_study(tmp_path, **QUICK)
    argv = STUDY if driver == "study" else bare()
    if driver == "snakemake":
        assert cli("plan", "study.yaml").returncode == 0
    run = start(tmp_path, argv, trial_s=0.1)
    wait_until(lambda: len(finished(tmp_path)) >= 12, "12 trials have finished")
    run.kill()
    before = finished(tmp_path)
    assert 12 <= len(before) < TRIALS

    again = start(tmp_path, argv, trial_s=0)
    assert again.wait() == 0, again.output()
    assert_complete(tmp_path, before, undisturbed)
    ends = said(tmp_path, "end")
    assert all(count == 1 for number, count in ends.items() if number in before)


@pytest.mark.slow
def test_two_runs_at_once_execute_no_trial_twice(
    tmp_path: Path, start: Callable[..., Run], cli: Cli, write_study: WriteStudy, undisturbed: dict[str, Any]
) -> None:
    write_study(tmp_path, **QUICK)
    assert cli("plan", "study.yaml").returncode == 0
    runs = [start(tmp_path, bare(), trial_s=0.05) for _ in range(2)]
    for run in runs:
        assert run.wait() == 0, run.output()
    assert set(said(tmp_path, "start").values()) == {1}
    assert_complete(tmp_path, set(range(TRIALS)), undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_run_that_is_told_to_end_does_so_with_its_jobs(
    number: signal.Signals,
    tmp_path: Path,
    start: Callable[..., Run],
    write_study: WriteStudy,
    undisturbed: dict[str, Any],
) -> None:
    write_study(tmp_path, **QUICK)
    run = start(tmp_path, STUDY, trial_s=0.6)  # on a busy machine shorter ones were all done before the signal was
    wait_until(lambda: len(finished(tmp_path)) >= 6, "6 trials have finished")
    run.process.send_signal(number)
    assert run.wait() == 130, run.output()
    assert run.is_gone()
    assert "finished trials are kept" in run.output()
    assert "Traceback" not in run.output()
    before = finished(tmp_path)
    assert 6 <= len(before) < TRIALS

    again = start(tmp_path, STUDY, trial_s=0)
    assert again.wait() == 0, again.output()
    assert_complete(tmp_path, before, undisturbed)


# A study that cannot be written


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Callable[[Path], None]]:
    """``read_only(folder)``: nobody can write there any more, root neither."""
    mounted: list[Path] = []

    def make(folder: Path) -> None:
        if os.getuid() != 0:
            for path in (folder, *folder.rglob("*")):
                path.chmod(path.stat().st_mode & ~0o222)
            return
        commands = (["mount", "--bind", folder, folder], ["mount", "-o", "remount,ro,bind", folder])
        for command in commands:
            answer = subprocess.run(command, capture_output=True)
            if answer.returncode != 0:
                pytest.skip(f"root can write anywhere, and mounting is refused: {answer.stderr.decode().strip()}")
            if not mounted:
                mounted.append(folder)

    yield make
    for folder in mounted:
        subprocess.run(["umount", "--lazy", folder], check=True)
    if os.getuid() != 0:
        for path in (tmp_path, *tmp_path.rglob("*")):
            path.chmod(path.stat().st_mode | 0o200)


def test_status_of_a_study_that_cannot_be_written(
    tmp_path: Path, cli: Cli, write_study: WriteStudy, read_only: Callable[[Path], None]
) -> None:
    write_study(tmp_path, source=SOURCE)
    assert cli("plan", "study.yaml").returncode == 0
    batch = json.loads((tmp_path / ".autotune/batches/index.json").read_text())["batches"][0]
    assert cli("run-batch", batch).returncode == 0
    read_only(tmp_path / ".autotune")
    with pytest.raises(OSError, match=r"Read-only|Permission"):
        (tmp_path / ".autotune/new").touch()
    for command in (["status"], ["status", "--json"], ["plan", "study.yaml", "--dry-run"]):
        answer = cli(*command)
        assert (answer.returncode, answer.stderr) == (0, ""), command
        assert "2" in answer.stdout
    for command in (["aggregate"], ["plan", "study.yaml"], ["retry", "0"], ["run-batch", batch]):
        answer = cli(*command)
        assert answer.returncode == 2, command
        assert answer.stderr.startswith("autotune: ")
        assert answer.stderr.count("\n") == 1


# Study.optimize

SPACE = SearchSpace({"x": Uniform(0.0, 1.0)})


def a_study(folder: Path, searcher: Any = None, trials: int = 8, **options: Any) -> Study:
    callbacks = options.pop("callbacks", ())
    config = StudyConfig(metric="loss", mode="min", max_trials=trials, log_dir=str(folder / ".autotune"), **options)
    return Study(config, SPACE, searcher or RandomSearch(seed=1337), callbacks=callbacks)


def parabola(params: dict[str, Any], trial: Any) -> float:
    return float((params["x"] - 0.3) ** 2)


class Recorder:
    """An objective that knows which trials it was called for; and fails or is interrupted at some."""

    def __init__(self, raises: dict[int, BaseException] | None = None) -> None:
        self.numbers: list[int] = []
        self._raises = raises or {}

    def __call__(self, params: dict[str, Any], trial: Any) -> float:
        self.numbers.append(trial.number)
        if trial.number in self._raises:
            raise self._raises[trial.number]
        return parabola(params, trial)


@pytest.mark.slow
def test_all_three_drivers_give_the_same_best(
    tmp_path: Path, cli: Cli, write_study: WriteStudy, start: Callable[..., Run], environment: Environment
) -> None:
    folders = [tmp_path / name for name in ("api", "cli", "bare")]
    for folder in folders:
        write_study(folder, source=SOURCE, max_trials=6)
    script = (
        "from autotune import Study, StudyConfig\n"
        "from autotune.spaces import SearchSpace, Uniform\n"
        "from autotune.algorithms.random import RandomSearch\n"
        "from objective import objective\n"
        "config = StudyConfig(metric='loss', mode='min', max_trials=6)\n"
        "study = Study(config, SearchSpace({'x': Uniform(0.0, 1.0)}), RandomSearch(seed=1337))\n"
        "print(study.optimize(objective)['x'])\n"
    )
    argv = [sys.executable, "-c", script]
    answer = subprocess.run(argv, cwd=folders[0], env=environment(), capture_output=True, text=True, timeout=HANG_S)
    assert answer.returncode == 0, answer
    assert cli(*STUDY[1:], cwd=folders[1]).returncode == 0
    assert cli("plan", "study.yaml", cwd=folders[2]).returncode == 0
    assert start(folders[2], bare()).wait() == 0
    api, command_line, workflow = map(tables, folders)
    assert api["best"] == command_line["best"] == workflow["best"]
    assert api == command_line == workflow
    assert float(answer.stdout) == json.loads(api["best"])["params"]["x"]


def test_optimize_again_executes_only_what_is_missing_or_failed(tmp_path: Path) -> None:
    first = Recorder(raises={2: ValueError("no"), 5: MemoryError()})
    a_study(tmp_path).optimize(first)
    assert first.numbers == list(range(8))
    counts = a_study(tmp_path).summary.counts
    assert (counts["complete"], counts["failed"], counts["infeasible"]) == (6, 1, 1)

    second = Recorder()
    (tmp_path / ".autotune/trials/trial_00004.json").unlink()
    best = a_study(tmp_path).optimize(second)
    assert second.numbers == [2, 4]
    third = Recorder()
    assert a_study(tmp_path).optimize(third) == best
    assert third.numbers == []


def test_callbacks_see_state_and_value(tmp_path: Path) -> None:
    seen: list[tuple[int, str | None, float | None]] = []
    study = a_study(tmp_path, callbacks=[lambda trial: seen.append((trial.number, trial.state, trial.value))], trials=3)
    study.optimize(Recorder(raises={1: ValueError("no")}))
    assert [state for _, state, _ in seen] == ["complete", "failed", "complete"]
    assert seen[1] == (1, "failed", None)
    results = [json.loads((tmp_path / f".autotune/trials/trial_{n:05d}.json").read_bytes()) for n in (0, 2)]
    assert [seen[0][2], seen[2][2]] == [result["metrics"]["loss"] for result in results]


def test_a_callback_that_raises_keeps_what_is_finished(tmp_path: Path) -> None:
    def stop(trial: Any) -> None:
        if trial.number == 3:
            raise RuntimeError("the tracker is down")

    objective = Recorder()
    with pytest.raises(RuntimeError, match="tracker is down"):
        a_study(tmp_path, callbacks=[stop]).optimize(objective)
    assert objective.numbers == [0, 1, 2, 3]
    assert finished(tmp_path) == {0, 1, 2, 3}
    assert len(tables(tmp_path)["trials"]) == 4  # aggregated all the same
    rest = Recorder()
    a_study(tmp_path).optimize(rest)
    assert rest.numbers == [4, 5, 6, 7]


def test_an_interrupt_keeps_what_is_finished(tmp_path: Path) -> None:
    objective = Recorder(raises={3: KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        a_study(tmp_path).optimize(objective)
    assert finished(tmp_path) == {0, 1, 2}
    rest = Recorder()
    best = a_study(tmp_path).optimize(rest)
    assert rest.numbers == [3, 4, 5, 6, 7]
    assert best == a_study(tmp_path / "undisturbed").optimize(Recorder())


def test_a_lambda_is_an_objective(tmp_path: Path) -> None:
    best = a_study(tmp_path).optimize(lambda params, trial: params["x"])
    assert best["x"] == json.loads((tmp_path / ".autotune/best.json").read_bytes())["value"]


def test_a_thread_of_the_program_itself_fails_no_trial(tmp_path: Path) -> None:
    import threading

    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        a_study(tmp_path).optimize(Recorder())
        assert a_study(tmp_path).summary.counts["complete"] == 8
    finally:
        end.set()
        thread.join()


def test_an_objective_that_changes_the_folder_writes_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wanders(params: dict[str, Any], trial: Any) -> float:
        os.chdir(tmp_path / "other")
        trial.log("x", 1.0)
        return parabola(params, trial)

    (tmp_path / "other").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    config = StudyConfig(metric="loss", mode="min", max_trials=3)
    Study(config, SPACE, RandomSearch(seed=1)).optimize(wanders)
    assert Path.cwd() == tmp_path / "here"
    assert finished(tmp_path / "here") == {0, 1, 2}
    assert not list((tmp_path / "other").iterdir())


def test_no_complete_trial_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(NoCompleteTrial, match=r"one complete trial to have a best, got none of 2; .*status"):
        a_study(tmp_path, trials=2).optimize(lambda params, trial: float("nan"))


@pytest.mark.parametrize(
    ("options", "objective", "says"),
    [({}, 3, "callable"), ({"trial_timeout": 3}, parabola, "`trial_timeout`")],
    ids=["not-callable", "timeout"],
)
def test_what_optimize_refuses_leaves_nothing(options: Any, objective: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidStudy, match=says):
        a_study(tmp_path, **options).optimize(objective)
    assert not (tmp_path / ".autotune").exists()


SEARCHERS = {
    "random": lambda: RandomSearch(seed=3),
    "sobol": lambda: SobolSearch(seed=3),
    "lhs": lambda: LatinHypercubeSearch(seed=3),
    "grid": lambda: GridSearch(grid_points=64),
}


@pytest.mark.filterwarnings("ignore:the grid has 64 points")
@pytest.mark.parametrize("name", SEARCHERS)
def test_more_trials_run_exactly_the_new_ones(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second = Recorder(), Recorder()
    a_study(tmp_path, SEARCHERS[name](), trials=32).optimize(first)
    configs = {path: path.read_bytes() for path in (tmp_path / ".autotune/configs").iterdir()}
    a_study(tmp_path, SEARCHERS[name](), trials=64).optimize(second)
    assert first.numbers == list(range(32))
    assert second.numbers == list(range(32, 64))
    assert {path: path.read_bytes() for path in configs} == configs
    assert len(tables(tmp_path)["trials"]) == 64
    notes = [message for message in caplog.messages if "a block of their own" in message]
    assert len(notes) == (name == "lhs")
