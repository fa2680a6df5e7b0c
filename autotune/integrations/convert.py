"""From files of other programs to the content of a study file: which program a file is of, and its converter."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autotune.errors import InvalidInput
from autotune.files import load_user_file

ROWS = (".csv", ".jsonl")


@dataclass(frozen=True, slots=True)
class Converted:
    """What a file comes to: the content of a study file, and what the user should know of it.

    ``program`` is None for a file of Autotune's own, or of nobody's: the content is as it was.
    """

    program: str | None
    study: Any
    notes: list[str] = field(default_factory=list)


# program: module with `convert(content, where) -> Converted`
_CONVERTERS = {
    "W&B sweeps": "autotune.integrations.wandb_sweep",
    "ConfigSpace": "autotune.integrations.configspace",
    "Optuna": "autotune.integrations.optuna_space",
    "Hydra": "autotune.integrations.hydra",
}


def convert(text: str) -> Converted:
    """Convert what stands on the command line: a file's name, or Hydra's overrides.

    Raises:
        InvalidInput: it cannot be read, or has something that Autotune has no form for.
    """
    if "=" in text and not os.path.exists(text):
        return _convert("Hydra", text, "the overrides")
    if text.endswith(ROWS):
        return Converted("rows", {"trials": os.path.basename(text)})  # from the study file's folder, as its `space`
    content = load_user_file(text)
    program = _program_of(content)
    return Converted(None, content) if program is None else _convert(program, content, text)


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads study files and spaces, of Autotune or of another program, and keeps what there is to say of them."""

    notes: list[str] = field(default_factory=list)

    def read(self, text: str) -> Any:
        """Return the content as a study file has it; see `convert`."""
        converted = convert(text)
        self.notes.extend(converted.notes)
        return converted.study


def _program_of(content: Any) -> str | None:
    if not isinstance(content, Mapping):
        return None
    if "parameters" in content and "method" in content:
        return "W&B sweeps"
    if isinstance(content.get("hyperparameters"), list):
        return "ConfigSpace"
    is_optuna = [_is_distribution(item) for item in content.values()]
    return "Optuna" if is_optuna and all(is_optuna) else None


def _is_distribution(item: Any) -> bool:
    """Whether this is what Optuna's ``distribution_to_json`` makes, as a text or as the object in it."""
    if isinstance(item, str):
        return item.startswith('{"name"')
    return isinstance(item, Mapping) and item.keys() == {"name", "attributes"}


def _convert(program: str, content: Any, where: str) -> Converted:
    module: Any = importlib.import_module(_CONVERTERS[program])
    try:
        converted: Converted = module.convert(content, where)
    except (KeyError, TypeError) as error:
        what = f"has no {error}" if isinstance(error, KeyError) else str(error)
        raise InvalidInput(f"{where} must be a whole file of {program}, but {what}") from None
    return converted
