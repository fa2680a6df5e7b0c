"""A stand-in for the package ``viz`` gets every metric; the real one is not public."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

VIZ = """
def log_scalar(tag, value, step):
    with open("viz.txt", "a") as log:
        log.write(f"{step} {tag} {value}\\n")
"""


def test_metrics_go_to_viz_where_it_is_importable(
    tmp_path: Path, cli: Callable[..., Any], write_study: Callable[..., Path]
) -> None:
    write_study(tmp_path)
    (tmp_path / "viz.py").write_text(VIZ)
    assert cli("study", "study.yaml").returncode == 0
    results = [json.loads(path.read_bytes()) for path in sorted((tmp_path / ".autotune/trials").iterdir())]
    assert sorted((tmp_path / "viz.txt").read_text().splitlines()) == [
        f"{step} autotune.loss {results[step]['metrics']['loss']}" for step in range(4)
    ]


@pytest.mark.filterwarnings("ignore")  # TensorBoard's
def test_tensorboard_shows_what_viz_got(
    tmp_path: Path, cli: Callable[..., Any], write_study: Callable[..., Path]
) -> None:
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    write_study(tmp_path)
    (tmp_path / "viz.py").write_text(VIZ)
    assert cli("study", "study.yaml").returncode == 0
    assert cli("export", "tensorboard").returncode == 0
    shown = []
    for folder in (tmp_path / ".autotune/export/tensorboard").glob("trial_*"):
        events = accumulators.EventAccumulator(str(folder)).Reload()
        shown += [(e.step, tag, e.value) for tag in events.Tags()["scalars"] for e in events.Scalars(tag)]
    got = [line.split() for line in (tmp_path / "viz.txt").read_text().splitlines()]
    assert sorted(shown) == sorted((int(step), tag, pytest.approx(float(value))) for step, tag, value in got)


def test_a_broken_viz_harms_no_study(tmp_path: Path, cli: Callable[..., Any], write_study: Callable[..., Path]) -> None:
    write_study(tmp_path, max_trials=2)
    (tmp_path / "viz.py").write_text("def log_scalar(tag, value, step):\n    raise OSError('no display')\n")
    assert cli("study", "study.yaml").returncode == 0
    assert json.loads((tmp_path / ".autotune/best.json").read_bytes())["value"] is not None
    assert "no display" in next((tmp_path / ".autotune/logs").glob("0*.log")).read_text()
