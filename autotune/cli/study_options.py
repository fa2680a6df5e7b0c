"""The study file and the flags that ``plan`` and ``study`` share; the flags derive from the options of StudyConfig."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from autotune.algorithms import Searcher, load_searcher
from autotune.config import StudyConfig, described
from autotune.errors import InvalidStudy
from autotune.execution.objective import check_call, load_objective
from autotune.planning import Plan, make_plan
from autotune.spaces import SearchSpace
from autotune.storage import StudyDir
from autotune.study_file import load_config

if TYPE_CHECKING:
    from autotune.bench.cells import Cell

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
    args: argparse.Namespace, study_file: str | None, *, dry_run: bool, slots: int | None, has_budget: bool = True
) -> tuple[StudyConfig, StudyDir, Plan]:
    """Read the options, check that the objective can be imported, and plan; a pilot has no budget."""
    from autotune.integrations.convert import Reader

    sys.path.insert(0, os.getcwd())  # a searcher of the user's own is found as with `python -m`
    flags = {name: getattr(args, name) for name, *_ in described() if getattr(args, name) is not None}
    study_file = study_file or _default_file(flags)
    reader = Reader()
    config = load_config(study_file, flags, reader.read)
    config = config if has_budget else replace(config, budget={})
    store = StudyDir(config.log_dir)
    shapes = _attention(config)
    config = _without_auto(config, shapes, store, fresh=args.fresh)
    config, space, searcher = _searched(config, args.space or f"{study_file}: space")
    search_path = os.path.relpath(os.path.dirname(os.path.abspath(study_file))) if study_file else "."
    chosen = {name: getattr(config, name) for name in ("objective", "command", "launcher", "fidelity")}
    sys.dont_write_bytecode = sys.dont_write_bytecode or dry_run  # a dry run leaves no trace of its import either
    searched = {"space": space.to_dict(), "parameters": space.names, "search_path": search_path}
    check_call(load_objective({**chosen, **searched, "resources": config.resources}))
    plan = make_plan(
        store, config, space, searcher, search_path=search_path, fresh=args.fresh, dry_run=dry_run, slots=slots
    )
    if shapes and not dry_run:
        from autotune.bench.cells import plan_cells

        plan_cells(store.root, shapes, only=True)
    plan.notes[:0] = reader.notes
    return config, store, plan


def _attention(config: StudyConfig) -> list[Cell]:
    """Return the attention shapes that a study asks for."""
    if not config.attention:
        return []
    from autotune.bench.asked import cells_of_study

    return cells_of_study(config.attention, config.resource("gpus"))


def _without_auto(config: StudyConfig, shapes: list[Cell], store: StudyDir, *, fresh: bool) -> StudyConfig:
    """Return the options with plain lists where the space has ``options: auto``."""
    if not any(isinstance(one, dict) and one.get("options") == "auto" for one in (config.space or {}).values()):
        return config
    from autotune.bench.auto import resolved

    return replace(config, space=resolved(config.space or {}, shapes, store, fresh=fresh))


def _searched(config: StudyConfig, where: str) -> tuple[StudyConfig, SearchSpace, Searcher]:
    """Return the space and who searches it, and the options with what follows from a file of trials."""
    if config.trials is not None:
        from autotune.algorithms.rows import RowSearch, read_rows, space_of

        rows = list(read_rows(config.trials))
        return replace(config, max_trials=len(rows)), space_of(rows), RowSearch(config.trials)
    if config.space is None:
        raise InvalidStudy(
            "a study must have a `space`, or `trials`, got neither; add one to the study file, or give --space FILE"
        )
    space = SearchSpace.from_dict(config.space, where, config.forbid, config.zip)
    return config, space, load_searcher(config.algo, config.searcher_options())


def _default_file(flags: dict[str, str]) -> str | None:
    """Without a study file, and without flags that make a study, use the project's own."""
    if "space" in flags or "trials" in flags:
        return None
    return next((name for name in DEFAULT_FILES if os.path.exists(name)), None)
