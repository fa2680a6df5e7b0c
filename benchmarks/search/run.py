"""Run the search benchmark: methods on tasks, with seeds; resumable, and everything it finds is one line a run.

    python benchmarks/search/run.py                                   # all that is missing from the results
    python benchmarks/search/run.py --methods auto,optuna-tpe --tasks branin --seeds 3 --jobs 2
    python benchmarks/search/report.py                                # table and plot

A run is 16 rounds of 8. Runs that the results file has are skipped, so it can be stopped at any time; what is finished
is in the file. Seeds are outermost, then methods and tasks in the order given: stopped early, it has compared them all.
HEBO and Ax are installed into ``benchmarks/search/.venv-*`` when first asked for, unless ``--here`` says that this
interpreter has them. Every run has one thread and no GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RESULTS = HERE / "results.jsonl"
ROUNDS, BATCH = 16, 8
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
SETTINGS = {**ONE_THREAD, "CUDA_VISIBLE_DEVICES": "", "PYTHONHASHSEED": "0"}

Run = tuple[str, str, int]  # task, method, seed


def main() -> None:
    """Run what the results file has not."""
    arguments = parse()
    done = {(row["task"], row["method"], row["seed"]) for row in rows(arguments.results)}
    wanted = [
        (task, method, seed)
        for seed in range(arguments.seeds)
        for method in arguments.methods
        for task in arguments.tasks
    ]
    missing = [run for run in wanted if run not in done]
    print(f"{len(wanted) - len(missing)} of {len(wanted)} runs are there, {len(missing)} to do")
    with ProcessPoolExecutor(arguments.jobs) as pool:
        futures = {pool.submit(run_anywhere, *run, here=arguments.here): run for run in missing}
        for number, future in enumerate(as_completed(futures), 1):
            try:
                row = future.result()
            except Exception as error:  # noqa: BLE001  # one peer's crash ends no other run, and is not recorded
                print(f"{' '.join(map(str, futures[future]))} failed: {error}", flush=True)
                continue
            with arguments.results.open("a") as file:
                file.write(json.dumps(row) + "\n")
            best = min((value for value in row["truths"] if value is not None), default=float("nan"))
            print(
                f"{number}/{len(missing)} {row['task']} {row['method']} {row['seed']}: {best:.5g} in "
                f"{row['search_cpu_s']:.0f} s",
                flush=True,
            )


def rows(path: Path) -> list[dict[str, Any]]:
    """Return the runs of a results file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def run_anywhere(task: str, method: str, seed: int, *, here: bool) -> dict[str, Any]:
    """Run in a process of its own, with fresh global generators; HEBO and Ax in their own environment, unless here."""
    from methods import APART

    python = str(peer_python(method)) if method in APART and not here else sys.executable
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, **SETTINGS, "PYTHONPATH": path}
    done = subprocess.run(
        [python, __file__, "--one", task, method, str(seed)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr.strip().rpartition("\n")[2])
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def run_one(task_name: str, method_name: str, seed: int) -> dict[str, Any]:
    """Run one method on one task; CPU seconds are those of the method alone."""
    from methods import METHODS
    from tasks import TASKS

    task = TASKS[task_name]
    method = METHODS[method_name](task.space, seed)
    noise = random.Random(seed)
    values, truths, cpu_s = [], [], 0.0
    for _ in range(ROUNDS):
        start = time.process_time()
        batch = method.ask(BATCH)
        cpu_s += time.process_time() - start
        seen = [task.evaluate(params, noise) for params in batch]
        values += [value for value, _ in seen]
        truths += [truth for _, truth in seen]
        start = time.process_time()
        method.tell(batch, [value for value, _ in seen])
        cpu_s += time.process_time() - start
    values, truths = ([v if v is None else float(f"{v:.7g}") for v in column] for column in (values, truths))
    run = {"task": task_name, "method": method_name, "seed": seed}
    return {**run, "values": values, "truths": truths, "search_cpu_s": round(cpu_s, 2)}


def peer_python(method: str) -> Path:
    """Return the interpreter of a peer's own environment, made if it is missing."""
    folder = HERE / f".venv-{method}"
    python = folder / "bin" / "python"
    if not (folder / "installed").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        install = [python, "-m", "pip", "install", "-q"]
        options = ["--no-deps"] if method == "hebo-pinned" else []
        subprocess.run([*install, *options, "-r", HERE / f"requirements-{method}.txt"], check=True)
        if method == "hebo":
            subprocess.run([*install, "--no-deps", "HEBO==0.3.6"], check=True)
        (folder / "installed").touch()
    return python


def parse() -> argparse.Namespace:
    """Return the command line's options."""
    from methods import METHODS
    from tasks import TASKS

    def names(known: Any) -> Any:
        def pick(text: str) -> list[str]:
            if unknown := [name for name in text.split(",") if name not in known]:
                raise argparse.ArgumentTypeError(f"must be of {', '.join(known)}, got {', '.join(unknown)}")
            return text.split(",")

        return pick

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="how many seeds, from 0 (10)")
    usual = [name for name in METHODS if name != "hebo-pinned"]
    parser.add_argument("--methods", type=names(METHODS), default=usual, help="comma-separated")
    parser.add_argument("--tasks", type=names(TASKS), default=list(TASKS), help="comma-separated")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time (1)")
    parser.add_argument("--here", action="store_true", help="HEBO and Ax too in this interpreter, which has them")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the file of runs, added to")
    return parser.parse_args()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(run_one(sys.argv[2], sys.argv[3], int(sys.argv[4]))))
    else:
        main()
