"""A Gaussian process: what a value may be where nothing has been measured yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, solve_triangular
from scipy.optimize import minimize

Floats = NDArray[np.float64]

_SQRT5 = 5**0.5
_JITTER = 1e-6
# Means and standard deviations of the logarithms of the hyperparameters, before any value is seen.
LENGTH, SIGNAL, NOISE = (-0.7, 0.6), (0.0, 1.0), (-4.0, 1.5)
_STEPS = 40  # of the optimiser of the hyperparameters; they change little after that


@final
@dataclass(frozen=True, slots=True)
class Process:
    """A fitted Gaussian process (Rasmussen & Williams 2006, ch. 2), which further values can be added to.

    ``features`` [n, columns] are scaled by the length scales; ``weights`` [n] solve K w = y - mean.
    """

    scale: Floats
    signal: float
    noise: float
    mean: float
    features: Floats
    values: Floats
    chol: Floats
    weights: Floats

    def predict(self, features: Floats) -> tuple[Floats, Floats]:
        """Return means and standard deviations, without the noise, at features [m, columns]."""
        cross = self.signal * _matern(_squared(features * self.scale, self.features))
        half = solve_triangular(self.chol, cross.T, lower=True, check_finite=False)
        variance = self.signal - (half * half).sum(axis=0)
        return self.mean + cross @ self.weights, np.sqrt(np.maximum(variance, 1e-10))

    def given(self, features: Floats, values: Floats) -> Process:
        """Return the process that knows these values as well, with the same hyperparameters."""
        known = np.vstack([self.features, features * self.scale])
        return _condition(self.scale, self.signal, self.noise, self.mean, known, np.append(self.values, values))


def fit(features: Floats, values: Floats, owner: NDArray[np.intp]) -> Process:
    """Fit a process with a Matern 5/2 kernel and one length scale an axis; ``owner`` is the axis of each column.

    The hyperparameters maximise the posterior with the priors of Hvarfner, Hellsten & Nardi (2024, arXiv:2402.02229):
    length scales grow with the square root of the number of axes, so that many axes do not make all points strangers.
    ``values`` should be standardised.
    """
    axes = int(owner.max()) + 1 if owner.size else 0
    difference = (features[:, None, :] - features[None, :, :]) ** 2
    gaps = np.stack([difference[:, :, owner == axis].sum(axis=2) for axis in range(axes)])  # [axes, n, n]
    spread = 0.5 * np.log(max(axes, 1))
    centre = np.array([*np.full(axes, LENGTH[0] + spread), SIGNAL[0], NOISE[0]])
    width = np.array([*np.full(axes, LENGTH[1]), SIGNAL[1], NOISE[1]])
    start = np.array([*np.full(axes, spread - 0.5), SIGNAL[0], NOISE[0]])
    bounds = [(-4.0, 6.0)] * axes + [(-4.0, 4.0), (-11.0, 1.0)]

    def loss(theta: Floats) -> tuple[float, Floats]:
        value, slope = _negative_log_likelihood(theta, gaps, values)
        z = (theta - centre) / width
        return value + 0.5 * float(z @ z), slope + z / width

    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": _STEPS})
    lengths, signal, noise = np.exp(found.x[:axes]), float(np.exp(found.x[-2])), float(np.exp(found.x[-1]))
    scale = 1.0 / lengths[owner]
    scaled = features * scale
    kernel = signal * _matern(_squared(scaled, scaled))
    return _condition(scale, signal, noise, _level(_factor(kernel, noise), values), scaled, values)


def _condition(scale: Floats, signal: float, noise: float, mean: float, scaled: Floats, values: Floats) -> Process:
    chol = _factor(signal * _matern(_squared(scaled, scaled)), noise)
    weights = cho_solve((chol, True), values - mean, check_finite=False)
    return Process(scale, signal, noise, mean, scaled, values, chol, weights)


def _negative_log_likelihood(theta: Floats, gaps: Floats, values: Floats) -> tuple[float, Floats]:
    """Return -log p(values) and its slope (Rasmussen & Williams 2006, eq. 5.8 and 5.9), the mean profiled out."""
    inverse = np.exp(-2.0 * theta[:-2])
    signal, noise = np.exp(theta[-2]), np.exp(theta[-1])
    squared = np.tensordot(inverse, gaps, axes=1)
    root = _SQRT5 * np.sqrt(squared)
    decay = np.exp(-root)
    kernel = signal * (1.0 + root + root * root / 3.0) * decay
    chol = _factor(kernel, noise)
    residual = values - _level(chol, values)
    weights = cho_solve((chol, True), residual, check_finite=False)
    value = 0.5 * residual @ weights + np.log(np.diag(chol)).sum()
    inner = cho_solve((chol, True), np.eye(len(values)), check_finite=False) - np.outer(weights, weights)
    by_gap = inner * (signal * (5.0 / 6.0) * (1.0 + root) * decay)
    lengths = np.tensordot(gaps, by_gap, axes=2) * inverse
    slope = np.array([*lengths, 0.5 * (inner * kernel).sum(), 0.5 * noise * np.trace(inner)])
    return float(value), slope


def _level(chol: Floats, values: Floats) -> float:
    """Return the constant mean that makes the values most likely."""
    ones = cho_solve((chol, True), np.ones(len(values)), check_finite=False)
    return float(ones @ values / ones.sum())


def _factor(kernel: Floats, noise: float) -> Floats:
    return np.asarray(np.linalg.cholesky(kernel + (noise + _JITTER) * np.eye(len(kernel))), dtype=float)


def _squared(a: Floats, b: Floats) -> Floats:
    """Return the squared distances [m, n] of rows [m, columns] and [n, columns]."""
    squared = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None, :] - 2.0 * a @ b.T
    return np.asarray(np.maximum(squared, 0.0), dtype=float)


def _matern(squared: Floats) -> Floats:
    root = _SQRT5 * np.sqrt(squared)
    return np.asarray((1.0 + root + root * root / 3.0) * np.exp(-root), dtype=float)
