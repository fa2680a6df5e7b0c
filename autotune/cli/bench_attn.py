"""``autotune bench-attn``: compare the attention backends on this machine, for a shape or for several."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from autotune.bench import asked
from autotune.bench import profile as profiles
from autotune.bench.attn import measure
from autotune.bench.case import DIRECTIONS, LAYOUTS, MASKS
from autotune.bench.cells import Cell, plan_cells, read_cell, read_results, write_result
from autotune.bench.choose import Choice, NoUsableBackend, choose
from autotune.bench.isolate import session
from autotune.bench.profile import Profile
from autotune.bench.rows import Measurement
from autotune.bench.show import Progress, print_measurement
from autotune.bench.suites import SUITES
from autotune.bench.timing import CLOCKS
from autotune.errors import InvalidInput

HELP = "compare attention backends on this machine and name the fastest that is right"
EPILOG = """example:
  autotune bench-attn --seq 512 --heads 16 --d-k 64 --dtype bf16
  autotune bench-attn --seq 512,2048,8192 --heads 32 --kv-heads 8 --d-k 128 --causal --direction fwd+bwd --json
  autotune bench-attn --suite decode --tables docs/attention
  autotune bench-attn --seq 2048 --heads 16 --d-k 64 --ab torch,flash4
  autotune bench-attn --from 'python train.py'"""

_NUMBERS = ("seq", "heads", "d_k", "d_v", "batch", "kv_heads", "seq_kv", "window")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    shape = parser.add_argument_group("the shape; numbers may be lists with commas, and all combinations are measured")
    shape.add_argument("--seq", metavar="N[,N...]", help="sequence length of the queries; 1 is decoding")
    shape.add_argument("--heads", metavar="N", help="query heads")
    shape.add_argument("--d-k", metavar="N", help="size of a head")
    shape.add_argument("--d-v", metavar="N", help="size of a head of the values (default: as --d-k)")
    shape.add_argument("--dtype", metavar="TYPE", help="bf16, fp16 or fp32 (default: bf16)")
    shape.add_argument("--batch", metavar="N", help="default: 1")
    shape.add_argument("--kv-heads", metavar="N", help="heads of keys and values (default: as --heads)")
    shape.add_argument("--seq-kv", metavar="N", help="length of keys and values (default: as --seq)")
    shape.add_argument(
        "--causal", action="store_true", default=None, help="causal mask, aligned to the last query and key"
    )
    shape.add_argument("--window", metavar="N", help="with --causal: only the last N keys (default: all)")
    shape.add_argument("--mask", metavar="KIND", help=f"{', '.join(MASKS)} (default: none)")
    shape.add_argument("--dropout", type=float, metavar="PART", help="part of the weights that is dropped (default: 0)")
    shape.add_argument("--layout", choices=LAYOUTS, help="how the memory lies (default: bshd)")
    shape.add_argument("--direction", choices=DIRECTIONS, help="default: fwd")
    shape.add_argument("--suite", metavar="A[,B...]", help=f"ready-made shapes instead: {', '.join(SUITES)}")
    shape.add_argument("--study", metavar="FILE", help="the block `attention:` of a study file; flags win")
    _add_program(parser.add_argument_group("or the shapes that a program of yours computes"))
    _add_method(parser.add_argument_group("how it is measured"))
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    files = parser.add_argument_group("as files")
    files.add_argument("--tables", metavar="DIR", help="write attn.csv and attn_best.json there as well")
    files.add_argument(
        "--plots", metavar="DIR", help="write heatmap.png, speedup.png, roofline.png there (needs matplotlib)"
    )
    files.add_argument("--plan-cells", metavar="DIR", help="measure nothing; write a file for each shape under DIR")
    files.add_argument("--cell", metavar="FILE", help="measure the shape that such a file plans")
    files.add_argument("--out", metavar="FILE", help="write what --cell measured")
    files.add_argument(
        "--aggregate", metavar="DIR", help="measure nothing; make tables of the measured cells under DIR"
    )


def _add_program(group: Any) -> None:
    group.add_argument(
        "--from",
        dest="program",
        metavar="COMMAND",
        help="run 'python train.py', unchanged, record its attention, tune that; or a profile of an earlier time",
    )
    group.add_argument(
        "--steps", type=int, default=10, metavar="N", help="end it after N optimizer steps; 0: never (default: 10)"
    )
    group.add_argument(
        "--limit", type=float, default=300.0, metavar="SECONDS", help="end it after that time (default: %(default)g)"
    )
    group.add_argument(
        "--profile", default="attn_profile.json", metavar="FILE", help="what was recorded (default: %(default)s)"
    )


def _add_method(how: Any) -> None:
    how.add_argument("--backends", metavar="A[,B...]", help="compare only these (default: all)")
    how.add_argument(
        "--ab", metavar="A,B", help="compare these two alone, as often as the budget lets: faster, same, or can't tell"
    )
    how.add_argument("--device", metavar="NAME", help="cpu, cuda or cuda:<index> (default: the GPU, if there is one)")
    how.add_argument("--by", choices=CLOCKS, help="time on the GPU, with the host, in a CUDA graph (default: gpu)")
    how.add_argument("--budget", type=float, metavar="SECONDS", help="for the timing of one shape (default: 10)")
    how.add_argument("--margin", type=float, metavar="PART", help="closer than this is a tie (default: 0.02)")
    how.add_argument("--no-cache", action="store_true", help="measure, and keep nothing for later")
    how.add_argument(
        "--revalidate", action="store_true", help="check kept winners by a quick probe, measure stale ones again"
    )


def run(args: argparse.Namespace) -> int:
    """Carry out the command; return its exit status: 0, or 1 where a shape has no usable backend."""
    if (args.cell is None) != (args.out is None):
        raise InvalidInput("--cell and --out must be given together: the planned file and the one to write")
    if args.cell is not None:
        return _run_cell(args)
    if args.aggregate is not None:
        return _aggregate(args)
    if args.program is not None:
        return _run_program(args)
    cells = asked.cells(_options(args), _flag)
    if args.ab is not None:
        return _run_ab(args, cells)
    if args.plan_cells is not None:
        return _plan(args, cells)
    return _run_cells(args, cells)


def _run_ab(args: argparse.Namespace, cells: list[Cell]) -> int:
    """Compare two backends; status 1 where a case has no times of both."""
    from autotune.bench import ab

    backends = ab.two_backends(args.ab)
    if args.backends is not None:
        raise InvalidInput(f"--ab names the backends, {args.ab}, so there must be no --backends, got {args.backends!r}")
    progress = Progress()
    found = []
    with session():
        for cell in cells:
            try:
                measurement = _measure(replace(cell, backends=backends), progress.say, cache=False, fixed=True)
            finally:
                progress.clear()
            found.append(ab.compare(measurement, backends, cell.margin))
    if args.json:
        print(json.dumps({"schema_version": 1, "results": [one.to_json() for one in found]}, indent=2))
    else:
        ab.print_comparisons(found, cells[0].margin)
    return 0 if all(one.ratio is not None for one in found) else 1


def _run_program(args: argparse.Namespace) -> int:
    """Record what attention a program computes, tune that, and say what a step would gain."""
    from autotune.bench import gain

    if args.ab is not None or args.suite is not None or args.seq is not None:
        raise InvalidInput("--from takes the shapes from a program, so there must be no --seq, --suite or --ab")
    how = asked.method(_options(args))
    profile = _profile(args)
    cells = gain.cells(profile, how)
    if args.plan_cells is not None:
        return _plan(args, cells)
    found, status = _measured(args, cells)
    tuned = dict(zip([(cell.case, cell.device) for cell in cells], found))
    gains = gain.gains(profile, tuned, how["margin"])
    if args.json:
        print(json.dumps({"schema_version": 1, **gain.to_json(profile, gains)}, indent=2))
    else:
        gain.print_gains(profile, gains)
    return status


def _profile(args: argparse.Namespace) -> Profile:
    """Return the profile that --from names, or the one of the program that it runs, which is kept in --profile."""
    if args.program.endswith(".json") and os.path.isfile(args.program):
        return profiles.read(args.program)
    if args.steps < 0 or not 0 < args.limit < float("inf"):
        raise InvalidInput(
            f"--steps must be at least 0 and --limit a number of seconds above 0, got {args.steps} and {args.limit:g}"
        )
    from autotune.bench.harvest import record

    profile = record(args.program, steps=args.steps, limit_s=args.limit)
    profiles.write(args.profile, profile)
    print(f"{args.profile} has the shapes; bench-attn --from {args.profile} tunes them again", file=sys.stderr)
    return profile


def _plan(args: argparse.Namespace, cells: list[Cell]) -> int:
    paths = plan_cells(args.plan_cells, cells)
    print("\n".join(str(path) for path in paths))
    return 0


def _run_cells(args: argparse.Namespace, cells: list[Cell]) -> int:
    found, status = _measured(args, cells)
    if args.json:
        results = [_record(one, _choice(one, cells[0].margin)[0]) for one in found]
        print(json.dumps({"schema_version": 1, "results": results}, indent=2))
    return status


def _measured(args: argparse.Namespace, cells: list[Cell]) -> tuple[list[Measurement], int]:
    """Measure the cells and print each as soon as it is there; the status is 1 where one has no usable backend."""
    progress = Progress()
    found: list[Measurement] = []
    status = 0
    with session():
        for cell in cells:
            try:
                found.append(_measure(cell, progress.say, cache=not args.no_cache, revalidate=args.revalidate))
            finally:
                progress.clear()
            choice, problem = _choice(found[-1], cell.margin)
            status = status if choice is not None else 1
            if not args.json:
                print_measurement(found[-1], choice, problem)
            _write(args, found, cell.margin)
    return found, status


def _write(args: argparse.Namespace, found: list[Measurement], margin: float, folder: str | None = None) -> None:
    """Write the tables and plots that were asked for."""
    if args.tables or folder:
        from autotune.bench import tables

        tables.write(args.tables or folder or "", found, margin)
    if args.plots:
        from autotune.bench import plots

        plots.write(args.plots, found, margin)


def _aggregate(args: argparse.Namespace) -> int:
    """Make tables, and plots where asked for, of the cells that were measured."""
    try:
        records = read_results(args.aggregate)
    except FileNotFoundError:
        raise InvalidInput(
            f"{args.aggregate} must hold planned shapes, but has none; --plan-cells writes them"
        ) from None
    margins = [args.margin, *(record.get("margin") for record in records), asked.METHOD["margin"]]
    margin = next(margin for margin in margins if margin is not None)
    _write(args, [Measurement.from_json(record) for record in records], margin, args.aggregate)
    print(f"{len(records)} shapes are measured")
    return 0


def _run_cell(args: argparse.Namespace) -> int:
    """Measure a planned shape and write its result; that no backend can do it is a result too."""
    try:
        cell = read_cell(args.cell)
    except FileNotFoundError:
        raise InvalidInput(
            f"{args.cell} must be a planned shape, but there is no such file; --plan-cells writes one"
        ) from None
    measurement = _measure(cell, _log, cache=not args.no_cache, remeasure=True)
    choice, problem = _choice(measurement, cell.margin)
    write_result(args.out, {"id": cell.case.id, "margin": cell.margin, **_record(measurement, choice)})
    print(choice.explain() if choice is not None else problem)
    return 0


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the flags, and where --study names a file its block ``attention:`` below them, as the block has them."""
    flags = {name: item for name, item in vars(args).items() if item is not None}
    return {**_block(args.study), **flags, **{name: _numbers(name, flags[name]) for name in _NUMBERS if name in flags}}


def _block(study: str | None) -> dict[str, Any]:
    """Return the block ``attention:`` of a study file."""
    if study is None:
        return {}
    from autotune.attention import ATTENTION
    from autotune.study_file import load_config

    block = load_config(study).attention
    if not block:
        raise InvalidInput(f"{study} must have a block `attention:`, got none; for example {ATTENTION.example}")
    return block


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _numbers(name: str, text: str) -> list[int]:
    """Return the numbers of an option's list."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdecimal() for word in words):
        raise InvalidInput(f"{_flag(name)} must be a whole number, or several with commas between, got {text!r}")
    return [int(word) for word in words]


def _log(text: str) -> None:
    """Write a step into the job's log; the rounds of the timing are too many for it."""
    if not text.startswith("timing "):
        print(text, flush=True)


def _measure(cell: Cell, say: Callable[[str], None], **options: bool) -> Measurement:
    return measure(
        cell.case,
        device=cell.device,
        backends=cell.backends,
        budget_s=cell.budget_s,
        margin=cell.margin,
        by=cell.by,
        **options,
        say=say,
    )


def _choice(measurement: Measurement, margin: float) -> tuple[Choice | None, str]:
    """Return the choice, or None and the sentence that says why there is none."""
    try:
        return choose(measurement, margin), ""
    except NoUsableBackend as error:
        return None, str(error)


def _record(measurement: Measurement, choice: Choice | None) -> dict[str, Any]:
    """Return a measurement and its choice as JSON."""
    return {
        **measurement.to_json(),
        "choice": None if choice is None else str(choice),
        "ties": [] if choice is None else list(choice.ties),
        "regret": None if choice is None else choice.regret,
    }
