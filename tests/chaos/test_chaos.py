"""Studies that are killed at random moments lose nothing and repeat nothing; chaos.py says what is checked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHAOS = Path(__file__).with_name("chaos.py")


def run(*args: str, timeout: float) -> str:
    """Run chaos in a process of its own: it looks for its processes in all of /proc, and pytest's are none of them."""
    ran = subprocess.run([sys.executable, CHAOS, *args], capture_output=True, text=True, timeout=timeout)
    print(ran.stdout)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.slow
def test_three_studies_survive_twenty_kills() -> None:
    run("--studies", "3", "--kills", "20", "--seed", "3", timeout=600)


@pytest.mark.slow
@pytest.mark.skipif("AUTOTUNE_CHAOS" not in os.environ, reason="takes about 10 minutes: `make chaos` runs it")
def test_twenty_studies_survive_two_hundred_kills() -> None:
    seed = os.environ.get("AUTOTUNE_CHAOS_SEED", "1")
    run("--studies", "20", "--kills", "200", "--seed", seed, timeout=3600)
