"""What an adaptive searcher sees and says: the trials so far, and those that it wants next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autotune.spaces import Params


@dataclass(frozen=True, slots=True)
class Observation:
    """A trial of an earlier round, as a searcher sees it; a history is a sequence of these in trial order.

    Attributes:
        number: the trial's number.
        params: its parameters.
        state: ``complete``, ``pruned``, ``infeasible`` or ``failed``; None where it still runs (with a `quorum`).
        values: one a metric of the study, each turned so that less is better; None unless the trial is complete, or
            pruned after it reported a value.
        violations: one a constraint of the study, by how much it is broken; at most 0 where it holds.
        round: the round that it was planned in.
        fidelity: what the trial was given of the study's fidelity (epochs, say); None without one.
        repeat: how many trials of the same params and fidelity the study has before this one.
    """

    number: int
    params: Params
    state: str | None
    values: tuple[float, ...] | None = None
    violations: tuple[float, ...] = ()
    round: int = 0
    fidelity: float | None = None
    repeat: int = 0

    @property
    def is_feasible(self) -> bool:
        """Whether the trial has values and breaks no constraint."""
        return self.values is not None and all(violation <= 0 for violation in self.violations)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A trial that a searcher wants next, where the parameters alone do not say all; see Observation.

    ``parent`` is the number of the trial whose folder this one goes on from.
    """

    params: Params
    fidelity: float | None = None
    parent: int | None = None
    repeat: int = 0
