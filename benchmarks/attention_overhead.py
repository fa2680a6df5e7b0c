"""Compare the reported GPU time of short kernels with the profiler's (CUPTI through torch.profiler). Needs a GPU.

python benchmarks/attention_overhead.py out.csv
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from autotune.bench import backends as table
from autotune.bench.case import AttentionCase
from autotune.bench.isolate import measure_isolated, session

SHAPES = ((1, 8, 128, 64), (1, 16, 256, 64), (1, 16, 512, 64), (2, 16, 512, 64), (1, 8, 1024, 64), (4, 16, 512, 128))
NAMES = ("torch", "torch-cudnn", "torch-flash", "torch-efficient", "xformers", "flash2", "flash3", "flash4")


def main() -> int:
    """Print and write a line for each kernel; return 0."""
    lines: list[dict[str, object]] = []
    with session():
        for batch, heads, seq, dim in SHAPES:
            case = AttentionCase(batch=batch, heads=heads, kv_heads=heads, seq_q=seq, seq_kv=seq, d_k=dim)
            targets = {name: table.target(name) for name in NAMES}
            rows, _ = measure_isolated(case, "cuda:0", targets, budget_s=4.0)
            for row in rows:
                if row.median_ms is None or row.kernel_ms is None:
                    print(f"{case}  {row.backend}: {row.state}: {row.reason}")
                    continue
                reported, profiler = row.median_ms * 1000, row.kernel_ms * 1000
                line = {"case": str(case), "backend": row.backend, "reported_us": round(reported, 2)}
                line |= {"profiler_us": round(profiler, 2), "difference": round(reported / profiler - 1, 4)}
                lines.append(line | {"kernels": len(row.kernels), "kernel": row.kernels[0]})
                print(
                    f"{case}  {row.backend:<16} {reported:8.2f} us  profiler {profiler:8.2f} us  {reported / profiler - 1:+.1%}"
                )
    with Path(sys.argv[1]).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
