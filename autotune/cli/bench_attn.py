"""``autotune bench-attn``: compare the attention backends on this machine, for a shape or for several."""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable
from typing import Any

from autotune.bench.attn import check_backends, check_budget, check_margin, measure
from autotune.bench.case import DIRECTIONS, MASKS, AttentionCase, short_dtype
from autotune.bench.cells import Cell, plan_cells, read_cell, read_results, write_result
from autotune.bench.choose import Choice, NoUsableBackend, choose
from autotune.bench.isolate import session
from autotune.bench.rows import Measurement
from autotune.bench.show import Progress, print_measurement
from autotune.bench.suites import SUITES, suite
from autotune.bench.timing import CLOCKS
from autotune.errors import InvalidInput

HELP = "compare attention backends on this machine and name the fastest that is right"
EPILOG = """example:
  autotune bench-attn --seq 512 --heads 16 --d-k 64 --dtype bf16
  autotune bench-attn --seq 512,2048,8192 --heads 32 --kv-heads 8 --d-k 128 --causal --direction fwd+bwd --json
  autotune bench-attn --suite decode --tables docs/attention"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    shape = parser.add_argument_group("the shape; numbers may be lists with commas, and all combinations are measured")
    shape.add_argument("--seq", metavar="N[,N...]", help="sequence length of the queries; 1 is decoding")
    shape.add_argument("--heads", metavar="N", help="query heads")
    shape.add_argument("--d-k", metavar="N", help="size of a head")
    shape.add_argument("--d-v", metavar="N", help="size of a head of the values (default: as --d-k)")
    shape.add_argument("--dtype", default="bf16", metavar="TYPE", help="bf16, fp16 or fp32 (default: %(default)s)")
    shape.add_argument("--batch", default="1", metavar="N", help="default: %(default)s")
    shape.add_argument("--kv-heads", metavar="N", help="heads of keys and values (default: as --heads)")
    shape.add_argument("--seq-kv", metavar="N", help="length of keys and values (default: as --seq)")
    shape.add_argument("--causal", action="store_true", help="causal mask, aligned to the last query and key")
    shape.add_argument("--window", default="0", metavar="N", help="with --causal: only the last N keys (default: all)")
    shape.add_argument("--mask", default="none", metavar="KIND", help=f"{', '.join(MASKS)} (default: %(default)s)")
    shape.add_argument("--direction", choices=DIRECTIONS, default="fwd", help="default: %(default)s")
    shape.add_argument("--suite", metavar="A[,B...]", help=f"ready-made shapes instead: {', '.join(SUITES)}")
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


def _add_method(how: Any) -> None:
    how.add_argument("--backends", metavar="A[,B...]", help="compare only these (default: all)")
    how.add_argument("--device", metavar="NAME", help="cpu, cuda or cuda:<index> (default: the GPU, if there is one)")
    how.add_argument(
        "--by",
        choices=CLOCKS,
        default="gpu",
        help="time on the GPU, with the host, in a CUDA graph (default: %(default)s)",
    )
    how.add_argument(
        "--budget",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="for the timing of one shape (default: %(default)g)",
    )
    how.add_argument(
        "--margin", type=float, default=0.02, metavar="PART", help="closer than this is a tie (default: %(default)g)"
    )
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
    cells = _cells(args)
    if args.plan_cells is not None:
        paths = plan_cells(args.plan_cells, cells)
        print("\n".join(str(path) for path in paths))
        return 0
    return _run_cells(args, cells)


def _run_cells(args: argparse.Namespace, cells: list[Cell]) -> int:
    progress = Progress()
    found: list[Measurement] = []
    results: list[dict[str, Any]] = []
    status = 0
    with session():
        for cell in cells:
            try:
                found.append(_measure(cell, progress.say, cache=not args.no_cache, revalidate=args.revalidate))
            finally:
                progress.clear()
            choice, problem = _choice(found[-1], cell.margin)
            status = status if choice is not None else 1
            results.append(_record(found[-1], choice))
            if not args.json:
                print_measurement(found[-1], choice, problem)
            _write(args, found)
    if args.json:
        print(json.dumps({"schema_version": 1, "results": results}, indent=2))
    return status


def _write(args: argparse.Namespace, found: list[Measurement], folder: str | None = None) -> None:
    """Write the tables and plots that were asked for."""
    if args.tables or folder:
        from autotune.bench import tables

        tables.write(args.tables or folder or "", found, args.margin)
    if args.plots:
        from autotune.bench import plots

        plots.write(args.plots, found, args.margin)


def _aggregate(args: argparse.Namespace) -> int:
    """Make tables, and plots where asked for, of the cells that were measured."""
    try:
        records = read_results(args.aggregate)
    except FileNotFoundError:
        raise InvalidInput(
            f"{args.aggregate} must hold planned shapes, but has none; --plan-cells writes them"
        ) from None
    _write(args, [Measurement.from_json(record) for record in records], args.aggregate)
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
    write_result(args.out, {"id": cell.case.id, **_record(measurement, choice)})
    print(choice.explain() if choice is not None else problem)
    return 0


def _cells(args: argparse.Namespace) -> list[Cell]:
    """Return what the options ask for, one cell for each combination."""
    backends = None if args.backends is None else check_backends([name.strip() for name in args.backends.split(",")])
    check_budget(args.budget)
    check_margin(args.margin)
    return [
        Cell(
            case=case,
            backends=None if backends is None else tuple(backends),
            device=args.device,
            budget_s=args.budget,
            margin=args.margin,
            by=args.by,
        )
        for case in _cases(args)
    ]


def _cases(args: argparse.Namespace) -> list[AttentionCase]:
    if args.suite is not None:
        names = [name.strip() for name in args.suite.split(",")]
        return list(dict.fromkeys(case for name in names for case in suite(name, short_dtype(args.dtype))))
    missing = [f"--{name.replace('_', '-')}" for name in ("seq", "heads", "d_k") if getattr(args, name) is None]
    if missing:
        raise InvalidInput(
            f"bench-attn needs {', '.join(missing)}; for example --seq 512 --heads 16 --d-k 64, or --suite train"
        )
    options = ("seq", "heads", "d_k", "d_v", "batch", "kv_heads", "seq_kv", "window")
    lists = [_numbers(name, getattr(args, name)) for name in options]
    found = [_case(args, dict(zip(options, values))) for values in itertools.product(*lists)]
    return list(dict.fromkeys(found))


def _numbers(name: str, text: str | None) -> list[int | None]:
    """Return the numbers of an option's list; [None] where it was not given."""
    if text is None:
        return [None]
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdecimal() for word in words):
        option = f"--{name.replace('_', '-')}"
        raise InvalidInput(f"{option} must be a whole number, or several with commas between, got {text!r}")
    return [int(word) for word in words]


def _case(args: argparse.Namespace, numbers: dict[str, Any]) -> AttentionCase:
    seq, heads = numbers.pop("seq"), numbers.pop("heads")
    given = {name: value for name, value in numbers.items() if value is not None}
    return AttentionCase(
        **{"kv_heads": heads, "seq_kv": seq, **given},
        seq_q=seq,
        heads=heads,
        dtype=short_dtype(args.dtype),
        causal=args.causal,
        mask=args.mask,
        direction=args.direction,
    )


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
