"""Finding the objective: a Python callable ``pkg.mod:fn`` or a command line, and what launches it."""

from __future__ import annotations

import functools
import importlib
import os
import sys
from typing import Any

from autotune.errors import InvalidStudy, nearest
from autotune.execution.command import Command, Launch, Ranks
from autotune.execution.outcome import Objective


def load_objective(study: dict[str, Any]) -> Objective:
    """Return the objective of a plan as a callable.

    Args:
        study: the content of ``study.json``.

    Raises:
        InvalidStudy: it cannot be imported, is not callable, or its command uses a parameter that is not there.
    """
    launch = _launcher(study)
    if study["command"]:
        fidelity = study.get("fidelity") or {}
        conditional = [name for name, spec in study.get("space", {}).items() if "when" in spec]
        known = [*study["parameters"], *filter(None, [fidelity.get("name")])]
        return Command(study["command"], known, launch, conditional)
    if not study["objective"]:
        raise InvalidStudy("a study must have an `objective` (pkg.mod:fn) or a `command`, got neither")
    objective = import_objective(study["objective"], study["search_path"])
    return objective if launch is None else Ranks(launch)


def _launcher(study: dict[str, Any]) -> Launch | None:
    if study["launcher"] == "none":
        return None
    from autotune.execution.launch import torchrun

    return functools.partial(torchrun, study["resources"])


def import_objective(name: str, search_path: str = ".") -> Objective:
    """Import ``pkg.mod:fn``; modules in the working directory and in ``search_path`` are found."""
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        raise InvalidStudy(f"the objective must be written as pkg.mod:fn, got {name!r}; for example train:objective")
    if module_name.endswith(".py"):
        meant = f"{module_name.removesuffix('.py').strip('./').replace('/', '.')}:{attribute}"
        raise InvalidStudy(f"the objective must be written as pkg.mod:fn, got the file {name!r}; did you mean {meant}?")
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


def check_call(objective: Objective) -> None:
    """Refuse a function that cannot be called as ``fn(params, trial)``; what tells nothing of itself passes.

    Raises:
        InvalidStudy: its signature takes other arguments.
    """
    import inspect  # here: the jobs do without it

    try:
        signature = inspect.signature(objective)
    except (TypeError, ValueError):  # of some callables written in C there is none
        return
    try:
        signature.bind({}, None)
    except TypeError as error:
        name = getattr(objective, "__name__", type(objective).__name__)
        raise InvalidStudy(
            f"the objective must be callable as fn(params, trial), got {name}{signature}: {error}"
        ) from error
