"""The machine that a measurement is for: device, versions, and the key under which it is kept."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from autotune.bench import telemetry
from autotune.errors import InvalidInput, InvalidStudy


def require_torch() -> Any:
    """Return the module torch.

    Raises:
        InvalidStudy: it is not installed, or does not load.
    """
    try:
        import torch
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise InvalidStudy("bench-attn needs PyTorch: pip install 'autotune[torch]'") from None
    except OSError as error:  # a shared library of it is missing
        raise InvalidStudy(f"bench-attn needs a PyTorch that loads, but the installed one does not: {error}") from None
    return torch


def resolve_device(device: str | None) -> str:
    """Return ``cpu`` or ``cuda:<index>``; None is the current GPU, or the CPU where there is none.

    Raises:
        InvalidInput: it is another kind of device, or not there.
    """
    torch = require_torch()
    there = torch.cuda.is_available()
    kind, _, index = (device or ("cuda" if there else "cpu")).partition(":")
    if kind == "cpu" and not index:
        return "cpu"
    if kind != "cuda" or (index and not index.isdecimal()):
        raise InvalidInput(f"device must be cpu, cuda or cuda:<index>, got {device!r}")
    count = torch.cuda.device_count() if there else 0
    number = int(index) if index else (torch.cuda.current_device() if there else 0)
    if number >= count:
        raise InvalidInput(
            f"device must be there, got {device!r}, but PyTorch sees {count} CUDA devices; cpu would work"
        )
    return f"cuda:{number}"


def fingerprint(device: str, packages: Iterable[str]) -> dict[str, Any]:
    """Return what a measurement depends on beside its case; equal fingerprints may share measurements."""
    torch = require_torch()
    found: dict[str, Any] = {
        "torch": str(torch.__version__),
        "packages": {name: _version(name) for name in sorted(set(packages))},
    }
    if device == "cpu":
        return found | {"device": cpu_name(), "threads": int(torch.get_num_threads())}
    properties = torch.cuda.get_device_properties(device)
    fixed = telemetry.fixed(telemetry.index_of(device) or 0)
    return found | {
        "device": str(properties.name),
        "multiprocessors": int(properties.multi_processor_count),
        "memory_bytes": int(properties.total_memory),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "driver": fixed["driver"] or _driver(),
        "power_limit_w": fixed["power_limit_w"],
        "mig": fixed["mig"],
    }


def cpu_name() -> str:
    """Return the processor's name as Linux tells it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return f"{platform.machine()} CPU ({os.cpu_count()} cores)"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _driver() -> str | None:
    with suppress(OSError):
        return Path("/sys/module/nvidia/version").read_text(encoding="ascii").strip()
    return None
