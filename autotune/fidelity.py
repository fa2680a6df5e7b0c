"""The fidelity of a study: what its trials are given more or less of, such as epochs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune.errors import InvalidStudy

_DEFAULTS = {"min": 1, "eta": 3}


def complete_fidelity(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``name``, ``min``, ``max`` and ``eta``, defaults filled in.

    Raises:
        InvalidStudy: there is no name or no max, the bounds are no positive range, or eta is no integer of at least 2.
    """
    fidelity = {**_DEFAULTS, **given}
    bounds = [fidelity.get(key) for key in ("min", "max")]
    numbers = all(isinstance(bound, int | float) and not isinstance(bound, bool) for bound in bounds)
    whole_eta = isinstance(fidelity["eta"], int) and fidelity["eta"] >= 2
    if not fidelity.get("name") or not numbers or not 0 < fidelity["min"] <= fidelity["max"] or not whole_eta:
        raise InvalidStudy(
            "`fidelity` must have a `name`, a `max`, a `min` above 0 that is no larger, and a whole `eta` of at least "
            f"2, got {dict(given)}; for example {{name: epochs, min: 1, max: 81, eta: 3}}"
        )
    return fidelity
