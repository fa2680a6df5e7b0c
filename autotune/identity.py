"""What makes a study itself, and must not change under its plan; all else may (resources, batches, more trials)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune.errors import PlanChanged
from autotune.files import canonical

IDENTITY = (
    *("objective", "command", "metric", "metrics", "space", "forbid", "zip", "parameters", "searcher", "seed"),
    *("warm_start", "repeats"),
)
IDENTITY_IF_GIVEN = ("version",)


def identity_of(study: Mapping[str, Any]) -> dict[str, Any]:
    """Return what makes the study of a ``study.json`` itself."""
    given = [name for name in IDENTITY_IF_GIVEN if name in study]
    return {name: study.get(name) for name in (*IDENTITY, *given)}


def refuse_other_study(old: dict[str, Any], wanted: dict[str, Any], root: str) -> None:
    """Raise PlanChanged, saying what changed, where a plan on disk is of another study."""
    changed = [
        _difference(name, old.get(name), wanted.get(name))
        for name in (*IDENTITY, *IDENTITY_IF_GIVEN)
        if old.get(name) != wanted.get(name)
    ]
    if changed:
        raise PlanChanged(
            f"the plan in {root!r} must be of this study, but the {' and the '.join(changed)}; "
            "set it aside with --fresh (results that recur are kept), or give another --log-dir"
        )


def _difference(name: str, old: Any, new: Any) -> str:
    if name == "space":
        keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
        parts = [f"{key} from {canonical(old.get(key))} to {canonical(new.get(key))}" for key in keys]
        return "space changed (" + ", ".join(parts) + ")"
    if name == "parameters":
        return f"order of the parameters changed from {', '.join(old)} to {', '.join(new)}"
    return f"{name} changed from {canonical(old)} to {canonical(new)}"
