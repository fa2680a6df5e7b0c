"""``autotune import``: a study file from one of another program."""

from __future__ import annotations

import argparse
import os
from typing import Any

from autotune.cli.command import say_notes
from autotune.errors import InvalidInput
from autotune.files import write_atomic
from autotune.integrations.convert import Converted, convert

HELP = "Turn a W&B sweep, a space of Optuna, ConfigSpace or Hydra, or a table of trials into a study file to edit."
EPILOG = """`autotune plan` and `autotune study` take all of these as they are; this shows what they take them for.

example:
  autotune import sweep.yaml --to study.yaml
  autotune import distributions.json
  autotune import "lr=tag(log,interval(1e-5,1e-1)) bs=16,32" --to study.yaml
"""
_OBJECTIVE = "train:objective"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See command.run_command."""
    parser.add_argument("source", metavar="FILE", help="the file, or Hydra's overrides")
    parser.add_argument("--to", metavar="STUDY.yaml", help="where to write (default: print it)")


def run(args: argparse.Namespace) -> int:
    """See command.run_command."""
    converted = convert(args.source)
    if converted.program is None:
        raise InvalidInput(
            f"{args.source} must be of another program: a W&B sweep, Optuna's distributions, ConfigSpace's JSON, "
            "a CSV or JSONL file; a study file of Autotune needs no import"
        )
    text = study_text(converted, args.source, os.path.dirname(args.to or ""))
    if args.to is None:  # the notes are in it
        print(text, end="")
        return 0
    if os.path.lexists(args.to):
        raise InvalidInput(f"--to must be a new file, got {args.to!r}, which is there; give another, or remove it")
    write_atomic(args.to, text.encode())
    say_notes(converted.notes)
    print(f"wrote {args.to}; next: autotune study {args.to}")
    return 0


def study_text(converted: Converted, source: str, folder: str) -> str:
    """Return a study file with a comment on where it is from; what is left for the user to fill in is there too."""
    import yaml

    study: dict[str, Any] = dict(converted.study)
    lines = [
        f"# From {source} ({converted.program}), by `autotune import`.",
        *(f"# {note}" for note in converted.notes),
    ]
    if "trials" in study:
        study["trials"] = os.path.relpath(source, folder or ".")
    if not {"objective", "command"} & study.keys():
        lines.append("# `objective` is for you to fill in: module:function, called as fn(params, trial).")
        study = {"objective": _OBJECTIVE, **study}
    if "metric" not in study:
        study = {**study, "metric": "loss", "mode": "min"}
    body = yaml.safe_dump(study, sort_keys=False, allow_unicode=True, width=120)
    return "\n".join([*lines, body])
