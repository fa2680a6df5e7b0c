"""Says at the end which code blocks of the documentation were not run, and why."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from blocks import not_run


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """See pytest's reference of hooks."""
    reports = [report for group in terminalreporter.stats.values() for report in group]
    if any("tests/docs/" in str(getattr(report, "nodeid", "")) for report in reports):
        left_out = not_run()
        terminalreporter.section(f"{len(left_out)} code blocks of the documentation not run")
        terminalreporter.write("".join(f"{line}\n" for line in left_out))
