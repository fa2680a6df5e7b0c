"""On a GPU: what breaks CUDA takes only its own process, and the reported time is the profiler's."""

from __future__ import annotations

import statistics

import pytest

from autotune.bench import backends
from autotune.bench.isolate import measure_isolated, session
from autotune.bench.sampling import Samples
from autotune.bench.timing import CudaTimer

torch = pytest.importorskip("torch", reason="attention backends need PyTorch: pip install 'autotune[torch]'")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def targets(*names):
    return {name: backends.target(name) for name in names}


def test_a_sticky_cuda_error_and_an_impossible_allocation_are_rows(make_case, planted):
    case = make_case(dtype="bf16", d_k=64, seq_q=256)
    wanted = targets("torch") | {"bad": planted("IllegalAccess"), "greedy": planted("Greedy")} | targets("torch-flash")
    rows, _ = measure_isolated(case, "cuda:0", wanted, budget_s=1.0)
    assert {row.backend: row.state for row in rows} == {
        "torch": "ok",
        "bad": "failed",
        "greedy": "unsupported",
        "torch-flash": "ok",
    }
    by_name = {row.backend: row for row in rows}
    assert "CUDA error" in by_name["bad"].reason
    assert by_name["greedy"].reason == "out of memory"


@pytest.mark.parametrize("direction", ["fwd", "bwd", "fwd+bwd"])
@pytest.mark.parametrize("name", [name for name in backends.BACKENDS if name != "reference"])
def test_contract_on_the_gpu(make_case, name, direction):
    shapes = (
        {"causal": True, "seq_q": 320},
        {"heads": 4, "kv_heads": 2, "seq_q": 257},
        {"seq_q": 100, "seq_kv": 356, "causal": True},
        {"causal": True, "seq_q": 512, "window": 100},
        {"mask": "documents:3", "seq_q": 300, "causal": True},
        {"mask": "padding", "seq_q": 256, "batch": 3},
        {"mask": "alibi", "seq_q": 256, "causal": True},
        {"mask": "padding:0", "seq_q": 256, "batch": 3},
        {"seq_q": 300, "seq_kv": 200, "causal": True},
        {"dropout": 0.1, "seq_q": 256, "causal": True},
        {"layout": "bhsd", "seq_q": 256, "causal": True},
    )
    with session():
        for shape in shapes:
            case = make_case(**{"dtype": "bf16", "d_k": 64, "direction": direction} | shape)
            (row,), _ = measure_isolated(case, "cuda:0", targets(name), budget_s=0.3, profile=False)
            print(f"{name:<16} {case!s:<60} {row.state} {row.reason or f'{row.median_ms:.4f} ms'}")
            assert row.state in ("ok", "unsupported", "incorrect")  # a kernel of another package may be wrong


def test_a_sample_is_the_same_whatever_ran_before():
    q = torch.randn(8, 32, 1, 128, device="cuda:0", dtype=torch.bfloat16)
    k, v = (torch.randn(8, 8, 1024, 128, device="cuda:0", dtype=torch.bfloat16) for _ in range(2))

    def call():
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)

    timer = CudaTimer("cuda:0")
    medians_us = []
    for _ in range(8):
        medians_us.append(1000 * statistics.median(timer(call) for _ in range(16)))
        torch.cuda._sleep(1)  # one launch more
    print("us after 0 to 7 launches more:", *(f"{one:.2f}" for one in medians_us))
    assert max(medians_us) < 1.015 * min(medians_us)


def test_the_time_of_a_short_kernel_is_the_profilers(make_case):
    case = make_case(dtype="bf16", heads=8, seq_q=512, d_k=64)
    rows, _ = measure_isolated(case, "cuda:0", targets("torch", "torch-efficient"), budget_s=3.0)
    for row in rows:
        print(f"{row.backend}: {row.median_ms * 1000:.2f} us, profiler {row.kernel_ms * 1000:.2f} us, {row.kernels}")
    default, efficient = (Samples(row.times_ms).median_ms for row in rows)
    assert efficient == pytest.approx(rows[1].kernel_ms, rel=0.05)
    # cuDNN sets some memory before its kernel: the GPU waits in between, which is time of the call and of no kernel.
    assert 0.95 * rows[0].kernel_ms < default < rows[0].kernel_ms + 0.002
