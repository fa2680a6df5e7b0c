import json
import math
import os
import sys
from shlex import quote

from snakemake.exceptions import WorkflowError
from snakemake.utils import validate

if workflow.is_main_process and "space" in config:
    validate(config, "../schemas/study.schema.json")

LOG_DIR = str(config.get("log_dir", ".autotune"))
STORE = LOG_DIR.replace("{", "{{").replace("}", "}}")  # in a pattern, a brace would begin a wildcard

# The `autotune` of the Python that runs Snakemake, whether or not it is on PATH.
AUTOTUNE = f"{quote(sys.executable)} -m autotune.cli"


wildcard_constraints:
    batch=r"\d+-\d+-[0-9a-f]{8}",
    cell=r"[0-9a-f]{16}",


def read_plan(name):
    try:
        with open(os.path.join(LOG_DIR, name), encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        raise WorkflowError(f"there is no plan in {LOG_DIR!r}: run `autotune plan` first (or `autotune study`)")


def log_dir(wildcards):
    return LOG_DIR


def planned_batches(wildcards):
    """All batches of the plan. Only the main process calls this, once: a spawned job must not read the whole list."""
    return [f"{STORE}/batches/{batch}.json" for batch in read_plan("batches/index.json")["batches"]]


def needed(resource):
    """What one trial of the study needs of a resource, as a function that Snakemake calls for each job."""

    def value(wildcards):
        return math.ceil(read_plan("study.json")["resources"][resource])

    return value


def needed_by_cell(resource):
    """What the attention shape of a planned cell needs; only one for CUDA asks for a GPU."""

    def value(wildcards):
        return read_plan(f"attn/cells/{wildcards.cell}.json")["resources"][resource]

    return value
