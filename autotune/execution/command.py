"""A program as the objective: its arguments, its environment, and the file that it writes its metrics to."""

from __future__ import annotations

import itertools
import json
import os
import shlex
import string
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from autotune.errors import Infeasible, InvalidStudy, nearest
from autotune.execution.kernel import die_with_parent, signal_name, wait_for_program
from autotune.execution.outcome import ObjectiveCrashed
from autotune.execution.trial import Trial

Launch = Callable[[list[str], Trial], list[str]]  # turns a program's command line into one that starts several of it

_SHELLS = ("sh", "bash", "dash", "zsh", "ksh")
_TRIAL_FIELDS = ("seed", "trial_number", "trial_dir")


class Command:
    """A command line as an objective: ``python train.py --lr {lr}``.

    It is split into arguments once, before values are put in, and never given to a shell: a value is always one literal
    argument. Placeholders are the parameters, ``{seed}``, ``{trial_number}``, ``{trial_dir}``, and ``{args}`` for all
    parameters as ``--name=value``; ``{lr:.4f}`` formats.
    """

    def __init__(
        self, command: str, parameters: list[str], launch: Launch | None = None, conditional: Collection[str] = ()
    ) -> None:
        self._launch = launch
        try:
            self._words = shlex.split(command)
        except ValueError as error:
            raise InvalidStudy(
                f"`command` must be a command line with matching quotes ({error}), got {command!r}"
            ) from None
        if not self._words:
            raise InvalidStudy("`command` must name a program, got only blanks; for example python train.py --lr {lr}")
        used = [name for word in self._words if word != "{args}" for name in _placeholders(word)]
        known = [*parameters, *_TRIAL_FIELDS]
        for name in used:
            if name in conditional:
                raise InvalidStudy(
                    f"`command` must not use {{{name}}}, a parameter with `when`, which not every trial has; "
                    "write {args}, or read $AUTOTUNE_PARAMS"
                )
            if name not in known:
                raise InvalidStudy(
                    f"`command` must use known placeholders, got {{{name}}}; {nearest(name, known)}"
                    f"known: {', '.join(known)}, "
                    "and {args} as a word of its own"
                )
        self._refuse_shell_script()

    def _refuse_shell_script(self) -> None:
        """Refuse ``bash -c "... {lr}"``: there a value would be run as a program, not passed."""
        if _placeholders(_shell_script(self._words)):
            raise InvalidStudy(
                "`command` must pass values as arguments, not inside a shell script: write for example "
                """bash -c 'train --lr "$1"' train {lr}"""
            )

    def argv(self, params: dict[str, Any], trial: Trial) -> list[str]:
        """Return the arguments of one trial's process."""
        fields = {"seed": trial.seed, "trial_number": trial.number, "trial_dir": str(trial.dir)} | params
        argv = []
        for word in self._words:
            if word == "{args}" and "args" not in params:
                argv += [f"--{name}={value}" for name, value in params.items()]
            else:
                argv.append(_filled(word, fields))
        return argv

    def __call__(self, params: dict[str, Any], trial: Trial) -> Any:
        """Run the command and return the metrics that it wrote to ``$AUTOTUNE_RESULT``."""
        argv = self.argv(params, trial)
        return run_program(argv if self._launch is None else self._launch(argv, trial), params, trial)


class Ranks:
    """A Python objective that a launcher starts as several processes, each of which calls it; see ``rank``."""

    def __init__(self, launch: Launch) -> None:
        self._launch = launch

    def __call__(self, params: dict[str, Any], trial: Trial) -> Any:
        """Run the processes and return what rank 0 returned."""
        return run_program(self._launch(["python", "-m", "autotune.execution.rank"], trial), params, trial)


def run_program(argv: list[str], params: dict[str, Any], trial: Trial) -> Any:
    """Run a program as a trial; return the metrics that it wrote to ``$AUTOTUNE_RESULT``.

    What it appends to ``$AUTOTUNE_SCALARS``, ``[time, tag, step, value]`` a line, is logged.
    """
    import subprocess

    result = trial.dir / "result.json"
    result.unlink(missing_ok=True)
    environment = {
        **os.environ,
        "AUTOTUNE_RESULT": str(result.absolute()),
        "AUTOTUNE_SCALARS": trial.share_log(),
        "AUTOTUNE_PARAMS": json.dumps(params),
        "AUTOTUNE_TRIAL": str(trial.number),
        "AUTOTUNE_TRIAL_DIR": str(trial.dir.absolute()),
        "AUTOTUNE_SEED": str(trial.seed),
        "AUTOTUNE_ATTEMPT": str(trial.attempt),
        "AUTOTUNE_CHECKPOINT_FROM": str(trial.checkpoint_from or ""),
    }
    try:
        # close_fds=False: the program inherits the trial's lock: nobody else starts the trial while it runs.
        process = subprocess.Popen(
            argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            close_fds=False,
            preexec_fn=die_with_parent if trial.own_process else None,  # noqa: PLW1509  # one thread there
        )
    except (OSError, ValueError) as error:
        raise RuntimeError(f"the command {argv[0]!r} must be a program that can be started: {error}") from None
    status = wait_for_program(process, forward=not trial.own_process)
    metrics = _read_metrics_file(result, needed=status == 0)
    if status < 0:
        raise ObjectiveCrashed(f"the command was killed by {signal_name(-status)}; its output is in stdout.log")
    if status > 0:
        raise RuntimeError(f"the command must exit with status 0, got {status}; its output is in stdout.log")
    return metrics


def _read_metrics_file(path: Path, *, needed: bool) -> Any:
    """Return the metrics; of a program that failed none are ``needed``, but it may say that it is infeasible."""
    try:
        metrics = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError) as error:
        if not needed:
            return None
        if isinstance(error, ValueError):
            raise RuntimeError(
                f'the command must write JSON to $AUTOTUNE_RESULT, such as {{"loss": 0.5}}: {error}'
            ) from None
        raise RuntimeError(
            "the command must write its metrics as JSON to the file $AUTOTUNE_RESULT, but wrote none"
        ) from None
    if isinstance(metrics, dict) and "infeasible" in metrics:
        raise (MemoryError if metrics.get("reason") == "oom" else Infeasible)(str(metrics["infeasible"]))
    return metrics


def _shell_script(words: list[str]) -> str:
    """Return what a shell is given after ``-c`` (``-lc``, ``-o pipefail -c``; behind ``env`` too), or ''."""
    rest = iter(words)
    if os.path.basename(words[0]) == "env":
        rest = itertools.dropwhile(lambda word: word == words[0] or word[:1] == "-" or "=" in word, words)
    if os.path.basename(next(rest, "")) not in _SHELLS:
        return ""
    for word in rest:
        if word[:1] not in ("-", "+"):
            return ""  # a script in a file, whose arguments follow
        if word[:2] != "--" and "c" in word:
            return next((script for script in rest if script[:1] not in ("-", "+")), "")
        if word.endswith("o"):
            next(rest, None)
    return ""


def _placeholders(word: str) -> list[str]:
    try:
        return [name for _, name, _, _ in string.Formatter().parse(word) if name is not None]
    except ValueError as error:
        raise InvalidStudy(
            f"`command` must have matching braces ({error}), got {word!r}; write {{{{ for a brace"
        ) from None


def _filled(word: str, fields: dict[str, Any]) -> str:
    """Put values in; unlike ``str.format``, a name is looked up as it stands, so it may hold dots and blanks."""
    parts = []
    for literal, name, spec, conversion in string.Formatter().parse(word):
        parts.append(literal)
        if name is not None:
            value = repr(fields[name]) if conversion == "r" else fields[name]
            parts.append(format(value, spec or ""))
    return "".join(parts)
