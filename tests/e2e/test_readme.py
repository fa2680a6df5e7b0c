"""What the README says beside its code blocks, which tests/docs runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_searcher_plans(tmp_path: Path, cli: Any) -> None:
    searcher = re.search(r"^```python\n(class Corners.*?)^```$", README, re.DOTALL | re.MULTILINE)
    assert searcher is not None
    (tmp_path / "search.py").write_text(searcher[1])
    (tmp_path / "space.json").write_text('{"x": {"type": "uniform", "low": 0, "high": 1}, "y": [1, 2, 3]}')
    (tmp_path / "train.py").write_text("def objective(params, trial):\n    return params['x']\n")

    planned = cli("plan", "--objective", "train:objective", "--space", "space.json", "--algo", "search:Corners")

    assert planned.returncode == 0, planned.stderr
    assert len(list((tmp_path / ".autotune/configs").iterdir())) == 3


def test_every_command_in_the_table_exists(cli: Any) -> None:
    named = set(re.findall(r"^\| `autotune ([a-z-]+)", README, re.MULTILINE))
    assert {"init", "plan", "study", "status", "retry", "aggregate", "bench-attn"} <= named
    for name in named:
        done = cli(name, "--help")
        assert done.returncode == 0, done.stderr
        assert "example:" in done.stdout
