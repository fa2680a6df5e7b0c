"""Python imports a module of this name at its start: here, to record which attention a program computes.

The program may run under another interpreter, which has no autotune: so nothing of it is imported.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType


def _load(spec: ModuleSpec | None, name: str) -> ModuleType | None:
    if spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _start() -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    # Off the path again, so that no name in this folder hides one of the program's; its children still get it.
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != here]
    folder = os.environ.get("AUTOTUNE_RECORD")
    name = "_autotune_recorder"
    if folder:
        recorder = _load(importlib.util.spec_from_file_location(name, os.path.join(here, "recorder.py")), name)
        if recorder is not None:
            recorder.install(folder, int(os.environ.get("AUTOTUNE_RECORD_STEPS", "0")))
    # The one that this file has hidden: a distribution's, a virtual environment's, a coverage tool's.
    _load(PathFinder.find_spec("sitecustomize", sys.path), "sitecustomize")


_start()
