"""``autotune doctor``: which attention backends are installed, load and run here, why not, and what mends it."""

from __future__ import annotations

import argparse
import json
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from autotune.bench import backends as table
from autotune.bench.case import AttentionCase
from autotune.bench.hardware import fingerprint, resolve_device
from autotune.bench.isolate import probe_isolated
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
    device = resolve_device(args.device)
    progress = Progress()
    progress.say("trying each backend")
    found = examine(device)
    progress.clear()
    if args.json:
        print(json.dumps({"schema_version": 1, "device": device, "backends": found}, indent=2))
    else:
        hardware = fingerprint(device, [])
        print(f"{hardware['device']}, PyTorch {hardware['torch']}, CUDA {hardware.get('cuda')}")
        for one in found:
            _print(one)
    return 0 if next(one for one in found if one["backend"] == table.DEFAULT)["runs"] else 1


def examine(device: str) -> list[dict[str, Any]]:
    """Return for each backend what is installed, whether a tiny pass runs, why not, and what mends it."""
    names = table.candidates()
    targets = {name: table.target(name) for name in names}
    dtype = "bf16" if device.startswith("cuda") else "fp32"
    shape: dict[str, Any] = {"heads": 2, "kv_heads": 2, "seq_q": 128, "seq_kv": 128, "d_k": 64, "dtype": dtype}
    there = {name: _installed(targets[name]) for name in names}
    by_word = {name: _refusal(targets[name], AttentionCase(**shape), device) for name in names}
    tried = {name: target for name, target in targets.items() if by_word[name] is None}
    forward = probe_isolated(AttentionCase(**shape), device, tried)
    again = {name: target for name, target in tried.items() if forward[name] is None}
    backward = probe_isolated(AttentionCase(**shape, direction="fwd+bwd"), device, again)
    found = []
    for name in names:
        reason = by_word[name] or forward.get(name)
        missing = [package for package, number in there[name].items() if number is None]
        found.append(
            {
                "backend": name,
                "installed": there[name],
                "runs": reason is None,
                "backward": reason is None and backward[name] is None,
                "reason": reason or backward.get(name),
                "mend": _install(targets[name]) if (reason is not None and by_word[name] is None) or missing else None,
            }
        )
    return found


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
    print(f"{one['backend']:<16} {state:<18} {packages}")
    if one["reason"]:
        print(f"{'':<16}   why not: {one['reason']}")
    if one["mend"]:
        print(f"{'':<16}   to mend: {one['mend']}")
