"""The study file and the flags that ``plan`` and ``study`` share; the flags derive from the options of StudyConfig."""

from __future__ import annotations

import argparse
import difflib
import os
import sys

from autotune.config import StudyConfig, described, load_config
from autotune.errors import InvalidStudy
from autotune.execution.objective import load_objective
from autotune.planning import Plan, make_plan
from autotune.storage import StudyDir

_SNAKEMAKES = ("--precommand", "--set-resources")  # its own, though they look like ours
DEFAULT_FILES = ("study.yaml", "config/config.yaml")


def add_study_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each option of a study, and those about planning itself."""
    parser.usage = f"{parser.prog} [STUDY.yaml] [options]"
    flags = parser.add_argument_group("options of the study (they win over the study file)")
    for name, _, help_, default in described():
        text = f"{help_} (default: {default})" if default else help_
        flags.add_argument("--" + name.replace("_", "-"), dest=name, metavar="...", help=text.replace("%", "%%"))
    parser.add_argument(
        "--fresh", action="store_true", help="set an existing study aside (archive/) first; results that recur are kept"
    )


def split_study_file(rest: list[str]) -> tuple[str | None, list[str]]:
    """Take the study file out of what argparse did not know: the first word that is no option's value."""
    for place, word in enumerate(rest):
        is_value = place > 0 and rest[place - 1].startswith("-")
        if not word.startswith("-") and (place == 0 or (not is_value and word.endswith((".yaml", ".yml", ".json")))):
            return word, rest[:place] + rest[place + 1 :]
    return None, rest


def refuse_misspelt(parser_flags: list[str], rest: list[str]) -> None:
    """Refuse a flag that is nearly one of ours, rather than give it to Snakemake."""
    names = {flag.removeprefix("--"): flag for flag in parser_flags}
    for word in rest:
        flag = word.partition("=")[0]
        if not flag.startswith("--") or len(flag) <= 4 or flag in _SNAKEMAKES:
            continue
        # The dashes, which all have, would make --profile look like --on-failure.
        close = difflib.get_close_matches(flag.removeprefix("--"), names, n=1, cutoff=0.8)
        if close:
            raise InvalidStudy(f"there is no flag {flag}; did you mean {names[close[0]]!r}?")


def study_flags() -> list[str]:
    """Return all flags of the study's options."""
    return ["--" + name.replace("_", "-") for name, *_ in described()] + ["--fresh"]


def plan_study(
    args: argparse.Namespace, study_file: str | None, *, dry_run: bool, slots: int | None
) -> tuple[StudyConfig, StudyDir, Plan]:
    """Read the options, check that the objective can be imported, and plan."""
    from autotune.algorithms import load_searcher
    from autotune.spaces import SearchSpace

    sys.path.insert(0, os.getcwd())  # a searcher of the user's own is found as with `python -m`
    flags = {name: getattr(args, name) for name, *_ in described() if getattr(args, name) is not None}
    study_file = study_file or _default_file(flags)
    config = load_config(study_file, flags)
    if config.space is None:
        raise InvalidStudy("a study must have a `space`, got none; add it to the study file, or give --space FILE")
    where = args.space or f"{study_file}: space"
    space = SearchSpace.from_dict(config.space, where=where)
    searcher = load_searcher(config.algo, config.algo_options)
    search_path = os.path.relpath(os.path.dirname(os.path.abspath(study_file))) if study_file else "."
    chosen = {"objective": config.objective, "command": config.command, "launcher": config.launcher}
    sys.dont_write_bytecode = sys.dont_write_bytecode or dry_run  # a dry run leaves no trace of its import either
    load_objective({**chosen, "parameters": space.names, "search_path": search_path, "resources": config.resources})
    store = StudyDir(config.log_dir)
    plan = make_plan(
        store, config, space, searcher, search_path=search_path, fresh=args.fresh, dry_run=dry_run, slots=slots
    )
    return config, store, plan


def _default_file(flags: dict[str, str]) -> str | None:
    """Without a study file, and without flags that make a study, use the project's own."""
    if "space" in flags:
        return None
    return next((name for name in DEFAULT_FILES if os.path.exists(name)), None)
