"""The attention backends: a table of names, and what each must offer.

A new one is a file here and a line in ``BACKENDS``, or a class of another package under the entry-point group
``autotune.attention_backends``; the contract test holds it against the reference.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol, cast

from autotune.bench.case import AttentionCase
from autotune.bench.inputs import Forward, Inputs, Outputs
from autotune.errors import InvalidInput, nearest

ENTRY_POINTS = "autotune.attention_backends"
DEFAULT = "torch"
REFERENCE = "reference"

BACKENDS: dict[str, str] = {
    "torch": "autotune.bench.backends.torch_default:TorchDefault",
    "torch-math": "autotune.bench.backends.torch_math:TorchMath",
    "torch-flash": "autotune.bench.backends.torch_flash:TorchFlash",
    "torch-efficient": "autotune.bench.backends.torch_efficient:TorchEfficient",
    "torch-cudnn": "autotune.bench.backends.torch_cudnn:TorchCudnn",
    "flex": "autotune.bench.backends.flex:Flex",
    "xformers": "autotune.bench.backends.xformers:Xformers",
    "flash2": "autotune.bench.backends.flash2:Flash2",
    "flash3": "autotune.bench.backends.flash3:Flash3",
    "flash4": "autotune.bench.backends.flash4:Flash4",
    "reference": "autotune.bench.backends.reference:Reference",
}


class Backend(Protocol):
    """A way to compute attention; made without arguments, and its module imports nothing heavy at its top."""

    @property
    def packages(self) -> tuple[str, ...]:
        """Distributions that it needs beside torch; their versions are part of the cache key."""

    @property
    def install(self) -> str:
        """The line that installs what is missing."""

    @property
    def recompiles(self) -> bool:
        """Whether every new shape costs seconds of compilation: then only the case's own shape is checked."""

    def unsupported(self, case: AttentionCase, device: str) -> str | None:
        """Return why it cannot do this case on this device (``cpu``, ``cuda:0``), or None; never raise, never import.

        It is for what is known beforehand. What only shows when the backend runs, a trial run finds.
        """

    def forward(self, case: AttentionCase, device: str) -> Forward:
        """Return ``(q, k, v) -> out`` for tensors of this case; planning belongs in here."""

    def prepare(self, case: AttentionCase, inputs: Inputs) -> Callable[[], Outputs]:
        """Return a call without arguments that reads the input tensors anew each time.

        Mostly ``in_direction(case, inputs, self.forward(case, str(inputs.q.device)))``.
        """

    def active(self) -> AbstractContextManager[None]:
        """Return what must be switched on while prepared calls run; entered before the clock starts."""


def candidates() -> list[str]:
    """Return the names that may be chosen: those of the table, then those that other packages add."""
    others = sorted(point.name for point in _entry_points() if point.name not in BACKENDS)
    return [name for name in BACKENDS if name != REFERENCE] + others


def target(name: str) -> str:
    """Return ``module:Class`` of a backend.

    Raises:
        InvalidInput: there is no backend of that name.
    """
    if name in BACKENDS:
        return BACKENDS[name]
    for point in _entry_points():
        if point.name == name:
            return point.value
    known = candidates()
    raise InvalidInput(
        f"a backend must be one of {', '.join(known)}, got {name!r}; {nearest(name, known)}".rstrip("; ")
    )


def load(target: str) -> Backend:
    """Import ``module:Class`` and make the backend."""
    module, _, name = target.partition(":")
    return cast(Backend, getattr(import_module(module), name)())


def _entry_points() -> list[EntryPoint]:
    return list(entry_points(group=ENTRY_POINTS))
