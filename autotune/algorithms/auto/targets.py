"""What the models learn: values made well-behaved, less is better."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata, yeojohnson

Floats = NDArray[np.float64]

_FAR = 20.0
_LARGEST = 1e100  # so that squares are finite
_SCALARISATIONS = 4  # a round, where there are several objectives


def views(values: Floats, rng: np.random.Generator) -> list[Floats]:
    """Return what one model each learns from values [n, objectives]: no transform of them is the best everywhere."""
    values = np.clip(values, -_LARGEST, _LARGEST)
    if values.shape[1] > 1:
        return [power(scalarised(values, rng)) for _ in range(_SCALARISATIONS)]
    return [power(values[:, 0]), ranks(values[:, 0])]


def power(values: Floats) -> Floats:
    """Return values after the power transform that makes them most normal (Yeo & Johnson 2000), standardised."""
    middle = np.median(values)
    far = middle + _FAR * (middle - values.min())  # beyond it, worse is no news: a loss that diverged, say
    standard = _standardised(np.minimum(values, far) if far > middle else values)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        bent = np.asarray(yeojohnson(standard)[0])
    return _standardised(bent) if np.isfinite(bent).all() and np.ptp(bent) > 1e-9 else standard


def ranks(values: Floats) -> Floats:
    """Return the normal quantiles of the values' ranks, standardised (a copula, as Salinas et al. 2020 use it)."""
    return _standardised(norm.ppf((rankdata(values) - 0.5) / len(values)))


def scalarised(values: Floats, rng: np.random.Generator) -> Floats:
    """Return one value for several [n, objectives], with random weights (ParEGO, Knowles 2006, eq. 2)."""
    low, high = values.min(axis=0), values.max(axis=0)
    unit = (values - low) / np.where(high > low, high - low, 1.0)
    weighted = unit * rng.dirichlet(np.ones(values.shape[1]))
    return np.asarray(weighted.max(axis=1) + 0.05 * weighted.sum(axis=1))


def _standardised(values: Floats) -> Floats:
    spread = values.std()
    return np.asarray((values - values.mean()) / (spread if spread > 0 else 1.0))
