"""Compare the reported GPU time of short kernels with a profiler's (CUPTI through torch.profiler). Needs a GPU.

    python benchmarks/attention_overhead.py out.csv

The profiler runs here are of their own, without the product's timer, on the same prepared calls (a kernel can take a
tenth longer in another process); the L2 cache is flushed before each. One run launches from an idle GPU, one behind a
spin kernel, as the product does. ``sum`` adds the kernels (and memsets) of a call up, ``span`` is from the first start
to the last end: where a call is two kernels, the GPU waits between them, which is time of the call and in no kernel's.
"""

from __future__ import annotations

import csv
import random
import statistics
import sys
from pathlib import Path

from autotune.bench import backends as table
from autotune.bench.case import AttentionCase
from autotune.bench.check import Checked, Ready, Task, check_case, quiet_torch
from autotune.bench.measure import time_case
from autotune.bench.rows import Row

SHAPES = ((1, 8, 128, 64), (1, 16, 256, 64), (1, 16, 512, 64), (2, 16, 512, 64), (1, 8, 1024, 64), (4, 16, 512, 128))
NAMES = ("torch", "torch-cudnn", "torch-flash", "torch-efficient", "xformers", "flash2", "flash3", "flash4")
REPEATS = 120
SPIN_CYCLES = 1_600_000  # about a millisecond: longer than Python needs for any of the calls, profiled
FLUSH, SPIN = "FillFunctor<signed char>", "spin_kernel"


def profiled(one: Ready, spin: bool) -> tuple[float, float, int]:
    """Return the sum and the span of one call in microseconds, and how many kernels and memsets it is; means."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    call, chance = one.call, random.Random(1)
    flush = torch.empty(256 << 20, dtype=torch.int8, device="cuda:0")
    with one.backend.active():
        for _ in range(5):
            call()
        torch.cuda.synchronize()
        with profile(activities=[ProfilerActivity.CUDA], acc_events=False) as run:
            for _ in range(REPEATS):
                flush.zero_()
                for _ in range(chance.randrange(4)):  # how long a launch takes depends on how many came before
                    torch.cuda._sleep(1)
                if spin:
                    torch.cuda._sleep(SPIN_CYCLES)
                call()
            torch.cuda.synchronize()
    found = [event for event in run.events() or [] if str(event.device_type).endswith("CUDA")]
    calls: list[list[tuple[float, float]]] = []
    for event in sorted(found, key=lambda event: event.time_range.start):
        if FLUSH in event.name:
            calls.append([])
        elif calls and SPIN not in event.name:
            calls[-1].append((event.time_range.start, event.time_range.end))
    calls = [one for one in calls if one]
    return (
        statistics.mean(sum(end - start for start, end in one) for one in calls),
        statistics.mean(one[-1][1] - one[0][0] for one in calls),
        round(statistics.median(len(one) for one in calls)),
    )


def compare(case: AttentionCase, row: Row, one: Ready) -> dict[str, object]:
    """Return a line of the table."""
    reported_us = (row.median_ms or 0.0) * 1000
    idle_us, _, count = profiled(one, spin=False)
    sum_us, span_us, _ = profiled(one, spin=True)
    line: dict[str, object] = {"case": str(case), "backend": row.backend, "activities": count}
    line |= {"reported_us": round(reported_us, 2), "launch_us": round(row.launch_ms * 1000, 2)}
    line |= {"idle_sum_us": round(idle_us, 2), "sum_us": round(sum_us, 2), "span_us": round(span_us, 2)}
    for key, value in (("idle_sum", idle_us), ("sum", sum_us), ("span", span_us)):
        line[f"beyond_{key}"] = round(reported_us / value - 1, 4)
    return line


def timed(case: AttentionCase) -> tuple[list[Row], Checked | None]:
    """Check and time a case as the product does, but in this process."""
    rows: dict[str, Row] = {}
    targets = {name: table.target(name) for name in NAMES}
    task = Task(case=case, device="cuda:0", targets=targets, budget_s=2.0)
    checked = check_case(task, lambda row: rows.update({row.backend: row}))
    if checked is not None:
        time_case(task, checked, lambda row: rows.update({row.backend: row}))
    return list(rows.values()), checked


def main() -> int:
    """Print and write a line for each backend and shape; return 0."""
    lines: list[dict[str, object]] = []
    with quiet_torch("cuda:0"), Path(sys.argv[1]).open("w", newline="") as file:
        for batch, heads, seq, dim in SHAPES:
            case = AttentionCase(batch=batch, heads=heads, kv_heads=heads, seq_q=seq, seq_kv=seq, d_k=dim)
            rows, checked = timed(case)
            for row in rows:
                if row.median_ms is None or checked is None:
                    continue
                lines.append(compare(case, row, checked.ready[row.backend]))
                print(*lines[-1].values(), sep="  ", flush=True)
                writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
                if len(lines) == 1:
                    writer.writeheader()
                writer.writerow(lines[-1])
                file.flush()
    for key in ("beyond_idle_sum", "beyond_sum", "beyond_span"):
        for most_us in (15.0, 60.0):
            short = [line for line in lines if float(str(line["reported_us"])) <= most_us]
            near = sum(abs(float(str(line[key]))) <= 0.05 for line in short)
            print(f"{key}: {near} of {len(short)} calls of up to {most_us:g} us are within 5 %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
