"""``autotune export``: write a study for another program."""

from __future__ import annotations

import argparse
import importlib
from typing import Any

from autotune.cli.command import add_log_dir
from autotune.integrations import EXPORTS
from autotune.integrations.snapshot import Snapshot
from autotune.storage import StudyDir

HELP = "Write a study's trials for another program; the same command again brings what it wrote up to date."
EPILOG = """example:
  autotune export tensorboard && tensorboard --logdir .autotune/export/tensorboard
  autotune export mlflow --to mlflow.db
  autotune export optuna --log-dir .autotune --to journal.log
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See command.run_command."""
    parser.add_argument("format", choices=[*EXPORTS], help="what to write")
    add_log_dir(parser)
    parser.add_argument(
        "--to", metavar="PATH", help="where to write (default: export/ in the study directory); for mlflow also a URI"
    )


def run(args: argparse.Namespace) -> int:
    """See command.run_command."""
    module, _, function = EXPORTS[args.format].partition(":")
    export: Any = getattr(importlib.import_module(module), function)
    written = export(Snapshot.of(StudyDir(args.log_dir)), args.to)
    print(f"wrote {written.what} to {written.where}; open with: {written.opens}")
    return 0
