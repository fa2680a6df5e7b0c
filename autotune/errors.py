"""Everything that Autotune raises on purpose.

AutotuneError                 one sentence for the user; the command line prints it without a traceback
├── InvalidInput              what the user gave cannot work; exit status 2, nothing was changed
│   ├── InvalidSpace          a search space, or a point that is not in it
│   ├── InvalidStudy          a study file, an option, an objective
│   ├── InvalidExpression     a condition or a formula in one of them
│   └── PlanChanged           the plan on disk belongs to another study
├── UnreadableFile            a file of a study is not whole; what can be made anew, is
├── OtherVersion              a file of a study is of another version of autotune: it is left as it is
└── NoCompleteTrial           there is no best, because no trial completed

Infeasible                    for objectives: these parameters cannot work, and that is a result

A message is one sentence: what must hold, what was given, what would work.
"""

from __future__ import annotations


class AutotuneError(Exception):
    """Root of all errors of Autotune; its text is meant for the user as it stands."""


class InvalidInput(AutotuneError, ValueError):
    """What the user gave cannot work; nothing has been run or overwritten."""


class InvalidSpace(InvalidInput):
    """A search space, or one of its parameters, makes no sense."""


class InvalidStudy(InvalidInput):
    """A study file, an option, a searcher or an objective makes no sense."""


class InvalidExpression(InvalidInput):
    """A condition or a formula of a study file is none, or makes no sense for some trial."""


class PlanChanged(InvalidInput):
    """The plan in the study directory was made for another study."""


class UnreadableFile(AutotuneError):
    """A file of the study directory is not whole."""


class OtherVersion(AutotuneError):
    """A file of the study directory was written by another version of autotune, and is left as it is."""


class NoCompleteTrial(AutotuneError):
    """The study has no best trial, because none completed."""


class Infeasible(Exception):
    """Raised by an objective: these parameters cannot work (say why); the study goes on and counts it as an outcome."""


class Pruned(Exception):
    """Raised by an objective when ``trial.should_prune()`` says so: the trial is over, and no failure."""


def nearest(word: str, known: list[str]) -> str:
    """Return ``"did you mean 'x'? "`` for the closest known word, or an empty string."""
    import difflib

    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {close[0]!r}? " if close else ""
