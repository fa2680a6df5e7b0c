"""The lines that users type, on real daemons: results, resources, and each trial's own GPU."""

from __future__ import annotations

import csv
import itertools
import json
import re
import shutil
import textwrap
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_literal_line_in_a_checkout_gives_each_trial_its_own_gpu(lab: Any) -> None:
    for name in ("workflow", "profiles", "slurm", "config"):
        source = ROOT / name
        if source.is_symlink():
            (lab.folder / name).symlink_to(source.readlink())
        else:
            shutil.copytree(source, lab.folder / name)
    profile = (ROOT / "profiles" / "slurm" / "config.yaml").read_text()
    (lab.folder / "slurm").unlink()
    lab.write("time.sleep(1)", profile, max_trials=20, trials_per_job=1, resources={"gpus": 1, "cpus": 2, "runtime": 7})
    shutil.rmtree(lab.folder / "slurm")
    (lab.folder / "slurm").symlink_to("profiles/slurm")
    assert lab.run("autotune", "plan", "study.yaml", "--log-dir", "results").returncode == 0

    done = lab.run("snakemake", "--profile", "slurm", "--config", "log_dir=results")

    assert done.returncode == 0, done.stdout
    assert lab.executions() == dict.fromkeys(range(20), 1)
    assert len(lab.submissions()) == 20
    table = rows(lab.folder / "results" / "trials.csv")
    assert [row["state"] for row in table] == ["complete"] * 20
    assert {row["gpus"] for row in table} == {"0", "1"}
    best = json.loads((lab.folder / "results" / "best.json").read_text())
    assert best["value"] == min(float(row["metrics.loss"]) for row in table)
    # On a node no two trials have a device at the same time.
    begins = {number: (node, gpu, float(time)) for number, time, node, gpu in lab.notes()}
    ends = {number: float(time) for number, time, *_ in lab.notes("end")}
    assert {node for node, *_ in begins.values()} == {"node1", "node2", "node3", "node4"}
    for one, other in itertools.combinations(begins, 2):
        if begins[one][:2] == begins[other][:2]:
            assert ends[one] <= begins[other][2] or ends[other] <= begins[one][2], (one, other)
    for call in lab.submissions():
        for option in ("--gpus=1", "--mem 500", "-t 7", "--cpus-per-task=2"):
            assert option in call


def test_project_of_init_with_the_stock_command_line(lab: Any) -> None:
    made = lab.run("autotune", "init", ".", "--profile", "slurm", quick=False)
    assert made.returncode == 0, made.stdout
    profile = (lab.folder / "slurm" / "config.yaml").read_text()
    assert re.search(r"# slurm_partition: main .*4 nodes.*\n +# slurm_partition: short .*5 minutes", profile), profile
    assert lab.run("autotune", "plan", "study.yaml", quick=False).returncode == 0

    done = lab.run("snakemake", "--profile", "slurm", quick=False)

    assert done.returncode == 0, done.stdout
    assert [row["state"] for row in rows(lab.folder / ".autotune" / "trials.csv")] == ["complete"] * 32
    assert len(lab.submissions()) == 4
    assert "Nothing to be done" in lab.run("snakemake", "--profile", "slurm", quick=False).stdout


def test_resources_reach_slurm_in_the_spelling_of_the_site(lab: Any) -> None:
    profile = (ROOT / "profiles" / "slurm" / "config.yaml").read_text().replace("gpu_option: gpus", "gpu_option: gres")
    resources = {"gpus": 2, "gpu_model": "t100", "cpus": 3, "mem_mb": 700, "runtime": 9}
    lab.write("wait_for('go')", profile, max_trials=1, trials_per_job=1, resources=resources)
    study = lab.start(*lab.study())
    lab.wait_for_running(1)
    job = lab.cluster.run("scontrol", "show", "job", lab.cluster.active()[0]["id"])
    lab.go()

    assert lab.finish(study).returncode == 0, lab.terminal()
    for wanted in ("TresPerNode=gres:gpu:t100:2", "NumCPUs=3", "MinMemoryNode=700M", "TimeLimit=00:09:00"):
        assert wanted in job, job
    assert [note[3] for note in lab.notes()] == ["0,1"]
    assert rows(lab.folder / ".autotune" / "trials.csv")[0]["gpus"] == "0,1"
    (call,) = lab.submissions()
    assert "--gres=gpu:t100:2" in call and "--gpus" not in call


@pytest.mark.slow
def test_gpu_model_in_the_other_spelling(lab: Any) -> None:
    lab.write(max_trials=1, trials_per_job=1, resources={"gpus": 1, "gpu_model": "t100"})
    assert lab.run(*lab.study()).returncode == 0, lab.terminal()
    (call,) = lab.submissions()
    assert "--gpus=t100:1" in call and "--gres" not in call
    assert [note[3] for note in lab.notes()] in (["0"], ["1"])


def test_trial_on_two_nodes_is_one_allocation_and_one_execution(lab: Any) -> None:
    lab.write(
        """
        import subprocess
        words = "srun --nodes=2 --ntasks=2 --ntasks-per-node=1 --overlap".split()
        spread = subprocess.run(
            [*words, "sh", "-c", "echo $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES"], capture_output=True, text=True
        )
        (HERE / "spread.txt").write_text(spread.stdout + spread.stderr)
        """,
        max_trials=1,
        trials_per_job=1,
        resources={"gpus": 4, "nodes": 2, "cpus": 4, "mem_mb": 1200},
    )
    assert lab.run(*lab.study()).returncode == 0, lab.terminal()
    assert lab.executions() == {0: 1}
    (call,) = lab.submissions()
    for option in ("--nodes=2", "--ntasks=2", "--cpus-per-task=2", "--mem 600", "--gres=gpu:2"):
        assert option in call, call
    assert sorted((lab.folder / "spread.txt").read_text().splitlines()) == ["node1 0,1", "node2 0,1"]


def test_torchrun_on_two_nodes_is_one_group_of_processes(lab: Any) -> None:
    pytest.importorskip("torch", reason="needs torch; `make test-slurm` installs it")
    lab.write(
        max_trials=1,
        trials_per_job=1,
        launcher="torchrun",
        resources={"nodes": 2, "cpus": 4, "mem_mb": 8000},
    )
    (lab.folder / "objective.py").write_text(
        textwrap.dedent(
            """
            import json, os
            from pathlib import Path
            import torch
            import torch.distributed as dist


            def objective(params, trial):
                dist.init_process_group("gloo")
                rank, size = dist.get_rank(), dist.get_world_size()
                ranks = torch.tensor([float(rank)])
                dist.all_reduce(ranks)
                words = {"rank": rank, "size": size, "sum": ranks.item(), "node": os.environ["SLURMD_NODENAME"]}
                (Path(__file__).parent / f"rank{rank}.json").write_text(json.dumps(words))
                dist.barrier()
                dist.destroy_process_group()
                return ranks.item()
            """
        )
    )
    study = lab.start(*lab.study("--retries", "0"))
    lab.wait(lab.cluster.active, "a job is submitted")
    shown = lab.cluster.run("scontrol", "show", "job", lab.cluster.active()[0]["id"])
    assert "NumNodes=2" in shown, shown
    assert lab.finish(study).returncode == 0, lab.terminal()
    ranks = [json.loads(path.read_text()) for path in sorted(lab.folder.glob("rank*.json"))]
    assert [rank["rank"] for rank in ranks] == [0, 1, 2, 3]
    assert {(rank["size"], rank["sum"]) for rank in ranks} == {(4, 6.0)}
    nodes = [rank["node"] for rank in ranks]
    assert sorted(map(nodes.count, set(nodes))) == [2, 2], nodes
    assert len(lab.submissions()) == 1
    assert rows(lab.folder / ".autotune" / "trials.csv")[0]["metrics.loss"] == "6.0"
