"""The options of a study, each declared once; validation, flags, JSON Schema and the docs' table derive from here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

from autotune.attention import ATTENTION
from autotune.errors import InvalidStudy
from autotune.fidelity import complete_fidelity
from autotune.options import Formula, Kind, Label, ListOf, Number, OneOf, Table, Text

RESOURCES = Table(
    (
        ("gpus", Formula(Number(example=1))),
        ("gpu_model", Text("a100")),
        ("nodes", Formula(Number(low=1, whole=True, example=2))),
        ("cpus", Formula(Number(low=1, whole=True, example=4))),
        ("mem_mb", Formula(Number(low=1, whole=True, example=16000))),
        ("runtime", Formula(Number(exclusive=True, example=60))),
    ),
    example="{gpus: 1, cpus: 4, mem_mb: 16000, runtime: 60}",
)
METRIC = Table((("name", Text("latency_ms")), ("mode", OneOf(("min", "max")))), example="{name: latency_ms, mode: min}")
SPACE_KEYS = ("space", "forbid", "zip")
MOST_TRIALS = 10_000_000
DEFAULT_RESOURCES = {"gpus": 0, "nodes": 1, "cpus": 1, "mem_mb": 1000, "runtime": 60}


def _option(default: Any, kind: Kind, help_: str) -> Any:
    """Declare an option: its default, the kind of its values, and one line of help."""
    metadata = {"kind": kind, "help": help_}
    if isinstance(default, dict | list):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """What a study is: what is tuned, by which searcher, judged by what, and how its trials run.

    A field that is ``None`` was not given. In Python the space, the searcher and the objective go to ``Study`` itself.

    Raises:
        InvalidStudy: an option has a value that cannot work; one sentence.
    """

    objective: str | None = _option(
        None, Text("train:objective"), "Python callable, `pkg.mod:fn`, called as fn(params, trial)"
    )
    command: str | None = _option(
        None,
        Text("python train.py --lr {lr}"),
        "command line instead of `objective`; it writes its metrics to $AUTOTUNE_RESULT",
    )
    metric: str = _option("loss", Text("loss"), "name of the metric that is optimized")
    mode: str = _option("min", OneOf(("min", "max")), "whether less or more of the metric is better")
    metrics: list[dict[str, Any]] = _option(
        [],
        ListOf(METRIC, example="[{name: latency_ms, mode: min}, {name: accuracy, mode: max}]"),
        "several metrics instead of `metric` and `mode`, each with its own mode: best.json has their Pareto front",
    )
    constraints: list[str] = _option(
        [],
        ListOf(Text("memory_gb <= 80"), example="['memory_gb <= 80']"),
        "conditions on measured metrics; a trial that breaks one is never best",
    )
    algo: str = _option("random", Text("sobol"), "searcher: random, grid, sobol, lhs, or `pkg.mod:Class`")
    algo_options: dict[str, Any] = _option({}, Table(example="{grid_points: 7}"), "the searcher's own options")
    seed: int | None = _option(
        None, Number(whole=True, example=1337), "seed of the plan and of every trial (default 0)"
    )
    max_trials: int = _option(20, Number(low=1, whole=True, example=25), "number of trials in all; raise it to go on")
    space: dict[str, Any] | None = _option(
        None,
        Table(example="{lr: {type: loguniform, low: 1e-5, high: 1e-1}}"),
        "search space: name to parameter, or a file that holds it",
    )
    trials: str | None = _option(
        None, Text("rows.csv"), "CSV or JSONL file with one row a trial, instead of `space`, `algo` and `max_trials`"
    )
    forbid: list[str] = _option(
        [],
        ListOf(Text("tp * pp > 8"), example="['tp * pp > 8']"),
        "expressions over parameters; a point for which one is true is never tried",
    )
    zip: list[list[str]] = _option(
        [],
        ListOf(ListOf(Text("width"), example="[width, depth]"), example="[[width, depth]]"),
        "groups of parameters with equally many values, which go through them together",
    )
    rounds: int | None = _option(
        None, Number(low=1, whole=True, example=16), "rounds of a searcher that learns; `max_trials` follows from it"
    )
    batch_size: int = _option(
        8, Number(low=1, whole=True, example=8), "trials of a round, which a searcher that learns proposes at once"
    )
    quorum: float = _option(
        1, Number(exclusive=True, example=0.9), "part of a round that has to be done before the next is planned"
    )
    warm_start: list[dict[str, Any]] = _option(
        [], ListOf(Table(), example="[{lr: 1e-3}]"), "parameters that are known to be good: they are the first trials"
    )
    repeats: dict[str, Any] = _option(
        {},
        Table(
            (("min", Number(low=1, whole=True, example=3)), ("max", Number(low=1, whole=True, example=10))),
            example="{min: 3, max: 10}",
        ),
        "for noisy objectives: each point is tried `min` times, contenders up to `max` times; the best mean wins",
    )
    fidelity: dict[str, Any] = _option(
        {},
        Table(
            (
                ("name", Text("epochs")),
                ("min", Number(exclusive=True, example=1)),
                ("max", Number(exclusive=True, example=81)),
                ("eta", Number(low=2, whole=True, example=3)),
            ),
            example="{name: epochs, min: 1, max: 81, eta: 3}",
        ),
        "what `algo: sha` and `hyperband` give a trial more or less of; the objective gets it as a parameter",
    )
    sampler: str | None = _option(
        None, Text("tpe"), "searcher that `sha` and `hyperband` take their points from (default random)"
    )
    pruner: dict[str, Any] = _option(
        {},
        Table(
            (
                ("type", OneOf(("median", "percentile", "halving"))),
                ("percentile", Number(exclusive=True, example=25)),
                ("startup_trials", Number(whole=True, example=5)),
                ("warmup_steps", Number(whole=True, example=0)),
                ("min_step", Number(low=1, whole=True, example=1)),
                ("eta", Number(low=2, whole=True, example=3)),
            ),
            example="{type: median, startup_trials: 5, warmup_steps: 10}",
        ),
        "what `trial.should_prune()` goes by: median, percentile (the best part is kept) or asynchronous halving",
    )
    log_dir: str = _option(".autotune", Text(".autotune"), "the study directory: all that a study writes is in it")
    resources: dict[str, Any] = _option(
        {},
        RESOURCES,
        "what one trial needs: gpus, gpu_model and nodes (on SLURM), cpus, mem_mb (MB), runtime (minutes of a job); "
        "a number, or a formula over parameters such as 'tp * pp'",
    )
    trials_per_job: int | str = _option(
        1, Number(low=1, whole=True, word="auto", example=50), "trials that one Snakemake job runs, or `auto`"
    )
    launcher: str = _option(
        "none",
        OneOf(("none", "torchrun")),
        "`torchrun`: start a trial once for each of its GPUs (or CPUs), on all its nodes",
    )
    slots_per_job: int = _option(
        1, Number(low=1, whole=True, example=8), "trials that a job runs side by side, each with `resources` of its own"
    )
    isolation: str = _option(
        "trial",
        OneOf(("trial", "worker", "none")),
        "`trial`: a process each; `worker`: a shared one, replaced on failure; `none`: the job's own",
    )
    trial_timeout: float | None = _option(
        None, Number(exclusive=True, example=600), "seconds after which a trial is ended and has failed"
    )
    stop_grace: float = _option(
        10, Number(example=60), "seconds that a trial which is told to end (SIGTERM) has to save before it is killed"
    )
    on_failure: str = _option(
        "auto",
        OneOf(("auto", "rerun", "record")),
        "`rerun`: a failed trial runs again next time; `record`: it stands; `auto`: `record` for searchers that learn",
    )
    attempts: int = _option(
        1, Number(low=1, whole=True, example=3), "executions before a failure stands, with `on_failure: record`"
    )
    max_log_mb: float = _option(
        1024, Number(exclusive=True, example=100), "what one trial may print (MB) before it is ended and has failed"
    )
    version: str | None = _option(
        None, Label("2"), "version of what the objective computes: results of another one are never taken over"
    )
    reuse: list[str] = _option(
        [],
        ListOf(Text("../other/.autotune"), example="[../other/.autotune]"),
        "directories of other studies, whose results of equal trials are taken over",
    )
    cache: str | None = _option(
        None, Text("/shared/autotune-cache"), "folder of results that any number of studies share, by id and source"
    )
    hardware: str | None = _option(
        None,
        OneOf(("any", "same")),
        "whether results may come from other hardware (default `same` where a metric's name is of a time, else `any`)",
    )
    budget: dict[str, Any] = _option(
        {},
        Table(
            (("gpu_hours", Number(exclusive=True, example=40)), ("hours", Number(exclusive=True, example=12))),
            example="{gpu_hours: 40}",
        ),
        "what all trials together may take, in GPU-hours or hours of trials; then no further one is begun",
    )
    attention: dict[str, Any] = _option(
        {},
        ATTENTION,
        "attention shapes to measure beside the trials, as for `bench-attn`; lists are combined (docs/attention.md)",
    )
    write_best_to: str | None = _option(None, Text("best.json"), "a copy of the best trial; YAML if it ends in .yaml")

    def __post_init__(self) -> None:
        """Check every option, and those that depend on one another."""
        for name, kind in kinds().items():
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, kind.check(value, f"StudyConfig: `{name}`"))
        if self.metrics:
            _fill_metrics(self)
        if self.repeats:
            _fill_repeats(self)
        if self.fidelity:
            _fill_fidelity(self)
        if self.pruner:
            _fill_pruner(self)
        if self.rounds is not None:
            object.__setattr__(self, "max_trials", self.rounds * self.batch_size)
        _check_together(self)

    def searcher_options(self) -> dict[str, Any]:
        """Return what the searcher is made with: its own options, and those of the study that concern it."""
        of_study = {"fidelity": self.fidelity, "sampler": self.sampler}
        return {**self.algo_options, **{name: item for name, item in of_study.items() if item}}

    def resource(self, name: str) -> Any:
        """Return what one trial needs of gpus, nodes, cpus, mem_mb or runtime (minutes): a number, or a formula."""
        return self.resources.get(name, DEFAULT_RESOURCES[name])


def _fill_metrics(config: StudyConfig) -> None:
    """Complete the metrics, and let the first stand for the study."""
    names = [metric.get("name") for metric in config.metrics]
    if None in names or len(set(names)) < len(names):
        raise InvalidStudy(f"`metrics` must each have a `name` of its own, got {names}")
    metrics = [{"mode": "min", **metric} for metric in config.metrics]
    for name, value in (("metrics", metrics), ("metric", metrics[0]["name"]), ("mode", metrics[0]["mode"])):
        object.__setattr__(config, name, value)


def _fill_repeats(config: StudyConfig) -> None:
    least = config.repeats.get("min", min(3, config.repeats.get("max", 3)))
    repeats = {"min": least, "max": config.repeats.get("max", max(10, least))}
    if repeats["max"] < repeats["min"]:
        raise InvalidStudy(f"`repeats.max` must be at least `repeats.min`, got {config.repeats}")
    object.__setattr__(config, "repeats", repeats)


def _fill_fidelity(config: StudyConfig) -> None:
    if config.repeats:
        raise InvalidStudy("a study must have `fidelity` or `repeats`, got both; remove one of them")
    object.__setattr__(config, "fidelity", complete_fidelity(config.fidelity))


def _fill_pruner(config: StudyConfig) -> None:
    if config.pruner.get("percentile", 0) > 100:
        raise InvalidStudy(f"`pruner.percentile` must be at most 100, got {config.pruner['percentile']}")
    defaults = {"type": "median", "percentile": 50, "startup_trials": 5, "warmup_steps": 0, "min_step": 1, "eta": 3}
    object.__setattr__(config, "pruner", {**defaults, **config.pruner})


def kinds() -> dict[str, Kind]:
    """Return the kind of every option, by its name."""
    return {item.name: item.metadata["kind"] for item in fields(StudyConfig)}


def described() -> Iterator[tuple[str, Kind, str, str | float | None]]:
    """Yield name, kind, help and default (None if it has none, or an empty mapping) of every option."""
    for item in fields(StudyConfig):
        default = item.default if isinstance(item.default, str | int | float) else None
        yield item.name, item.metadata["kind"], item.metadata["help"], default


def _check_together(config: StudyConfig) -> None:
    if config.max_trials > MOST_TRIALS:
        raise InvalidStudy(
            f"`max_trials` must be at most {MOST_TRIALS:,}, as each trial is two files, got a larger number"
        )
    if config.quorum > 1:
        raise InvalidStudy(f"`quorum` must be at most 1, a part of a round, got {config.quorum}; for example 0.9")
    if config.objective and config.command:
        raise InvalidStudy("a study must have `objective` or `command`, got both; remove one of them")
    if "{" in config.log_dir or "}" in config.log_dir:
        raise InvalidStudy(
            f"`log_dir` must have no braces, which Snakemake takes for wildcards, got {config.log_dir!r}; "
            "name another folder"
        )
    if config.trial_timeout is not None and config.isolation == "none":
        raise InvalidStudy("`trial_timeout` needs a process to end: set `isolation` to 'trial' or 'worker', got 'none'")
    _check_nodes(config)
    if isinstance(config.trials_per_job, int) and config.trials_per_job < config.slots_per_job:
        raise InvalidStudy(
            f"`trials_per_job` must be at least `slots_per_job` ({config.slots_per_job}), got {config.trials_per_job}; "
            "several times as many, or 'auto'"
        )
    if config.attempts > 1 and config.on_failure == "rerun":
        raise InvalidStudy(
            f"`attempts` must be 1 with `on_failure: rerun`, got {config.attempts}; "
            "set `on_failure: record`, or let Snakemake's `--retries` run failed jobs again"
        )


def _check_nodes(config: StudyConfig) -> None:
    nodes, gpus = config.resource("nodes"), config.resource("gpus")
    if isinstance(nodes, str) or isinstance(gpus, str):
        return  # known only of each trial
    if nodes > 1 and config.resource("gpus") % nodes:  # on one node a part of a GPU will do
        raise InvalidStudy(
            f"`resources.gpus` must be a multiple of `resources.nodes` ({nodes}), got {config.resource('gpus')}; "
            "it counts the GPUs of all nodes"
        )
    if nodes > 1 and config.slots_per_job > 1:
        raise InvalidStudy(f"`slots_per_job` must be 1 for trials on several nodes, got {config.slots_per_job}")


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a study file."""
    properties = {}
    for name, kind, help_, default in described():
        properties[name] = {**kind.schema(), "description": help_} | ({"default": default} if default else {})
    properties["space"] = {"type": ["object", "string"], "description": properties["space"]["description"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Autotune study",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "anyOf": [{"required": ["space"]}, {"required": ["trials"]}],
        "oneOf": [{"required": ["objective"]}, {"required": ["command"]}],
    }


def options_table() -> str:
    """Return the options as a Markdown table, for the docs."""
    rows = [f"| `{name}` | {f'`{default}`' if default else ''} | {help_} |" for name, _, help_, default in described()]
    return "\n".join(["| key | default | meaning |", "|---|---|---|", *rows])
