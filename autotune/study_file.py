"""Reading a study: a study file, the flags of the command line, or both, as a StudyConfig."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from autotune.config import SPACE_KEYS, StudyConfig, kinds
from autotune.errors import InvalidStudy, nearest
from autotune.files import load_user_file


def load_config(
    path: str | None, flags: Mapping[str, str] | None = None, read: Callable[[str], Any] = load_user_file
) -> StudyConfig:
    """Return the options of a study file, of command-line flags, or of both (flags win).

    Args:
        path: a YAML or JSON study file, or None.
        flags: option name to the text of its flag.
        read: returns the content of a study file or of what ``--space`` names; the command line also reads those of
            other programs.

    Raises:
        InvalidInput: with file and key, or the flag.
    """
    options: dict[str, Any] = {}
    if path is not None:
        options = _checked(_study_file(path, read), path)
    for name, text in (flags or {}).items():
        kind = kinds()[name]
        flag = "--" + name.replace("_", "-")
        value = kind.parse(text)
        if name == "space":
            options = {key: item for key, item in options.items() if key not in SPACE_KEYS}
            options |= _checked(_space_file(text, read), text)
        else:
            options[name] = _merged(options.get(name), kind.check(value, flag))
    for one, other in (("objective", "command"), ("command", "objective")):
        if flags and one in flags and other not in flags:
            options.pop(other, None)
    return StudyConfig(**options)


def _merged(old: Any, new: Any) -> Any:
    """Let flags such as ``--resources gpus=1`` change one key of the file's mapping; the space is replaced whole."""
    is_part = (
        isinstance(old, dict) and isinstance(new, dict) and not any(isinstance(item, dict) for item in new.values())
    )
    return {**old, **new} if is_part else new


def _study_file(path: str, read: Callable[[str], Any]) -> dict[str, Any]:
    content = read(path)
    if not isinstance(content, dict):
        raise InvalidStudy(
            f"{path} must hold a mapping of options such as `metric: loss`, got {type(content).__name__}"
        )
    if isinstance(content.get("space"), str):
        content = {**content, **_space_file(os.path.join(os.path.dirname(path), content["space"]), read)}
    if isinstance(content.get("trials"), str):
        content = {**content, "trials": os.path.join(os.path.dirname(path), content["trials"])}
    for name in ("reuse", "cache"):
        if name in content:
            content = {**content, name: _beside(path, content[name])}
    return content


def _beside(path: str, named: Any) -> Any:
    """Return paths as seen from the study file's folder; what is no path is left to be refused."""
    if isinstance(named, list):
        return [_beside(path, item) for item in named]
    return os.path.join(os.path.dirname(path), named) if isinstance(named, str) and named else named


def _space_file(path: str, read: Callable[[str], Any]) -> dict[str, Any]:
    """Return the options of a file with a space: `space`, and the `forbid` and `zip` that stand beside it."""
    content = read(path)
    # A whole study file may serve as the space as well.
    if isinstance(content, dict) and isinstance(content.get("space"), dict) and "type" not in content["space"]:
        return {key: content[key] for key in SPACE_KEYS if key in content}
    return {"space": content}


def _checked(content: dict[str, Any], path: str) -> dict[str, Any]:
    known = kinds()
    for key in content:
        if key not in known:
            hint = nearest(str(key), list(known))
            raise InvalidStudy(f"{path}: there is no option {key!r}; {hint}known: {', '.join(known)}")
    return {key: known[key].check(value, f"{path}: `{key}`") for key, value in content.items() if value is not None}
