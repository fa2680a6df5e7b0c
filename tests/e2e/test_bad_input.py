"""Bad input, through the real command line: one sentence, exit status 2, and nothing changed on disk."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., subprocess.CompletedProcess[str]]
WriteStudy = Callable[..., Path]

QUIET = {"PYTHONDONTWRITEBYTECODE": "1"}  # a folder then holds only what Autotune writes


def uniform(low: object = 0.0, high: object = 1.0, **more: object) -> dict[str, Any]:
    return {"x": {"type": "uniform", "low": low, "high": high, **more}}


def log(low: object, high: object) -> dict[str, Any]:
    return {"x": {"type": "loguniform", "low": low, "high": high}}


@dataclass(frozen=True)
class Bad:
    """One kind of bad input: a good study with some keys changed, or files by their text; what the sentence says."""

    name: str
    says: tuple[str, ...]
    keys: dict[str, Any] | None = None
    files: dict[str, str] | None = None
    argv: tuple[str, ...] = ("plan", "study.yaml")


def bad(name: str, *says: str, **keys: Any) -> Bad:
    return Bad(name, says, keys)


def bad_file(name: str, file: str, text: str, *says: str) -> Bad:
    return Bad(name, says, files={file: text}, argv=("plan", file))


def bad_module(name: str, source: str, objective: str, *says: str) -> Bad:
    return Bad(name, says, {"objective": objective}, files={"mine.py": source})


def bad_line(name: str, argv: str, *says: str) -> Bad:
    return Bad(name, says, argv=tuple(argv.split()))


COMMAND = {"objective": None}

FILES = [
    bad_file("yaml-malformed", "s.yaml", "metric: loss\nspace: [1, 2\nseed: 1\n", "s.yaml", "valid YAML", "line 3"),
    bad_file("yaml-tab", "s.yaml", "metric: loss\n\tseed: 1\n", "s.yaml", "line 2"),
    bad_file("yaml-nul", "s.yaml", "metric: l\0ss\n", "s.yaml", "valid YAML", "special characters"),
    bad_file("yaml-list", "s.yaml", "- metric\n- loss\n", "s.yaml", "mapping", "list"),
    bad_file("yaml-text", "s.yaml", "metric\n", "s.yaml", "mapping", "str"),
    bad_file("yaml-no-such-date", "s.yaml", "max_trials: 2001-99-99\n", "s.yaml", "month"),
    bad_file("yaml-endless-number", "s.yaml", "seed: " + "9" * 5000, "s.yaml", "4300 digits"),
    bad_file("yaml-too-deep", "s.yaml", "space: " + "[" * 5000, "s.yaml", "valid YAML"),
    bad_file("yaml-runs-code", "s.yaml", "metric: !!python/object/apply:os.getcwd []\n", "s.yaml", "line 1"),
    bad_file("file-empty", "s.yaml", "", "s.yaml", "mapping", "NoneType"),
    bad_file("json-malformed", "s.json", '{"metric": "loss",\n "seed": }', "s.json", "valid JSON", "line 2"),
    bad_file("json-too-deep", "s.json", "[" * 100_000, "s.json", "valid JSON"),
    bad_line("file-missing", "plan nowhere.yaml", "nowhere.yaml", "there is none", "autotune init"),
    bad_line("file-is-a-folder", "plan .", "'.'", "readable text file"),
    bad_line("space-file-missing", "plan --objective objective:objective --space no.json", "no.json", "there is none"),
]

SPACES = [
    bad("no-space", "`space`", "--space", space=None),
    bad("space-empty", "study.yaml", "at least one parameter", space={}),
    bad("space-list", "study.yaml", "`space`", "mapping", space=[1, 2]),
    bad("type-unknown", "study.yaml", "`type`", "'uniforn'", "'uniform'", space={"x": {"type": "uniforn"}}),
    bad("type-missing", "study.yaml", "`type`", space={"x": {"low": 0, "high": 1}}),
    bad("key-misspelt", "study.yaml", "'hihg'", "'high'", space={"x": {"type": "uniform", "low": 0, "hihg": 1}}),
    bad("key-missing", "study.yaml", "add `high`", space={"x": {"type": "uniform", "low": 0}}),
    bad("low-above-high", "`low < high`", "swap", space=uniform(2, 1)),
    bad("low-equals-high", "`low < high`", "choice", space=uniform(1, 1)),
    bad("bound-text", "`low`", "without quotes", space=uniform("tiny", 1)),
    bad("bound-infinite", "`high`", "finite", space=uniform(0, float("inf"))),
    bad("log-of-zero", "`0 < low < high`", "uniform", space=log(0, 1)),
    bad("choice-empty", "`options`", "at least one", space={"x": {"type": "choice", "options": []}}),
    bad("choice-twice", "`options`", "twice", space={"x": {"type": "choice", "options": [1, 1]}}),
    bad("choice-text", "`options`", "list", space={"x": {"type": "choice", "options": "abc"}}),
    bad("step-zero", "`step >= 1`", space={"x": {"type": "int", "low": 0, "high": 4, "step": 0}}),
    bad("int-with-float", "`low`", "integer", space={"x": {"type": "int", "low": 0.5, "high": 4}}),
]

SEARCHERS = [
    bad("algo-unknown", "'soboll'", "did you mean 'sobol'", algo="soboll"),
    bad("algo-not-importable", "nowhere:Searcher", "importable", algo="nowhere:Searcher"),
    bad("algo-no-class", "json:JSONDecodr", "'JSONDecoder'", algo="json:JSONDecodr"),
    bad("algo-no-searcher", "json:JSONDecoder", "reset", algo="json:JSONDecoder"),
    bad("algo-options-unknown", "grid_pints", "grid_points", algo="grid", algo_options={"grid_pints": 3}),
    bad("grid-points-1", "`grid_points`", "at least 2", algo="grid", algo_options={"grid_points": 1}),
    bad("grid-points-nan", "`grid_points`", "nan", algo="grid", algo_options={"grid_points": float("nan")}),
]

OBJECTIVES = [
    bad("objective-without-colon", "pkg.mod:fn", "'objective'", objective="objective"),
    bad("objective-no-module", "'nowhere:fn'", "importable", "No module named", objective="nowhere:fn"),
    bad_module("objective-raises", "1 / 0", "mine:fn", "'mine:fn'", "ZeroDivisionError"),
    bad_module("objective-exits", "import sys; sys.exit(3)", "mine:fn", "'mine:fn'", "SystemExit"),
    bad_module("objective-two-lines", "raise ImportError('one\\ntwo')", "mine:fn", "one two"),
    bad_module("objective-no-python", "def fn(:", "mine:fn", "SyntaxError", "line 1"),
    bad_module("objective-no-attribute", "def train(params, trial): pass", "mine:trian", "'trian'", "'train'"),
    bad_module("objective-not-callable", "train = 3", "mine:train", "callable", "int"),
    bad_module("objective-one-argument", "def train(params): pass", "mine:train", "fn(params, trial)", "train(params)"),
    bad("objective-as-a-file", "'objective.py:fn'", "did you mean objective:fn?", objective="objective.py:fn"),
    bad_module("objective-deep", "train = 3", "mine:train.reall", "'reall'", "'real'"),
    bad("objective-and-command", "`objective`", "`command`", "both", command="true"),
    bad("objective-and-command-missing", "`objective`", "`command`", "neither", objective=None),
    bad("command-placeholder", "{y}", "known: x", **COMMAND, command="train --y {y}"),
    bad("command-quotes", "matching quotes", **COMMAND, command="train '{x}"),
    bad("command-braces", "matching braces", **COMMAND, command="train {x"),
    bad("command-blank", "`command`", "non-empty", **COMMAND, command="  "),
    bad("command-shell", "inside a shell script", **COMMAND, command='bash -c "train --x {x}"'),
    bad("command-login-shell", "inside a shell script", **COMMAND, command='bash -o pipefail -lc "train {x}"'),
    bad("command-env-shell", "inside a shell script", **COMMAND, command='env A=1 /bin/sh -ec "train {x}"'),
]

OPTIONS = [
    bad("trials-0", "study.yaml", "`max_trials`", "at least 1", "got 0", max_trials=0),
    bad("trials-text", "study.yaml", "`max_trials`", "'abc'", max_trials="abc"),
    bad("trials-part", "study.yaml", "`max_trials`", "integer", "2.5", max_trials=2.5),
    bad("trials-true", "study.yaml", "`max_trials`", "True", max_trials=True),
    bad("trials-endless", "study.yaml", "`max_trials`", max_trials=float("inf")),
    bad("timeout-nan", "study.yaml", "`trial_timeout`", "a number", trial_timeout=float("nan")),
    bad("option-unknown", "study.yaml", "'max_trails'", "did you mean 'max_trials'", max_trails=3),
    bad("mode-wrong", "study.yaml", "`mode`", "'min' or 'max'", "'minimum'", mode="minimum"),
    bad("seed-negative", "study.yaml", "`seed`", "at least 0", "-1", seed=-1),
    bad("metric-number", "study.yaml", "`metric`", "string", "3", metric=3),
    bad("resources-key", "study.yaml", "'gpuz'", "did you mean 'gpus'", resources={"gpuz": 1}),
    bad("resources-list", "study.yaml", "`resources`", "mapping", resources=["gpus"]),
    bad("gpus-negative", "study.yaml", "gpus", "at least 0", "-1", resources={"gpus": -1}),
    bad("timeout-0", "study.yaml", "`trial_timeout`", "above 0", trial_timeout=0),
    bad("timeout-in-process", "`trial_timeout`", "`isolation`", trial_timeout=3, isolation="none"),
    bad("attempts-with-rerun", "`attempts`", "on_failure: record", attempts=3, on_failure="rerun"),
    bad("isolation-wrong", "study.yaml", "`isolation`", "'trial'", isolation="process"),
    bad("batch-size-0", "study.yaml", "`trials_per_job`", "'auto'", trials_per_job=0),
    bad("log-dir-file", "log_dir", "study.yaml", "--log-dir", log_dir="study.yaml"),
    bad("log-dir-below-file", "log_dir", "Not a directory", "--log-dir", log_dir="study.yaml/below"),
    bad("log-dir-read-only", "log_dir", "/proc/autotune", "--log-dir", log_dir="/proc/autotune"),
    bad("log-dir-braces", "`log_dir`", "no braces", "'runs/{lr}'", log_dir="runs/{lr}"),
    bad("log-dir-nul", "log_dir", "null byte", log_dir="a\0b"),
]

LINES = [
    bad_line("flag-misspelt", "plan study.yaml --max-trails 3", "--max-trails", "--max-trials"),
    bad_line("flag-misspelt-study", "study study.yaml --max-trails 3", "--max-trails", "--max-trials"),
    bad_line("flag-unknown", "plan study.yaml --zzz", "--zzz", "--help"),
    bad_line("flag-value", "plan study.yaml --max-trials many", "--max-trials", "'many'"),
    bad_line("flag-resources", "plan study.yaml --resources gpus", "--resources", "mapping"),
    bad_line("word-too-many", "plan study.yaml more", "more", "--help"),
    bad_line("command-unknown", "plam", "'plam'", "did you mean 'plan'"),
    bad_line("aggregate-without-plan", "aggregate", "plan", "study.json", "autotune plan"),
    bad_line("status-without-plan", "status", "plan", "study.json", "autotune plan"),
    bad_line("retry-without-plan", "retry 1", "plan", "study.json", "autotune plan"),
    bad_line("run-batch-without-plan", "run-batch 00000-00001-12345678", "plan", "study.json", "autotune plan"),
]

WITHOUT_PLAN = [*FILES, *SPACES, *SEARCHERS, *OBJECTIVES, *OPTIONS, *LINES]


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Return relative name -> bytes of everything below a folder; None for a folder."""
    names = sorted(folder.rglob("*"))
    return {str(name.relative_to(folder)): name.read_bytes() if name.is_file() else None for name in names}


def assert_refused(answer: subprocess.CompletedProcess[str], *says: str) -> None:
    """One sentence on standard error, which says all of this, and status 2."""
    assert answer.returncode == 2, answer
    assert answer.stderr.startswith("autotune: "), answer.stderr
    assert answer.stderr.count("\n") == 1, answer.stderr
    assert "Traceback" not in answer.stderr
    for part in says:
        assert part in answer.stderr, f"{part!r} is not in {answer.stderr!r}"


@pytest.mark.parametrize("case", WITHOUT_PLAN, ids=lambda case: case.name)
def test_bad_input_is_one_sentence(case: Bad, tmp_path: Path, cli: Cli, write_study: WriteStudy) -> None:
    write_study(tmp_path, **(case.keys or {}))
    for name, text in (case.files or {}).items():
        (tmp_path / name).write_text(text)
    before = snapshot(tmp_path)
    answer = cli(*case.argv, env=QUIET)
    assert_refused(answer, *case.says)
    assert answer.stdout == ""
    assert snapshot(tmp_path) == before


def test_the_table_is_large_and_its_names_differ() -> None:
    names = [case.name for case in (*WITHOUT_PLAN, *UNDER_A_PLAN)]
    assert len(set(names)) == len(names) >= 30


@pytest.mark.parametrize("line", ["retry one", "status --jsn", "plan study.yaml --max-trials"])
def test_what_argparse_refuses_shows_the_usage(line: str, tmp_path: Path, cli: Cli, write_study: WriteStudy) -> None:
    write_study(tmp_path)
    before = snapshot(tmp_path)
    answer = cli(*line.split(), env=QUIET)
    assert answer.returncode == 2
    assert answer.stderr.startswith("usage: autotune ")
    assert "Traceback" not in answer.stderr
    assert snapshot(tmp_path) == before


# Under a plan: what is there stays as it is


@dataclass(frozen=True)
class Damage:
    """What happened to a planned study of four trials, the command that meets it, and what the sentence says."""

    name: str
    says: tuple[str, ...]
    argv: tuple[str, ...] = ("plan", "study.yaml")
    keys: dict[str, Any] | None = None
    spoil: Callable[[Path], object] | None = None


def damage(name: str, argv: str, spoil: Callable[[Path], object], *says: str) -> Damage:
    return Damage(name, says, tuple(argv.split()), spoil=spoil)


def changed(name: str, *says: str, **keys: Any) -> Damage:
    return Damage(name, (*says, "--fresh", "--log-dir"), keys=keys)


def cut(name: str) -> Callable[[Path], object]:
    """Truncate a file to half its bytes."""

    def spoil(folder: Path) -> None:
        path = folder / name
        os.truncate(path, path.stat().st_size // 2)

    return spoil


def replaced(name: str, old: str, new: str) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return spoil


STUDY_JSON = ".autotune/study.json"
FIRST = ".autotune/configs/trial_00000.json"
RESULT = ".autotune/trials/trial_00002.json"


def other_version(name: str) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        record = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**record, "schema_version": 2}, indent=2) + "\n")

    return spoil


def a_result_of_another_version(folder: Path) -> None:
    (folder / RESULT).write_text('{"schema_version": 2, "number": 2}\n')


def a_batch(folder: Path) -> str:
    name: str = json.loads((folder / ".autotune/batches/index.json").read_text())["batches"][0]
    return name


UNDER_A_PLAN = [
    changed("space-changed", "space changed", '"high":1.0', '"high":2.0', space=uniform(0, 2)),
    changed("seed-changed", "seed changed from 1337 to 3", seed=3),
    changed("metric-changed", 'metric changed from "loss" to "accuracy"', metric="accuracy"),
    changed("objective-changed", "objective changed", '"objective:other"', objective="objective:other"),
    changed("searcher-changed", "searcher changed", "sobol", algo="sobol"),
    changed("two-changed", "metric changed", "and the seed changed", seed=3, metric="a"),
    damage("study-truncated", "plan study.yaml", cut(STUDY_JSON), STUDY_JSON, "not whole", "--fresh"),
    damage("study-empty", "status", lambda folder: os.truncate(folder / STUDY_JSON, 0), STUDY_JSON, "--fresh"),
    damage("study-a-list", "aggregate", lambda folder: (folder / STUDY_JSON).write_text("[]"), "got list", "--fresh"),
    damage("study-edited", "plan study.yaml", replaced(STUDY_JSON, '"max_trials": 4', '"max_trials": 5'), "edited"),
    damage("study-later", "plan study.yaml", other_version(STUDY_JSON), "schema_version 1, got 2", "another version"),
    damage("study-later-status", "status", other_version(STUDY_JSON), "schema_version 1, got 2", "another version"),
    damage("config-later", "plan study.yaml", other_version(FIRST), FIRST, "schema_version 1, got 2"),
    damage("config-cut-run", "run-batch BATCH", cut(FIRST), FIRST, "not whole", "autotune plan"),
    damage("config-lost-run", "run-batch BATCH", lambda folder: (folder / FIRST).unlink(), FIRST, "autotune plan"),
    damage("index-later", "plan study.yaml", other_version(".autotune/batches/index.json"), "index.json", "got 2"),
    damage("index-cut-retry", "retry", cut(".autotune/batches/index.json"), "index.json", "autotune plan"),
    damage("result-later-status", "status", a_result_of_another_version, RESULT, "schema_version 1, got 2"),
    damage("result-later-aggregate", "aggregate", a_result_of_another_version, RESULT, "schema_version 1, got 2"),
    damage("result-later-retry", "retry 2", a_result_of_another_version, RESULT, "schema_version 1, got 2"),
    damage("retry-out-of-range", "retry 4", lambda _: None, "from 0 to 3", "got 4"),
    damage("batch-name", "run-batch first", lambda _: None, "'first'", "00000-00049-1a2b3c4d"),
    damage("objective-lost", "run-batch BATCH", lambda folder: (folder / "objective.py").unlink(), "importable"),
]


@pytest.mark.parametrize("case", UNDER_A_PLAN, ids=lambda case: case.name)
def test_bad_input_under_a_plan(case: Damage, tmp_path: Path, cli: Cli, write_study: WriteStudy) -> None:
    other = "\n\ndef other(params, trial):\n    return 1.0\n"
    write_study(tmp_path)
    with open(tmp_path / "objective.py", "a") as source:
        source.write(other)
    assert cli("plan", "study.yaml", env=QUIET).returncode == 0
    argv = [a_batch(tmp_path) if word == "BATCH" else word for word in case.argv]
    if case.keys:
        write_study(tmp_path, source=(tmp_path / "objective.py").read_text(), **case.keys)
    if case.spoil:
        case.spoil(tmp_path)
    before = snapshot(tmp_path)
    assert_refused(cli(*argv, env=QUIET), *case.says)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(cut(FIRST), id="config-truncated"),
        pytest.param(lambda folder: os.truncate(folder / FIRST, 0), id="config-empty"),
        pytest.param(lambda folder: (folder / FIRST).unlink(), id="config-lost"),
        pytest.param(cut(".autotune/batches/index.json"), id="index-truncated"),
        pytest.param(lambda folder: (folder / ".autotune/batches/index.json").unlink(), id="index-lost"),
        pytest.param(lambda folder: shutil.rmtree(folder / ".autotune/configs"), id="configs-lost"),
    ],
)
def test_planning_again_repairs_what_follows_from_the_study(
    spoil: Callable[[Path], object], tmp_path: Path, cli: Cli, write_study: WriteStudy
) -> None:
    write_study(tmp_path)
    cli("plan", "study.yaml", env=QUIET)
    whole = snapshot(tmp_path)
    spoil(tmp_path)
    assert snapshot(tmp_path) != whole
    answer = cli("plan", "study.yaml", env=QUIET)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert snapshot(tmp_path) == whole


def test_fresh_is_the_way_on_from_a_truncated_study(tmp_path: Path, cli: Cli, write_study: WriteStudy) -> None:
    write_study(tmp_path)
    cli("plan", "study.yaml", env=QUIET)
    whole = snapshot(tmp_path)
    assert cli("run-batch", a_batch(tmp_path), env=QUIET).returncode == 0
    cut(STUDY_JSON)(tmp_path)
    answer = cli("plan", "study.yaml", "--fresh", env=QUIET)
    assert answer.returncode == 0
    assert "2 trials done already" in answer.stdout
    after = snapshot(tmp_path)
    assert after[STUDY_JSON] == whole[STUDY_JSON]
    assert ".autotune/trials/trial_00001.json" in after


# A full disk


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 kB; ``mount -o remount,size=...`` makes it larger."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.getuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs root to mount a tiny tmpfs")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "autotune-test", disk], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"mounting a tmpfs is refused here: {mounted.stderr.decode().strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_full_disk_is_one_sentence_and_the_same_command_goes_on(
    tiny_disk: Path, tmp_path: Path, cli: Cli, write_study: WriteStudy
) -> None:
    log_dir = tiny_disk / "study"
    write_study(tmp_path, max_trials=2000, log_dir=str(log_dir), trials_per_job=500)
    assert_refused(cli("plan", "study.yaml", env=QUIET), "No space left on device", str(log_dir))
    assert not (log_dir / "study.json").exists()
    assert not list(log_dir.rglob("*.tmp"))
    subprocess.run(["mount", "-o", "remount,size=32m", tiny_disk], check=True)
    answer = cli("plan", "study.yaml", env=QUIET)
    assert (answer.returncode, answer.stderr) == (0, "")
    elsewhere = tmp_path / "elsewhere"
    assert cli("plan", "study.yaml", "--log-dir", elsewhere, env=QUIET).returncode == 0
    assert snapshot(log_dir) == snapshot(elsewhere)


def test_a_file_that_may_not_grow_is_one_sentence_too(tmp_path: Path, write_study: WriteStudy, cli: Cli) -> None:
    # 2,000 batches make an index.json of 50 kB; without root it stands for a full disk.
    write_study(tmp_path, max_trials=2000, trials_per_job=1)
    environment = {**os.environ, **QUIET}
    answer = subprocess.run(
        [sys.executable, "-m", "autotune.cli", "plan", "study.yaml"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )
    assert_refused(answer, "File too large", "index.json")
    assert not list(tmp_path.rglob("*.tmp"))
    assert not (tmp_path / STUDY_JSON).exists()
    assert cli("plan", "study.yaml", env=QUIET).returncode == 0


def test_results_on_a_full_disk_are_one_sentence_and_the_batch_goes_on(
    tiny_disk: Path, tmp_path: Path, cli: Cli, write_study: WriteStudy
) -> None:
    write_study(tmp_path, max_trials=20, log_dir=str(tiny_disk / "study"), trials_per_job=20)
    assert cli("plan", "study.yaml", env=QUIET).returncode == 0
    name = json.loads((tiny_disk / "study/batches/index.json").read_text())["batches"][0]
    filler = tiny_disk / "filler"
    subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=4k"], capture_output=True, check=False)
    os.truncate(filler, filler.stat().st_size - 5 * 4096)
    argv = ("run-batch", name, "--log-dir", tiny_disk / "study")
    assert_refused(cli(*argv, env=QUIET), "No space left on device", "trials/trial_000", "finished trials are kept")
    finished = len(list((tiny_disk / "study/trials").glob("*.json")))
    assert 0 < finished < 20
    filler.unlink()
    assert cli(*argv, env=QUIET).returncode == 0
    executed = [int(line) for line in (tmp_path / "executions.txt").read_text().split()]
    assert sorted(set(executed)) == list(range(20))
    assert len(executed) <= 21  # the one whose result found no room ran twice


# Damaged results


def executions(folder: Path) -> list[int]:
    return sorted(int(line) for line in (folder / "executions.txt").read_text().split())


def test_damaged_results_are_noticed_said_and_redone(tmp_path: Path, cli: Cli, write_study: WriteStudy) -> None:
    write_study(tmp_path, max_trials=8)
    study = ("study", "study.yaml", "-j", "2")
    assert cli(*study).returncode == 0
    assert executions(tmp_path) == list(range(8))
    trials = tmp_path / ".autotune/trials"
    best = (tmp_path / ".autotune/best.json").read_bytes()
    cut(".autotune/trials/trial_00001.json")(tmp_path)
    os.truncate(trials / "trial_00003.json", 0)
    size = (trials / "trial_00006.json").stat().st_size
    (trials / "trial_00006.json").write_bytes(bytes(size))  # of the same size: as after a power cut

    status = cli("status")
    assert status.returncode == 0
    assert status.stdout.count("not whole (") == 3

    answer = cli(*study)
    assert answer.returncode == 0, answer
    for number in (1, 3, 6):
        assert f"trial_{number:05d}.json must hold one JSON object, but is not whole" in answer.stderr
    assert executions(tmp_path) == sorted([*range(8), 1, 3, 6])
    assert "8 of 8 trials done" in answer.stdout
    assert (tmp_path / ".autotune/best.json").read_bytes() == best


def test_a_cut_batch_file_hides_no_lost_result(tmp_path: Path, cli: Cli, write_study: WriteStudy) -> None:
    write_study(tmp_path)
    cli("plan", "study.yaml", env=QUIET)
    batch = a_batch(tmp_path)
    assert cli("run-batch", batch, env=QUIET).returncode == 0
    cut(f".autotune/batches/{batch}.json")(tmp_path)
    (tmp_path / ".autotune/trials/trial_00001.json").unlink()
    answer = cli("plan", "study.yaml", env=QUIET)
    assert "trial 1 has lost its result and will run again" in answer.stderr
    assert not (tmp_path / f".autotune/batches/{batch}.json").exists()  # else Snakemake would not run it


def test_a_result_of_a_later_version_is_left_alone(tmp_path: Path, cli: Cli, write_study: WriteStudy) -> None:
    write_study(tmp_path)
    assert cli("study", "study.yaml", "-j", "2").returncode == 0
    done = executions(tmp_path)
    result = tmp_path / RESULT
    later = result.read_text().replace('"schema_version":1', '"schema_version":2')
    for text in (later, '{"schema_version": 2}'):  # of the same size, and of another one
        result.write_text(text)
        answer = cli("study", "study.yaml", "-j", "2")
        assert answer.returncode == 2
        assert "Traceback" not in answer.stderr
        assert f"autotune: {RESULT} must have schema_version 1, got 2" in answer.stderr
        assert result.read_text() == text
        assert executions(tmp_path) == done
