"""``autotune best``: the best parameters, in the form that a training command takes."""

from __future__ import annotations

import argparse
import json
import re
import shlex
from collections.abc import Callable
from typing import Any

from autotune.aggregation import summarize
from autotune.cli.command import add_log_dir
from autotune.errors import InvalidInput, NoCompleteTrial
from autotune.storage import Results, StudyDir

HELP = "Print the best parameters so far, also while trials run; best.json holds the value and the metrics as well."
EPILOG = """example:
  autotune best                                        # JSON
  autotune best --format yaml > best.yaml
  python train.py $(autotune best --format args)       # --lr=0.001 --batch-size=16
  python train.py $(autotune best --format hydra)      # lr=0.001 model.name=small
  env $(autotune best --format env) python train.py    # lr=0.001 in the environment
Values with blanks or special characters are quoted for the shell, which looks at the quotes that $(...) yields only
if it is told to:
  eval "python train.py $(autotune best --format args)"
"""

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")  # what Hydra takes for a string without quotes
_NOT_STRINGS = ("null", "true", "false", "inf", "nan")
_HYDRA_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See command.run_command."""
    parser.add_argument("--format", choices=[*FORMATS], default="json", help="of the parameters (default: json)")
    add_log_dir(parser)


def run(args: argparse.Namespace) -> int:
    """See command.run_command."""
    store = StudyDir(args.log_dir)
    study = store.read_study()
    best = summarize(store, study, Results(store)).best
    if best is None:
        raise NoCompleteTrial(
            f"a study needs one complete trial to have a best, got none in {store.root!r}; `autotune status` says why"
        )
    ordered = sorted(best.params, key=study["parameters"].index)
    print(FORMATS[args.format]({name: best.params[name] for name in ordered}))
    return 0


def _json(params: dict[str, Any]) -> str:
    return json.dumps(params, indent=2)


def _yaml(params: dict[str, Any]) -> str:
    import yaml

    return str(yaml.safe_dump(params, sort_keys=False)).rstrip("\n")


def _args(params: dict[str, Any]) -> str:
    """Return what ``{args}`` of a command is: ``--name=value`` each."""
    return shlex.join(f"--{name}={value}" for name, value in params.items())


def _env(params: dict[str, Any]) -> str:
    """Return ``name=value`` lines for a shell; what a variable's name cannot hold becomes ``_``.

    Names stay in lower case: POSIX leaves those to applications, so that no parameter replaces PATH or HOME.
    """
    variables = {name: re.sub(r"\W|^(?=\d)", "_", name, flags=re.ASCII) for name in params}
    for name, variable in variables.items():
        twin = next((other for other in variables if other != name and variables[other] == variable), None)
        if twin is not None:
            raise InvalidInput(
                f"parameters must have different names as variables, got {name!r} and {twin!r}, both {variable}; "
                "use --format json"
            )
    return "\n".join(f"{variables[name]}={shlex.quote(str(value))}" for name, value in params.items())


def _hydra(params: dict[str, Any]) -> str:
    for name in params:
        if not _HYDRA_KEY.fullmatch(name):
            raise InvalidInput(f"a Hydra key must be like model.lr, got the parameter {name!r}; use --format json")
    return shlex.join(f"{name}={hydra_value(value)}" for name, value in params.items())


def hydra_value(value: Any) -> str:
    """Return a string, number, boolean or None as Hydra's grammar of overrides reads it back.

    In quotes a quote takes a backslash, and so do the backslashes right before a quote, all others are themselves.
    See https://hydra.cc/docs/advanced/override_grammar/basic/#quoted-values.
    """
    if not isinstance(value, str):
        return json.dumps(value)
    if _WORD.fullmatch(value) and value.lower() not in _NOT_STRINGS:
        return value
    return "'" + re.sub(r"(\\*)('|\Z)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), value) + "'"


FORMATS: dict[str, Callable[[dict[str, Any]], str]] = {
    "json": _json,
    "yaml": _yaml,
    "args": _args,
    "env": _env,
    "hydra": _hydra,
}
