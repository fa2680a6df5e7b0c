import importlib.util
import json
import math
import os
import sys
from importlib.util import find_spec
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
    round=r"\d{5}",


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


def planned_round(wildcards):
    """What says that the trials of a batch are planned, where its round is not the first.

    Not `ancient`, though a round is never planned anew: with it Snakemake 9.27 leaves out what comes after a job that it
    was killed in (docs/upstream.md).
    """
    first, sizes = int(wildcards.batch.split("-")[0]), read_plan("study.json").get("round_sizes", [])
    round_ = next((place for place in range(len(sizes)) if first < sum(sizes[: place + 1])), 0)
    return [f"{STORE}/batches/round_{round_:05d}.json"] if round_ else []


def known_to_round(wildcards):
    """What must be done before a round is planned: all batches of the round before, or with a quorum its plan."""
    round_, study = int(wildcards.round), read_plan("study.json")
    first = sum(study["round_sizes"][: round_ - 1])
    stop = first + study["round_sizes"][round_ - 1]
    if study["quorum"] < 1:
        return [f"{STORE}/batches/round_{round_ - 1:05d}.json"] if round_ > 1 else []
    batches = read_plan("batches/index.json")["batches"]
    return [f"{STORE}/batches/{batch}.json" for batch in batches if first <= int(batch.split("-")[0]) < stop]


def needed(resource):
    """What a job of the study needs of a resource, as a function that Snakemake calls for each job."""

    def value(wildcards):
        study = read_plan("study.json")
        slots = 1 if resource in ("runtime", "nodes") else study.get("slots_per_job", 1)
        asked = study["resources"].get(resource, 1)
        return math.ceil((asked if isinstance(asked, (int, float)) else of_first_trial(wildcards, resource)) * slots)

    return value


def of_first_trial(wildcards, resource):
    """What the trials of a batch need, all alike, where the study has a formula for it."""
    number = int(wildcards.batch.split("-")[0])
    name = os.path.join(LOG_DIR, f"configs/trial_{number:05d}.json")
    if not os.path.exists(name):  # of a later round; by this word Snakemake asks again when the round is planned
        raise WorkflowError(f"FileNotFoundError: {name} is not planned yet")
    with open(name, encoding="utf-8") as file:
        return json.load(file)["resources"][resource]


def grown(resource):
    """What a job needs of memory or time: twice as much in its second attempt, up to the site's `max_...`, if any."""
    first = needed(resource)

    def value(wildcards, attempt):
        asked = first(wildcards)
        limit = site(f"max_{resource}")
        return asked * attempt if limit is None else max(asked, min(asked * attempt, int(limit)))

    return value


def site(key):
    """What the profile's `default-resources` say of the site; unlike a profile, they reach spawned jobs too."""
    resources = workflow.resource_settings.default_resources or {}
    return str(resources[key].raw).strip("'\"") if key in resources else None


# A site takes one of `sbatch --gpus=a100:2` and `sbatch --gres=gpu:a100:2`; the profile's `gpu_option` says which. On
# several nodes it is always the second, which counts the GPUs of each node. None leaves a resource out.


def uses_gres(wildcards):
    return site("gpu_option") == "gres" or needed("nodes")(wildcards) > 1


def model_of_gpus(wildcards):
    return read_plan("study.json")["resources"].get("gpu_model") or site("gpu_model")


def gpus_by_gpus(wildcards):
    return 0 if uses_gres(wildcards) else needed("gpus")(wildcards)


def model_by_gpus(wildcards):
    return model_of_gpus(wildcards) if gpus_by_gpus(wildcards) else None


def gpus_by_gres(wildcards):
    count = needed("gpus")(wildcards) // needed("nodes")(wildcards)
    parts = ["gpu", model_of_gpus(wildcards), str(count)]
    return ":".join(part for part in parts if part) if count and uses_gres(wildcards) else None


# A job on several nodes is one task a node. With `mpi` the plugin starts the batch on the first node, outside any
# task, and leaves it to the trial to start something on all of them.


def on_several_nodes(value):
    def chosen(wildcards):
        nodes = needed("nodes")(wildcards)
        return value(wildcards, nodes) if nodes > 1 else None

    return chosen


def as_many_as_nodes(wildcards, nodes):
    return nodes


def share_of_cpus(wildcards, nodes):
    return math.ceil(needed("cpus")(wildcards) / nodes)


def not_by_gpus(wildcards, nodes):
    return 0  # else the plugin would take `tasks` for those of each GPU


def launcher(wildcards, nodes):
    return "srun"


def memory_of_a_node(wildcards, attempt):
    return math.ceil(grown("mem_mb")(wildcards, attempt) / needed("nodes")(wildcards))


def needed_by_cell(resource):
    """What the attention shape of a planned cell needs; only one for CUDA asks for a GPU."""

    def value(wildcards):
        return read_plan(f"attn/cells/{wildcards.cell}.json")["resources"][resource]

    return value


def wanted_attention(wildcards):
    """The tables of the attention shapes, where the study has a block `attention:`; plots, where matplotlib is there."""
    if not read_plan("study.json").get("attention"):
        return []
    plots = ("heatmap", "speedup", "roofline") if find_spec("matplotlib") else ()
    return [f"{STORE}/attn.csv", f"{STORE}/attn_best.json", *(f"{STORE}/attn/{plot}.png" for plot in plots)]


def wanted_report(wildcards):
    """The report, where there is one: it is kept up to date. What cannot be drawn here does not stop a study."""
    can_draw = all(importlib.util.find_spec(library) for library in ("plotly", "matplotlib", "jinja2"))
    return rules.report.output if can_draw and os.path.exists(os.path.join(LOG_DIR, "report.html")) else []


def planned_attention(wildcards):
    """All results that the planned attention shapes lead to; only the main process calls this."""
    return [f"{STORE}/attn/results/{cell}.json" for cell in read_plan("attn/index.json")["cells"]]
