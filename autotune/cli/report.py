"""``autotune report``: a study as one HTML page and figures."""

from __future__ import annotations

import argparse

from autotune.cli.command import add_log_dir
from autotune.report.write import write_report
from autotune.storage import StudyDir

HELP = "Write report.html, which needs no network, and its figures as report/*.svg; also while trials run."
EPILOG = """It needs: pip install 'autotune[report]'; with 'autotune[optuna]' also the importances of parameters.

example:
  autotune report --log-dir .autotune
  snakemake --snakefile workflow/Snakefile report --config log_dir=.autotune   # as a target of the workflow
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See command.run_command."""
    add_log_dir(parser)


def run(args: argparse.Namespace) -> int:
    """See command.run_command."""
    store = StudyDir(args.log_dir)
    figures = write_report(store)
    for figure in figures:
        if figure.absent is not None:
            print(f"not drawn: {figure.title.lower()}: {figure.absent}")
    drawn = sum(figure.absent is None for figure in figures)
    print(f"wrote {store.report_file} with {drawn} figures, which are also in {store.figure_file('*.svg')}")
    return 0
