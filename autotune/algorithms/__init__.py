"""Searchers: which parameters to try. This module names and loads them; each is a file of its own.

A searcher is any class with the two methods of `Searcher`. Another package adds one through the entry point group
``autotune.searchers``; a study file can also name it as ``"package.module:Class"``, and a sampler of Optuna's as
``"optuna:Class"``. Two optional class attributes say
what a plan may rely on: ``prefix_stable`` (raising ``max_trials`` only appends; taken as False) and ``uses_seed``
(another seed gives other suggestions; taken as True). `autotune.testing.SearcherContract` checks all of it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from random import Random
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

from autotune.errors import AutotuneError, InvalidStudy, nearest
from autotune.files import canonical
from autotune.history import Observation, Proposal
from autotune.spaces import Params, SearchSpace

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

BUILTIN: dict[str, str] = {
    "random": "autotune.algorithms.random:RandomSearch",
    "grid": "autotune.algorithms.grid:GridSearch",
    "sobol": "autotune.algorithms.sobol:SobolSearch",
    "lhs": "autotune.algorithms.lhs:LatinHypercubeSearch",
    "sha": "autotune.algorithms.halving:SuccessiveHalving",
    "hyperband": "autotune.algorithms.halving:Hyperband",
    "auto": "autotune.algorithms.auto:AutoSearch",
    "tpe": "optuna:TPESampler",
    "gp": "optuna:GPSampler",
    "cmaes": "optuna:CmaEsSampler",
    "nsga2": "optuna:NSGAIISampler",
}
_OPTUNA = "optuna:"  # and a sampler's name: its options are those that Optuna's class takes
_OPTUNA_SEARCH = "autotune.algorithms.optuna_samplers:OptunaSearch"
_MOST_DRAWS = 20_000  # of random points, to find some that are new
ENTRY_POINT_GROUP = "autotune.searchers"


class Searcher(Protocol):
    """Proposes points of a space; the same space, seed and max_trials give the same list in any process."""

    def reset(self, space: SearchSpace, seed: int) -> None:
        """Start from the beginning, on this space with this seed."""

    def suggestions(self, space: SearchSpace, max_trials: int) -> Iterator[Params]:
        """Return at most ``max_trials`` points of the space that `reset` was given."""


class AdaptiveSearcher(Searcher, Protocol):
    """Learns from results: proposes a round of trials from all that is known of the rounds before."""

    def propose(self, history: Sequence[Observation], n: int) -> Sequence[Params | Proposal]:
        """Return ``n`` points of the space that `reset` was given, none of them twice or in the history.

        A pure function of space, seed and history: nothing of an earlier call may count, since each round is planned
        by a process of its own. With an empty history it returns the points that a study begins with.
        """


def is_adaptive(searcher: Searcher) -> TypeGuard[AdaptiveSearcher]:
    """Return whether a searcher learns from results."""
    return callable(getattr(searcher, "propose", None))


def load_searcher(name: str, options: Mapping[str, Any] | None = None) -> Searcher:
    """Make the searcher of that name: built in, ``"package.module:Class"``, ``"optuna:Sampler"``, or an entry point.

    Raises:
        InvalidStudy: there is none of that name, it cannot be imported, is no searcher, or refuses the options.
    """
    if name in BUILTIN:
        target = BUILTIN[name]
    elif ":" in name:
        target = name
    else:
        target = _entry_point_target(name)
    if target.startswith(_OPTUNA):
        target, options = _OPTUNA_SEARCH, {"sampler": target.removeprefix(_OPTUNA), "options": dict(options or {})}
    return _make(name, _import_class(name, target), dict(options or {}))


def searcher_name(searcher: object) -> str:
    """Return the name under which `load_searcher` finds the searcher's class."""
    target = _target(searcher)
    return next((name for name, builtin in BUILTIN.items() if builtin == target), target)


def searcher_options(searcher: object) -> dict[str, Any]:
    """Return the options, without the seed, that make an equal searcher; empty for a class that is no dataclass.

    Raises:
        InvalidStudy: an option cannot be written as JSON.
    """
    if not is_dataclass(searcher):
        return {}
    given = {f.name: getattr(searcher, f.name) for f in fields(searcher) if f.init and f.name != "seed"}
    if _target(searcher).startswith(_OPTUNA):
        given = given["options"]
    options = {}
    for key, value in given.items():
        try:
            options[key] = json.loads(canonical(value))  # as it will be read back: a tuple is a list
        except (TypeError, ValueError):
            raise InvalidStudy(
                f"the option `{key}` of the searcher {searcher_name(searcher)} must be a JSON value, got {value!r}"
            ) from None
    return options


def check_seed(seed: object) -> None:
    """Refuse what is not an integer of at least 0; for searchers.

    Raises:
        InvalidStudy: it is not.
    """
    if type(seed) is not int or seed < 0:
        raise InvalidStudy(f"`seed` must be an integer of at least 0, got {seed!r}")


def check_reset(space: SearchSpace, reset_space: SearchSpace | None) -> None:
    """Refuse suggestions for another space than the one that `reset` was given; for searchers.

    Raises:
        InvalidStudy: `reset` was not called, or with another space.
    """
    if reset_space is None:
        raise InvalidStudy("`reset(space, seed)` must be called before `suggestions`, got no call of it")
    if space is not reset_space and space != reset_space:
        raise InvalidStudy(
            "`suggestions` must be asked for the space that `reset` was given, "
            f"got one with {', '.join(space.names)} after {', '.join(reset_space.names)}; call `reset` first"
        )


def was_reset(space: SearchSpace | None) -> SearchSpace:
    """Return the space that `reset` was given; for searchers, before they propose.

    Raises:
        InvalidStudy: `reset` was not called.
    """
    if space is None:
        raise InvalidStudy("`reset(space, seed)` must be called before `propose`, got no call of it")
    return space


def room(space: SearchSpace, known: Collection[str], n: int) -> int:
    """Return how many of ``n`` new points the space still has, beside those whose canonical JSON is known."""
    points = space.count(len(known) + n)
    return n if points is None else max(0, min(n, points - len(known)))


def unseen(space: SearchSpace, rng: Random, known: Collection[str], n: int) -> list[Params]:
    """Return ``n`` random feasible points, each once, and none whose canonical JSON is known; for searchers.

    They are fewer where the space has hardly any more.
    """
    found: dict[str, Params] = {}
    n = room(space, known, n)
    for params in space.feasible([rng.random() for _ in space.axes] for _ in range(_MOST_DRAWS)):
        if len(found) == n:
            break
        if (key := canonical(params)) not in known:
            found.setdefault(key, params)
    return list(found.values())


def _target(searcher: object) -> str:
    """Return what `BUILTIN` says of a searcher."""
    target = f"{type(searcher).__module__}:{type(searcher).__qualname__}"
    return f"{_OPTUNA}{vars(searcher)['sampler']}" if target == _OPTUNA_SEARCH else target


def _make(name: str, cls: type[Any], options: dict[str, Any]) -> Searcher:
    import inspect

    signature = inspect.signature(cls)
    try:
        signature.bind(**options)
    except TypeError as error:
        takes = ", ".join(signature.parameters) or "no options"
        raise InvalidStudy(f"the searcher {name} must be given options that it takes ({takes}): {error}") from None
    try:
        searcher: Searcher = cls(**options)
    except AutotuneError:
        raise
    except Exception as error:
        raise InvalidStudy(f"the searcher {name} must accept its options, got {options!r}: {error}") from error
    return searcher


def _import_class(name: str, target: str) -> type[Any]:
    import importlib
    import operator

    module_name, _, class_name = target.partition(":")
    if not module_name or not class_name:
        raise InvalidStudy(f"a searcher must be named as package.module:Class, got {target!r}")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # the module's own code runs here
        raise InvalidStudy(
            f"the searcher {name} must be importable from {module_name}, got {type(error).__name__}: {error}; "
            "install it, or add its folder to PYTHONPATH"
        ) from error
    try:
        cls = operator.attrgetter(class_name)(module)
    except AttributeError:
        classes = [key for key, value in vars(module).items() if isinstance(value, type)]
        close = nearest(class_name, classes).strip() or f"its classes are {', '.join(classes) or 'none'}"
        raise InvalidStudy(f"the searcher {name} must be a class in {module_name}, got none; {close}") from None
    if not isinstance(cls, type):
        raise InvalidStudy(f"the searcher {name} must be a class, got {cls!r}; name the class itself")
    for method in ("reset", "suggestions"):
        if not callable(getattr(cls, method, None)):
            raise InvalidStudy(f"the searcher {name} must have the methods reset and suggestions, got no {method}")
    return cls


def _entry_point_target(name: str) -> str:
    """Return "module:Class" of an installed entry point; only the one asked for counts, so others may be broken."""
    entries = _entry_points()
    targets = sorted({entry.value for entry in entries if entry.name == name})
    if len(targets) == 1:
        return targets[0].partition("[")[0].strip()  # extras, which no longer mean anything, follow a bracket
    if targets:
        raise InvalidStudy(f"the searcher {name} must be one class, got {', '.join(targets)}; name the one to use")
    known = [*BUILTIN, *sorted({entry.name for entry in entries})]
    close = nearest(name, known).strip() or "install the package that has it"
    raise InvalidStudy(
        f"the searcher must be one of {', '.join(known)}, or package.module:Class, got {name!r}; {close}"
    )


def _entry_points() -> list[EntryPoint]:
    from importlib.metadata import entry_points

    return list(entry_points(group=ENTRY_POINT_GROUP))
