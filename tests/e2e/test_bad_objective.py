"""Objectives that misbehave: a state, a reason and a sentence each; neighbours and the job are never harmed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import autotune

Cli = Callable[..., subprocess.CompletedProcess[str]]
WriteStudy = Callable[..., Path]
Environment = Callable[..., dict[str, str]]

HANG_S = 120  # no test waits longer than this for a job, which would then hang

# One function a kind; the parameter `kind` chooses. Every call leaves a line, so that executions can be counted.
ZOO = """\
import ctypes, io, math, os, resource, signal, subprocess, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from autotune import Infeasible

HERE = Path(__file__).parent


def objective(params, trial):
    handle = os.open(HERE / "executions.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(handle, f"{params['kind']}\\n".encode())
    os.close(handle)
    return globals()[params["kind"].split("-")[0]](trial)


def good(trial):
    print("good prints")
    (trial.dir / "checkpoint").write_text("kept")
    return 1.0


def text(trial): return "0.5"
def none(trial): pass
def other_key(trial): return {"losss": 1.0}
def no_key(trial): return {}
def text_metric(trial): return {"loss": "low"}
def list_(trial): return [1.0]
def true(trial): return True
def integer(trial): return 3
def huge_integer(trial): return 10**400
async def coroutine(trial): return 1.0


class Unfloatable:
    def __float__(self): raise RuntimeError("no")


class Tensor:
    def __init__(self, *shape): self.shape = shape
    def __float__(self): raise RuntimeError("use item")

    def item(self):
        if math.prod(self.shape) != 1: raise RuntimeError("only one element can be converted")
        return 0.25


class EvilMapping(dict):
    def __contains__(self, key): raise OSError("evil")


def unfloatable(trial): return Unfloatable()
def two_elements(trial): return {"loss": Tensor(2)}
def zero_d(trial): return {"loss": Tensor(), "other": Tensor(1, 1)}
def evil_mapping(trial): return EvilMapping(loss=1.0)
def nan(trial): return math.nan
def inf(trial): return {"loss": -math.inf}
def nan_beside(trial): return {"loss": 1.0, "other": math.nan}
def declared(trial): raise Infeasible("too wide for this GPU")
def declared_silent(trial): raise Infeasible
def memory(trial): raise MemoryError


class OutOfMemoryError(RuntimeError): pass


OutOfMemoryError.__module__ = "torch.cuda"


def cuda_memory(trial):
    assert "torch" not in sys.modules
    raise OutOfMemoryError("HIP: tried to allocate 2.00 GiB")


def old_cuda_memory(trial): raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
def exit_0(trial): sys.exit(0)
def exit_text(trial): sys.exit("stop here")
def os_exit_0(trial): os._exit(0)
def os_exit_3(trial): os._exit(3)
def sigkill(trial): os.kill(os.getpid(), signal.SIGKILL)
def sigterm(trial): os.kill(os.getpid(), signal.SIGTERM)


def segfault(trial):
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.string_at(0)


def thread(trial):
    threading.Thread(target=time.sleep, args=(10_000,), name="endless").start()
    return 1.0


def daemon_thread(trial):
    threading.Thread(target=time.sleep, args=(10_000,), daemon=True).start()
    return 1.0


def short_thread(trial):
    threading.Thread(target=time.sleep, args=(0.05,)).start()
    return 1.0


def pool(trial):
    global POOL
    POOL = ThreadPoolExecutor(1)  # kept for the next call, as joblib does
    return POOL.submit(float, 1).result()


class StrRaises(Exception):
    def __str__(self): raise ValueError("no text")


class Own(BaseException): pass


def raises(trial): raise ValueError("line one\\nline two")
def silent(trial): raise ValueError
def long_message(trial): raise ValueError("x" * 10_000_000)
def str_raises(trial): raise StrRaises
def surrogate(trial): raise ValueError("broken \\udc80 \\ud83d and snow \\u2603")
def surrogate_metric(trial): return {"loss": 1.0, "broken \\udc80": 2.0}
def base_exception(trial): raise Own("mine")
def generator_exit(trial): raise GeneratorExit
def keyboard_interrupt(trial): raise KeyboardInterrupt
def recursion(trial): return recursion(trial)
def closes_all(trial): os.closerange(0, 1000); return 1.0
def closes_standard(trial): os.close(0); os.close(1); os.close(2); return 1.0


def replaces_stdout(trial):
    sys.stdout = io.StringIO()
    print("nobody reads this")
    return 1.0


def closes_streams(trial):
    sys.stdout = sys.stderr = open(os.devnull, "w")
    sys.stdout.close()
    raise ValueError("after closing")


def chdir(trial):
    os.chdir("/")
    trial.log("seen", 2.5)
    (trial.dir / "there").write_text("kept")
    return 1.0


def chdir_raises(trial):
    os.chdir("/")
    raise ValueError("elsewhere")


def environ(trial):
    os.environ.clear()
    return 1.0


def huge_stderr(trial):
    for _ in range(200): os.write(2, b"e" * 10_000)
    return 1.0


def background(trial):
    subprocess.Popen(["sleep", "10000"], start_new_session=True)
    return 1.0


def forks(trial):
    if os.fork() == 0:
        return 99.0  # comes back first
    os.wait()
    return 1.0


def forks_raises(trial):
    if os.fork() == 0:
        raise ValueError("in the copy")
    os.wait()
    return 1.0
"""


@dataclass(frozen=True)
class Kind:
    """What a function of the zoo comes to; ``kills``: it takes its process along."""

    state: str
    reason: str | None = None
    says: str = ""
    kills: bool = False


COMPLETE = Kind("complete")


def exception(says: str) -> Kind:
    return Kind("failed", "exception", says)


def crash(says: str) -> Kind:
    return Kind("failed", "crash", says, kills=True)


KINDS: dict[str, Kind] = {
    "text": exception("what the objective returns must be a number, got the str '0.5'"),
    "none": exception("must return 'loss' as a number, got None; does it end without `return`?"),
    "other_key": exception("must return the metric 'loss', got ['losss']; did you mean 'losss'?"),
    "no_key": exception("must return the metric 'loss', got []"),
    "text_metric": exception("the metric 'loss' must be a number, got the str 'low'"),
    "list_": exception("must be one number, got a list"),
    "huge_integer": exception("OverflowError"),
    "coroutine": exception("must be one number, got a coroutine"),
    "unfloatable": exception("must be one number, got a Unfloatable"),
    "two_elements": exception("the metric 'loss' must be one number, got a Tensor of shape (2,)"),
    "evil_mapping": exception("OSError: evil"),
    "zero_d": COMPLETE,
    "true": COMPLETE,
    "integer": COMPLETE,
    "nan": Kind("infeasible", "nonfinite", "not finite: loss = nan"),
    "inf": Kind("infeasible", "nonfinite", "not finite: loss = -inf"),
    "nan_beside": Kind("infeasible", "nonfinite", "not finite: other = nan"),
    "declared": Kind("infeasible", "declared", "too wide for this GPU"),
    "declared_silent": Kind("infeasible", "declared", "declared infeasible"),
    "memory": Kind("infeasible", "oom", "out of memory: MemoryError"),
    "cuda_memory": Kind("infeasible", "oom", "out of memory: OutOfMemoryError: HIP: tried"),
    "old_cuda_memory": Kind("infeasible", "oom", "CUDA out of memory"),
    "exit_0": exception("called sys.exit(0); it must return its metrics"),
    "exit_text": exception("called sys.exit('stop here')"),
    "os_exit_0": crash("ended with exit status 0 without returning"),
    "os_exit_3": crash("ended with exit status 3 without returning"),
    "sigkill": crash("killed by SIGKILL (signal 9); the machine may be out of memory"),
    "sigterm": crash("killed by SIGTERM (signal 15)"),
    "segfault": crash("killed by SIGSEGV (signal 11)"),
    "thread": exception("left the thread 'endless' running; join it, or make it a daemon"),
    "daemon_thread": COMPLETE,
    "short_thread": COMPLETE,
    "pool": COMPLETE,
    "raises": exception("ValueError: line one"),
    "silent": exception("ValueError"),
    "long_message": exception("(10000012 characters)"),
    "str_raises": exception("StrRaises: (its message cannot be printed)"),
    "surrogate": exception("snow \u2603"),
    "surrogate_metric": COMPLETE,
    "base_exception": exception("Own: mine"),
    "generator_exit": exception("GeneratorExit"),
    "keyboard_interrupt": exception("KeyboardInterrupt"),
    "recursion": exception("RecursionError"),
    "closes_all": crash("did it close files that are not its own?"),
    "closes_standard": COMPLETE,
    "replaces_stdout": COMPLETE,
    "closes_streams": exception("after closing"),
    "chdir": COMPLETE,
    "chdir_raises": exception("elsewhere"),
    "environ": COMPLETE,
    "huge_stderr": COMPLETE,
    "background": COMPLETE,
    "forks": COMPLETE,
    "forks_raises": COMPLETE,
}
IN_PROCESS = {name: kind for name, kind in KINDS.items() if not kind.kills and name != "closes_standard"}

# The command line with its patience cut: what is waited for here never comes.
IMPATIENT = """\
import sys
from autotune.cli import main
from autotune.execution import outcome
outcome._THREAD_GRACE_S = 0.5
sys.exit(main(sys.argv[1:]))
"""


@dataclass
class Job:
    """A study of one batch that has run."""

    folder: Path
    answer: subprocess.CompletedProcess[str]
    mark: str  # in the environment of its processes
    left: list[int]  # processes that were there afterwards

    @property
    def results(self) -> dict[str, dict[str, Any]]:
        """Kind -> result."""
        found = (self.folder / ".autotune/trials").glob("*.json")
        records = [json.loads(path.read_bytes()) for path in found]
        return {record["params"]["kind"]: record for record in records}

    @property
    def executed(self) -> list[str]:
        """The kinds, one an execution."""
        return (self.folder / "executions.txt").read_text().split()

    def log(self, kind: str) -> bytes:
        return (self.folder / f".autotune/work/trial_{self.results[kind]['number']:05d}/stdout.log").read_bytes()


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


def run_job(
    folder: Path, environment: Environment, write_study: WriteStudy, kinds: list[str], source: str = ZOO, **keys: Any
) -> Job:
    """Plan a study whose grid is these kinds, in one batch, and run the batch."""
    space = {"kind": {"type": "choice", "options": kinds}}
    write_study(
        folder,
        source=source,
        space=space,
        algo="grid",
        max_trials=len(kinds),
        trials_per_job=1000,
        stop_grace=0.5,
        **keys,
    )
    return run_again(folder, environment)


def run_again(folder: Path, environment: Environment) -> Job:
    mark = uuid.uuid4().hex

    def run(*argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", IMPATIENT, *argv],
            cwd=folder,
            env=environment(AUTOTUNE_TEST_MARK=mark),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=HANG_S,
        )

    planned = run("plan", "study.yaml")
    assert planned.returncode == 0, planned
    (batch,) = json.loads((folder / ".autotune/batches/index.json").read_bytes())["batches"]
    answer = run("run-batch", batch)
    return Job(folder, answer, mark, processes_with(mark))


def interleaved(kinds: dict[str, Kind]) -> list[str]:
    """Put a good neighbour after each."""
    return [name for place, kind in enumerate(kinds) for name in (kind, f"good-{place}")]


_JOBS: dict[str, Job | None] = {}  # of each isolation; the whole zoo runs once in each


@pytest.fixture
def zoo(
    tmp_path_factory: pytest.TempPathFactory, environment: Environment, write_study: WriteStudy
) -> Callable[[str], Job]:
    """``zoo(isolation)``: the job that has run the whole zoo, a good neighbour after each; each runs once."""

    def get(isolation: str) -> Job:
        if isolation not in _JOBS:
            _JOBS[isolation] = None  # whoever comes next does not wait for a job that hangs
            kinds = interleaved(IN_PROCESS if isolation == "none" else KINDS)
            folder = tmp_path_factory.mktemp(isolation)
            keys = {"isolation": isolation, "on_failure": "record" if isolation == "worker" else "rerun"}
            _JOBS[isolation] = run_job(folder, environment, write_study, kinds, **keys)
        job = _JOBS[isolation]
        assert job is not None, f"the job of isolation {isolation} did not end; see the first test"
        return job

    return get


def in_group(isolation: str) -> Any:
    """With pytest-xdist, tests that share a job go to one worker."""
    return pytest.mark.xdist_group(f"zoo-{isolation}")


ISOLATIONS = [pytest.param(isolation, marks=in_group(isolation)) for isolation in ("trial", "worker", "none")]
CASES = [
    pytest.param(isolation, name, id=f"{isolation}-{name}", marks=in_group(isolation))
    for isolation in ("trial", "worker", "none")
    for name in (IN_PROCESS if isolation == "none" else KINDS)
]


@pytest.mark.parametrize(("isolation", "name"), CASES)
def test_outcome(isolation: str, name: str, zoo: Callable[[str], Job]) -> None:
    kind, result = KINDS[name], zoo(isolation).results[name]
    error = result.get("error", "")
    assert (result["state"], result.get("reason")) == (kind.state, kind.reason), error
    assert kind.says in error
    assert bool(error) == (kind.state != "complete")
    assert len(error) <= 2_000
    assert "Traceback" not in error
    assert result["attempt"] == 1
    assert zoo(isolation).executed.count(name) == 1


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_neighbours_complete_and_every_trial_has_one_result(isolation: str, zoo: Callable[[str], Job]) -> None:
    job = zoo(isolation)
    good = [result for kind, result in job.results.items() if kind.startswith("good")]
    assert [result["state"] for result in good] == ["complete"] * len(good)
    assert len(job.results) == 2 * len(good) == len(job.executed)
    assert not list((job.folder / ".autotune").rglob("*.tmp"))
    for result in good:
        assert (job.folder / f".autotune/work/trial_{result['number']:05d}/checkpoint").read_text() == "kept"
    if isolation != "none":
        assert all(job.log(kind) == b"good prints\n" for kind in job.results if kind.startswith("good"))
    there = {name.name for name in job.folder.iterdir()} - {"__pycache__"}
    assert there == {".autotune", "executions.txt", "objective.py", "study.yaml"}


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_exit_status_and_last_line(isolation: str, zoo: Callable[[str], Job]) -> None:
    answer = zoo(isolation).answer
    if isolation == "worker":  # on_failure: record
        assert answer.returncode == 0, answer
    else:
        failed = [name for name, kind in KINDS.items() if kind.state == "failed"]
        failed = [name for name in failed if isolation != "none" or name in IN_PROCESS]
        assert answer.returncode == 1, answer
        assert f"{len(failed)} of {len(zoo(isolation).results)} trials failed and will run again: " in answer.stdout


@pytest.mark.parametrize("isolation", ISOLATIONS[:2])
def test_no_process_is_left(isolation: str, zoo: Callable[[str], Job]) -> None:
    assert zoo(isolation).left == []


@in_group("trial")
def test_what_is_kept_of_a_trial(zoo: Callable[[str], Job]) -> None:
    job = zoo("trial")
    results = job.results
    assert results["zero_d"]["metrics"] == {"loss": 0.25, "other": 0.25}
    assert results["true"]["metrics"] == {"loss": 1.0}
    assert results["nan_beside"]["metrics"] == {"loss": 1.0}  # what is finite
    assert results["forks"]["metrics"] == {"loss": 1.0}  # of the trial's own process, not of its copy
    assert results["surrogate_metric"]["metrics"] == {"loss": 1.0, "broken \udc80": 2.0}
    assert "ValueError: line one\nline two" in results["raises"]["traceback"]
    assert len(results["long_message"]["traceback"]) < 21_000
    assert b"ValueError: line one" in job.log("raises")
    assert job.log("huge_stderr") == b"e" * 2_000_000
    chdir = job.folder / f".autotune/work/trial_{results['chdir']['number']:05d}"
    assert (chdir / "there").read_text() == "kept"
    assert '"seen", 0, 2.5' in (chdir / "scalars.jsonl").read_text()


@in_group("trial")
def test_all_that_can_be_read_is_read(zoo: Callable[[str], Job], cli: Cli) -> None:
    folder = zoo("trial").folder
    for command in ("status", "aggregate"):
        answer = cli(command, cwd=folder)
        assert answer.returncode == 0, answer
        assert "Traceback" not in answer.stderr
    assert json.loads(cli("status", "--json", cwd=folder).stdout)["counts"]["failed"] > 20
    assert (folder / ".autotune/scalars.csv").read_text().count("trial_") == 1


# Time and output


TIMES = """import os, signal, subprocess, sys, time


def objective(params, trial):
    return globals()[params["kind"].split("-")[0]]()


def good(): return 1.0
def sleeps(): time.sleep(1000)
def stops(): os.kill(os.getpid(), signal.SIGSTOP)


def endures():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    subprocess.Popen(["sh", "-c", "trap '' TERM; sleep 1000 & sleep 1000"])
    parent = "import subprocess; subprocess.run(['sleep', '1000'])"
    subprocess.Popen([sys.executable, "-c", parent], start_new_session=True)
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.setsid()
        time.sleep(1000)
    time.sleep(1000)


def prints():
    while True:
        print("x" * 1000)


def prints_below():
    subprocess.run(["sh", "-c", "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done"])
"""


@pytest.mark.parametrize("isolation", ["trial", "worker"])
def test_a_trial_past_its_time_is_ended_with_all_its_children(
    isolation: str, tmp_path: Path, environment: Environment, write_study: WriteStudy
) -> None:
    kinds = ["good-0", "sleeps", "good-1", "stops", "good-2", "endures", "good-3"]
    job = run_job(tmp_path, environment, write_study, kinds, TIMES, isolation=isolation, trial_timeout=1)
    assert job.left == []
    assert job.answer.returncode == 1
    for name, result in job.results.items():
        if name.startswith("good"):
            assert result["state"] == "complete"
        else:
            assert (result["state"], result["reason"]) == ("failed", "timeout")
            assert result["error"] == "the trial took longer than its trial_timeout of 1 s"
            assert result["duration_s"] >= 1
    assert len(job.results) == 7


@pytest.mark.parametrize("isolation", ["trial", "worker"])
def test_a_trial_that_prints_without_end_is_ended(
    isolation: str, tmp_path: Path, environment: Environment, write_study: WriteStudy
) -> None:
    kinds = ["good-0", "prints", "good-1", "prints_below", "good-2"]
    job = run_job(tmp_path, environment, write_study, kinds, TIMES, isolation=isolation, max_log_mb=0.1)
    assert job.left == []
    assert job.answer.returncode == 1
    for name in ("prints", "prints_below"):
        result = job.results[name]
        assert (result["state"], result["reason"]) == ("failed", "exception")
        assert "printed more than max_log_mb (0.1 MB)" in result["error"]
        assert len(job.log(name)) == 100_000
    assert [job.results[f"good-{place}"]["state"] for place in range(3)] == ["complete"] * 3


POOL = """\
import os
from pathlib import Path
from joblib import Parallel, delayed


def objective(params, trial):
    with open(Path(__file__).with_name("pids.txt"), "a") as log:
        log.write(f"{os.getpid()}\\n")
    return sum(Parallel(n_jobs=2)(delayed(float)(i) for i in range(4)))
"""


@pytest.mark.parametrize("isolation", ["trial", "worker", "none"])
def test_a_pool_of_joblib_is_no_fault_and_leaves_nothing(
    isolation: str, tmp_path: Path, environment: Environment, write_study: WriteStudy
) -> None:
    pytest.importorskip("joblib")
    job = run_job(tmp_path, environment, write_study, ["a", "b"], POOL, isolation=isolation, on_failure="record")
    assert [result["state"] for result in job.results.values()] == ["complete"] * 2, job.results
    pids = (tmp_path / "pids.txt").read_text().split()
    assert len(pids) == 2

    def shared() -> list[str]:
        return [path.name for path in Path("/dev/shm").iterdir() if any(pid in path.name for pid in pids)]

    deadline = time.monotonic() + 20
    while (shared() or processes_with(job.mark)) and time.monotonic() < deadline:
        time.sleep(0.1)  # the tracker of the job's own process outlives it for a moment
    assert shared() == []


# Attempts


def test_attempts_are_counted_then_a_failure_stands_until_retried(
    tmp_path: Path, environment: Environment, write_study: WriteStudy, cli: Cli
) -> None:
    kinds = ["good-0", "raises", "sigkill", "declared"]
    job = run_job(tmp_path, environment, write_study, kinds, on_failure="record", attempts=3)
    assert job.answer.returncode == 0
    assert sorted(job.executed) == sorted(["good-0", "declared", *["raises"] * 3, *["sigkill"] * 3])
    assert {name: result["attempt"] for name, result in job.results.items()} == {
        "good-0": 1,
        "declared": 1,
        "raises": 3,
        "sigkill": 3,
    }
    again = run_again(tmp_path, environment)  # nothing is left to do
    assert (again.answer.returncode, len(again.executed)) == (0, 8)

    assert cli("retry").stdout.startswith("2 trials will run again")
    assert cli("retry", "--infeasible").stdout.startswith("1 trial will run again")
    again = run_again(tmp_path, environment)
    assert again.answer.returncode == 0
    assert sorted(again.executed[8:]) == ["declared", "raises", "sigkill"]
    assert again.results["raises"]["attempt"] == 4


def test_only_failed_trials_run_again(tmp_path: Path, environment: Environment, write_study: WriteStudy) -> None:
    job = run_job(tmp_path, environment, write_study, ["good-0", "raises", "nan", "good-1"])
    assert job.answer.returncode == 1
    again = run_again(tmp_path, environment)
    assert again.answer.returncode == 1
    assert again.executed[4:] == ["raises"]
    assert again.results["raises"]["attempt"] == 2


# Values


VALUES = ["plain", "two words", "\u2603 \U0001f600", "broken \udc80", "new\nline", "'\"{}[]$(x)", "long" * 20_000]
ECHO = """def objective(params, trial):
    print(params["kind"])
    if params["kind"] == "plain":
        raise ValueError(params)
    return float(len(params["kind"]))
"""


def test_any_text_may_be_a_value(tmp_path: Path, environment: Environment, write_study: WriteStudy, cli: Cli) -> None:
    job = run_job(tmp_path, environment, write_study, VALUES, ECHO, mode="max")
    assert job.answer.returncode == 1
    assert {value: result["state"] for value, result in job.results.items()} == {
        value: "failed" if value == "plain" else "complete" for value in VALUES
    }
    for value in VALUES[1:]:
        assert job.log(value) == (value + "\n").encode("utf-8", "backslashreplace")
    for value in VALUES[2:5]:  # each as the best, on every way that shows it
        number = job.results[value]["number"]
        for result in (tmp_path / ".autotune/trials").glob("*.json"):
            if result.name != f"trial_{number:05d}.json":
                result.rename(result.with_suffix(".aside"))
        answer = cli("status")
        assert answer.returncode == 0, answer
        assert f"(trial {number}): kind=" in answer.stdout
        for aside in (tmp_path / ".autotune/trials").glob("*.aside"):
            aside.rename(aside.with_suffix(".json"))
    assert cli("aggregate").returncode == 0
    assert json.loads((tmp_path / ".autotune/best.json").read_bytes())["params"] == {"kind": VALUES[-1]}


# Commands


PROGRAM = """import json, os, signal, sys
from pathlib import Path

kind = sys.argv[1]
result = Path(os.environ["AUTOTUNE_RESULT"])
with open(Path(__file__).with_name("executions.txt"), "a") as log:
    log.write(kind + "\\n")
if kind.startswith("good"):
    result.write_text('{"loss": 0.5, "size": 3}')
elif kind == "number":
    result.write_text("0.25")
elif kind == "invalid":
    result.write_text('{"loss": ')
elif kind == "other_key":
    result.write_text('{"lss": 1}')
elif kind == "nan":
    result.write_text('{"loss": NaN}')
elif kind == "status":
    result.write_text('{"loss": 0.5}')
    sys.exit(3)
elif kind == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
elif kind == "infeasible":
    result.write_text('{"infeasible": "too wide"}')
elif kind == "argv":
    result.write_text(json.dumps({"loss": 0.5}))
"""

COMMANDS: dict[str, Kind] = {
    "number": COMPLETE,
    "nothing": exception("must write its metrics as JSON to the file $AUTOTUNE_RESULT, but wrote none"),
    "invalid": exception('must write JSON to $AUTOTUNE_RESULT, such as {"loss": 0.5}'),
    "other_key": exception("did you mean 'lss'?"),
    "nan": Kind("infeasible", "nonfinite", "loss = nan"),
    "status": exception("must exit with status 0, got 3; its output is in stdout.log"),
    "killed": Kind("failed", "crash", "the command was killed by SIGKILL (signal 9)"),
    "infeasible": Kind("infeasible", "declared", "too wide"),
}


@pytest.mark.parametrize("isolation", ["trial", "none"])
def test_commands_that_misbehave(
    isolation: str, tmp_path: Path, environment: Environment, write_study: WriteStudy
) -> None:
    tmp_path.joinpath("program.py").write_text(PROGRAM)
    keys = {"objective": None, "command": f"{sys.executable} program.py {{kind}}", "isolation": isolation}
    job = run_job(tmp_path, environment, write_study, interleaved(COMMANDS), **keys)
    assert job.answer.returncode == 1
    for name, kind in COMMANDS.items():
        result = job.results[name]
        assert (result["state"], result.get("reason")) == (kind.state, kind.reason), result
        assert kind.says in result.get("error", "")
    good = [result for name, result in job.results.items() if name.startswith("good")]
    assert [result.get("metrics") for result in good] == [{"loss": 0.5, "size": 3.0}] * len(COMMANDS)
    assert sorted(job.executed) == sorted(interleaved(COMMANDS))


def test_a_program_that_is_not_there_is_a_failed_trial(
    tmp_path: Path, environment: Environment, write_study: WriteStudy
) -> None:
    keys = {"objective": None, "command": "no-such-program --kind {kind}"}
    job = run_job(tmp_path, environment, write_study, ["a"], **keys)
    assert job.answer.returncode == 1
    assert "'no-such-program' must be a program that can be started" in job.results["a"]["error"]


ARGV = """import json, os, sys
from pathlib import Path
Path(os.environ["AUTOTUNE_TRIAL_DIR"], "argv.json").write_text(json.dumps(sys.argv[1:]))
assert json.loads(os.environ["AUTOTUNE_PARAMS"])["kind"] == sys.argv[2]
Path(os.environ["AUTOTUNE_RESULT"]).write_text('{"loss": 1}')
"""
ARGUMENTS = [
    "; touch pwned $(touch pwned2)",
    "`touch pwned`",
    "& touch pwned &",
    "two  words",
    "'single' \"double\" \\back",
    "{kind} {{x}} {",
    "new\nline",
    "\u2603",
    "broken \udc80",
    "--looks-like=a-flag",
    "*",
    "~",
    "$HOME",
]


def test_a_value_reaches_the_program_as_one_literal_argument(
    tmp_path: Path, environment: Environment, write_study: WriteStudy
) -> None:
    tmp_path.joinpath("program.py").write_text(ARGV)
    command = (
        f"{sys.executable} program.py --value {{kind}} 'in {{kind}} it' {{args}} {{trial_number}} '$(touch pwned)'"
    )
    keys = {"objective": None, "command": command}
    job = run_job(tmp_path, environment, write_study, ARGUMENTS, **keys)
    assert job.answer.returncode == 0, job.answer
    for value, result in job.results.items():
        number = result["number"]
        argv = json.loads((tmp_path / f".autotune/work/trial_{number:05d}/argv.json").read_text())
        assert argv == ["--value", value, f"in {value} it", f"--kind={value}", str(number), "$(touch pwned)"]
    assert sorted(job.results) == sorted(ARGUMENTS)
    assert not list(tmp_path.rglob("pwned*"))


# Names of folders


@pytest.mark.parametrize("name", ["with 'quotes' and \"more\"", "[a-z]* $(touch pwned) \u2603 \U0001f600; #"])
def test_any_name_may_be_the_log_dir(
    name: str, tmp_path: Path, environment: Environment, write_study: WriteStudy, cli: Cli
) -> None:
    write_study(tmp_path, log_dir=name)
    answer = cli("study", "study.yaml", "-j", "2")
    assert answer.returncode == 0, answer
    assert len(list((tmp_path / name / "trials").glob("*.json"))) == 4

    bare = f"bare {name}"
    (tmp_path / "config").mkdir()
    write_study(tmp_path, log_dir=bare).rename(tmp_path / "config/config.yaml")
    assert cli("plan", "config/config.yaml", "--objective", "objective:objective").returncode == 0
    workflow = ["--snakefile", autotune.snakefile(), "--profile", autotune.profile("local"), "-j", "2"]
    argv = [sys.executable, "-m", "snakemake", *workflow]
    snakemake = subprocess.run(argv, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=HANG_S)
    assert snakemake.returncode == 0, snakemake.stderr
    assert (tmp_path / bare / "best.json").read_bytes() == (tmp_path / name / "best.json").read_bytes()
    assert not list(tmp_path.rglob("pwned*"))
