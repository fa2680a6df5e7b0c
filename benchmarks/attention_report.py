"""Turn what ``attention_suites.py`` measured into the tables and plots of docs/attention.

    python benchmarks/attention_report.py suites.jsonl [more.jsonl ...] docs/attention

Writes attn.csv, attn_best.json, the plots, and quality.csv: for each shape the regret of the choices against the
independent measurement, and how far repeated tunings agree. Choices are made anew from the recorded rounds by the
rule of this version: ``choice`` from the table's own rounds, ``resampled`` from ten draws (with replacement) of them;
``tunes_`` are the tunings as they ran. Of short calls the truth has no launch in it (``truth_by`` is ``kernels``), as
the times that are reported and chosen by; else it is what two events read. ``_events`` is against the latter always.
"""

from __future__ import annotations

import csv
import json
import random
import statistics
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from autotune.bench import plots, tables
from autotune.bench.choose import Choice, NoUsableBackend, choose
from autotune.bench.rows import Measurement

MARGIN = 0.02
DRAWS = 10


def resampled(found: Measurement, seed: int) -> Measurement:
    """Draw rounds with replacement, the same rounds for all backends that took part in them."""
    draw = random.Random(seed)
    most = max(row.samples for row in found.rows)
    rounds = [draw.randrange(most) for _ in range(most)]
    rows = []
    for row in found.rows:
        kept = [i for i in rounds if i < row.samples] or list(range(row.samples))
        rows.append(replace(row, times_ms=tuple(row.times_ms[i] for i in kept)) if row.times_ms else row)
    return replace(found, rows=tuple(rows))


def truth_of(found: Measurement, blocks: dict[str, list[float]]) -> dict[str, float]:
    """Return the independent median of each backend that is right; two names of one kernel share their blocks."""
    safe = {row.backend: row.kernels for row in found.rows if row.state == "ok"}
    pooled: dict[str, float] = {}
    for name, kernels in safe.items():
        same = [other for other in safe if other == name or (kernels and safe[other] == kernels)]
        values = [value for other in same for value in blocks.get(other, ())]
        if values:
            pooled[name] = statistics.median(values)
    return pooled


def quality(record: dict[str, Any], found: Measurement, choice: Choice) -> dict[str, Any]:
    """Return a line of quality.csv."""
    events = record["truth"]
    blocks = record.get("truth_kernels") or events
    truth, between_events = truth_of(found, blocks), truth_of(found, events)
    best = min(truth, key=truth.__getitem__)
    default = statistics.median(blocks["torch"]) / truth[best] - 1
    line: dict[str, Any] = {"case": str(found.case), "truth_by": "events" if blocks is events else "kernels"}
    line |= {"truth_best": best, "truth_best_ms": round(truth[best], 5)}
    line |= {"choice": str(choice), "ties": " ".join(choice.ties), "choice_regret": regret(truth, str(choice))}
    drawn = [choose(resampled(found, seed), MARGIN) for seed in range(DRAWS)]
    line["resampled_worst_regret"] = max(regret(truth, str(one)) for one in drawn)
    line["resampled_agree"] = sum(one in choice.ties for one in drawn)
    for margin in ("0.01", "0.02"):
        said = [one[margin]["choice"] for one in record["again"]]
        usual = max(dict.fromkeys(said), key=said.count)
        ties = next(one[margin]["ties"] for one in record["again"] if one[margin]["choice"] == usual)
        line[f"tunes_{margin}"] = " ".join(f"{name}:{said.count(name)}" for name in dict.fromkeys(said))
        line[f"worst_regret_{margin}"] = max(regret(truth, one) for one in said)
        line[f"agree_{margin}"] = sum(one == usual or one in ties for one in said)
    line["worst_regret_0.02_events"] = max(regret(between_events, one["0.02"]["choice"]) for one in record["again"])
    line["tune_s"] = round(statistics.median(one["wall_s"] for one in record["again"]), 2)
    return line | {"default_regret": round(default, 4), "default_safe": int("torch" in truth)}


def regret(truth: dict[str, float], name: str) -> float:
    """Return what a choice loses to the best of the independent measurement, as a part of it."""
    return round(truth[name] / min(truth.values()) - 1, 4)


def main() -> int:
    """Write all of it; return 0."""
    *files, out = sys.argv[1:]
    records = [json.loads(line) for file in files for line in Path(file).read_text().splitlines()]
    found = [(record, Measurement.from_json(record["measurement"])) for record in records]
    found.sort(key=lambda one: tables.order(one[1]))
    folder = Path(out)
    tables.write(folder, [one for _, one in found], MARGIN)
    plots.write(folder, [one for _, one in found], MARGIN)
    lines = []
    for record, one in found:
        try:
            lines.append(quality(record, one, choose(one, MARGIN)))
        except NoUsableBackend as error:
            print(error)
    with (folder / "quality.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    print(f"{len(lines)} shapes")
    for key in (
        "choice_regret",
        "resampled_worst_regret",
        "worst_regret_0.01",
        "worst_regret_0.02",
        "worst_regret_0.02_events",
    ):
        values = [line[key] for line in lines]
        over = sum(value > 0.01 for value in values)
        print(f"{key}: worst {max(values):.2%}, mean {statistics.mean(values):.2%}, over 1 %: {over}")
    for key in ("resampled_agree", "agree_0.01", "agree_0.02"):
        print(f"{key}: {sum(line[key] for line in lines)} of {DRAWS * len(lines)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
