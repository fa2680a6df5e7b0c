"""What `autotune status --watch` costs: the CPU of its process beside a running study of 10,000 trials.

    python benchmarks/watch.py                 # two minutes or so
    python benchmarks/watch.py --trials 1000 --seconds 20

Half of the trials end at once; then trials take one to two seconds, eight run side by side, each reports a value every
tenth of a second, and the watch runs on a terminal of its own. The target is 2 % of a core.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import pty
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

TARGET = 0.02
_START_S = 10.0  # Python's start and the first look, which reads everything, are over by then
OBJECTIVE = """import os, time

def objective(params, trial):
    if os.path.exists("slow"):
        for step in range(10 + trial.number % 10):
            trial.report(step, params["x"])
            time.sleep(0.1)
    return params["x"]
"""
SPACE = '{"x": {"type": "uniform", "low": 0, "high": 1}, "y": {"type": "choice", "options": ["a", "b"]}}'


def study(folder: Path, trials: int) -> subprocess.Popen[bytes]:
    """Start a study whose trials end at once, until there is a file ``slow``."""
    (folder / "sleeper.py").write_text(OBJECTIVE)
    (folder / "space.json").write_text(SPACE)
    options = ["--objective", "sleeper:objective", "--space", "space.json", "--max-trials", str(trials)]
    packing = ["--trials-per-job", str(-(-trials // 2)), "--slots-per-job", "4", "--isolation", "worker", "-j", "2"]
    with open(folder / "study.txt", "wb") as output:
        argv = [sys.executable, "-m", "autotune.cli", "study", *options, *packing]
        return subprocess.Popen(argv, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output)


def results(folder: Path) -> int:
    """Return how many trials have ended."""
    with contextlib.suppress(FileNotFoundError):
        return len(os.listdir(folder / ".autotune/trials"))
    return 0


def watch(folder: Path, seconds: float) -> tuple[float, float, str]:
    """Watch the study; return CPU seconds in all, CPU seconds after the start, and the last screen."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.execv(sys.executable, [sys.executable, "-m", "autotune.cli", "status", "--watch"])
    screens: list[bytes] = []
    reader = threading.Thread(target=_read, args=(terminal, screens))
    reader.start()
    time.sleep(_START_S)
    start_s = _cpu_s(child)
    time.sleep(seconds - _START_S)
    os.kill(child, signal.SIGINT)
    _, status, usage = os.wait4(child, 0)
    reader.join()
    if status:
        raise SystemExit(f"the watch must end with status 0 on Ctrl-C, got {status}")
    cpu_s = usage.ru_utime + usage.ru_stime
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", b"".join(screens).rsplit(b"\x1b[2K", 1)[-1].decode())
    return cpu_s, cpu_s - start_s, last.replace("\r", "").strip()


def _read(terminal: int, screens: list[bytes]) -> None:
    with contextlib.suppress(OSError):  # its other end is closed
        while data := os.read(terminal, 65536):
            screens.append(data)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Measure and print; return 1 where the target was not reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=60, help="how long to watch (default: 60)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="autotune-watch-") as name:
        folder = Path(name)
        running = study(folder, args.trials)
        while results(folder) < args.trials / 2 and running.poll() is None:
            time.sleep(0.1)
        (folder / "slow").touch()
        before = results(folder)
        cpu_s, later_s, screen = watch(folder, args.seconds)
        ended = results(folder) - before
        running.send_signal(signal.SIGINT)
        running.wait()
    share, later = cpu_s / args.seconds, later_s / (args.seconds - _START_S)
    print(screen)
    print(f"\n{args.trials:,} trials, {before:,} had ended, {ended} more while it was watched for {args.seconds:g} s:")
    print(f"{cpu_s:.2f} CPU-s, {share:.2%} of a core; after the first {_START_S:g} s {later:.2%}; target {TARGET:.0%}")
    print(f"{os.cpu_count()} processors, {platform.system()} {platform.release()}, load {os.getloadavg()[0]:.1f}")
    return int(share >= TARGET)


if __name__ == "__main__":
    sys.exit(main())
