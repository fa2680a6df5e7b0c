"""The state of the GPU while it is measured: clock, power, temperature, throttling. It is read and never changed."""

from __future__ import annotations

import shutil
import statistics
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

FIELDS = ("sm_clock_mhz", "power_w", "temperature_c")
# https://docs.nvidia.com/deploy/nvml-api: the bits that mean a lower clock than asked for.
THROTTLES = {
    0x4: "software power cap",
    0x8: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
}
_QUERY = "clocks.sm,power.draw,temperature.gpu"


def fixed(index: int) -> dict[str, Any]:
    """Return what belongs to the machine: driver, power limit in watts, MIG; None for what cannot be read."""
    found: dict[str, Any] = {"driver": None, "power_limit_w": None, "mig": None}
    handle = _nvml(index)
    if handle is not None:
        nvml, device = handle
        with suppress(Exception):
            found["driver"] = _text(nvml.nvmlSystemGetDriverVersion())
        with suppress(Exception):
            found["power_limit_w"] = round(nvml.nvmlDeviceGetPowerManagementLimit(device) / 1000)
        with suppress(Exception):
            found["mig"] = bool(nvml.nvmlDeviceGetMigMode(device)[0])
        return found
    answer = _nvidia_smi("driver_version,power.limit,mig.mode.current", index)
    if answer is not None:
        with suppress(ValueError):
            found["power_limit_w"] = round(float(answer[1]))
        found["driver"], found["mig"] = answer[0], answer[2] == "Enabled"
    return found


@dataclass
class Telemetry:
    """Readings taken between rounds."""

    index: int | None
    readings: list[tuple[float, float, float]] = field(default_factory=list)
    throttles: int = 0

    def read(self) -> None:
        """Take one reading; where there is no NVML it costs a process, so ``cheap`` says whether to do it often."""
        if self.index is None:
            return
        handle = _nvml(self.index)
        with suppress(Exception):
            if handle is None:
                answer = _nvidia_smi(_QUERY, self.index)
                if answer is not None:
                    self.readings.append((float(answer[0]), float(answer[1]), float(answer[2])))
                return
            nvml, device = handle
            clock = nvml.nvmlDeviceGetClockInfo(device, nvml.NVML_CLOCK_SM)
            power = nvml.nvmlDeviceGetPowerUsage(device) / 1000
            self.readings.append((clock, power, nvml.nvmlDeviceGetTemperature(device, nvml.NVML_TEMPERATURE_GPU)))
            self.throttles |= int(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(device))

    @property
    def cheap(self) -> bool:
        return self.index is not None and _nvml(self.index) is not None

    def summary(self) -> dict[str, Any]:
        """Return least, median and most of each reading, and the reasons for a lower clock that were seen."""
        found: dict[str, Any] = {"readings": len(self.readings)}
        for name, values in zip(FIELDS, zip(*self.readings)):
            found[name] = [min(values), statistics.median(values), max(values)]
        found["throttle"] = [reason for bit, reason in THROTTLES.items() if self.throttles & bit]
        return found


def index_of(device: str) -> int | None:
    """Return the index of a CUDA device among the machine's GPUs, or None for a CPU."""
    if not device.startswith("cuda"):
        return None
    import os

    index = int(device.partition(":")[2] or 0)
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return int(visible[index]) if index < len(visible) and visible[index].isdecimal() else index


_handles: dict[int, Any] = {}


def _nvml(index: int) -> tuple[Any, Any] | None:
    """Return the module pynvml and a device's handle, or None where one of them is not there."""
    if index not in _handles:
        _handles[index] = None
        with suppress(Exception):
            import pynvml

            pynvml.nvmlInit()
            _handles[index] = (pynvml, pynvml.nvmlDeviceGetHandleByIndex(index))
    found: tuple[Any, Any] | None = _handles[index]
    return found


def _nvidia_smi(query: str, index: int) -> list[str] | None:
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, f"--query-gpu={query}", "--format=csv,noheader,nounits", f"--id={index}"]
    with suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        return [part.strip() for part in done.stdout.split(",")] if done.returncode == 0 else None
    return None


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
