"""Autotune tunes machine-learning systems: hyperparameters, runtime settings and kernels, as a Snakemake workflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autotune.errors import AutotuneError, Infeasible, Pruned

if TYPE_CHECKING:
    from autotune.config import StudyConfig
    from autotune.execution.trial import Trial
    from autotune.study import Study

__version__ = "0.1.0"
__all__ = [
    "AutotuneError",
    "Infeasible",
    "Pruned",
    "Study",
    "StudyConfig",
    "Trial",
    "__version__",
    "profile",
    "snakefile",
]

_LAZY = {"Study": "autotune.study", "StudyConfig": "autotune.config", "Trial": "autotune.execution.trial"}


def __getattr__(name: str) -> Any:
    """Import the public classes on first use, so that `import autotune` costs next to nothing."""
    if name not in _LAZY:
        raise AttributeError(f"module 'autotune' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)


def snakefile() -> str:
    """Return the path of the workflow's Snakefile, for ``include:`` or ``module`` in a Snakefile of one's own."""
    return _shipped("workflow", "Snakefile")


def profile(name: str) -> str:
    """Return the path of a Snakemake profile that comes with Autotune: ``local`` or ``slurm``."""
    return _shipped("profiles", name)


def _shipped(folder: str, name: str) -> str:
    """Find a file that the wheel holds inside the package, and a checkout beside it."""
    import os

    package = os.path.dirname(os.path.abspath(__file__))
    inside = os.path.join(package, f"_{folder}", name)
    return inside if os.path.exists(inside) else os.path.join(os.path.dirname(package), folder, name)
