"""Compare the reported GPU time of short kernels with a profiler's (CUPTI through torch.profiler). Needs a GPU.

    python benchmarks/attention_overhead.py out.csv

The profiler run here is one of its own, in this process and without the product's timer: L2 flushed, no spin kernel.
"""

from __future__ import annotations

import csv
import statistics
import sys
from pathlib import Path

from autotune.bench import backends as table
from autotune.bench.case import AttentionCase
from autotune.bench.inputs import fill, new_inputs
from autotune.bench.isolate import measure_isolated, session

SHAPES = ((1, 8, 128, 64), (1, 16, 256, 64), (1, 16, 512, 64), (2, 16, 512, 64), (1, 8, 1024, 64), (4, 16, 512, 128))
NAMES = ("torch", "torch-cudnn", "torch-flash", "torch-efficient", "xformers", "flash2", "flash3", "flash4")
REPEATS = 60


def kernel_us(case: AttentionCase, name: str) -> tuple[float, int]:
    """Return the summed time of one call in microseconds, and how many kernels and memsets that is."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    inputs = new_inputs(case, "cuda:0")
    fill(inputs, "random", 0)
    backend = table.load(table.target(name))
    call = backend.prepare(case, inputs)
    flush = torch.empty(256 << 20, dtype=torch.int8, device="cuda:0")
    with backend.active():
        for _ in range(5):
            call()
        torch.cuda.synchronize()
        with profile(activities=[ProfilerActivity.CUDA], acc_events=False) as run:
            for _ in range(REPEATS):
                flush.zero_()
                call()
            torch.cuda.synchronize()
    times: dict[str, list[float]] = {}
    for event in run.events() or []:
        if str(event.device_type).endswith("CUDA") and "FillFunctor<signed char>" not in event.name:
            times.setdefault(event.name, []).append(float(event.device_time))
    own = [values for values in times.values() if len(values) >= REPEATS]
    return sum(statistics.median(values) for values in own), len(own)


def main() -> int:
    """Print and write a line for each kernel; return 0."""
    lines: list[dict[str, object]] = []
    with session():
        for batch, heads, seq, dim in SHAPES:
            case = AttentionCase(batch=batch, heads=heads, kv_heads=heads, seq_q=seq, seq_kv=seq, d_k=dim)
            rows, _ = measure_isolated(case, "cuda:0", {name: table.target(name) for name in NAMES}, budget_s=4.0)
            for row in rows:
                if row.median_ms is None:
                    continue
                reported = row.median_ms * 1000
                profiler, count = kernel_us(case, row.backend)
                line: dict[str, object] = {"case": str(case), "backend": row.backend, "activities": count}
                line |= {"reported_us": round(reported, 2), "profiler_us": round(profiler, 2)}
                line |= {"difference": round(reported / profiler - 1, 4), "launch_us": round(row.launch_ms * 1000, 2)}
                lines.append(line)
                print(*line.values(), sep="  ", flush=True)
    with Path(sys.argv[1]).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
