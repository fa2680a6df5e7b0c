"""SciPy's sequences without the rest of ``scipy.stats``, the import of which outlasts a plan of 5,000 trials."""

from __future__ import annotations

import contextlib
import sys
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from typing import Any


def load_qmc() -> Any:
    """Return ``scipy.stats.qmc``, or what that consists of: the same code and the same points, in half the time.

    Where ``scipy.stats`` is not loaded yet, its module ``_qmc`` is loaded alone, in a package that stands in for the
    whole meanwhile and is gone when this returns. Where SciPy is laid out otherwise, all of it is loaded.
    """
    if "scipy.stats" not in sys.modules and _is_only_thread():  # another thread must not see the stand-in
        with contextlib.suppress(ImportError, AttributeError):
            return _load_alone()
    from scipy.stats import qmc

    return qmc


def _load_alone() -> Any:
    import scipy

    spec = PathFinder.find_spec("scipy.stats", list(scipy.__path__))
    if spec is None:
        raise ImportError("scipy.stats")
    sys.modules["scipy.stats"] = module_from_spec(spec)  # a package that has run nothing of its own
    try:
        module: Any = import_module("scipy.stats._qmc")
        module.Sobol(1)  # reads its table of direction numbers, which it finds by the package
        return module
    finally:
        for name in ("scipy.stats", "scipy.stats._qmc"):  # whoever imports them later gets the real ones
            sys.modules.pop(name, None)


def _is_only_thread() -> bool:
    threading = sys.modules.get("threading")
    return threading is None or threading.active_count() == 1
