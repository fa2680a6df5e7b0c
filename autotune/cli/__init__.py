"""The ``autotune`` command: a table of commands, of which only the chosen one is imported."""

from __future__ import annotations

import sys

COMMANDS = {  # name: (module, one line of help)
    "init": ("autotune.cli.init", "write a project that runs as it stands"),
    "plan": ("autotune.cli.plan", "turn a study into one config file a trial, without running anything"),
    "study": ("autotune.cli.study", "plan, run under Snakemake, aggregate, and say what is best"),
    "status": ("autotune.cli.status", "say how far a study is, what is best, and what failed why"),
    "show": ("autotune.cli.show", "say all of one trial: parameters, result, error, files, and whether it runs again"),
    "why": ("autotune.cli.why", "say field by field why a trial was, or was not, taken over from another study"),
    "logs": ("autotune.cli.logs", "print what a trial printed, and with -f what it prints"),
    "compare": ("autotune.cli.compare", "compare two trials, or two studies: what differs, and which is better"),
    "best": ("autotune.cli.best", "print the best parameters for a training command: JSON, YAML, args, env, Hydra"),
    "cancel": ("autotune.cli.cancel", "cancel what a study has in SLURM's queue"),
    "retry": ("autotune.cli.retry", "put failed or infeasible trials back to work"),
    "aggregate": ("autotune.cli.aggregate", "write best.json, trials.csv and scalars.csv from the results so far"),
    "report": ("autotune.cli.report", "write report.html: figures, all trials, failures, provenance; needs no network"),
    "export": ("autotune.cli.export", "write a study for TensorBoard, MLflow, W&B, Optuna, as CSV or Parquet"),
    "import": ("autotune.cli.import_", "turn a W&B sweep or a space of Optuna, ConfigSpace or Hydra into a study file"),
    "doctor": ("autotune.cli.doctor", "say which attention backends run here, why not, and what mends it"),
    "bench-attn": ("autotune.cli.bench_attn", "measure attention backends and choose the fastest that is right"),
    "plan-round": ("autotune.cli.plan_round", "propose a round of an adaptive study (what a Snakemake job does)"),
    "run-batch": ("autotune.cli.run_batch", "run the trials of one batch (what a Snakemake job does)"),
}


def main(argv: list[str] | None = None) -> int:
    """Run a command; return its exit status: 0 fine, 1 trials failed, 2 the input cannot work, 130 interrupted."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print(_help())
        return 0 if argv else 2
    if argv[0] == "--version":
        from autotune import __version__

        print(f"autotune {__version__}")
        return 0
    if argv[0] not in COMMANDS:
        from autotune.errors import nearest

        known = list(COMMANDS)
        print(f"autotune: no command {argv[0]!r}; {nearest(argv[0], known)}known: {', '.join(known)}", file=sys.stderr)
        return 2
    from autotune.cli.command import run_command

    return run_command(argv[0], COMMANDS[argv[0]][0], argv[1:])


def _help() -> str:
    width = max(len(name) for name in COMMANDS)
    commands = "\n".join(f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items())
    return f"""usage: autotune COMMAND [options]

Tune machine-learning systems (hyperparameters, runtime settings, kernels) as a Snakemake workflow.

commands:
{commands}

example:
  autotune init demo && cd demo
  autotune study study.yaml

`autotune COMMAND --help` says more."""
