"""Make the table and the plot of docs/search.md from the runs of the search benchmark.

    python benchmarks/search/report.py                  # prints the tables
    python benchmarks/search/report.py --write-docs     # and puts them, with a plot, into docs/

The regret of a run after k evaluations is where its incumbent lies between the best value known (0) and the median of
random points (100). The incumbent is what looked best; with noise, its true value counts. Infeasible points are none.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from run import RESULTS, ROOT, rows
from tasks import TASKS

DOCS = ROOT / "docs"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
BUDGETS = (32, 64, 128)

Regrets = dict[str, dict[str, dict[int, list[float]]]]  # by method, task and seed: one after each evaluation


def main() -> None:
    """Print the tables, and write them where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--write-docs", action="store_true")
    arguments = parser.parse_args()
    regrets = regrets_of(rows(arguments.results))
    text = "\n".join(lines(regrets))
    print(text)
    if arguments.write_docs:
        page = DOCS / "search.md"
        before, _, rest = page.read_text().partition(BEGIN)
        after = rest.partition(END)[2]
        page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")
        plot(regrets, DOCS / "search.png")


def regrets_of(runs: Sequence[Mapping[str, Any]]) -> Regrets:
    """Return the curve of regrets of each run."""
    truths = defaultdict(list)
    random_truths = defaultdict(list)
    for run in runs:
        found = [truth for truth in run["truths"] if truth is not None]
        truths[run["task"]] += found
        if run["method"] == "random":
            random_truths[run["task"]] += found
    regrets: Regrets = defaultdict(lambda: defaultdict(dict))
    for run in runs:
        best = TASKS[run["task"]].best
        best = min(truths[run["task"]]) if best is None else best
        middle = statistics.median(random_truths[run["task"]])
        curve = [100 * ((middle if truth is None else truth) - best) / (middle - best) for truth in incumbents(run)]
        regrets[run["method"]][run["task"]][run["seed"]] = curve
    return regrets


def incumbents(run: Mapping[str, Any]) -> list[float | None]:
    """Return the true value of what looked best, after each evaluation; None while nothing was feasible."""
    best, incumbent, curve = float("inf"), None, []
    for value, truth in zip(run["values"], run["truths"], strict=True):
        if value is not None and value < best:
            best, incumbent = value, truth
        curve.append(incumbent)
    return curve


def lines(regrets: Regrets) -> list[str]:
    """Return the tables as Markdown: of the methods that ran all tasks, of each other beside those, task by task."""
    most = max(len(by_task) for by_task in regrets.values())
    complete = [method for method, by_task in regrets.items() if len(by_task) == most]
    text = overall(regrets, complete)
    for method in sorted(regrets.keys() - set(complete)):
        text += ["", f"The runs that {method} has, beside the same tasks and seeds of the others:", ""]
        text += overall(regrets, [method, *complete])
    return [*text, "", "After 128 evaluations, the best in bold, the worst marked:", "", *by_task_table(regrets)]


def shared(regrets: Regrets, methods: Sequence[str]) -> Regrets:
    """Return the runs on the tasks and seeds that all these methods have."""
    tasks = [task for task in TASKS if all(task in regrets[method] for method in methods)]
    seeds = {task: set.intersection(*(set(regrets[method][task]) for method in methods)) for task in tasks}
    return {
        method: {task: {seed: regrets[method][task][seed] for seed in seeds[task]} for task in tasks if seeds[task]}
        for method in methods
    }


def overall(regrets: Regrets, methods: Sequence[str]) -> list[str]:
    """Return the table of mean regrets over the tasks and seeds that all these methods have."""
    means = shared(regrets, methods)
    tasks = list(means[methods[0]])
    counts = sorted(len(by_seed) for by_seed in means[methods[0]].values())
    text = [
        f"| method ({len(tasks)} tasks, {'-'.join(map(str, dict.fromkeys((counts[0], counts[-1]))))} seeds) | "
        + " | ".join(f"after {budget}" for budget in BUDGETS)
        + " | mean rank | worst on |",
        "|---|" + "---|" * (len(BUDGETS) + 2),
    ]
    order = {task: sorted(means, key=lambda method, task=task: mean(means[method][task], 128)) for task in tasks}
    for method in sorted(means, key=lambda name: total(means[name], 128)):
        rank = statistics.mean(order[task].index(method) + 1 for task in tasks)
        worst = [task for task in tasks if order[task][-1] == method]
        cells = [f"{total(means[method], budget):.2f}{spread(means[method], budget)}" for budget in BUDGETS]
        text.append(f"| {method} | {' | '.join(cells)} | {rank:.1f} | {len(worst)} |")
    return text


def by_task_table(regrets: Regrets) -> list[str]:
    """Return the mean regret after 128 evaluations by task, over all seeds that each method has."""
    methods = sorted(regrets, key=lambda method: (-len(regrets[method]), method))
    text = ["| task | " + " | ".join(methods) + " |", "|---|" + "---|" * len(methods)]
    for task in TASKS:
        found = {method: mean(regrets[method][task], 128) for method in methods if task in regrets[method]}
        if not found:
            continue
        best, worst = min(found.values()), max(found.values())
        cells = [_cell(found.get(name), best, worst) for name in methods]
        text.append(f"| {task}{' (dev)' if TASKS[task].develop else ''} | " + " | ".join(cells) + " |")
    return text


def _cell(value: float | None, best: float, worst: float) -> str:
    if value is None:
        return ""
    if value == best:
        return f"**{value:.2f}**"
    return f"{value:.2f} (!)" if value == worst else f"{value:.2f}"


def mean(by_seed: Mapping[int, Sequence[float]], budget: int) -> float:
    """Return the mean over seeds of the regret after so many evaluations."""
    return statistics.mean(curve[budget - 1] for curve in by_seed.values())


def total(by_task: Mapping[str, Mapping[int, Sequence[float]]], budget: int) -> float:
    """Return the mean over tasks."""
    return statistics.mean(mean(by_seed, budget) for by_seed in by_task.values())


def spread(by_task: Mapping[str, Mapping[int, Sequence[float]]], budget: int) -> str:
    """Return the standard deviation over seeds of the mean over tasks, of the seeds that all tasks have, as text."""
    common = set.intersection(*(set(by_seed) for by_seed in by_task.values()))
    means = [statistics.mean(by_seed[seed][budget - 1] for by_seed in by_task.values()) for seed in sorted(common)]
    return f" ± {statistics.stdev(means):.2f}" if len(means) > 1 else ""


def plot(regrets: Regrets, path: Path) -> None:
    """Draw the mean regret over tasks by evaluations, of the methods that ran all tasks, on the seeds they share."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    most = max(len(by_task) for by_task in regrets.values())
    drawn = shared(regrets, [method for method, by_task in regrets.items() if len(by_task) == most])
    figure, axes = plt.subplots(figsize=(7, 4))
    for method, by_task in sorted(drawn.items()):
        curve = [total(by_task, budget) for budget in range(8, 129)]
        axes.plot(range(8, 129), curve, label=method, linewidth=2.5 if method == "auto" else 1.2)
    axes.set(xlabel="evaluations (rounds of 8)", ylabel="mean normalised regret", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
