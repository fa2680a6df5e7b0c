"""Studies to report on: planned for real, with results as a test wants them."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotune.algorithms.random import RandomSearch
from autotune.config import StudyConfig
from autotune.records import Outcome, Result, TrialConfig
from autotune.spaces import SearchSpace
from autotune.storage import StudyDir
from autotune.study import Study

SPACE = {
    "lr": {"type": "loguniform", "low": 1e-5, "high": 0.1},
    "layers": {"type": "int", "low": 1, "high": 9},
    "opt": {"type": "choice", "options": ["adam", "sgd", "<script>alert(1)</script>"]},
    "momentum": {"type": "uniform", "low": 0.0, "high": 0.99, "when": "opt == 'sgd'"},
}


def fill(root: Path, trials: int, outcome_of: Callable[[TrialConfig], Outcome], **options: Any) -> StudyDir:
    """Plan a study of SPACE and write a result for each trial: four workers, each a GPU, without a pause."""
    config = StudyConfig(metric="loss", max_trials=trials, log_dir=str(root), objective="mod:fn", **options)
    Study(config, SearchSpace.from_dict(SPACE, "space"), RandomSearch(seed=1)).plan()
    store = StudyDir(root)
    for number in range(trials):
        planned = store.read_config(number)
        started_at = 1.7e9 + 10.0 * (number // 4)
        gpu, outcome = str(number % 4), outcome_of(planned)
        result = Result(number, planned.id, planned.params, outcome, 1, started_at, 9.0, "node0", gpus=gpu)
        store.write_result(result)
    return store


def content_of(page: str) -> dict[str, Any]:
    """Return the data that a page holds."""
    found = re.search(r'id="content">([^<]*)<', page)
    assert found
    data: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(found[1])))
    return data


@pytest.fixture
def study_with() -> Callable[..., StudyDir]:
    return fill


@pytest.fixture
def content() -> Callable[[str], dict[str, Any]]:
    return content_of
