"""The end of the tutorial, on a real cluster: the blocks that the tests of the other pages leave out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests/docs"))

from blocks import blocks  # noqa: E402  beside the tests of the documentation


def test_the_tutorial_ends_on_the_cluster(lab: Any) -> None:
    page = blocks(ROOT / "docs/tutorial.md")
    for block in page:
        if name := block.markers.get("file"):
            (lab.folder / name).write_text(block.text)
    beside = [block.text for block in page if "cat >> study.yaml" in block.text or "cp -r" in block.text]
    assert len(beside) == 2
    for script in beside:
        done = lab.run("bash", "-euo", "pipefail", "-c", script)
        assert done.returncode == 0, done.stdout
    (on_slurm,) = [block.text for block in page if "--profile slurm" in block.text]

    done = lab.run("bash", "-euo", "pipefail", "-c", on_slurm)

    assert done.returncode == 0, done.stdout
    assert "24 of 24 trials done (24 complete)" in done.stdout
    assert len(lab.submissions()) == 6
