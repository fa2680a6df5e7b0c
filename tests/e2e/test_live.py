"""Looking at a study: status --watch, logs, show, compare and best, on studies that run and that are done."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

Cli = Callable[..., subprocess.CompletedProcess[str]]

HANG_S = 120

# Trials 0 and 1 end at once; the others say so and report, until there is a file `go`. Trial 5 fails.
SOURCE = """\
import os, time


def objective(params, trial):
    print("this is trial", trial.number, flush=True)
    if trial.number > 1:
        trial.report(7, 0.125)
        while not os.path.exists("go"):
            time.sleep(0.05)
    if trial.number == 5:
        raise ValueError("five is not allowed")
    print("and that was it")
    return {"loss": (params["x"] - 0.3) ** 2, "size": 3}
"""
KEYS: dict[str, Any] = {
    "source": SOURCE,
    "max_trials": 6,
    "trials_per_job": 6,
    "slots_per_job": 3,
    "space": {
        "x": {"type": "uniform", "low": 0.0, "high": 1.0},
        "kind": {"type": "choice", "options": ["a b", "it's"]},
    },
}


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + HANG_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {HANG_S} s until {what}"
        time.sleep(0.05)


@pytest.fixture
def running(tmp_path: Path, write_study: Any, environment: Any, cli: Cli) -> Iterator[subprocess.Popen[bytes]]:
    """A job that has finished two trials and runs three; it goes on when there is a file ``go``."""
    write_study(tmp_path, **KEYS)
    assert cli("plan", "study.yaml").returncode == 0
    batch = json.loads((tmp_path / ".autotune/batches/index.json").read_bytes())["batches"][0]
    job = subprocess.Popen(
        [sys.executable, "-m", "autotune.cli", "run-batch", batch],
        cwd=tmp_path,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: len(list((tmp_path / ".autotune").glob("work/*/scalars.jsonl"))) == 3, "three trials run")
    yield job
    (tmp_path / "go").touch()
    job.wait(HANG_S)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of ``study``."""
    return tmp_path_factory.mktemp("done")


@pytest.fixture
def study(done: Path, write_study: Any, cli: Cli) -> Path:
    """The folder of a study of six trials that have run, one of which failed; made once, as tests only look at it."""
    if not (done / ".autotune").exists():
        write_study(done, **KEYS, on_failure="record")
        (done / "go").touch()
        assert cli("study", "study.yaml", cwd=done).returncode == 0
    return done


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, folder: Path, environment: dict[str, str], *argv: str) -> None:
        self.text = ""
        self.pid, self._handle = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execve(sys.executable, [sys.executable, "-m", "autotune.cli", *argv], {**environment, "TERM": "xterm"})
        fcntl.ioctl(self._handle, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))

    def read(self, timeout_s: float = 0.1) -> bool:
        """Read what there is; False where the command has ended."""
        if select.select([self._handle], [], [], timeout_s)[0]:
            try:
                data = os.read(self._handle, 65536)
            except OSError:
                return False
            self.text += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", data.decode(errors="replace"))
            return bool(data)
        return True

    def wait_for(self, pattern: str) -> None:
        deadline = time.monotonic() + HANG_S
        while not re.search(pattern, self.text):
            assert time.monotonic() < deadline, f"no {pattern!r} in {self.text}"
            assert self.read(), f"it ended without {pattern!r}: {self.text}"

    def end(self) -> int:
        """Read to the end; return the exit status."""
        deadline = time.monotonic() + HANG_S
        while self.read():
            assert time.monotonic() < deadline, f"it did not end: {self.text[-2000:]}"
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def press_ctrl_c(self) -> None:
        os.write(self._handle, b"\x03")


def everything(folder: Path) -> dict[str, tuple[int, int]]:
    """Return path -> (modification time, inode) of all that is in a folder."""
    return {
        os.path.join(path, name): (status.st_mtime_ns, status.st_ino)
        for path, folders, files in os.walk(folder)
        for name in (".", *folders, *files)
        for status in (os.stat(os.path.join(path, name)),)
    }


def test_watch_shows_who_runs_what_and_leaves_on_ctrl_c(
    tmp_path: Path, running: subprocess.Popen[bytes], environment: Any
) -> None:
    before = everything(tmp_path / ".autotune")
    screen = Terminal(tmp_path, environment(), "status", "--watch", "--interval", "0.3")
    host = re.escape(os.uname().nodename)
    screen.wait_for(r"2 of 6 trials done \(2 complete, 3 running, 1 to run\)")
    for number in (2, 3, 4):
        screen.wait_for(rf"{number} +{host} +\d+ s +loss 0\.125 \(step 7\)")
    screen.wait_for("2 trials in the last 10 min, about")
    assert "best loss" in screen.text
    screen.press_ctrl_c()
    assert screen.end() == 0
    assert "Traceback" not in screen.text
    assert everything(tmp_path / ".autotune") == before


def test_watch_follows_to_the_end(
    tmp_path: Path, running: subprocess.Popen[bytes], environment: Any, write_study: Any
) -> None:
    (tmp_path / "objective.py").write_text(SOURCE.replace("trial.number == 5", "False"))  # its trials are forked
    screen = Terminal(tmp_path, environment(), "status", "--watch", "--interval", "0.3")
    screen.wait_for("3 running")
    (tmp_path / "go").touch()
    # Trial 5 fails and is to run again: the study is not done.
    screen.wait_for(r"5 of 6 trials done \(5 complete, 1 failed, 1 to run\)")
    screen.wait_for(r"5 +failed \(exception\) +ValueError: five is not allowed")
    running.wait(HANG_S)
    assert not list((tmp_path / ".autotune/running").iterdir()) or running.returncode == 1
    again = subprocess.run(
        [sys.executable, "-m", "autotune.cli", "study", "study.yaml"], cwd=tmp_path, env=environment(),
        capture_output=True, text=True, timeout=HANG_S,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert screen.end() == 0
    assert "6 of 6 trials done (6 complete)" in screen.text
    assert not list((tmp_path / ".autotune/running").iterdir())  # what was begun is over


def test_watch_without_a_terminal_says_a_line_now_and_then(
    tmp_path: Path, running: subprocess.Popen[bytes], environment: Any
) -> None:
    watch = subprocess.Popen(
        [sys.executable, "-m", "autotune.cli", "status", "--watch", "--interval", "0.2"],
        cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert watch.stdout is not None
    lines = [watch.stdout.readline() for _ in range(3)]
    assert all(re.match(r"\d\d:\d\d:\d\d 2 of 6 trials done .*3 running.*; best loss", line) for line in lines)
    watch.send_signal(signal.SIGINT)
    _, errors = watch.communicate(timeout=HANG_S)
    assert (watch.returncode, errors) == (0, "")


def test_watch_of_a_study_that_is_done_ends_at_once(study: Path, cli: Cli) -> None:
    seen = cli("status", "--watch", cwd=study)
    assert (seen.returncode, seen.stderr) == (0, "")
    assert "6 of 6 trials done (5 complete, 1 failed)" in seen.stdout
    assert "results in .autotune" in seen.stdout


def test_logs_follow_a_trial_to_its_end(tmp_path: Path, running: subprocess.Popen[bytes], environment: Any) -> None:
    follow = subprocess.Popen(
        [sys.executable, "-m", "autotune.cli", "logs", "3", "-f"],
        cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert follow.stdout is not None
    assert follow.stdout.readline() == "this is trial 3\n"
    assert follow.poll() is None
    (tmp_path / "go").touch()
    rest, notes = follow.communicate(timeout=HANG_S)
    assert rest == "and that was it\n"
    assert "trial 3, attempt 1: complete; its log is .autotune/work/trial_00003/stdout.log" in notes


def test_logs_begin_anew_with_a_new_attempt(tmp_path: Path, environment: Any, write_study: Any, cli: Cli) -> None:
    source = SOURCE.replace("trial.number > 1", "trial.attempt > 1").replace("trial.number == 5", "trial.attempt == 1")
    keys = {**KEYS, "source": source, "max_trials": 1, "trials_per_job": 1, "slots_per_job": 1}
    write_study(tmp_path, **keys, on_failure="record", attempts=2)
    assert cli("plan", "study.yaml").returncode == 0
    follow = Terminal(tmp_path, environment(), "logs", "0", "-f")
    follow.wait_for("trial 0 does not run yet; waiting for it")
    with contextlib.closing(open(tmp_path / "out.txt", "wb")) as output:
        job = subprocess.Popen(
            [sys.executable, "-m", "autotune.cli", "study", "study.yaml"],
            cwd=tmp_path,
            env=environment(),
            stdout=output,
        )
        wait_until(lambda: list((tmp_path / ".autotune").glob("work/*/scalars.jsonl")), "the second attempt runs")
        time.sleep(1)
        (tmp_path / "go").touch()
        assert job.wait(HANG_S) == 0
    assert follow.end() == 0
    assert "trial 0, attempt 2: complete" in follow.text
    assert follow.text.rstrip().count("and that was it") == 1


def test_logs_say_where_to_look_where_there_are_none(
    tmp_path: Path, running: subprocess.Popen[bytes], write_study: Any, cli: Cli
) -> None:
    waiting = cli("logs", "5")
    assert (waiting.returncode, waiting.stdout) == (0, "")
    assert "trial 5 has not run yet" in waiting.stderr
    quiet = tmp_path / "quiet"
    write_study(quiet, isolation="none")
    assert cli("study", "study.yaml", cwd=quiet).returncode == 0
    silent = cli("logs", "1", cwd=quiet)
    assert (silent.returncode, silent.stdout) == (0, "")
    assert re.search(
        r"trial 1 \(complete\) left no log of its own; its job's log is \.autotune/logs/.*\.log", silent.stderr
    )


def test_show_says_all_of_a_trial(study: Path, cli: Cli) -> None:
    shown = cli("show", "5", cwd=study)
    assert shown.returncode == 0, shown.stderr
    assert "trial 5: failed; it ran here, and its failure stands; `autotune retry 5` would run it again" in shown.stdout
    assert "error     (exception) ValueError: five is not allowed" in shown.stdout
    assert "  this is trial 5" in shown.stdout
    assert "  .autotune/work/trial_00005/stdout.log" in shown.stdout
    found = json.loads(cli("show", "2", "--json", cwd=study).stdout)
    assert (found["state"], found["running"]) == ("complete", None)
    assert found["result"]["metrics"]["loss"] == pytest.approx((found["config"]["params"]["x"] - 0.3) ** 2)
    assert all((study / path).exists() for path in found["files"])
    assert found["log_tail"] == ["this is trial 2", "and that was it"]


def test_show_of_a_trial_that_runs_or_waits(tmp_path: Path, running: subprocess.Popen[bytes], cli: Cli) -> None:
    found = json.loads(cli("show", "4", "--json").stdout)
    assert (found["state"], found["result"], found["running"]["host"]) == ("running", None, os.uname().nodename)
    assert abs(found["running"]["started_at"] - time.time()) < HANG_S
    assert found["running"]["last"]["value"] == 0.125
    assert "trial 4: running; it runs now, attempt 1" in cli("show", "4").stdout
    assert "trial 5: missing; it has not run" in cli("show", "5").stdout


def test_show_says_why_a_trial_runs_again_or_was_reused(tmp_path: Path, write_study: Any, cli: Cli) -> None:
    write_study(tmp_path)
    assert cli("study", "study.yaml").returncode == 0
    assert cli("retry", "1").returncode == 0
    assert "`autotune retry` has put it back to work" in cli("show", "1").stdout
    assert cli("study", "study.yaml").returncode == 0
    assert "trial 1: complete; it ran here, and it is done" in cli("show", "1").stdout
    assert "attempt 2" in cli("show", "1").stdout
    assert cli("plan", "study.yaml", "--fresh", "--max-trials", "5").returncode == 0
    assert "its result was taken over from .autotune/archive/001" in cli("show", "1").stdout
    assert "it has not run" in cli("show", "4").stdout


def test_show_of_a_round_to_come_and_watch_of_rounds(tmp_path: Path, write_study: Any, cli: Cli) -> None:
    write_study(tmp_path, algo="auto", max_trials=12, batch_size=4, trials_per_job=4)
    assert cli("plan", "study.yaml").returncode == 0
    assert cli("show", "3").returncode == 0
    refused = cli("show", "11")
    assert refused.returncode == 2
    assert "trial 11 must have been planned, but its round has not begun" in refused.stderr
    assert cli("study", "study.yaml").returncode == 0
    assert "planned   seed 1337, round 2" in cli("show", "11").stdout
    assert "12 of 12 trials done" in cli("status", "--watch").stdout
    found = cli("compare", ".autotune", ".autotune").stdout
    assert "12 shared trials" in found
    assert "of an adaptive searcher" in found


def test_a_study_in_python_says_what_runs_too(tmp_path: Path, cli: Cli, environment: Any) -> None:
    script = """
import time, pathlib
from autotune import Study, StudyConfig
from autotune.algorithms.random import RandomSearch
from autotune.spaces import SearchSpace, Uniform

def objective(params, trial):
    trial.report(0, params["x"])
    while not pathlib.Path("go").exists():
        time.sleep(0.05)
    return params["x"]

config = StudyConfig(metric="loss", mode="min", max_trials=2, log_dir=".autotune")
Study(config, SearchSpace({"x": Uniform(0.0, 1.0)}), RandomSearch(seed=1)).optimize(objective)
"""
    (tmp_path / "tune.py").write_text(script)
    tune = subprocess.Popen([sys.executable, "tune.py"], cwd=tmp_path, env=environment())
    wait_until(lambda: list((tmp_path / ".autotune").glob("work/*/scalars.jsonl")), "the first trial runs")
    found = json.loads(cli("show", "0", "--json").stdout)
    assert (found["state"], found["running"]["host"]) == ("running", os.uname().nodename)
    (tmp_path / "go").touch()
    assert tune.wait(HANG_S) == 0
    assert not list((tmp_path / ".autotune/running").iterdir())


def test_watch_shows_gpus(tmp_path: Path, write_study: Any, environment: Any, cli: Cli) -> None:
    write_study(tmp_path, **KEYS, resources={"gpus": 1})
    assert cli("plan", "study.yaml").returncode == 0
    batch = json.loads((tmp_path / ".autotune/batches/index.json").read_bytes())["batches"][0]
    argv = [sys.executable, "-m", "autotune.cli", "run-batch", batch]
    job = subprocess.Popen(argv, cwd=tmp_path, env=environment(CUDA_VISIBLE_DEVICES="4,5,6"), stdout=subprocess.DEVNULL)
    wait_until(lambda: len(list((tmp_path / ".autotune").glob("work/*/scalars.jsonl"))) == 3, "three trials run")
    screen = Terminal(tmp_path, environment(), "status", "--watch", "--interval", "0.3")
    screen.wait_for("GPU-hours left")
    (tmp_path / "go").touch()
    job.wait(HANG_S)
    screen.press_ctrl_c()
    assert screen.end() == 0
    assert {found[1] for found in re.finditer(r"\d +\S+ +([456]) +\d+ s +loss", screen.text)} == {"4", "5", "6"}


def test_compare_two_trials(study: Path, cli: Cli) -> None:
    shown = cli("compare", "2", "5", cwd=study)
    assert shown.returncode == 0, shown.stderr
    assert re.search(r"^loss +0\.\d+(e-\d+)? +-$", shown.stdout, re.MULTILINE)
    assert re.search(r"^state +complete +failed$", shown.stdout, re.MULTILINE)
    found = json.loads(cli("compare", "2", "3", "--json", cwd=study).stdout)
    configs = [json.loads((study / f".autotune/configs/trial_0000{n}.json").read_bytes()) for n in (2, 3)]
    assert found["params"]["x"] == [config["params"]["x"] for config in configs]
    assert found["metrics"]["size"] == [3, 3]


def test_compare_two_studies(tmp_path: Path, write_study: Any, cli: Cli) -> None:
    study = write_study(tmp_path, max_trials=12, trials_per_job=12)
    assert cli("study", study).returncode == 0
    worse = study.parent / "objective.py"
    worse.write_text(worse.read_text().replace("** 2", "** 2 + 1"))
    assert cli("study", study, "--log-dir", "worse", "--max-trials", "20").returncode == 0
    found = json.loads(cli("compare", ".autotune", "worse", "--json").stdout)
    assert found["plan"] == {"max_trials": [12, 20]}
    assert (found["space"], found["adaptive"]) == ({}, False)
    assert (found["shared"]["values"], found["shared"]["winner"]) == (12, "A")
    assert found["shared"]["difference"] == pytest.approx(1)
    assert (found["best"]["values"], found["best"]["winner"]) == (12, "A")
    text = cli("compare", ".autotune", "worse").stdout
    assert "12 shared trials (equal id): mean loss A" in text
    assert "A is better, as less is" in text
    other = study.with_name("other.yaml")
    other.write_text(study.read_text().replace("high: 1.0", "high: 2.0").replace("metric: loss", "metric: gain"))
    worse.write_text(worse.read_text().replace('"loss"', '"gain"'))
    assert cli("study", other, "--log-dir", "other").returncode == 0
    text = cli("compare", ".autotune", "other").stdout
    assert re.search(r'^x +\{"high":1\.0,.*\} +\{"high":2\.0,', text, re.MULTILINE)
    assert "different metrics" in text


def test_best_feeds_a_training_command(study: Path, cli: Cli, environment: Any) -> None:
    best = json.loads((study / ".autotune/best.json").read_bytes())["params"]
    assert json.loads(cli("best", cwd=study).stdout) == best
    assert yaml.safe_load(cli("best", "--format", "yaml", cwd=study).stdout) == best
    (study / "train.py").write_text("import json, os, sys\nprint(json.dumps([sys.argv[1:], os.environ.get('kind')]))\n")
    autotune = f"{sys.executable} -m autotune.cli best --format"

    def bash(script: str) -> Any:
        done = subprocess.run(
            ["bash", "-euc", script], cwd=study, env=environment(), capture_output=True, text=True, timeout=HANG_S
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    train = f"{sys.executable} train.py"
    assert bash(f'eval "{train} $({autotune} args)"')[0] == [f"--x={best['x']}", f"--kind={best['kind']}"]
    assert bash(f'set -a; eval "$({autotune} env)"; {train}')[1] == best["kind"]
    overrides = bash(f'eval "{train} $({autotune} hydra)"')[0]
    hydra = pytest.importorskip("hydra.core.override_parser.overrides_parser")
    parsed = hydra.OverridesParser.create().parse_overrides(overrides)
    assert {item.key_or_group: item.value() for item in parsed} == best


def test_best_of_a_study_that_runs(tmp_path: Path, running: subprocess.Popen[bytes], cli: Cli) -> None:
    assert set(json.loads(cli("best").stdout)) == {"x", "kind"}


def test_the_best_is_written_as_yaml_where_the_name_says_so(tmp_path: Path, write_study: Any, cli: Cli) -> None:
    write_study(tmp_path, write_best_to="out/best.yaml")
    assert cli("study", "study.yaml").returncode == 0
    best = json.loads((tmp_path / ".autotune/best.json").read_bytes())
    assert yaml.safe_load((tmp_path / "out/best.yaml").read_text()) == best


LOOKS = [
    ["status"],
    ["status", "--watch"],
    ["logs", "2"],
    ["show", "2"],
    ["compare", "1", "2"],
    ["compare", ".autotune", ".autotune"],
    ["best"],
]
READ_ONLY = 'mount --bind "$PWD" "$PWD" && mount -o remount,bind,ro "$PWD" && cd "$PWD" && exec "$@"'


def test_looking_writes_nothing(study: Path, cli: Cli) -> None:
    before = everything(study)
    for look in LOOKS:
        assert cli(*look, cwd=study).returncode == 0, look
    assert everything(study) == before


def test_looking_at_what_cannot_be_written(study: Path, environment: Any) -> None:
    mounted = ["unshare", "--map-root-user", "--mount", "sh", "-c", READ_ONLY, "sh"]
    if subprocess.run([*mounted, "true"], cwd=study, capture_output=True, check=False).returncode:
        pytest.skip("needs mount namespaces, which not every machine lets a user have")
    assert subprocess.run([*mounted, "touch", "x"], cwd=study, capture_output=True, check=False).returncode
    for look in LOOKS:
        argv = [*mounted, sys.executable, "-m", "autotune.cli", *look]
        seen = subprocess.run(argv, cwd=study, env=environment(), capture_output=True, text=True, timeout=HANG_S)
        assert seen.returncode == 0, f"{look}: {seen.stderr}"


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["show", "6"], "a trial number must be from 0 to 5, got 6"),
        (["logs", "-f", "99"], "a trial number must be from 0 to 5, got 99"),
        (["compare", "0", "9"], "a trial number must be from 0 to 5, got 9"),
        (["compare", "0", ".autotune"], "takes two trial numbers or two study directories"),
        (["compare", ".autotune", "nowhere"], "there must be a plan in 'nowhere'"),
        (["best", "--log-dir", "nowhere"], "there must be a plan in 'nowhere'"),
        (["status", "--watch", "--interval", "0"], "--interval must be seconds above 0, got 0"),
        (["status", "--watch", "--interval", "nan"], "--interval must be seconds above 0, got nan"),
    ],
)
def test_what_cannot_be_shown_is_said_in_a_sentence(study: Path, cli: Cli, command: list[str], sentence: str) -> None:
    refused = cli(*command, cwd=study)
    assert refused.returncode == 2
    assert refused.stderr.startswith("autotune: ")
    assert sentence in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_there_is_no_best_before_a_trial_completes(tmp_path: Path, write_study: Any, cli: Cli) -> None:
    write_study(tmp_path)
    assert cli("plan", "study.yaml").returncode == 0
    refused = cli("best")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "one complete trial" in refused.stderr
