"""The shape of the code: what starts light, how large things may be, what the workflow must not contain."""

from __future__ import annotations

import ast
import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "autotune"
MODULES = sorted(PACKAGE.rglob("*.py"))
WORKFLOW = sorted(path for path in (ROOT / "workflow").rglob("*") if path.suffix == ".smk" or path.name == "Snakefile")

HEAVY = {"numpy", "pandas", "scipy", "torch", "pydantic", "snakemake", "yaml", "sklearn"}
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
HELP_CPU_RATIO = 5.0


def short(path: Path) -> str:
    return str(path.relative_to(ROOT))


def fresh(code: str, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new interpreter that finds this checkout and is told nothing by the caller's environment."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "AUTOTUNE_"))}
    return subprocess.run(
        [sys.executable, *flags, "-c", code],
        env={**environment, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


# Importing is free

STARTS = {
    "import autotune": "import autotune",
    "import autotune.cli": "import autotune.cli",
    "autotune --help": """
import runpy
sys.argv = ["autotune", "--help"]
try:
    runpy.run_module("autotune.cli", run_name="__main__", alter_sys=True)
except SystemExit as end:
    assert not end.code, end.code
""",
    "the runner": "import autotune.execution.runner",
}


@pytest.mark.parametrize("code", STARTS.values(), ids=STARTS.keys())
def test_start_loads_no_heavy_library(code: str) -> None:
    done = fresh(f"import sys\n{code}\nimport json\nprint()\nprint(json.dumps(sorted(sys.modules)))")
    assert done.returncode == 0, done.stderr
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}
    assert not loaded & HEAVY


def test_a_job_forks_without_what_makes_forks_dear() -> None:
    """Each library and page that is there at a fork is copied, and random and threading do work in each child."""
    job = "import autotune.cli.command, autotune.cli.run_batch, autotune.execution.process"
    done = fresh(f"import sys\nbefore = set(sys.modules)\n{job}\nprint(*(set(sys.modules) - before))")
    assert done.returncode == 0, done.stderr
    dear = {"random", "threading", "subprocess", "shutil", "autotune.spaces"}
    assert not dear & set(done.stdout.split())


@pytest.mark.parametrize("name", ["Study", "StudyConfig"])
def test_facade_has_its_names(name: str) -> None:
    done = fresh(f"from autotune import {name}; print({name}.__name__)")
    assert done.stdout.strip() == name, done.stderr


def cpu_s(*command: str) -> float:
    """Return the least CPU time of seven runs of ``python ...``, in seconds; a busy machine lengthens the others."""
    best = float("inf")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV_"))}
    for _ in range(7):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, *command],
            env={**environment, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            check=True,
            timeout=120,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return best


def test_help_is_quick() -> None:
    nothing = cpu_s("-c", "pass")
    help_ = cpu_s("-m", "autotune.cli", "--help")
    print(f"\npython -c pass: {nothing * 1000:.0f} ms of CPU, autotune --help: {help_ * 1000:.0f} ms")
    assert help_ < HELP_CPU_RATIO * nothing


# Sizes and habits


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_there_are_modules() -> None:
    assert len(MODULES) > 10


@pytest.mark.parametrize("path", MODULES, ids=short)
def test_module_keeps_the_habits(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    faults = []
    if not ast.get_docstring(tree):
        faults.append("has no docstring")
    if (lines := text.count("\n")) > MAX_FILE_LINES:
        faults.append(f"has {lines} lines, {MAX_FILE_LINES} at most")
    for function in functions(tree):
        length = (function.end_lineno or function.lineno) - function.lineno + 1
        if length > MAX_FUNCTION_LINES:
            faults.append(f"{function.name} has {length} lines, {MAX_FUNCTION_LINES} at most")
    if path.name != "testing.py":  # the contract suite is a test
        faults += [
            f"line {node.lineno}: assert; raise an error that says what to do"
            for node in ast.walk(tree)
            if isinstance(node, ast.Assert)
        ]
    faults += [  # by the facade an import could go round the layers
        f"line {node.lineno}: import {alias.name} from the file that defines it"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "autotune"
        for alias in node.names
        if alias.name[0].isupper()
    ]
    assert not faults, f"{short(path)}: " + "; ".join(faults)


def test_every_folder_is_a_package() -> None:
    folders = {path.parent for path in MODULES}
    assert not [short(folder) for folder in folders if not (folder / "__init__.py").exists()]
    assert (PACKAGE / "py.typed").exists()


# The workflow

FORBIDDEN = {
    r"\bretries\s*:": "retries belong in a profile: in a rule they multiply under SLURM",
    r"^\s*run\s*:": "run: starts a whole Snakemake process a job",
    r"\bcheckpoint\b": "rounds are a static chain of rules",
    r"\bgroup\s*:": "a failing member of a group deletes its finished siblings' outputs",
    r"\bprotected\s*\(": "no output of the store is protected()",
    r"\bdirectory\s*\(": "no output of the store is a directory()",
    r"^\s*(import|from)\s+(numpy|scipy|pandas|torch|sklearn)\b": "every job that an executor spawns parses this file",
}


def code_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line, without its comment."""
    for number, line in enumerate(text.splitlines(), 1):
        yield number, line.partition("#")[0]


def test_there_is_a_workflow() -> None:
    assert (ROOT / "workflow" / "Snakefile") in WORKFLOW
    assert len(WORKFLOW) > 1


@pytest.mark.parametrize("path", WORKFLOW, ids=short)
def test_workflow_has_nothing_that_breaks_studies(path: Path) -> None:
    faults = [
        f"line {number}: {why}"
        for number, line in code_lines(path.read_text(encoding="utf-8"))
        for pattern, why in FORBIDDEN.items()
        if re.search(pattern, line)
    ]
    assert not faults, f"{short(path)}: " + "; ".join(faults)


def test_there_is_no_default_profile() -> None:
    assert not (ROOT / "profiles" / "default").exists(), "profiles/default is picked up unasked and overrides --profile"
    assert not (ROOT / "workflow" / "profiles" / "default").exists()


def test_slurm_profile_is_found_from_the_root() -> None:
    link = ROOT / "slurm"
    assert link.is_symlink()
    assert os.readlink(link) == "profiles/slurm"
    assert (link / "config.yaml").is_file()


def test_profiles_never_keep_incomplete_outputs() -> None:
    for path in sorted((ROOT / "profiles").glob("*/config*.yaml")):
        keys = {line.partition(":")[0].strip() for _, line in code_lines(path.read_text(encoding="utf-8"))}
        assert not keys & {"keep-incomplete", "slurm-array-jobs"}, short(path)


# The docs
