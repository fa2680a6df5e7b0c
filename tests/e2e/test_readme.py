"""The code blocks of the README, executed as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def blocks(language: str) -> list[str]:
    """Return the README's code blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)


def test_python_api_block(tmp_path: Path, environment: Callable[..., dict[str, str]]) -> None:
    script = next(block for block in blocks("python") if "study.optimize" in block)
    (tmp_path / "tune.py").write_text(script)
    done = subprocess.run(
        [sys.executable, "tune.py"], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "best params: {" in done.stdout
    assert "19 complete" in done.stdout


def test_command_line_block_with_the_searcher_block(
    tmp_path: Path, environment: Callable[..., dict[str, str]], cli: Any
) -> None:
    (tmp_path / "mypkg").mkdir()
    (tmp_path / "mypkg/objectives.py").write_text("def train_eval(params, trial):\n    return params['lr']\n")
    (tmp_path / "mypkg/search.py").write_text(next(block for block in blocks("python") if "class Corners" in block))
    script = next(block for block in blocks("bash") if "cat > space.json" in block)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / ".autotune/best.json").exists()
    flags = ("--objective", "mypkg.objectives:train_eval", "--space", "space.json", "--log-dir", "corners")
    planned = cli("plan", *flags, "--algo", "mypkg.search:Corners")
    assert planned.returncode == 0, planned.stderr
    assert len(list((tmp_path / "corners/configs").iterdir())) == 3


def test_every_command_in_the_table_exists(cli: Any) -> None:
    named = set(re.findall(r"^\| `autotune ([a-z-]+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert {"init", "plan", "study", "status", "retry", "aggregate", "bench-attn"} <= named
    for name in named:
        done = cli(name, "--help")
        assert done.returncode == 0, done.stderr
        assert "example:" in done.stdout


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text()):
        assert target.startswith("http") or (ROOT / target).exists(), target
