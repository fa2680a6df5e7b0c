"""``autotune init``: a project that runs as it stands."""

from __future__ import annotations

import argparse
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import autotune
from autotune.errors import InvalidInput

HELP = "Write a project that runs as it stands: a study file, an objective, a Snakefile and a SLURM profile to edit."
EPILOG = """example:
  autotune init demo && cd demo && autotune study study.yaml
  autotune init demo --profile slurm && cd demo && autotune study study.yaml --profile slurm
"""

_STUDY = """\
# A study of Autotune: `autotune study study.yaml` runs it here, with `--profile slurm` on a cluster.
objective: objective:objective   # module:function, called as fn(params, trial); or `command: python train.py {args}`
metric: loss
mode: min

algo: sobol                      # random, grid, sobol, lhs, or your own package.module:Class
seed: 1337
max_trials: 32                   # in all; raise it and run again to go on

space:
  learning_rate: {type: loguniform, low: 1e-3, high: 3}
  momentum: {type: uniform, low: 0, high: 0.99}
  batch_size: {type: choice, options: [8, 16, 32, 64]}

trials_per_job: 8                # trials that one Snakemake job runs, one after another; or: auto
trial_timeout: 60                # seconds
resources: {cpus: 1, gpus: 0, mem_mb: 500, runtime: 10}   # of a trial; runtime in minutes, of a job
log_dir: .autotune
"""

_OBJECTIVE = '''\
"""What is tuned: replace the body with your training; imports at the top are paid once a job, not once a trial."""

import math
import random


def objective(params, trial):
    """Fit a line to noisy points by stochastic gradient descent; return the loss."""
    noise = random.Random(trial.seed)
    points = [(x / 64 - 1, 3 * (x / 64 - 1) + 1 + noise.gauss(0, 0.1)) for x in range(128)]
    slope, offset, speed = 0.0, 0.0, (0.0, 0.0)
    for epoch in range(5):
        noise.shuffle(points)
        size = params["batch_size"]
        for start in range(0, len(points), size):
            batch = points[start : start + size]
            errors = [(slope * x + offset - y, x) for x, y in batch]
            gradient = (sum(e * x for e, x in errors) / len(batch), sum(e for e, _ in errors) / len(batch))
            speed = tuple(params["momentum"] * s - params["learning_rate"] * g for s, g in zip(speed, gradient))
            slope, offset = slope + speed[0], offset + speed[1]
            if not math.isfinite(slope + offset) or abs(slope) > 1e6:
                return math.nan  # it diverged: that is an outcome (infeasible), not a failure
        loss = sum((slope * x + offset - y) ** 2 for x, y in points) / len(points)
        trial.report(epoch, loss)
    return {"loss": loss}
'''

_SNAKEFILE = """\
# `autotune plan study.yaml`, then `snakemake --profile slurm` (or `snakemake --cores 2`).
import autotune


configfile: "study.yaml"


include: autotune.snakefile()


rule study:
    default_target: True
    input:
        rules.all.input,
"""

_PARTITION = "  # slurm_partition: gpu\n"  # in the packaged profile

_GITIGNORE = """\
.autotune/
.snakemake/
__pycache__/
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See command.run_command."""
    parser.add_argument("dir", nargs="?", default=".", help="the project's folder (default: this one)")
    parser.add_argument(
        "--profile",
        choices=("local", "slurm"),
        default="local",
        help="where it is to run first; slurm/config.yaml lists this cluster's partitions where `sinfo` knows them",
    )


def run(args: argparse.Namespace) -> int:
    """See command.run_command."""
    root = Path(args.dir)
    files = {
        "study.yaml": _STUDY,
        "objective.py": _OBJECTIVE,
        "workflow/Snakefile": _SNAKEFILE,
        "slurm/config.yaml": _slurm_profile(),
        ".gitignore": _GITIGNORE,
    }
    there = [name for name in files if (root / name).exists()]
    if there:
        raise InvalidInput(
            f"`autotune init` must not overwrite files, but {root} has {', '.join(there)}; "
            "give a new folder, or move them"
        )
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    where = "" if root == Path() else f"cd {os.path.relpath(root)} && "
    flags = "" if args.profile == "local" else " --profile slurm"
    print(f"wrote {', '.join(files)}\nnext: {where}autotune study study.yaml{flags}")
    return 0


def _slurm_profile() -> str:
    """Return the packaged profile, with this cluster's partitions to choose from."""
    text = Path(autotune.profile("slurm"), "config.yaml").read_text(encoding="utf-8")
    return text.replace(_PARTITION, "".join(_partitions()) or _PARTITION)


def _partitions() -> Iterator[str]:
    """Yield a commented choice for each partition that ``sinfo`` knows; none where there is no SLURM."""
    command = ["sinfo", "--noheader", "--format=%P|%D|%c|%m|%G|%l"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return
    for line in answer.stdout.splitlines():
        if line.count("|") == 5:
            name, nodes, cpus, mem_mb, gres, limit = line.split("|")
            default = "the default; " if name.endswith("*") else ""
            what = f"{nodes} nodes of {cpus} CPUs, {mem_mb} MB" + ("" if gres == "(null)" else f", {gres}")
            choice = f"slurm_partition: {name.removesuffix('*')}"
            yield f"  # {choice} # {default}{what}; jobs of up to {_in_words(limit)}\n"


def _in_words(limit: str) -> str:
    """Return a time limit as ``sinfo`` prints it, with its unit: ``5:00`` is five minutes."""
    return f"{limit.removesuffix(':00')} minutes" if limit.count(":") == 1 and "-" not in limit else limit
