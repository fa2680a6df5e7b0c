"""``autotune doctor``: which attention backends are installed, load and run here, why not, and what mends it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from autotune.bench import backends as table
from autotune.bench.case import AttentionCase
from autotune.bench.hardware import fingerprint, resolve_device
from autotune.bench.isolate import probe_isolated, session
from autotune.bench.show import Progress

HELP = "try each attention backend in a process of its own; say which run, why not, and what mends it"
EPILOG = """example:
  autotune doctor"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--device", metavar="NAME", help="cpu, cuda or cuda:<index> (default: the GPU, if there is one)"
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(args: argparse.Namespace) -> int:
    """Carry out the command; return its exit status: 0, or 1 where not even PyTorch's own attention runs."""
    progress = Progress(after_s=0.0)  # what is slow is the first import, and no word comes during it
    progress.say("loading PyTorch")
    device = resolve_device(args.device)
    if not args.json:
        hardware = fingerprint(device, [])
        progress.clear()
        print(f"{hardware['device']}, PyTorch {hardware['torch']}, CUDA {hardware.get('cuda')}", flush=True)
    found = []
    for one in examine(device, progress.say):
        progress.clear()
        found.append(one)
        if not args.json:
            _print(one)
    if args.json:
        print(json.dumps({"schema_version": 1, "device": device, "backends": found}, indent=2))
    return 0 if next(one for one in found if one["backend"] == table.DEFAULT)["runs"] else 1


def examine(device: str, say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Yield for each backend what is installed, whether a tiny pass runs, why not, and what mends it.

    Each comes as soon as it is known; ``say`` hears before which one is tried. One process tries them all, for loading
    PyTorch takes longer than the trials.
    """
    dtype = "bf16" if device.startswith("cuda") else "fp32"
    shape: dict[str, Any] = {"heads": 2, "kv_heads": 2, "seq_q": 128, "seq_kv": 128, "d_k": 64, "dtype": dtype}
    forward, both = AttentionCase(**shape), AttentionCase(**shape, direction="fwd+bwd")
    with session():
        for name in table.candidates():
            say(f"trying {name}")
            target = table.target(name)
            installed = _installed(target)
            by_word = _refusal(target, forward, device)
            reason = by_word or probe_isolated(forward, device, {name: target})[name]
            without_gradients = None if reason else probe_isolated(both, device, {name: target})[name]
            missing = None in installed.values()
            yield {
                "backend": name,
                "installed": installed,
                "runs": reason is None,
                "backward": reason is None and without_gradients is None,
                "reason": reason or without_gradients,
                "mend": _install(target) if (reason is not None and by_word is None) or missing else None,
            }


def _installed(target: str) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for package in ("torch", *_packages(target)):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def _packages(target: str) -> tuple[str, ...]:
    try:
        return table.load(target).packages
    except Exception:  # noqa: BLE001 - another package's class; the trial run says what is wrong with it
        return ()


def _install(target: str) -> str | None:
    try:
        return table.load(target).install
    except Exception:  # noqa: BLE001 - as above
        return None


def _refusal(target: str, case: AttentionCase, device: str) -> str | None:
    try:
        return table.load(target).unsupported(case, device)
    except Exception as error:  # noqa: BLE001 - as above
        return f"does not load: {error}"


def _print(one: dict[str, Any]) -> None:
    packages = ", ".join(f"{name} {number or 'not installed'}" for name, number in one["installed"].items())
    state = "runs" if one["backward"] else "runs forward only" if one["runs"] else "does not run"
    print(f"{one['backend']:<16} {state:<18} {packages}", flush=True)
    if one["reason"]:
        print(f"{'':<16}   why not: {one['reason']}", flush=True)
    if one["mend"]:
        print(f"{'':<16}   to mend: {one['mend']}", flush=True)
