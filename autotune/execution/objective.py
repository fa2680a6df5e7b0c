"""Finding the objective: a Python callable ``pkg.mod:fn``, or a command line that writes its metrics to a file."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import shlex
import string
import sys
from typing import Any

from autotune.errors import Infeasible, InvalidStudy, nearest
from autotune.execution.kernel import die_with_parent, signal_name, wait_for_program
from autotune.execution.outcome import Objective, ObjectiveCrashed
from autotune.execution.trial import Trial

_SHELLS = ("sh", "bash", "dash", "zsh", "ksh")
_TRIAL_FIELDS = ("seed", "trial_number", "trial_dir")


def load_objective(study: dict[str, Any]) -> Objective:
    """Return the objective of a plan as a callable.

    Args:
        study: the content of ``study.json``.

    Raises:
        InvalidStudy: it cannot be imported, is not callable, or its command uses a parameter that is not there.
    """
    if study["command"]:
        return Command(study["command"], study["parameters"])
    if not study["objective"]:
        raise InvalidStudy("a study must have an `objective` (pkg.mod:fn) or a `command`, got neither")
    return import_objective(study["objective"], study["search_path"])


def import_objective(name: str, search_path: str = ".") -> Objective:
    """Import ``pkg.mod:fn``; modules in the working directory and in ``search_path`` are found."""
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        raise InvalidStudy(f"the objective must be written as pkg.mod:fn, got {name!r}; for example train:objective")
    for folder in (os.path.abspath(search_path), os.getcwd()):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    try:
        found: Any = importlib.import_module(module_name)
    except BaseException as error:  # whatever the user's module does when it is imported
        if isinstance(error, KeyboardInterrupt):
            raise
        raise InvalidStudy(
            f"the objective {name!r} must be importable from {os.getcwd()}, but importing {module_name!r} "
            f"raised {type(error).__name__}: {error}"
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            hint = nearest(part, [known for known in dir(found) if not known.startswith("_")])
            raise InvalidStudy(
                f"the objective {name!r} must be in {module_name!r}, which has no {part!r}; {hint}".rstrip("; ")
            )
        found = getattr(found, part)
    if not callable(found):
        raise InvalidStudy(
            f"the objective {name!r} must be callable as fn(params, trial), got a {type(found).__name__}"
        )
    return found  # type: ignore[no-any-return]  # any callable: what it returns is checked a trial at a time


class Command:
    """A command line as an objective: ``python train.py --lr {lr}``.

    It is split into arguments once, before values are put in, and never given to a shell: a value is always one literal
    argument. Placeholders are the parameters, ``{seed}``, ``{trial_number}``, ``{trial_dir}``, and ``{args}`` for all
    parameters as ``--name=value``; ``{lr:.4f}`` formats.
    """

    def __init__(self, command: str, parameters: list[str]) -> None:
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
        import subprocess

        result = trial.dir / "result.json"
        result.unlink(missing_ok=True)
        environment = {
            **os.environ,
            "AUTOTUNE_RESULT": str(result.absolute()),
            "AUTOTUNE_PARAMS": json.dumps(params),
            "AUTOTUNE_TRIAL": str(trial.number),
            "AUTOTUNE_TRIAL_DIR": str(trial.dir.absolute()),
            "AUTOTUNE_SEED": str(trial.seed),
            "AUTOTUNE_ATTEMPT": str(trial.attempt),
        }
        argv = self.argv(params, trial)
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
        if status < 0:
            raise ObjectiveCrashed(f"the command was killed by {signal_name(-status)}; its output is in stdout.log")
        if status > 0:
            raise RuntimeError(f"the command must exit with status 0, got {status}; its output is in stdout.log")
        return _read_metrics_file(result)


def _read_metrics_file(path: Any) -> Any:
    try:
        metrics = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise RuntimeError(
            "the command must write its metrics as JSON to the file $AUTOTUNE_RESULT, but wrote none"
        ) from None
    except ValueError as error:
        raise RuntimeError(
            f'the command must write JSON to $AUTOTUNE_RESULT, such as {{"loss": 0.5}}: {error}'
        ) from None
    if isinstance(metrics, dict) and "infeasible" in metrics:
        raise Infeasible(str(metrics["infeasible"]))
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
