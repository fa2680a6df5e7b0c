"""``autotune bench-attn``: compare the attention backends on this machine, for a shape or for several."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

from autotune.bench.attn import check_backends, check_budget, check_margin, measure
from autotune.bench.case import DIRECTIONS, AttentionCase, short_dtype
from autotune.bench.cells import Cell, plan_cells, read_cell, write_result
from autotune.bench.choose import Choice, NoUsableBackend, choose
from autotune.bench.rows import Measurement
from autotune.bench.show import Progress, print_measurement
from autotune.errors import InvalidInput

HELP = "compare attention backends on this machine and name the fastest that is right"
EPILOG = """example:
  autotune bench-attn --seq 512 --heads 16 --d-k 64 --dtype bf16
  autotune bench-attn --seq 512,2048,8192 --heads 32 --kv-heads 8 --d-k 128 --causal --direction fwd+bwd --json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    shape = parser.add_argument_group("the shape")
    shape.add_argument("--seq", metavar="N[,N...]", help="sequence length of the queries; several give several tables")
    shape.add_argument("--heads", type=int, metavar="N", help="query heads")
    shape.add_argument("--d-k", type=int, metavar="N", help="size of a head")
    shape.add_argument("--dtype", default="bf16", metavar="TYPE", help="bf16, fp16 or fp32 (default: %(default)s)")
    shape.add_argument("--batch", type=int, default=1, metavar="N", help="default: %(default)s")
    shape.add_argument("--kv-heads", type=int, metavar="N", help="heads of keys and values (default: as --heads)")
    shape.add_argument("--seq-kv", type=int, metavar="N", help="length of keys and values (default: as --seq)")
    shape.add_argument("--causal", action="store_true", help="causal mask, aligned to the last query and key")
    shape.add_argument("--direction", choices=DIRECTIONS, default="fwd", help="default: %(default)s")
    how = parser.add_argument_group("how it is measured")
    how.add_argument("--backends", metavar="A[,B...]", help="compare only these (default: all)")
    how.add_argument("--device", metavar="NAME", help="cpu, cuda or cuda:<index> (default: the GPU, if there is one)")
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
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    cells = parser.add_argument_group("as files, for the workflow")
    cells.add_argument("--plan-cells", metavar="DIR", help="measure nothing; write a file for each shape under DIR")
    cells.add_argument("--cell", metavar="FILE", help="measure the shape that such a file plans")
    cells.add_argument("--out", metavar="FILE", help="write what --cell measured")


def run(args: argparse.Namespace) -> int:
    """Carry out the command; return its exit status: 0, or 1 where a shape has no usable backend."""
    if (args.cell is None) != (args.out is None):
        raise InvalidInput("--cell and --out must be given together: the planned file and the one to write")
    if args.cell is not None:
        return _run_cell(args)
    cells = _cells(args)
    if args.plan_cells is not None:
        paths = plan_cells(args.plan_cells, cells)
        print("\n".join(str(path) for path in paths))
        return 0
    progress = Progress()
    results: list[dict[str, Any]] = []
    status = 0
    for cell in cells:
        try:
            measurement = _measure(cell, progress.say, cache=not args.no_cache)
        finally:
            progress.clear()
        choice, problem = _choice(measurement, cell.margin)
        status = status if choice is not None else 1
        if args.json:
            results.append(_record(measurement, choice))
        else:
            print_measurement(measurement, choice, problem)
    if args.json:
        print(json.dumps({"schema_version": 1, "results": results}, indent=2))
    return status


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
    """Return what the options ask for, one cell for each --seq."""
    missing = [f"--{name.replace('_', '-')}" for name in ("seq", "heads", "d_k") if getattr(args, name) is None]
    if missing:
        raise InvalidInput(f"bench-attn needs {', '.join(missing)}; for example --seq 512 --heads 16 --d-k 64")
    backends = None if args.backends is None else check_backends([name.strip() for name in args.backends.split(",")])
    check_budget(args.budget)
    check_margin(args.margin)
    cases = dict.fromkeys(_case(args, text.strip()) for text in args.seq.split(","))
    return [
        Cell(
            case=case,
            backends=None if backends is None else tuple(backends),
            device=args.device,
            budget_s=args.budget,
            margin=args.margin,
        )
        for case in cases
    ]


def _case(args: argparse.Namespace, text: str) -> AttentionCase:
    if not (text.isascii() and text.isdecimal()):
        raise InvalidInput(f"--seq must be a whole number, or several with commas between, got {args.seq!r}")
    seq = int(text)
    return AttentionCase(
        batch=args.batch,
        heads=args.heads,
        kv_heads=args.heads if args.kv_heads is None else args.kv_heads,
        seq_q=seq,
        seq_kv=seq if args.seq_kv is None else args.seq_kv,
        d_k=args.d_k,
        dtype=short_dtype(args.dtype),
        causal=args.causal,
        direction=args.direction,
    )


def _log(text: str) -> None:
    """Write a step into the job's log; the rounds of the timing are too many for it."""
    if not text.startswith("timing"):
        print(text, flush=True)


def _measure(cell: Cell, say: Callable[[str], None], *, cache: bool, remeasure: bool = False) -> Measurement:
    return measure(
        cell.case,
        device=cell.device,
        backends=cell.backends,
        budget_s=cell.budget_s,
        cache=cache,
        remeasure=remeasure,
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
