"""What successive halving saves: the same points trained to the end, and as `sha` trains them, on a real small network.

    python benchmarks/fidelity.py --seeds 5 --csv docs/fidelity.csv

Each seed draws 27 points. `random` trains all of them for 27 epochs. `sha` with ``min: 1`` trains 27 for 1 epoch, 9 of
them to 3, 3 to 9 and one to 27; with ``min: 3`` it trains 27 for 3 epochs, 9 to 9 and 3 to 27. Each goes on from its
checkpoint. The network (PyTorch, two hidden layers) learns scikit-learn's digits; the accuracy is that on a third of
the images, which it has not seen. Epochs are counted by the objective itself.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import tempfile
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from autotune import Study, StudyConfig, Trial
from autotune.algorithms import load_searcher
from autotune.spaces import Choice, IntRange, LogUniform, SearchSpace, Uniform

EPOCHS, POINTS = 27, 27
SPACE = SearchSpace(
    {
        "lr": LogUniform(1e-4, 1.0),
        "momentum": Uniform(0.0, 0.99),
        "hidden": IntRange(16, 257, 16),
        "weight_decay": LogUniform(1e-6, 1e-1),
        "batch_size": Choice([16, 32, 64, 128]),
    }
)
STARTS = {1: 40, 3: 39}  # least epochs, and the trials of a bracket that begins with all points
COLUMNS = ["seed", "min", "accuracy_full", "accuracy_sha", "epochs_full", "epochs_sha", "epochs_ratio", "cpu_ratio"]


class Training:
    """The objective; it counts the epochs that it was paid for."""

    def __init__(self, seed: int) -> None:
        pixels, digits = load_digits(return_X_y=True)
        split = train_test_split(pixels / 16.0, digits, test_size=1 / 3, random_state=seed, stratify=digits)
        self.train_x, self.test_x = (torch.tensor(part, dtype=torch.float32) for part in split[:2])
        self.train_y, self.test_y = (torch.tensor(part) for part in split[2:])
        self.epochs = 0

    def __call__(self, params: dict[str, Any], trial: Trial) -> float:
        """Train to ``params["epochs"]`` (or to the end), from the parent's checkpoint if there is one."""
        torch.manual_seed(trial.seed)
        network = torch.nn.Sequential(
            torch.nn.Linear(64, params["hidden"]),
            torch.nn.ReLU(),
            torch.nn.Linear(params["hidden"], params["hidden"]),
            torch.nn.ReLU(),
            torch.nn.Linear(params["hidden"], 10),
        )
        optimizer = torch.optim.SGD(
            network.parameters(), lr=params["lr"], momentum=params["momentum"], weight_decay=params["weight_decay"]
        )
        begun = 0
        if trial.checkpoint_from is not None:
            saved = torch.load(trial.checkpoint_from / "checkpoint.pt")
            network.load_state_dict(saved["network"])
            optimizer.load_state_dict(saved["optimizer"])
            begun = saved["epochs"]
        end = int(params.get("epochs", EPOCHS))
        for epoch in range(begun, end):
            self._train(network, optimizer, params["batch_size"], epoch)
        state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "epochs": end}
        torch.save(state, trial.dir / "checkpoint.pt")
        with torch.no_grad():
            return float((network(self.test_x).argmax(dim=1) == self.test_y).float().mean())

    def _train(self, network: torch.nn.Module, optimizer: torch.optim.Optimizer, size: int, epoch: int) -> None:
        self.epochs += 1
        order = torch.randperm(len(self.train_x), generator=torch.Generator().manual_seed(epoch))
        for batch in order.split(size):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(self.train_x[batch]), self.train_y[batch]).backward()
            optimizer.step()


def tune(seed: int, algo: str, max_trials: int, options: dict[str, Any]) -> tuple[float, int, float]:
    """Return the best accuracy at the full number of epochs, the epochs trained, and the CPU seconds."""
    training = Training(seed)
    with tempfile.TemporaryDirectory() as folder:
        config = StudyConfig(metric="accuracy", mode="max", max_trials=max_trials, log_dir=f"{folder}/study", seed=seed)
        study = Study(config, SPACE, load_searcher(algo, options))
        begun_s = time.process_time()
        study.optimize(training)
        best = study.summary.best
        if best is None:
            raise RuntimeError("no trial completed")
        return best.metrics["accuracy"], training.epochs, time.process_time() - begun_s


def compare(seed: int) -> list[dict[str, Any]]:
    """Return the table's rows of a seed, one for each least number of epochs."""
    accuracy_full, epochs_full, cpu_full_s = tune(seed, "random", POINTS, {})
    rows = []
    for least, trials in STARTS.items():
        fidelity = {"name": "epochs", "min": least, "max": EPOCHS, "eta": 3}
        accuracy_sha, epochs_sha, cpu_sha_s = tune(seed, "sha", trials, {"fidelity": fidelity})
        ratios = round(epochs_full / epochs_sha, 2), round(cpu_full_s / cpu_sha_s, 2)
        values = (seed, least, round(accuracy_full, 4), round(accuracy_sha, 4), epochs_full, epochs_sha, *ratios)
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


def main() -> None:
    """Print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="seeds, from 0 (default: 5)")
    parser.add_argument("--csv", type=Path, help="write the table to this file as well")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{platform.machine()}, {os.cpu_count()} cores, PyTorch {torch.__version__}, one thread")
    print("  ".join(COLUMNS))
    rows = []
    for seed in range(arguments.seeds):
        rows += compare(seed)
        for row in rows[-len(STARTS) :]:
            print("  ".join(f"{row[column]!s:>{len(column)}}" for column in COLUMNS), flush=True)
    for least in STARTS:
        of_start = [row for row in rows if row["min"] == least]
        means = {name: fmean(row[name] for row in of_start) for name in COLUMNS if name not in ("seed", "min")}
        print(f"mean with min: {least}: " + ", ".join(f"{name} {value:.4g}" for name, value in means.items()))
    if arguments.csv:
        with arguments.csv.open("w", newline="") as file:
            table = csv.DictWriter(file, COLUMNS)
            table.writeheader()
            table.writerows(rows)


if __name__ == "__main__":
    main()
