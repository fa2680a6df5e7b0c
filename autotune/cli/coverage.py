"""What ``autotune plan`` says of the space: its feasible part, and what the trials give each parameter."""

from __future__ import annotations

import os

from autotune.planning import POINTS_KEPT, Plan
from autotune.spaces import Params, SearchSpace
from autotune.spaces.coverage import MOST_PARTS, ParameterCoverage, cover, feasible_part
from autotune.storage import StudyDir


def print_coverage(store: StudyDir, plan: Plan) -> None:
    """Print a table with a row a parameter."""
    from rich.console import Console
    from rich.table import Table

    space = SearchSpace.from_study(plan.study)
    part, active = feasible_part(space)
    points = plan.points or _configs(store, plan)
    rest = "" if len(points) == plan.trials else f"; of {plan.trials} trials the {len(points)} first are counted"
    table = Table("parameter", "active", "covered", "trials", box=None, pad_edge=False, header_style="bold")
    for row in cover(space, points, active):
        table.add_row(row.name, f"{row.active:.0%}", _covered(row), _counts(row))
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"feasible: {part:.1%} of the space, by a sample{rest}")
    console.print(table)


def _configs(store: StudyDir, plan: Plan) -> list[Params]:
    """Return the parameters of what is planned already; of rounds to come nothing is known."""
    numbers = range(min(plan.trials, POINTS_KEPT))
    return [store.read_config(number).params for number in numbers if os.path.exists(store.config_file(number))]


def _covered(row: ParameterCoverage) -> str:
    return f"{row.covered} of {row.parts} {'values' if row.counts or row.parts < MOST_PARTS else 'parts'}"


def _counts(row: ParameterCoverage) -> str:
    return ", ".join(f"{value}: {count}" for value, count in row.counts.items())
