"""Sequences without the rest of ``scipy.stats``: the same points, a lighter start, and nothing that stays behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

AFTERWARDS = """
import sys
from autotune.qmc import load_qmc

light = load_qmc()
light.Sobol(3, rng=7).random(8)
assert "scipy.stats" not in sys.modules and "scipy.stats._qmc" not in sys.modules
assert "scipy.stats._stats_py" not in sys.modules and "scipy.optimize" not in sys.modules, "all of it was loaded"
again = load_qmc()

import scipy.stats
from scipy.stats import qmc

for module in (light, again):
    assert module.Sobol(3, rng=7).random_base2(8).tolist() == qmc.Sobol(3, rng=7).random_base2(8).tolist()
    assert module.LatinHypercube(3, rng=7).random(99).tolist() == qmc.LatinHypercube(3, rng=7).random(99).tolist()
qmc.MultivariateNormalQMC([0.0, 0.0], rng=7).random(8)  # needs the rest
assert abs(scipy.stats.norm.ppf(0.975) - 1.959964) < 1e-6
assert load_qmc() is qmc
"""

BESIDE_A_THREAD = """
import threading
from autotune.qmc import load_qmc

event = threading.Event()
threading.Thread(target=event.wait).start()
module = load_qmc()
event.set()
from scipy.stats import qmc
assert module is qmc
"""

LAID_OUT_OTHERWISE = """
import sys
from autotune import qmc

load = qmc.import_module

def moved(name):
    if name == "scipy.stats._qmc":
        raise ModuleNotFoundError(name)
    return load(name)

qmc.import_module = moved
module = qmc.load_qmc()
assert module.__name__ == "scipy.stats.qmc" and sys.modules["scipy.stats"].norm
"""


@pytest.mark.parametrize("code", [AFTERWARDS, BESIDE_A_THREAD, LAID_OUT_OTHERWISE])
def test_sequences_are_scipys(code: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
