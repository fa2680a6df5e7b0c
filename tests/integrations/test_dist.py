"""The knobs of a distributed training: real torchrun, real process groups, and one process to compare with."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autotune.errors import InvalidInput
from autotune.integrations import dist
from autotune.integrations.dist import Knobs

torch = pytest.importorskip("torch", reason="PyTorch is not installed (make check installs it)")

SOURCE = (Path(__file__).parent / "knobs_objective.py").read_text()

STAND_IN = """
class DistributedEngine:
    def __init__(self, **given):
        self.given = given
"""


RunKnobs = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def run_knobs(tmp_path: Path, cli: Any, write_study: Callable[..., Path]) -> RunKnobs:
    """``run_knobs("both", [1, 2], resources={"cpus": "processes"})``: the metrics of a trial for each of these.

    A trial trains by every setting of the knobs, on that many processes, each of which torchrun starts.
    """

    def run(folder: str, processes: list[int], **keys: Any) -> list[dict[str, Any]]:
        keys = {"objective": "objective:objective", "trial_timeout": 150, **keys}
        space = {"processes": processes, **keys.pop("space", {})}
        sizes = {"algo": "grid", "max_trials": len(processes), "trials_per_job": 1}
        write_study(tmp_path / folder, source=SOURCE, launcher="torchrun", space=space, **sizes, **keys)
        done = cli("study", "study.yaml", cwd=tmp_path / folder, timeout=280)
        store = tmp_path / folder / ".autotune"
        logs = [path.read_text() for path in sorted(store.glob("work/*/stdout.log"))]
        print(*logs, sep="\n")
        assert done.returncode == 0, "\n".join([done.stdout, done.stderr, *logs])
        results = [json.loads(path.read_bytes()) for path in sorted((store / "trials").iterdir())]
        return [result["metrics"] for result in results]

    return run


def check_equal_losses(one: dict[str, Any], two: dict[str, Any]) -> None:
    """Check that two processes came to what one did: exactly the same sums in fp32, in another order."""
    for name, loss in one.items():
        if name.startswith(("ddp", "fsdp")) and "moved" not in name:
            exact = "16" not in name
            assert loss == pytest.approx(one["ddp"], abs=1e-5 if exact else 5e-3), name
            assert two[name] == pytest.approx(one["ddp"], abs=1e-5 if exact else 5e-3), name
            assert exact or loss != one["ddp"], f"{name} changed nothing"


@pytest.mark.slow
def test_two_processes_come_to_what_one_does(run_knobs: RunKnobs) -> None:
    one, two = run_knobs("both", [1, 2], resources={"cpus": "processes"})
    assert (one["world"], two["world"]) == (1, 2)
    check_equal_losses(one, two)
    for strategy in ("ddp", "fsdp"):
        assert two[f"{strategy}_moved"] > 0
        assert two[f"{strategy}_moved_by_overflow"] == 0, "a process went on alone after an overflow"


@pytest.mark.gpu
@pytest.mark.slow
def test_two_gpus_come_to_what_one_does(run_knobs: RunKnobs) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip(f"needs two GPUs, and this machine has {torch.cuda.device_count()}")
    one, two = run_knobs("both", [1, 2], resources={"gpus": "processes", "cpus": "processes"})
    assert (one["world"], one["on_gpu"], two["world"], two["on_gpu"]) == (1, 1, 2, 1)
    check_equal_losses(one, two)
    assert two["fsdp_moved_by_overflow"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("knobs", [{"grad_accum": 2}, {"precision": "bf16"}, {"precision": "fp16"}], ids=str)
def test_deepspeed_comes_to_what_one_process_does(knobs: dict[str, Any], run_knobs: RunKnobs) -> None:
    pytest.importorskip("deepspeed", reason="DeepSpeed is not installed (pip install 'autotune[deepspeed]')")
    space = {name: [value] for name, value in knobs.items()}
    (one,) = run_knobs("one", [1], resources={"cpus": 1})
    (two,) = run_knobs("two", [2], objective="objective:deepspeed_objective", space=space, resources={"cpus": 2})
    assert two == {"loss": pytest.approx(one["ddp"], abs=5e-3), "world": 2}


# One process


def blocks(count: int = 4, width: int = 256) -> Any:
    """Return a model of blocks that keeps much for the backward pass."""
    from torch.nn import GELU, Linear, Module, ModuleList, Sequential

    class Model(Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = ModuleList(
                Sequential(Linear(width, 4 * width), GELU(), Linear(4 * width, width)) for _ in range(count)
            )

        def forward(self, x: Any) -> Any:
            for block in self.blocks:
                x = x + block(x)
            return x.square().mean()

    torch.manual_seed(0)
    return Model()


def step(model: Any, params: dict[str, Any]) -> tuple[float, int, Any]:
    """Return the loss of one step, the bytes kept for its backward pass, and a gradient."""
    kept = 0

    def keep(tensor: Any) -> Any:
        nonlocal kept
        kept += tensor.numel() * tensor.element_size()
        return tensor

    made = dist.engine(model, lambda weights: torch.optim.SGD(weights, lr=0.0), params)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = made(torch.linspace(-1, 1, 64 * 256).reshape(64, 256).requires_grad_())
    made.backward(loss)
    return loss.item(), kept, next(model.parameters()).grad.clone()


def test_activation_checkpointing_changes_nothing_but_memory() -> None:
    loss, kept, gradient = step(blocks(), {})
    again = step(blocks(), {"activation_checkpointing": True})
    assert again[0] == loss
    assert torch.equal(again[2], gradient)
    assert again[1] < kept / 3


@pytest.mark.slow
def test_compiled_blocks_compute_the_same_and_are_compiled_once() -> None:
    from torch._dynamo.utils import counters

    counters.clear()
    loss, _, gradient = step(blocks(), {})
    again = step(blocks(), {"compile": True, "activation_checkpointing": True})
    assert again[0] == pytest.approx(loss, rel=1e-5)
    assert torch.allclose(again[2], gradient, rtol=1e-4, atol=1e-7)
    assert counters["stats"]["unique_graphs"] == 1  # four blocks alike


def test_no_knob_is_plain_pytorch() -> None:
    model = blocks()
    made = dist.engine(model, torch.optim.AdamW, {"lr": 0.1, "width": 3})
    assert made.model is model  # type: ignore[attr-defined]
    with dist.processes() as me:
        assert (me.rank, me.world, me.mean(0.25)) == (0, 1, 0.25)


def test_the_block_of_the_docs_trains() -> None:
    text = (Path(__file__).parents[2] / "docs" / "bridges.md").read_text()
    block = next(block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "dist.engine(" in block)

    class Model(torch.nn.Linear):  # type: ignore[misc, name-defined]  # torch is not looked into
        def __init__(self) -> None:
            super().__init__(1, 1)

        def forward(self, x: Any, y: Any) -> Any:
            return (super().forward(x) - y).square().mean()

    names = {"torch": torch, "Model": Model, "batches": lambda rank, world: [(torch.ones(4, 1), torch.ones(4, 1))] * 50}
    exec(block, names)
    loss = names["objective"]({"lr": 0.1, "grad_accum": 2}, SimpleNamespace(seed=0))
    assert loss < 0.05


def test_a_model_without_a_list_is_one_block() -> None:
    model = torch.nn.Linear(2, 2)
    assert dist._blocks(model) == [model]
    assert len(dist._blocks(blocks(3))) == 3


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"precision": "fp8"}, "`precision` must be one of fp32, bf16, fp16, got 'fp8'"),
        ({"strategy": "zero"}, "`strategy` must be one of ddp, fsdp, deepspeed, got 'zero'"),
        ({"grad_accum": 0}, "`grad_accum` must be an integer of at least 1, got 0"),
    ],
)
def test_a_knob_that_cannot_be_is_refused(params: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        Knobs.of(params)


def test_missing_deepspeed_is_refused_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deepspeed", None)
    with pytest.raises(InvalidInput, match=r"pip install 'autotune\[deepspeed\]'"):
        dist.engine(blocks(), torch.optim.AdamW, {"strategy": "DeepSpeed"})


# A package ``dist``


def given_to_stand_in(folder: Path, environment: Callable[..., dict[str, str]]) -> subprocess.CompletedProcess[str]:
    code = """
from autotune.integrations import dist
made = dist.engine("model", "factory", {"precision": "bf16", "strategy": "FSDP", "compile": True, "lr": 1})
print(made.given)
"""
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment(), capture_output=True, text=True, timeout=100
    )


def test_a_package_dist_gets_the_knobs(tmp_path: Path, environment: Callable[..., dict[str, str]]) -> None:
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist/engine.py").write_text(STAND_IN)
    done = given_to_stand_in(tmp_path, environment)
    assert done.stdout.strip() == str(
        {
            "model": "model",
            "optimizer_factory": "factory",
            "precision": "bf16",
            "strategy": "fsdp",
            "grad_accum": 1,
            "activation_checkpointing": False,
            "compile": True,
        }
    ), done.stderr


def test_a_folder_called_dist_is_no_such_package(tmp_path: Path, environment: Callable[..., dict[str, str]]) -> None:
    (tmp_path / "dist").mkdir()
    done = given_to_stand_in(tmp_path, environment)
    assert "'str' object has no attribute" in done.stderr  # PyTorch's own engine meets "model", which is none


def test_what_fails_inside_the_package_is_told(tmp_path: Path, environment: Callable[..., dict[str, str]]) -> None:
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist/engine.py").write_text("import not_installed_anywhere\n")
    done = given_to_stand_in(tmp_path, environment)
    assert "No module named 'not_installed_anywhere'" in done.stderr
