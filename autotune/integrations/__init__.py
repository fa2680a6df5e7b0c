"""Bridges to other programs: what ``autotune export`` writes for them, and what ``autotune import`` reads of theirs.

Each is a file of its own and needs a library only when it is used; `library` says how to install a missing one.
"""

from __future__ import annotations

import importlib
from typing import Any

from autotune.errors import InvalidInput

# name: the function `export(snapshot, to) -> Written`
EXPORTS: dict[str, str] = {
    "tensorboard": "autotune.integrations.tensorboard:export",
    "mlflow": "autotune.integrations.mlflow:export",
    "wandb": "autotune.integrations.wandb:export",
    "optuna": "autotune.integrations.optuna:export",
    "csv": "autotune.integrations.tables:export_csv",
    "parquet": "autotune.integrations.tables:export_parquet",
}


def library(module: str, extra: str) -> Any:
    """Import a module of an optional library.

    Raises:
        InvalidInput: it is not installed, or does not load; the sentence has the line that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise InvalidInput(
            f"the Python package {package} must be installed for this, but it does not load ({error}); "
            f"pip install 'autotune[{extra}]'"
        ) from None
