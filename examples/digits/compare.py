"""Print the best trial of a study beside scikit-learn's defaults: ``python -m examples.digits.compare [LOG_DIR]``.

The first line compares on the split that the search chose by, which flatters the winner. The second trains both anew,
with seeds and on a split that the search has never seen.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import mean

from threadpoolctl import threadpool_limits

from examples.digits.objective import EPOCHS, accuracy, train

SEEDS = range(5)


def shown(value: object) -> str:
    """Return a parameter's value with as many digits as a reader wants."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def main(log_dir: str = ".autotune") -> int:
    """Print both lines; exit with 1 where there is no best trial to compare."""
    path = Path(log_dir) / "best.json"
    if not path.exists():
        print(f"{path} must exist; run `autotune study config/config.yaml` first", file=sys.stderr)
        return 1
    best = json.loads(path.read_text())
    params = ", ".join(f"{name} {shown(value)}" for name, value in best["params"].items())
    with threadpool_limits(1):  # as in a trial; more threads only slow such small matrices down
        default_models = [train({}, seed) for seed in SEEDS]
        tuned_models = [train(best["params"], seed) for seed in SEEDS]
    valid = mean(accuracy(model, "valid") for model in default_models)
    tuned_test = mean(accuracy(model, "test") for model in tuned_models)
    default_test = mean(accuracy(model, "test") for model in default_models)
    print(f"best {best['value']:.4f} (trial {best['number']}: {params}) | defaults {valid:.4f}")
    print(
        f"on a test split that the search never saw, {EPOCHS} epochs, mean of {len(SEEDS)} seeds: "
        f"best {tuned_test:.4f} | defaults {default_test:.4f}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
