"""Measure the attention suites and hold the choices against an independent, repeated measurement. Needs a GPU.

    python benchmarks/attention_suites.py out.jsonl --suite train,prefill,decode
    CUDA_VISIBLE_DEVICES=1 python benchmarks/attention_suites.py out-2.jsonl --shard 2/4

For each shape: the full table as ``autotune bench-attn`` makes it, then further tunings of the same shape (only the
timing, which is what could make a choice waver; their rounds are kept), then the truth by another clock loop: blocks in
random order, means of blocks. Of short calls, whose launch the product takes off, so does a second truth
(``truth_kernels``, with the profiler in each block). One line of JSON a shape; shapes that the file has already are
skipped. With ``--shard I/N`` several GPUs share the shapes, each with its own file. ``attention_report.py`` reads them.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from autotune.bench import backends as table
from autotune.bench import kernels
from autotune.bench.case import AttentionCase
from autotune.bench.check import Checked, Task, check_case, quiet_torch
from autotune.bench.choose import NoUsableBackend, choose
from autotune.bench.clocks import Bench, Timed
from autotune.bench.hardware import fingerprint
from autotune.bench.measure import bench_of, time_case, timer_of
from autotune.bench.rows import Measurement, Row
from autotune.bench.sampling import sample_in_rounds
from autotune.bench.suites import suite
from autotune.bench.timing import CudaTimer

BLOCKS, BLOCK_SAMPLES = 24, 16
TRUTH_S = 6.0  # begin no block after so long, the third aside
FAR = 1.3  # times slower than the best in the first block: measured no further


def extra() -> list[AttentionCase]:
    """Return masks, dropout and a layout that the suites leave out."""
    one: dict[str, Any] = {"heads": 16, "kv_heads": 16, "d_k": 128, "dtype": "bf16"}
    square: dict[str, Any] = {"batch": 2, "seq_q": 2048, "seq_kv": 2048}
    train: dict[str, Any] = {"causal": True, "direction": "fwd+bwd"}
    return [
        AttentionCase(**one, **square, mask="padding"),
        AttentionCase(**one, **square, mask="alibi", causal=True),
        AttentionCase(**one, batch=1, seq_q=8192, seq_kv=8192, mask="documents:8", causal=True),
        AttentionCase(**one, **square, **train, dropout=0.1),
        AttentionCase(**one, **square, **train, layout="bhsd"),
        AttentionCase(**one, **square, mask="padding", direction="fwd+bwd"),
    ]


Blocks = dict[str, list[float]]


def independent(
    device: str, calls: dict[str, Any], seed: int, spin: int, overhead_ms: float | None
) -> tuple[Blocks, Blocks]:
    """Return the means of blocks in milliseconds: each block one backend alone, in random order, L2 flushed.

    A random number of launches comes before each call: how long one takes depends on how many there were, modulo four.
    The first are between two events. The second, where an overhead of the events is given, are freed of it and of the
    launch: not more than from the first kernel's start to the last one's end, by the profiler (which stretches the gap
    between two kernels, so that it can be more than what the events read).
    """
    import torch

    flush = torch.empty(256 << 20, dtype=torch.int8, device=device)
    order = random.Random(seed)
    means: Blocks = {name: [] for name in calls}
    freed: Blocks = {name: [] for name in calls if overhead_ms is not None}

    def hide() -> None:
        flush.zero_()
        for _ in range(order.randrange(4)):
            torch.cuda._sleep(1)
        torch.cuda._sleep(spin)  # longer than Python needs for any of the calls

    def hidden(name: str) -> None:
        hide()
        calls[name]()

    until = time.monotonic() + TRUTH_S
    for block in range(BLOCKS):
        names = list(means)
        if block:
            best = min(statistics.median(values) for values in means.values())
            names = [name for name in names if statistics.median(means[name]) < FAR * best]
        order.shuffle(names)
        for name in names:
            values = []
            for number in range(BLOCK_SAMPLES + 2):
                start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
                hide()
                start.record()
                kept = calls[name]()
                end.record()
                end.synchronize()
                if number > 1:
                    values.append(start.elapsed_time(end))
                del kept
            means[name].append(statistics.mean(values))
            if overhead_ms is not None:
                seen = kernels.profile(lambda _turn, name=name: hidden(name), BLOCK_SAMPLES)
                least = means[name][-1] - overhead_ms
                freed[name].append(least if seen is None else min(least, seen.span_ms))
        if time.monotonic() > until and block >= 2:
            break
    return means, freed


def study(case: AttentionCase, device: str, names: list[str], tunes: int, budget_s: float) -> dict[str, Any]:
    """Return all that is measured of one shape."""
    rows: dict[str, Row] = {}
    task = Task(case=case, device=device, targets={name: table.target(name) for name in names}, budget_s=budget_s)
    conditions: dict[str, Any] = {}
    walls: dict[str, float] = {}
    start = time.monotonic()
    with quiet_torch(device):
        checked = check_case(task, lambda row: rows.update({row.backend: row}))
        walls["check_s"] = time.monotonic() - start
        if checked is not None:
            start = time.monotonic()
            conditions = time_case(task, checked, lambda row: rows.update({row.backend: row}))
            walls["table_s"] = time.monotonic() - start
        found = Measurement(
            case=case,
            device=device,
            hardware=fingerprint(device, [p for t in table.BACKENDS.values() for p in table.load(t).packages]),
            budget_s=budget_s,
            rows=tuple(rows[name] for name in names),
            conditions=conditions,
        )
        again: list[dict[str, Any]] = []
        truth: Blocks = {}
        freed: Blocks = {}
        if checked is not None:
            good = {name: one for name, one in checked.ready.items() if rows[name].times_ms}
            again = [retune(task, checked, found) for _ in range(tunes)]
            calls = {}
            for name, one in good.items():
                calls[name] = one.run  # the switch around it is hidden behind the spin kernel
            start = time.monotonic()
            short = min(rows[name].median_ms or 0.0 for name in good) < kernels.SHORT_MS
            overhead_ms = timer_of(device).overhead_ms if short else None
            truth, freed = independent(device, calls, 7, 5_000_000 if case.backward else 1_600_000, overhead_ms)
            walls["truth_s"] = time.monotonic() - start
    return {"measurement": found.to_json(), "again": again, "truth": truth, "truth_kernels": freed, "walls": walls}


def retune(task: Task, checked: Checked, found: Measurement) -> dict[str, Any]:
    """Time once more as the product does, and return the choice at two margins."""
    bench = bench_of(task, checked)
    names = [row.backend for row in found.rows if row.times_ms]

    def one(name: str) -> float:
        with bench.active[name]():
            return bench.timer(bench.calls[name])

    start = time.monotonic()
    sampled = sample_in_rounds(
        names, one, time.monotonic, budget_s=0.7 * task.budget_s, margin=task.margin, keep=(table.DEFAULT,)
    )
    wall_s = time.monotonic() - start
    times = without_launch(bench, {name: one.times_ms for name, one in sampled.samples.items()})
    rows = tuple(replace(row, times_ms=times.get(row.backend, row.times_ms)) for row in found.rows)
    answer: dict[str, Any] = {"wall_s": wall_s, "stopped": sampled.stopped}
    answer["times_ms"] = {name: [round(one, 6) for one in values] for name, values in times.items()}
    for margin in (0.02, 0.01):
        try:
            choice = choose(replace(found, rows=rows), margin)
            answer[str(margin)] = {"choice": str(choice), "ties": list(choice.ties), "regret": choice.regret}
        except NoUsableBackend:
            answer[str(margin)] = None
    return answer


def without_launch(bench: Bench, times_ms: dict[str, tuple[float, ...]]) -> dict[str, tuple[float, ...]]:
    """Profile short calls and take their launch off, as the product does with what it has timed."""
    short = [name for name, values in times_ms.items() if statistics.median(values) <= kernels.SHORT_MS]
    timed = Timed(times_ms={"gpu": times_ms})
    if isinstance(bench.timer, CudaTimer):
        bench.profile(short, timed, bench.timer)
    return {name: kernels.without_launch(values, timed.kernels.get(name))[0] for name, values in times_ms.items()}


def shard(text: str) -> tuple[int, int]:
    """Return I, N of ``I/N``: every N-th shape, from the I-th."""
    first, _, parts = text.partition("/")
    if not (first.isdecimal() and parts.isdecimal() and 1 <= int(first) <= int(parts)):
        raise argparse.ArgumentTypeError(f"must be I/N with I from 1 to N, got {text!r}")
    return int(first), int(parts)


def main() -> int:
    """Run in a process for each shape that died, in one for the rest; return 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--suite", default="train,prefill,decode,extra")
    parser.add_argument("--shard", type=shard, default=(1, 1), metavar="I/N", help="every N-th shape, from the I-th")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--backends", default=",".join(table.candidates()))
    parser.add_argument("--tunes", type=int, default=10)
    parser.add_argument("--budget", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no shape after so long")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not args.child:  # a shape that takes its process with it is left out by the next one
        for _ in range(5):
            if subprocess.run([sys.executable, __file__, *sys.argv[1:], "--child"], check=False).returncode == 0:
                break
        return 0
    begin = time.monotonic()
    tried = args.out.with_suffix(".tried")
    done = set(tried.read_text().split()) if tried.exists() else set()
    cases = [case for name in args.suite.split(",") for case in (extra() if name == "extra" else suite(name))]
    first, parts = args.shard
    for case in cases[first - 1 :: parts]:
        if case.id in done or time.monotonic() - begin > args.seconds:
            continue
        with tried.open("a") as file:
            print(case.id, file=file)
        record = study(case, args.device, args.backends.split(","), args.tunes, args.budget)
        with args.out.open("a") as file:
            print(json.dumps(record), file=file)
        said = [one["0.02"] and one["0.02"]["choice"] for one in record["again"]]
        walls = {name: round(value, 1) for name, value in record["walls"].items()}
        tune_s = statistics.median([one["wall_s"] for one in record["again"]] or [0])
        print(f"{time.monotonic() - begin:6.0f} s  {case}  {said}  {walls} tune {tune_s:.2f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
