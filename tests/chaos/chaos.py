"""Chaos: studies are killed by SIGKILL at random moments and started again until they are done; then nothing is lost.

    python tests/chaos/chaos.py --studies 20 --kills 200 --seed 1

What a kill is entitled to: that of a batch's job, or of a trial, to one more execution of one trial of that batch, the
one in flight (of as many as the job has slots); that of Snakemake, of `autotune study` or of `autotune aggregate` to
none. Everything else that is executed again, and every difference from the same study undisturbed, is a fault.

Moments are chosen by chance, by what is on disk (so many configs, so many results, `autotune aggregate` at work), and
by a fuse (inject/sitecustomize.py): a process dies right before it renames a temporary file, whole or half, into place.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import csv
import fcntl
import itertools
import json
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT)]

import processes  # noqa: E402  beside this file
from processes import Handle, Process  # noqa: E402
from studies import SHAPES, TRIALS, Shape  # noqa: E402

from autotune import snakemake  # noqa: E402
from autotune.batching import is_settled  # noqa: E402
from autotune.errors import AutotuneError, UnreadableFile  # noqa: E402
from autotune.files import read_record  # noqa: E402
from autotune.storage import StudyDir  # noqa: E402
from autotune.study_file import load_config  # noqa: E402

PHASES = ("planning", "running", "aggregating")
KINDS = ("study", "snakemake", "batch", "trial", "aggregate", "group", "tree")
_RUN_LIMIT_S = 180.0  # a run that takes longer hangs
_DEATH_S = 5.0  # how long what a killed process leaves behind may live
_RUNS_WITHOUT_KILL = 8  # a study that is not done by then never will be
_PLANNING_KILLS = 2  # in one study, at most
_AGGREGATING_KILLS = 2  # that are kept back until all trials have an outcome
_TIMES = ("duration_s", "attempt", "host", "gpus", "started_at")


@dataclass
class Kill:
    """A kill: when, as positions in the objective's log, and which jobs it hit, by the trials of their batches."""

    kind: str
    phase: str
    before: int
    after: int = 0
    hit: list[range] = field(default_factory=list)
    outcomes: frozenset[int] = frozenset()  # trials that had one; known to be so at `before`
    note: str = ""


@dataclass
class Start:
    """A start of a trial in the objective's log."""

    offset: int
    attempt: int
    pid: int
    failed: bool = False
    ended: int | None = None  # offset of its end, where it came to one


@dataclass
class Report:
    """What came of one study."""

    shape: str
    kills: list[Kill]
    runs: int = 0
    executed: int = 0
    in_flight: int = 0
    lost: list[str] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)  # executed again without being entitled to it
    other: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """Everything that must not be."""
        return [
            f"{name}: {fault}"
            for name in ("lost", "corrupt", "duplicated", "wrong", "other")
            for fault in getattr(self, name)
        ]


class Chaos:
    """One study, killed and started again until it is done."""

    def __init__(self, shape: Shape, folder: Path, chance: random.Random, kills: int) -> None:
        self.shape, self.folder, self.chance, self.wanted = shape, folder, chance, kills
        self.slots = int(shape.options.get("slots_per_job", 1))  # trials that a job has in flight
        self.mark = f"CHAOS_MARK={uuid.uuid4().hex}"
        self.log = folder.with_suffix(".log")
        self.fuse = folder.with_suffix(".fuse")
        self.store = StudyDir(folder / ".autotune")
        self.kills: list[Kill] = []
        self.report = Report(shape.name, self.kills)
        self.lone_trials = shape.options["isolation"] != "none" and "on_failure" not in shape.options
        shape.write(folder)
        self.log.touch()
        name, value = self.mark.split("=")
        self.environment = {
            **{key: item for key, item in os.environ.items() if not key.startswith(("AUTOTUNE_", "SNAKEMAKE_"))},
            "PATH": os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([str(HERE / "inject"), str(ROOT)]),
            "CHAOS_LOG": str(self.log),
            "CHAOS_FUSE": str(self.fuse),
            "CUDA_VISIBLE_DEVICES": "",
            name: value,
        }

    # Running

    def run(self) -> Report:
        """Run and kill until the study is done; leave no process."""
        try:
            self._run_until_done()
        finally:
            for process in processes.stop_all(self.mark):
                self.report.other.append(f"process {process.pid} was left: {process.argv}")
                with contextlib.closing(Handle(process, self.mark)) as handle:
                    handle.send(signal.SIGKILL)
        return self.report

    def _run_until_done(self) -> None:
        unkilled = 0
        while unkilled < _RUNS_WITHOUT_KILL:
            killed = len(self.kills)
            status = self._run_once()
            # What earlier kills orphaned may be at work still: then the study is done when a run after them says so.
            is_last = not processes.find(self.mark)
            if status is None or (status == 0 and is_last):
                return
            if status == 0 and (left := processes.wait_for_none(self.mark, _RUN_LIMIT_S)):
                self.report.other += [f"process {item.pid} is still there: {item.argv}" for item in left]
                return
            unkilled = unkilled + 1 if len(self.kills) == killed else 0
        self.report.other.append(f"not done after {_RUNS_WITHOUT_KILL} runs that nobody disturbed")

    def _run_once(self) -> int | None:
        """Start the command, kill what chance says, return the exit status; None where it hangs."""
        self.report.runs += 1
        started = time.monotonic()
        with open(self.folder.with_suffix(".out"), "ab") as out:
            run = subprocess.Popen(
                [sys.executable, "-m", "autotune.cli", "study", "study.yaml", "-j", "2"],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        while run.poll() is None:
            if len(self.kills) < self.wanted:
                self._strike(run)
            else:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    run.wait(_RUN_LIMIT_S)
            if time.monotonic() - started > _RUN_LIMIT_S:
                self.report.other.append(f"a run took longer than {_RUN_LIMIT_S:g} s: {self._describe()}")
                return None
        self._look_at_fuse()
        return run.returncode

    def _describe(self) -> str:
        return "; ".join(f"{item.pid} {item.role} {' '.join(item.argv)[-80:]}" for item in processes.find(self.mark))

    # Striking

    def _phase(self) -> str:
        if self._count("configs") < TRIALS or not os.path.exists(self.store.study_file):
            return "planning"
        return "running" if len(self._outcomes()) < TRIALS else "aggregating"

    def _count(self, folder: str) -> int:
        try:
            with os.scandir(self.folder / ".autotune" / folder) as entries:
                return sum(entry.name.startswith("trial_") for entry in entries)
        except FileNotFoundError:
            return 0

    def _outcomes(self) -> frozenset[int]:
        options = self.shape.options
        rule = options.get("on_failure", "rerun"), int(options.get("attempts", 1))
        found = set()
        for number in range(TRIALS):
            with contextlib.suppress(UnreadableFile):
                result = self.store.read_result(number)
                if result is not None and result.settles(*rule):
                    found.add(number)
        return frozenset(found)

    def _strike(self, run: subprocess.Popen[bytes]) -> None:
        """Wait for the moment that chance and the phase name, then kill."""
        phase = self._phase()
        of_phase = sum(kill.phase == phase for kill in self.kills)
        is_kept_back = phase != "aggregating" and len(self.kills) >= self.wanted - _AGGREGATING_KILLS
        if is_kept_back or (phase == "planning" and of_phase >= _PLANNING_KILLS):
            self._sleep(run, 0.01)
            return
        getattr(self, f"_strike_{phase}")(run)
        self._look_at_fuse()

    def _strike_planning(self, run: subprocess.Popen[bytes]) -> None:
        if self.chance.random() < 0.4:
            self._burn(run, r"/(configs/trial_00\d[0-9]7|batches/index|study)\.json$", "planning")
            return
        wanted = self.chance.randrange(self._count("configs"), TRIALS + 5)
        while run.poll() is None and self._count("configs") <= wanted and self._phase() == "planning":
            pass
        if run.poll() is None:
            self._kill(self.chance.choice(("study", "study", "group", "tree")), run, self._phase())

    def _strike_running(self, run: subprocess.Popen[bytes]) -> None:
        if self.chance.random() < 0.2:
            pattern = self.chance.choice((r"/trials/trial_00\d\d[0-9]\.json$", r"/batches/\d+-\d+-\w+\.json$"))
            self._burn(run, pattern, "running")
            return
        if self.chance.random() < 0.15:  # at any moment, start-up included
            self._sleep(run, self.chance.uniform(0.0, 3.0))
        else:
            wanted = self._count("trials") + self.chance.randrange(1, 22)
            if self.kills and self.kills[-1].kind == "study":  # let the orphaned Snakemake and the new one overlap
                wanted += 40
            deadline = time.monotonic() + 20
            while run.poll() is None and self._count("trials") < min(wanted, TRIALS) and time.monotonic() < deadline:
                time.sleep(0.002)
            self._sleep(run, self.chance.uniform(0.0, 0.05))
        kinds = ["study", "study", "snakemake", "snakemake", "batch", "batch", "group", "tree"]
        kinds += ["trial", "trial"] * self.lone_trials
        if run.poll() is None:
            self._kill(self.chance.choice(kinds), run, self._phase())

    def _strike_aggregating(self, run: subprocess.Popen[bytes]) -> None:
        if self.chance.random() < 0.4:
            self._burn(run, r"/(trials\.csv|scalars\.csv|best\.json|\d+-\d+-\w+\.json)$", "aggregating")
            return
        while run.poll() is None and not any(item.role == "aggregate" for item in processes.find(self.mark)):
            time.sleep(0.005)
        self._sleep(run, self.chance.uniform(0.0, 1.0))
        if run.poll() is None:
            kinds = ("aggregate", "aggregate", "study", "snakemake", "group", "tree")
            self._kill(self.chance.choice(kinds), run, "aggregating")

    def _sleep(self, run: subprocess.Popen[bytes], seconds: float) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.wait(seconds)

    def _burn(self, run: subprocess.Popen[bytes], pattern: str, phase: str) -> None:
        """Have the next process that renames such a file into place die right before it does."""
        self._armed = Kill("", phase, self._position(), outcomes=self._outcomes())
        self._armed.before = self._position()
        temporary = self.fuse.with_suffix(".new")
        temporary.write_text(f"{pattern}\n{self.chance.choice(('half', 'whole'))}\n")
        os.replace(temporary, self.fuse)
        deadline = time.monotonic() + 6
        while run.poll() is None and self.fuse.exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        with contextlib.suppress(FileNotFoundError):
            self.fuse.unlink()
            self._armed = None

    _armed: Kill | None = None

    def _look_at_fuse(self) -> None:
        """Count the kill by a fuse, if one has burnt."""
        kill, self._armed = self._armed, None
        if kill is None:
            return
        burnt = Path(str(self.fuse) + ".burnt")
        deadline = time.monotonic() + _DEATH_S
        while not burnt.exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.05)
        _, *argv = burnt.read_text().splitlines()
        burnt.unlink()
        kill.kind = next((name for name in ("batch", "aggregate", "study") if name in " ".join(argv)), "study")
        if kill.kind == "batch":
            kill.hit = [processes.trials_of(argv)] * self.slots
        kill.note = "at a rename"
        kill.after = self._position()
        self.kills.append(kill)
        self._look_at_files(kill)

    def _kill(self, kind: str, run: subprocess.Popen[bytes], phase: str) -> None:
        """Stop the victims, note what is on disk, kill them, and wait until all below them is dead as well."""
        if kind in ("group", "tree"):
            victims = self._stop_group(run) if kind == "group" else processes.stop_all(self.mark)
            hit = [victim.trials for victim in victims if victim.role == "batch"] * self.slots
        else:
            roles = {"trial": ("trial", "slot")}.get(kind, (kind,))
            there = [item for item in processes.find(self.mark) if item.role in roles]
            if not there:
                return
            victims = [self.chance.choice(there)]
            hit = [victims[0].trials] * {"batch": self.slots, "trial": 1}.get(kind, 0)
            if kind == "trial" and not hit[0]:  # the program of a command: its runner's command line names the batch
                hit = [self._batch_above(victims[0])]
        everybody = processes.find(self.mark)
        deep = {below.pid: below for victim in victims for below in processes.below(victim, everybody)}
        if kind in ("study", "snakemake", "aggregate", "group"):
            deep = {victim.pid: victim for victim in victims}
            deep |= {
                child.pid: child
                for item in victims
                if item.role == "batch"
                for child in processes.below(item, everybody)
            }
        handles = [Handle(item, self.mark) for item in deep.values()]
        of_victims = [handle for handle in handles if handle.process.pid in {victim.pid for victim in victims}]
        sent = [handle.send(signal.SIGSTOP) for handle in of_victims]
        kill = Kill(kind, phase, 0, hit=[trials for trials in hit if trials], outcomes=self._outcomes())
        kill.before = self._position()
        for handle in of_victims:
            handle.send(signal.SIGKILL)
        for handle in handles:
            if not handle.wait(_DEATH_S):
                self.report.other.append(f"{handle.process.role} outlived its killed parent by {_DEATH_S:g} s")
            handle.close()
        kill.after = self._position()
        if any(sent):
            self.kills.append(kill)
            self._look_at_files(kill)

    def _stop_group(self, run: subprocess.Popen[bytes]) -> list[Process]:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGSTOP)  # a session of our own making
        return [item for item in processes.find(self.mark) if item.group == run.pid]

    def _batch_above(self, process: Process) -> range:
        by_pid = {item.pid: item for item in processes.find(self.mark)}
        parent = by_pid.get(process.parent)
        return range(0) if parent is None else parent.trials

    def _look_at_files(self, kill: Kill) -> None:
        """Check that at this moment, whoever is dead, every file that is there is whole."""
        names = [os.path.join(self.store.root, name) for name in ("study.json", "best.json")]
        for folder in ("configs", "batches", "trials"):
            with contextlib.suppress(FileNotFoundError), os.scandir(os.path.join(self.store.root, folder)) as entries:
                names += [entry.path for entry in entries if not entry.name.startswith(".")]
        for name in names:
            try:
                read_record(name)
            except FileNotFoundError:
                pass
            except UnreadableFile as error:
                self.report.corrupt.append(f"after a kill ({kill.kind}): {error}")

    def _position(self) -> int:
        return self.log.stat().st_size


# Looking for faults


def read_log(path: Path) -> tuple[dict[int, list[Start]], int]:
    """Return the starts of each trial, and how many there were in all."""
    starts: dict[int, list[Start]] = collections.defaultdict(list)
    offset = 0
    for line in path.read_bytes().splitlines(keepends=True):
        what, number, attempt, pid = line.split()
        if what == b"start":
            starts[int(number)].append(Start(offset, int(attempt), int(pid)))
        else:
            last = next(start for start in reversed(starts[int(number)]) if start.pid == int(pid))
            last.failed, last.ended = what == b"fail", offset
        offset += len(line)
    return starts, sum(len(items) for items in starts.values())


def check_executions(chaos: Chaos) -> None:
    """Check that nothing was executed again but what was in flight at a kill, or had failed."""
    report = chaos.report
    starts, report.executed = read_log(chaos.log)
    slots = [(kill, trials) for kill in chaos.kills for trials in kill.hit]
    gaps = []
    for number, items in sorted(starts.items()):
        failures = 0
        for first, second in itertools.pairwise(items):
            if first.ended is not None and first.ended > second.offset:
                report.duplicated.append(
                    f"trial {number} was executed by {first.pid} and {second.pid} at the same time"
                )
            if first.failed and second.attempt == first.attempt + 1:
                failures += 1
            else:
                gaps.append((number, first, second))
        if failures > chaos.shape.planned_failures(number):
            report.wrong.append(f"trial {number} failed {failures} times and was executed again")
        for kill in chaos.kills:
            if number in kill.outcomes and any(start.offset >= kill.before for start in items):
                report.wrong.append(f"trial {number} had an outcome at a kill ({kill.kind}), and started after it")
    unmatched = _unmatched(gaps, slots)
    report.in_flight = len(gaps) - len(unmatched)
    for number, first, second in unmatched:
        report.wrong.append(
            f"trial {number} (pid {first.pid}, then {second.pid}) was executed again, and no kill hit it"
        )
    report.lost += [f"trial {number} was never started" for number in range(TRIALS) if number not in starts]


def _unmatched(gaps: list[tuple[int, Start, Start]], slots: list[tuple[Kill, range]]) -> list[tuple[int, Start, Start]]:
    """Give each execution that was repeated a kill of its own that entitles to it; return those that get none."""
    taken: dict[int, int] = {}  # slot -> gap

    def fits(gap: int, slot: int) -> bool:
        number, first, second = gaps[gap]
        kill, trials = slots[slot]
        return number in trials and first.offset < kill.after and second.offset >= kill.before

    def give(gap: int, tried: set[int]) -> bool:
        for slot in range(len(slots)):
            if slot not in tried and fits(gap, slot):
                tried.add(slot)
                if slot not in taken or give(taken[slot], tried):
                    taken[slot] = gap
                    return True
        return False

    return [gaps[gap] for gap in range(len(gaps)) if not give(gap, set())]


def check_results(chaos: Chaos) -> None:
    """Check that every trial has one whole result that settles it."""
    report, store = chaos.report, chaos.store
    names = {os.path.basename(store.result_file(number)) for number in range(TRIALS)}
    report.duplicated += [
        f"{name} in trials/" for name in sorted(set(os.listdir(chaos.folder / ".autotune/trials")) - names)
    ]
    study = store.read_study()
    for number in range(TRIALS):
        try:
            result, config = store.read_result(number), store.read_config(number)
        except (AutotuneError, ValueError) as error:
            report.corrupt.append(str(error))
            continue
        if result is None or not result.settles(study["on_failure"], study["attempts"]):
            report.lost.append(f"trial {number} has no outcome")
        elif (result.number, result.id, result.params) != (number, config.id, config.params):
            report.corrupt.append(f"the result of trial {number} is another's")


def check_directory(chaos: Chaos) -> None:
    """Check that no temporary file, no lock and nothing to do is left, and all batches are settled."""
    other, store = chaos.report.other, chaos.store
    for folder, _, names in os.walk(store.root):
        other += [f"stray {os.path.join(folder, name)}" for name in names if re.fullmatch(r"\..*\.tmp", name)]
    with open(store.lock_file, "rb") as file:
        whole = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        if struct.unpack("hhqqi4x", fcntl.fcntl(file, fcntl.F_OFD_GETLK, whole))[0] != fcntl.F_UNLCK:
            other.append("a lock is held")
    config, sizes, records = load_config(str(chaos.folder / "study.yaml")), store.result_sizes(), store.batch_records()
    for batch in store.batches():
        if batch.name not in records or not is_settled(records[batch.name], config, sizes, batch):
            other.append(f"batch {batch.name} is not settled")
    dry = subprocess.run(
        snakemake.command(StudyDir(".autotune"), store.read_study(), ["-n"]),
        cwd=chaos.folder,
        env=chaos.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if dry.returncode or "Nothing to be done" not in dry.stdout + dry.stderr:
        other.append(f"snakemake -n: {(dry.stdout + dry.stderr)[-500:]}")


def tables(folder: Path) -> dict[str, object]:
    """Return what a study came to, without times and places."""
    store = StudyDir(folder / ".autotune")
    trials = [{k: v for k, v in row.items() if k not in _TIMES} for row in _rows(store.trials_file)]
    scalars = [{k: v for k, v in row.items() if k != "time"} for row in _rows(store.scalars_file)]
    return {"trials.csv": trials, "scalars.csv": scalars, "best.json": json.loads(Path(store.best_file).read_bytes())}


def _rows(path: str) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def check_tables(chaos: Chaos, undisturbed: dict[str, object]) -> None:
    """Check that the study came to what it comes to undisturbed."""
    for name, table in tables(chaos.folder).items():
        if table != undisturbed[name]:
            chaos.report.lost.append(f"{name} differs from that of an undisturbed run")


def undisturbed(shape: Shape, folder: Path) -> dict[str, object]:
    """Run the study without a kill; return its tables."""
    calm = Chaos(shape, folder, random.Random(0), kills=0)
    report = calm.run()
    check_executions(calm)
    check_results(calm)
    if report.faults or report.in_flight:
        raise SystemExit(f"{shape.name} is at fault undisturbed: {report.faults[:5]}")
    return tables(folder)


# The whole


def main() -> int:
    """Run as many studies and kills as are asked for; 1 where anything was lost, corrupt or wrongly executed again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=20)
    parser.add_argument("--kills", type=int, default=200, help="at least so many, over all studies")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="studies of this shape alone: " + ", ".join(shape.name for shape in SHAPES))
    parser.add_argument(
        "--keep", action="store_true", help="keep the folder of every study, not of those at fault alone"
    )
    args = parser.parse_args()
    shapes = [shape for shape in SHAPES if args.only in (None, shape.name)]
    folder = Path(tempfile.mkdtemp(prefix="autotune-chaos-"))
    calm: dict[str, dict[str, object]] = {}
    reports: list[Report] = []
    started = time.monotonic()
    while len(reports) < args.studies or sum(len(report.kills) for report in reports) < args.kills:
        number = len(reports)
        shape = shapes[number % len(shapes)]
        if shape.name not in calm:
            calm[shape.name] = undisturbed(shape, folder / f"calm-{shape.name}")
        due = args.kills - sum(len(report.kills) for report in reports)
        kills = max(1, -(-due // max(1, args.studies - number)))
        chaos = Chaos(shape, folder / f"study-{number:02d}", random.Random(args.seed * 1000 + number), kills)
        began = time.monotonic()
        report = chaos.run()
        check_executions(chaos)
        try:
            check_results(chaos)
            check_tables(chaos, calm[shape.name])
            check_directory(chaos)
        except (AutotuneError, OSError, ValueError) as error:
            report.other.append(f"{type(error).__name__}: {error}")
        reports.append(report)
        print(_line(number, report, time.monotonic() - began), flush=True)
        for fault in report.faults:
            print(f"   FAULT {fault}", flush=True)
        if not report.faults and not args.keep:
            shutil.rmtree(chaos.folder)
    print_table(reports, time.monotonic() - started)
    is_at_fault = any(report.faults for report in reports)
    if is_at_fault:
        print(f"the studies at fault are in {folder}; run again with --seed {args.seed}")
    elif not args.keep:
        shutil.rmtree(folder)
    return int(is_at_fault)


def _line(number: int, report: Report, seconds: float) -> str:
    return (
        f"{number:3d} {report.shape:20s} {len(report.kills):3d} kills {report.runs:3d} runs "
        f"{report.executed:4d} executed {report.in_flight:3d} in flight {len(report.faults):2d} faults {seconds:6.1f} s"
    )


def print_table(reports: list[Report], seconds: float) -> None:
    """Print kills by kind and phase, and what they came to."""
    kills = [kill for report in reports for kill in report.kills]
    counts = collections.Counter((kill.kind, kill.phase) for kill in kills)
    renames = collections.Counter(kill.kind for kill in kills if kill.note)
    print(f"\n{'killed':12s}" + "".join(f"{phase:>13s}" for phase in PHASES) + f"{'all':>8s}{'at a rename':>13s}")
    for kind in KINDS:
        row = [counts[kind, phase] for phase in PHASES]
        print(f"{kind:12s}" + "".join(f"{n:13d}" for n in row) + f"{sum(row):8d}{renames[kind]:13d}")
    row = [sum(counts[kind, phase] for kind in KINDS) for phase in PHASES]
    print(f"{'all':12s}" + "".join(f"{n:13d}" for n in row) + f"{sum(row):8d}{sum(renames.values()):13d}\n")
    rows = {
        "studies": len(reports),
        "kills": len(kills),
        "runs of the command": sum(report.runs for report in reports),
        "trials planned": TRIALS * len(reports),
        "trials executed": sum(report.executed for report in reports),
        "re-executed, in flight at a kill": sum(report.in_flight for report in reports),
        "re-executed wrongly": sum(len(report.wrong) for report in reports),
        "lost": sum(len(report.lost) for report in reports),
        "corrupt": sum(len(report.corrupt) for report in reports),
        "duplicated": sum(len(report.duplicated) for report in reports),
        "stray files, locks, processes": sum(len(report.other) for report in reports),
    }
    for name, value in rows.items():
        print(f"{name:34s}{value:8d}")
    print(f"{'seconds':34s}{seconds:8.0f}")


if __name__ == "__main__":
    sys.exit(main())
