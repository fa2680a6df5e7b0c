"""How much a point is worth trying, by what the models believe; more is better."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, ndtr

Floats = NDArray[np.float64]

_LOG_SQRT_TAU = 0.5 * np.log(2.0 * np.pi)


def log_improvement(mean: Floats, deviation: Floats, best: float) -> Floats:
    """Return the logarithm of the expected improvement on ``best``; it tells points apart where that is tiny, too.

    Ament, Daulton, Eriksson, Balandat & Bakshy (2023, arXiv:2310.20708, eq. 9).
    """
    z = (best - mean) / deviation
    near = np.maximum(z, -1.0)
    far = np.minimum(z, -1.0)
    log_near = np.log(np.exp(-0.5 * near * near - _LOG_SQRT_TAU) + near * ndtr(near))
    tail = 1.0 + far * np.sqrt(np.pi / 2.0) * erfcx(-far / np.sqrt(2.0))
    log_far = -0.5 * far * far - _LOG_SQRT_TAU + np.log(np.maximum(tail, 1e-16))
    return np.asarray(np.where(z > -1.0, log_near, log_far) + np.log(deviation))


def log_chance(mean: Floats, deviation: Floats, noise: float) -> Floats:
    """Return the logarithm of the probability that a point is feasible, from a process of labels -1 and 1."""
    return np.asarray(np.log(ndtr(mean / np.sqrt(deviation * deviation + noise)) + 1e-12))


def log_density_ratio(features: Floats, good: Floats, bad: Floats, widths: Floats) -> Floats:
    """Return the log ratio of the densities of good and bad points [., columns] at features [m, columns].

    It tells what the good ones have in common, axis by axis, also where no smooth model fits: the tree-structured
    Parzen estimator (Bergstra et al. 2011, NeurIPS 24), with Gaussian kernels of ``widths`` [columns] and a uniform
    share of the weight of one point.
    """
    return _log_density(features / widths, good / widths) - _log_density(features / widths, bad / widths)


def _log_density(scaled: Floats, points: Floats) -> Floats:
    squared = ((scaled[:, None, :] - points[None, :, :]) ** 2).sum(axis=2)
    peak = 0.01  # of the uniform share, beside kernels of height 1
    return np.asarray(np.log((np.exp(-0.5 * squared).sum(axis=1) + peak) / (len(points) + 1)))
