"""What Autotune itself costs a trial, beside Optuna, plain Snakemake and bare system calls: all in one run.

    pip install -r benchmarks/requirements.txt
    python benchmarks/overhead.py                # some minutes; --quick: 1,000 trials, under two minutes
    python benchmarks/overhead.py --write-docs   # docs/performance.{md,csv,png} too

The objective returns at once, so that all that is measured is overhead. CPU is user and system time of a command and of
all its descendants, which the kernel adds up (``wait4``); the peak memory is the largest single process's. Studies are
removed only at the end: ext4 without a journal gives out no inode again within one to five minutes of its removal, and
searches past all of those whenever a file is made. For the same reason run it where nobody has just removed many files.
"""

from __future__ import annotations

import argparse
import csv
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"

SPACE = {
    "lr": {"type": "loguniform", "low": 1e-5, "high": 1e-1},
    "dropout": {"type": "uniform", "low": 0.0, "high": 0.5},
    "width": {"type": "int", "low": 32, "high": 513, "step": 32},
    "optimizer": {"type": "choice", "options": ["sgd", "adam", "adamw"]},
}
OBJECTIVE = 'def objective(params, trial):\n    return params["lr"]\n'
SNAKEFILE = """rule all:
    input: [f"out/{number}" for number in range(int(config["jobs"]))]
rule job:
    output: "out/{number}"
    shell: "touch {output}"
"""


@dataclass(frozen=True)
class Cost:
    """What a command took; ``peak_mb`` is of its largest process."""

    cpu_s: float
    wall_s: float
    peak_mb: float


@dataclass(frozen=True)
class Limit:
    """One number of a target: the value that the measured one has to stay below."""

    what: str  # a property of Row
    below: float
    unit: str


@dataclass(frozen=True)
class Case:
    """One measurement: ``limits`` hold for these numbers of trials only, not for ``--quick``."""

    name: str
    group: str
    trials: int
    measure: Callable[[Bench, int], Cost]
    quick: int = 1_000
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True)
class Row:
    """A case as it was measured."""

    case: Case
    trials: int
    cost: Cost

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds a trial."""
        return 1000 * self.cost.cpu_s / self.trials

    @property
    def wall_ms(self) -> float:
        """Wall milliseconds a trial."""
        return 1000 * self.cost.wall_s / self.trials

    @property
    def cpu_s(self) -> float:
        """CPU seconds."""
        return self.cost.cpu_s

    @property
    def wall_s(self) -> float:
        """Wall seconds."""
        return self.cost.wall_s

    @property
    def peak_mb(self) -> float:
        """Memory of the largest process."""
        return self.cost.peak_mb

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The limits, where the case was measured as they mean it."""
        return self.case.limits if self.trials == self.case.trials else ()

    @property
    def target(self) -> str:
        """The target in words."""
        return ", ".join(f"< {limit.below:g} {limit.unit}" for limit in self.limits)

    @property
    def verdict(self) -> str:
        """``reached``, or by how much it was missed."""
        if not self.limits:
            return ""
        worst = max(getattr(self, limit.what) / limit.below for limit in self.limits)
        return f"reached ({worst:.2f} of it)" if worst < 1 else f"not reached: {worst:.2f} of the target"


class Bench:
    """The temporary folder of a run, and the commands that run in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._count = 0
        (root / "instant.py").write_text(OBJECTIVE)
        (root / "space.json").write_text(json.dumps(SPACE))
        (root / "Snakefile").write_text(SNAKEFILE)

    def fresh(self) -> Path:
        """Return a new folder."""
        self._count += 1
        folder = self.root / f"{self._count:02d}"
        folder.mkdir()
        return folder

    def command(self, argv: list[str], cwd: Path | None = None) -> Cost:
        """Run a command; its output is shown only where it fails."""
        with tempfile.TemporaryFile() as output:
            started = time.monotonic()
            process = subprocess.Popen(argv, cwd=cwd or self.root, stdout=output, stderr=output)
            _, status, usage = os.wait4(process.pid, 0)
            wall_s = time.monotonic() - started
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                output.seek(0)
                raise SystemExit(f"{' '.join(argv)} failed:\n{output.read().decode(errors='replace')}")
        return Cost(usage.ru_utime + usage.ru_stime, wall_s, usage.ru_maxrss / 1024)

    def autotune(self, command: str, *options: str) -> Cost:
        """Run an ``autotune`` command."""
        return self.command([sys.executable, "-m", "autotune.cli", command, *options])

    def self(self, what: str, trials: int) -> Cost:
        """Run one of PEERS in a process of its own, which says what its loop took: imports do not count."""
        argv = [sys.executable, __file__, "--peer", what, str(trials)]
        done = subprocess.run(argv, cwd=self.fresh(), stdout=subprocess.PIPE, text=True, check=True)
        return Cost(*json.loads(done.stdout.splitlines()[-1]))


def study(log_dir: str, trials: int, algo: str, isolation: str = "trial") -> list[str]:
    """Return the options of a study; ``auto`` makes four jobs for each processor."""
    return [
        *("--objective", "instant:objective", "--space", "space.json", "--algo", algo, "--max-trials", str(trials)),
        *("--trials-per-job", "auto", "--isolation", isolation, "--log-dir", log_dir),
    ]


def plan(algo: str) -> Callable[[Bench, int], Cost]:
    """Plan a new study."""
    return lambda bench, trials: bench.autotune("plan", *study(str(bench.fresh()), trials, algo))


def plan_again(bench: Bench, trials: int) -> Cost:
    """Plan what is planned already."""
    options = study(str(bench.fresh()), trials, "random")
    bench.autotune("plan", *options)
    return bench.autotune("plan", *options)


def whole(isolation: str) -> Callable[[Bench, int], Cost]:
    """Run a new study from the plan to the tables."""

    def measure(bench: Bench, trials: int) -> Cost:
        return bench.autotune("study", *study(f"whole-{isolation}-{trials}", trials, "random", isolation))

    return measure


def again(bench: Bench, trials: int) -> Cost:
    """Run a study again that is done: whichever was run before, or a new one."""
    options = study(f"whole-none-{trials}", trials, "random", "none")
    if not (bench.root / options[-1] / "best.json").exists():
        bench.autotune("study", *options)
    return bench.autotune("study", *options)


def aggregate(bench: Bench, trials: int) -> Cost:
    """Aggregate a study that is done."""
    again(bench, trials)
    return bench.autotune("aggregate", "--log-dir", f"whole-none-{trials}")


def snakemake(scheduler: str) -> Callable[[Bench, int], Cost]:
    """Run plain Snakemake, one job a trial, each of which only touches its output."""

    def measure(bench: Bench, jobs: int) -> Cost:
        argv = [sys.executable, "-m", "snakemake", "--snakefile", str(bench.root / "Snakefile"), "--cores", "all"]
        return bench.command([*argv, "--scheduler", scheduler, "--config", f"jobs={jobs}"], bench.fresh())

    return measure


def peer(name: str) -> Callable[[Bench, int], Cost]:
    """Run one of PEERS."""
    return lambda bench, trials: bench.self(name, trials)


PLAN = (Limit("cpu_s", 2, "CPU-s"),)
PLAN_LARGE = (Limit("cpu_s", 20, "CPU-s"), Limit("peak_mb", 500, "MB"))
CASES = (
    Case("os.fork, bare", "floor", 5_000, peer("fork")),
    Case("JSON file, write and rename, bare", "floor", 100_000, peer("json-file")),
    *(Case(f"plan, {algo}", "autotune", 10_000, plan(algo), limits=PLAN) for algo in ("random", "sobol", "lhs")),
    *(Case(f"plan, {algo}", "autotune", 100_000, plan(algo), limits=PLAN_LARGE) for algo in ("random", "sobol", "lhs")),
    Case("plan again", "autotune", 100_000, plan_again),
    Case(
        *("study, isolation trial", "autotune", 10_000, whole("trial")),
        limits=(Limit("cpu_ms", 3, "CPU-ms"), Limit("wall_ms", 3, "ms a trial")),
    ),
    Case(
        *("study, isolation worker", "autotune", 10_000, whole("worker")),
        limits=(Limit("cpu_ms", 1, "CPU-ms"), Limit("wall_ms", 1, "ms a trial")),
    ),
    Case("study, isolation none", "autotune", 10_000, whole("none")),
    Case(
        *("study, isolation none", "autotune", 100_000, whole("none")),
        limits=(Limit("cpu_ms", 0.5, "CPU-ms a trial"), Limit("wall_s", 60, "s")),
    ),
    Case("study again, all done", "autotune", 100_000, again, limits=(Limit("wall_s", 10, "s"),)),
    Case(
        *("aggregate", "autotune", 100_000, aggregate),
        limits=(Limit("wall_s", 10, "s"), Limit("peak_mb", 1000, "MB")),
    ),
    Case("Optuna, in memory", "peer", 1_000, peer("optuna-memory"), quick=200),
    Case("Optuna, journal file", "peer", 1_000, peer("optuna-journal"), quick=200),
    Case("Optuna, SQLite", "peer", 300, peer("optuna-sqlite"), quick=50),
    Case("Snakemake, a job a trial, greedy", "peer", 300, snakemake("greedy"), quick=100),
    Case("Snakemake, a job a trial, greedy", "peer", 1_000, snakemake("greedy"), quick=100),
    Case("Snakemake, a job a trial, ilp (default)", "peer", 300, snakemake("ilp"), quick=100),
    Case("Snakemake, a job a trial, ilp (default)", "peer", 1_000, snakemake("ilp"), quick=100),
)

# Peers: each in a process of its own, in an empty folder


def run_peer(name: str, trials: int) -> None:
    """Run a peer here; print CPU seconds, wall seconds and peak MB of its loop as JSON."""
    loop = PEERS[name]()
    before, started = os.times(), time.monotonic()
    loop(trials)
    cpu_s = sum(os.times()[:4]) - sum(before[:4])
    wall_s = time.monotonic() - started
    import resource

    print(json.dumps([cpu_s, wall_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))


def _optuna(storage: str) -> Callable[[int], None]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def objective(trial: optuna.Trial) -> float:
        trial.suggest_float("dropout", 0.0, 0.5)
        trial.suggest_int("width", 32, 512, step=32)
        trial.suggest_categorical("optimizer", ["sgd", "adam", "adamw"])
        return float(trial.suggest_float("lr", 1e-5, 1e-1, log=True))

    def loop(trials: int) -> None:
        if storage == "journal":
            where = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend("journal.log"))
        else:
            where = "sqlite:///optuna.db" if storage == "sqlite" else None
        study = optuna.create_study(storage=where, sampler=optuna.samplers.RandomSampler(seed=0))
        study.optimize(objective, n_trials=trials)

    return loop


def _fork(trials: int) -> None:
    for _ in range(trials):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)


def _json_file(trials: int) -> None:
    for number in range(trials):
        record = {"number": number, "params": {"lr": 0.1, "width": 64}, "metrics": {"loss": 0.5}, "state": "complete"}
        with open("temporary", "w", encoding="utf-8") as file:
            json.dump(record, file)
        os.replace("temporary", f"trial_{number:05d}.json")


PEERS: dict[str, Callable[[], Callable[[int], None]]] = {
    "optuna-memory": lambda: _optuna("memory"),
    "optuna-journal": lambda: _optuna("journal"),
    "optuna-sqlite": lambda: _optuna("sqlite"),
    "fork": lambda: _fork,
    "json-file": lambda: _json_file,
}

# Output

HEADER = ("what", "trials", "CPU s", "wall s", "peak MB", "CPU ms a trial", "x isolation trial", "target", "verdict")


def reference(rows: list[Row]) -> float | None:
    """Return the CPU milliseconds of a trial in a process of its own, which the others are compared with."""
    return next((row.cpu_ms for row in rows if row.case.name == "study, isolation trial"), None)


def cells(row: Row, base: float | None) -> tuple[str, ...]:
    """Return a row as text."""
    cost = row.cost
    ratio = "" if base is None else f"{row.cpu_ms / base:.2g}" if row.cpu_ms < 10 * base else f"{row.cpu_ms / base:.0f}"
    return (
        *(row.case.name, f"{row.trials:,}", f"{cost.cpu_s:.1f}", f"{cost.wall_s:.1f}", f"{cost.peak_mb:.0f}"),
        *(f"{row.cpu_ms:.3g}", ratio, row.target, row.verdict),
    )


def growth(rows: list[Row]) -> Iterator[tuple[str, str, str]]:
    """Yield what, measured and verdict: how the CPU a trial grows from 10,000 to 100,000 trials."""
    by_name = {(row.case.name, row.trials): row.cpu_ms for row in rows}
    for name, trials in by_name:
        if trials == 10_000 and (name, 100_000) in by_name:
            ratio = by_name[name, 100_000] / by_name[name, 10_000]
            yield name, f"{ratio:.2f}", "reached" if ratio < 1.5 else f"not reached: {ratio / 1.5:.2f} of the target"


def markdown(rows: list[Row], machine: list[str]) -> str:
    """Return the machine and the tables as Markdown."""
    base = reference(rows)
    lines = [*(f"- {line}" for line in machine), "", *_markdown_table(HEADER, [cells(row, base) for row in rows])]
    table = list(growth(rows))
    if table:
        lines += ["", "CPU a trial at 100,000 trials, as a multiple of that at 10,000 (target: < 1.5):", ""]
        lines += _markdown_table(("what", "ratio", "verdict"), table)
    return "\n".join(lines) + "\n"


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    right = [all(row[place][:1].isdigit() for row in rows if row[place]) for place in range(len(header))]
    rule = ["---:" if is_right else "---" for is_right in right]
    return ["| " + " | ".join(line) + " |" for line in (header, rule, *rows)]


def show(rows: list[Row], machine: list[str]) -> None:
    """Print the tables."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=max(170, shutil.get_terminal_size().columns) if not sys.stdout.isatty() else None)
    table = Table(*HEADER, box=None, header_style="bold")
    for column in table.columns[1:7]:
        column.justify = "right"
    base, before = reference(rows), None
    for row in rows:
        table.add_section() if before not in (None, row.case.group) else None
        before = row.case.group
        table.add_row(*cells(row, base))
    console.print(table)
    for name, ratio, verdict in growth(rows):
        console.print(f"growth of {name} from 10,000 to 100,000 trials: {ratio} (target: < 1.5), {verdict}")
    for line in machine:
        console.print(line, style="dim", highlight=False)


def write_csv(rows: list[Row], path: Path) -> None:
    """Write the rows as CSV, unrounded."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            [*("what", "group", "trials", "cpu_s", "wall_s", "peak_mb", "cpu_ms_per_trial", "target", "verdict")]
        )
        for row in rows:
            numbers = (f"{number:.6g}" for number in (row.cpu_s, row.wall_s, row.peak_mb, row.cpu_ms))
            writer.writerow([row.case.name, row.case.group, row.trials, *numbers, row.target, row.verdict])


def plot(rows: list[Row], path: Path) -> None:
    """Draw CPU milliseconds a trial as bars on a logarithmic axis."""
    try:
        import matplotlib as mpl
    except ImportError:
        print("no plot: pip install -r benchmarks/requirements.txt", file=sys.stderr)
        return
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    colours = {"autotune": "#1f77b4", "peer": "#d95f02", "floor": "#999999"}
    names = [f"{row.case.name} ({row.trials:,})" for row in rows]
    figure, axes = plt.subplots(figsize=(9, 0.32 * len(rows) + 1.2))
    bars = axes.barh(names, [row.cpu_ms for row in rows], color=[colours[row.case.group] for row in rows])
    axes.bar_label(bars, [f" {row.cpu_ms:.2g}" for row in rows], fontsize=8)
    axes.set_xscale("log")
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.tick_params(axis="y", labelsize=8)
    axes.set_xlabel("CPU milliseconds a trial (or job), logarithmic")
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def machine_lines(started_load: float) -> list[str]:
    """Say what this ran on."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = ("snakemake", "scipy", "pandas", "optuna")
    versions = [f"{name} {_version(name)}" for name in packages]
    load = f"{started_load:.1f} at the start, {os.getloadavg()[0]:.1f} at the end"
    return [
        f"{os.cpu_count()} processors, {memory_gib:.0f} GiB of memory, {platform.system()} {platform.release()}",
        f"files on {_file_system()}; average load {load}",
        f"Python {platform.python_version()}, {', '.join(versions)}",
    ]


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def _file_system() -> str:
    """Return the type of the file system that holds the temporary folder."""
    best = ("", "")
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        for line in mounts:
            place, kind = line.split()[1:3]
            if os.path.commonpath([place, tempfile.gettempdir()]) == place and len(place) >= len(best[0]):
                best = (place, kind)
    return best[1]


def write_docs(rows: list[Row], machine: list[str]) -> None:
    """Put the tables into docs/performance.md, and the CSV and the plot beside it."""
    page = DOCS / "performance.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n\n{markdown(rows, machine)}\n{END}{after}", encoding="utf-8")
    write_csv(rows, DOCS / "performance.csv")
    plot(rows, DOCS / "performance.png")


def main() -> int:
    """Measure, print, write; return 1 where a target was not reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1,000 trials instead of 10,000 and 100,000; no verdicts")
    parser.add_argument(
        "--only", metavar="NAME", action="append", help="only cases with this in their name; may repeat"
    )
    parser.add_argument("--out", metavar="DIR", type=Path, help="write overhead.csv and overhead.png there")
    parser.add_argument("--write-docs", action="store_true", help="write docs/performance.{md,csv,png}")
    parser.add_argument("--peer", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        run_peer(args.peer[0], int(args.peer[1]))
        return 0
    load = os.getloadavg()[0]
    # Shown before the folder goes: to remove a million files takes minutes.
    with tempfile.TemporaryDirectory(prefix="autotune-overhead-") as folder:
        rows = list(_measured(Bench(Path(folder)), _chosen(args.only, quick=args.quick), quick=args.quick))
        machine = machine_lines(load)
        show(rows, machine)
        if args.out:
            args.out.mkdir(parents=True, exist_ok=True)
            write_csv(rows, args.out / "overhead.csv")
            plot(rows, args.out / "overhead.png")
        if args.write_docs:
            write_docs(rows, machine)
        print("removing the studies ...", file=sys.stderr)
    return int(any(row.verdict.startswith("not") for row in rows))


def _measured(bench: Bench, cases: list[Case], *, quick: bool) -> Iterator[Row]:
    # Once, unmeasured: the first to import SciPy, Snakemake and pandas reads them from a cold disk, and compiles them
    # where nobody has; that would count against whichever case comes first.
    bench.autotune("study", *study("warm-up", 1, "sobol"))
    for case in cases:
        trials = case.quick if quick else case.trials
        if case.name.startswith("Optuna") and _version("optuna") == "(not installed)":
            print(f"no {case.name}: pip install -r benchmarks/requirements.txt", file=sys.stderr)
            continue
        print(f"{case.name}, {trials:,} ...", end=" ", file=sys.stderr, flush=True)
        row = Row(case, trials, case.measure(bench, trials))
        print(f"{row.cpu_s:.1f} CPU-s, {row.wall_s:.1f} s", file=sys.stderr, flush=True)
        yield row


def _chosen(only: list[str] | None, *, quick: bool) -> list[Case]:
    cases = [case for case in CASES if not only or any(word in f"{case.name}, {case.trials}" for word in only)]
    if quick:  # the same case for two numbers of trials is one case now
        cases = list({case.name: case for case in cases}.values())
    return cases


if __name__ == "__main__":
    sys.exit(main())
