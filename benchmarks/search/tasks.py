"""The tasks of the search benchmark: a space, and what a point of it costs (less is better).

`develop` tasks were looked at while the searchers were written, the others only once they stood. Infeasible points
(out of memory, say) have no value, which is None. A noisy task has a `truth` too, by which its incumbents are judged;
`best` is the lowest value where a formula gives it, otherwise the best that any run has seen takes its place.
"""

from __future__ import annotations

import functools
import itertools
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Params = Mapping[str, Any]
Objective = Callable[[Params], float | None]


@dataclass(frozen=True)
class Task:
    """One thing to tune; ``noise`` is the standard deviation of what is added to ``truth`` at each evaluation."""

    kind: str
    space: dict[str, Any]
    truth: Objective
    best: float | None = None
    noise: float = 0.0
    develop: bool = False

    def evaluate(self, params: Params, rng: random.Random) -> tuple[float | None, float | None]:
        """Return what the searcher sees and what is true."""
        truth = self.truth(params)
        return (None if truth is None else truth + rng.gauss(0.0, 1.0) * self.noise), truth


def _uniform(low: float, high: float) -> dict[str, Any]:
    return {"type": "uniform", "low": low, "high": high}


def _log(low: float, high: float) -> dict[str, Any]:
    return {"type": "loguniform", "low": low, "high": high}


def _int(low: int, high: int) -> dict[str, Any]:
    return {"type": "int", "low": low, "high": high}


def _ordered(*options: float) -> dict[str, Any]:
    return {"type": "choice", "options": list(options), "ordered": True}


def _choice(*options: Any) -> dict[str, Any]:
    return {"type": "choice", "options": list(options)}


def _box(dimensions: int, low: float, high: float) -> dict[str, Any]:
    return {f"x{i}": _uniform(low, high) for i in range(dimensions)}


def _vector(params: Params) -> list[float]:
    return [value for name, value in params.items() if name.startswith("x")]


# Classic functions, with the best points away from the middle, where some searchers begin; https://www.sfu.ca/~ssurjano/optimization.html


def branin(params: Params) -> float:
    """Three equal minima in two dimensions."""
    x, y = params["x0"], params["x1"]
    return (
        (y - 5.1 * x * x / (4 * math.pi**2) + 5 * x / math.pi - 6) ** 2
        + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x)
        + 10
    )


def rosenbrock(params: Params) -> float:
    """A curved valley."""
    x = _vector(params)
    return sum(100 * (b - a * a) ** 2 + (1 - a) ** 2 for a, b in itertools.pairwise(x))


def ackley(params: Params) -> float:
    """Many shallow minima around a deep one."""
    x = [value - 3.1 for value in _vector(params)]
    root = math.sqrt(sum(v * v for v in x) / len(x))
    return -20 * math.exp(-0.2 * root) - math.exp(sum(math.cos(2 * math.pi * v) for v in x) / len(x)) + 20 + math.e


def levy(params: Params) -> float:
    """Many minima along each axis."""
    w = [1 + (v - 1) / 4 for v in _vector(params)]
    middle = sum((a - 1) ** 2 * (1 + 10 * math.sin(math.pi * a + 1) ** 2) for a in w[:-1])
    return math.sin(math.pi * w[0]) ** 2 + middle + (w[-1] - 1) ** 2 * (1 + math.sin(2 * math.pi * w[-1]) ** 2)


_HARTMANN3 = (
    ((3, 10, 30), (0.1, 10, 35), (3, 10, 30), (0.1, 10, 35)),
    ((0.3689, 0.117, 0.2673), (0.4699, 0.4387, 0.747), (0.1091, 0.8732, 0.5547), (0.0381, 0.5743, 0.8828)),
)
_HARTMANN6 = (
    ((10, 3, 17, 3.5, 1.7, 8), (0.05, 10, 17, 0.1, 8, 14), (3, 3.5, 1.7, 10, 17, 8), (17, 8, 0.05, 10, 0.1, 14)),
    (
        (0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886),
        (0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991),
        (0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.665),
        (0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381),
    ),
)


def _hartmann(table: Any, params: Params) -> float:
    x, (slopes, centres) = _vector(params), table
    terms = (
        math.exp(-sum(s * (v - c) ** 2 for s, v, c in zip(slope, x, centre, strict=True)))
        for slope, centre in zip(slopes, centres, strict=True)
    )
    return -sum(weight * term for weight, term in zip((1.0, 1.2, 3.0, 3.2), terms, strict=True))


def mixed_basins(params: Params) -> float:
    """A quadratic bowl whose place and depth hang on two unordered choices, with ripples."""
    shift = {"a": 0.2, "b": 0.75, "c": 0.5, "d": 0.35}[params["family"]]
    depth = {"a": 0.4, "b": 0.0, "c": 0.25, "d": 0.6}[params["family"]] + (0.15 if params["flag"] else 0.0)
    x = _vector(params)
    bowl = sum((v - shift) ** 2 * (i + 1) for i, v in enumerate(x))
    return depth + bowl + 0.05 * sum(1 - math.cos(6 * math.pi * (v - shift)) for v in x)


# Models of kernels and servers: powers of two, cliffs, and corners that do not fit


def gemm_tiles(params: Params) -> float | None:
    """Milliseconds of a tiled matrix product on a made-up GPU: waves of tiles, shared memory, registers, latency."""
    m, n, k, stages, warps = (params[name] for name in ("block_m", "block_n", "block_k", "stages", "warps"))
    shared = 2 * stages * k * (m + n)
    registers = m * n / (warps * 32)
    if shared > 228 * 1024 or registers > 224:
        return None
    residents = max(1, min(228 * 1024 // shared, 64 // warps, int(65536 // (warps * 32 * max(32, registers * 1.3)))))
    tiles = math.ceil(4096 / m) * math.ceil(3072 / n) * (2 if params["split_k"] else 1)
    waves = math.ceil(tiles / (132 * residents))
    intensity = m * n / (m + n)
    hidden = 1 - math.exp(-0.35 * stages * residents * math.sqrt(k / 32))
    spill = 1 + max(0.0, registers - 128) / 60
    groups = 1 + 0.15 * abs(math.log2(params["group"]) - 3)
    compute = m * n * 4096 / (2 if params["split_k"] else 1) * residents / (1 - math.exp(-warps * residents / 8))
    memory = compute * 40 / intensity * groups
    return waves * max(compute, memory) / hidden * spill * 2e-9 + (0.02 if params["split_k"] else 0.0)


def attention_tiles(params: Params) -> float | None:
    """Milliseconds of a made-up attention kernel whose knobs act in pairs."""
    q, kv, stages, warps = params["block_q"], params["block_kv"], params["stages"], params["warps"]
    if (q + 2 * kv * stages) * 128 * 2 > 200 * 1024 or q * kv / (warps * 32) > 160:
        return None
    rows_a_warp = q / warps
    shape = 1 + 0.25 * (math.log2(rows_a_warp) - 4) ** 2
    overlap = 1 + 0.8 / (stages * (1.6 if params["pingpong"] and warps >= 8 else 1.0))
    loop = 1 + 24 / kv + (0.3 if kv > 128 else 0.0)
    order = {"raster": 1.12, "snake": 1.0 if kv <= 64 else 1.15, "column": 1.3}[params["order"]]
    exp2 = 0.94 if params["exp2"] else 1.0
    tail = math.ceil(8192 / q * 2 / 132) * q / (8192 * 2 / 132)
    return shape * overlap * loop * order * exp2 * tail


def serving(params: Params) -> float | None:
    """Seconds a thousand tokens of a made-up server: parallelism, batch, memory; most large batches do not fit."""
    tp, pp, batch, block = params["tp"], params["pp"], params["max_batch"], params["block"]
    if tp * pp > 8:
        return None
    memory = 140 / (tp * pp) + batch * params["context_share"] * 0.35 / tp + (4 if params["cuda_graphs"] else 0)
    if memory > 80 * params["memory_share"]:
        return None
    step = 14 / tp**0.8 + 0.6 * math.log2(tp) + 1.7 * (pp - 1) + batch * 0.012 + (0 if params["cuda_graphs"] else 2.5)
    waste = 1 + block / 256 + 6 / block
    scheduler = {"fcfs": 1.1, "chunked": 1.0 + 40 / params["chunk"] + params["chunk"] / 16384, "priority": 1.25}
    queue = 1 + 3 * max(0.0, 0.6 - params["context_share"]) ** 2
    return step * waste * scheduler[params["scheduler"]] * queue / (batch**0.8) * pp**0.3


def serving_replicas(params: Params) -> float | None:
    """`serving` per GPU of a machine of eight, with as many replicas as fit."""
    seconds = serving(params)
    return None if seconds is None else seconds * params["tp"] * params["pp"]


# Tunings of scikit-learn on its bundled data: 1 - accuracy, or 1 - R^2, of a fixed validation part


@functools.cache
def _split(name: str, rows: int) -> Any:
    import sklearn.datasets
    from sklearn.model_selection import train_test_split

    x, y = getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.4, random_state=0)
    return x_train[:rows], x_test[:250], y_train[:rows], y_test[:250]


def _loss(model: Any, name: str, rows: int = 10_000) -> float:
    """Return 1 - score, half of it a cross-entropy where there is one, so that the loss is not a staircase."""
    import warnings

    from sklearn.metrics import log_loss

    x_train, x_test, y_train, y_test = _split(name, rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model.fit(x_train, y_train)
        except ValueError:  # the weights of a network diverged
            return 2.0
        loss = 1 - model.score(x_test, y_test)
        if hasattr(model, "predict_proba"):
            loss = loss / 2 + min(2.0, log_loss(y_test, model.predict_proba(x_test))) / 2
    return float(min(loss, 2.0))


def svc_digits(params: Params) -> float:
    """A support vector classifier; `degree` counts for one kernel only."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, StandardScaler
    from sklearn.svm import SVC

    scaler = {"none": "passthrough", "minmax": MinMaxScaler(), "standard": StandardScaler()}[params["scale"]]
    svc = SVC(C=params["C"], gamma=params["gamma"], kernel=params["kernel"], degree=params["degree"])
    return _loss(make_pipeline(scaler, svc), "digits", 300)


def knn_digits(params: Params) -> float:
    """Neighbours after a projection."""
    from sklearn.decomposition import PCA
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    knn = KNeighborsClassifier(params["k"], weights=params["weights"], p=params["p"], algorithm="brute")
    pca = PCA(params["components"], whiten=params["whiten"], svd_solver="full")
    return _loss(make_pipeline(StandardScaler() if params["scale"] else "passthrough", pca, knn), "digits", 200)


def sgd_digits(params: Params) -> float:
    """A linear classifier by gradient steps, whose options depend on one another."""
    from sklearn.linear_model import SGDClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    sgd = SGDClassifier(max_iter=params["epochs"], tol=None, random_state=0, **_without(params, "epochs"))
    return _loss(make_pipeline(StandardScaler(), sgd), "digits", 200)


def mlp_wine(params: Params) -> float:
    """A small neural network, trained briefly."""
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    layers = (params["width"],) * params["depth"]
    mlp = MLPClassifier(layers, max_iter=8, random_state=0, **_without(params, "width", "depth"))
    return _loss(make_pipeline(StandardScaler(), mlp), "wine")


def trees_cancer(params: Params) -> float:
    """Small forests."""
    from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier

    forest = {"extra": ExtraTreesClassifier, "random": RandomForestClassifier}[params["kind"]]
    return _loss(forest(n_estimators=8, random_state=0, **_without(params, "kind")), "breast_cancer", 200)


def boosting_diabetes(params: Params) -> float:
    """Boosted trees."""
    from sklearn.ensemble import GradientBoostingRegressor

    return _loss(GradientBoostingRegressor(random_state=0, **params), "diabetes")


def kernel_ridge_diabetes(params: Params) -> float:
    """Kernel ridge regression; which options count depends on the kernel."""
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import QuantileTransformer, StandardScaler

    scaler = {"none": "passthrough", "standard": StandardScaler(), "quantile": QuantileTransformer(n_quantiles=50)}[
        params["scale"]
    ]
    ridge = KernelRidge(kernel=params["kernel"], alpha=params["alpha"], gamma=params["gamma"], coef0=params["coef0"])
    return _loss(make_pipeline(scaler, ridge), "diabetes")


def _without(params: Params, *names: str) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name not in names}


_GEMM = {
    "block_m": _ordered(16, 32, 64, 128, 256),
    "block_n": _ordered(16, 32, 64, 128, 256),
    "block_k": _ordered(16, 32, 64, 128),
    "stages": _int(1, 8),
    "warps": _ordered(1, 2, 4, 8, 16),
    "group": _ordered(1, 2, 4, 8, 16, 32),
    "split_k": _choice(False, True),
}
_ATTENTION = {
    "block_q": _ordered(16, 32, 64, 128, 256),
    "block_kv": _ordered(16, 32, 64, 128, 256),
    "stages": _int(1, 6),
    "warps": _ordered(2, 4, 8, 16),
    "order": _choice("raster", "snake", "column"),
    "pingpong": _choice(False, True),
    "exp2": _choice(False, True),
}
_SERVING = {
    "tp": _ordered(1, 2, 4, 8),
    "pp": _ordered(1, 2, 4, 8),
    "max_batch": _ordered(8, 16, 32, 64, 128, 256, 512, 1024),
    "block": _ordered(8, 16, 32, 64, 128),
    "chunk": _ordered(256, 512, 1024, 2048, 4096, 8192),
    "memory_share": _uniform(0.5, 0.97),
    "context_share": _uniform(0.1, 1.0),
    "scheduler": _choice("fcfs", "chunked", "priority"),
    "cuda_graphs": _choice(False, True),
}

TASKS = {
    "branin": Task("classic", {"x0": _uniform(-5, 10), "x1": _uniform(0, 15)}, branin, 0.397887),
    "rosenbrock4": Task("classic", _box(4, -2.2, 1.6), rosenbrock, 0.0, develop=True),
    "ackley5": Task("classic", _box(5, -10, 10), ackley, 0.0),
    "levy8": Task("classic", _box(8, -12, 7), levy, 0.0),
    "hartmann6": Task("classic", _box(6, 0, 1), functools.partial(_hartmann, _HARTMANN6), -3.32237, develop=True),
    "mixed_basins": Task(
        "classic",
        {"family": _choice("a", "b", "c", "d"), "flag": _choice(False, True), **_box(4, 0, 1)},
        mixed_basins,
        0.0,
        develop=True,
    ),
    "gemm_tiles": Task("kernel", _GEMM, gemm_tiles, develop=True),
    "attention_tiles": Task("kernel", _ATTENTION, attention_tiles),
    "serving": Task("kernel", _SERVING, serving),
    "serving_replicas": Task("kernel", _SERVING, serving_replicas, develop=True),
    "noisy_hartmann3": Task(
        "noisy", _box(3, 0, 1), functools.partial(_hartmann, _HARTMANN3), -3.86278, noise=0.4, develop=True
    ),
    "noisy_branin": Task("noisy", {"x0": _uniform(-5, 10), "x1": _uniform(0, 15)}, branin, 0.397887, noise=10.0),
    "noisy_attention": Task("noisy", _ATTENTION, attention_tiles, noise=0.3),
    "svc_digits": Task(
        "sklearn",
        {
            "C": _log(1e-3, 1e3),
            "gamma": _log(1e-6, 1e1),
            "kernel": _choice("rbf", "poly", "sigmoid", "linear"),
            "degree": _int(2, 6),
            "scale": _choice("none", "minmax", "standard"),
        },
        svc_digits,
    ),
    "knn_digits": Task(
        "sklearn",
        {
            "k": _int(1, 41),
            "weights": _choice("uniform", "distance"),
            "p": _uniform(1, 4),
            "components": _int(2, 61),
            "whiten": _choice(False, True),
            "scale": _choice(False, True),
        },
        knn_digits,
    ),
    "sgd_digits": Task(
        "sklearn",
        {
            "loss": _choice("hinge", "log_loss", "modified_huber", "squared_hinge", "perceptron"),
            "penalty": _choice("l2", "l1", "elasticnet"),
            "alpha": _log(1e-7, 1e0),
            "l1_ratio": _uniform(0, 1),
            "learning_rate": _choice("constant", "optimal", "invscaling", "adaptive"),
            "eta0": _log(1e-5, 1e1),
            "power_t": _uniform(0.1, 0.9),
            "epochs": _int(1, 11),
        },
        sgd_digits,
        develop=True,
    ),
    "mlp_wine": Task(
        "sklearn",
        {
            "width": _int(2, 33),
            "depth": _int(1, 4),
            "activation": _choice("relu", "tanh", "logistic"),
            "solver": _choice("adam", "sgd"),
            "learning_rate_init": _log(1e-4, 1e0),
            "alpha": _log(1e-6, 1e1),
            "batch_size": _ordered(4, 8, 16, 32, 64),
            "beta_1": _uniform(0.5, 0.99),
        },
        mlp_wine,
        develop=True,
    ),
    "trees_cancer": Task(
        "sklearn",
        {
            "kind": _choice("extra", "random"),
            "criterion": _choice("gini", "entropy"),
            "max_depth": _int(1, 16),
            "min_samples_leaf": _int(1, 21),
            "max_features": _uniform(0.05, 1.0),
            "ccp_alpha": _log(1e-5, 1e-1),
        },
        trees_cancer,
    ),
    "boosting_diabetes": Task(
        "sklearn",
        {
            "learning_rate": _log(1e-3, 1e0),
            "n_estimators": _int(5, 25),
            "max_depth": _int(1, 7),
            "subsample": _uniform(0.3, 1.0),
            "max_features": _uniform(0.1, 1.0),
            "min_samples_leaf": _int(1, 31),
            "loss": _choice("squared_error", "absolute_error", "huber"),
        },
        boosting_diabetes,
    ),
    "kernel_ridge_diabetes": Task(
        "sklearn",
        {
            "kernel": _choice("rbf", "laplacian", "polynomial", "sigmoid"),
            "alpha": _log(1e-4, 1e2),
            "gamma": _log(1e-4, 1e1),
            "coef0": _uniform(0, 3),
            "scale": _choice("none", "standard", "quantile"),
        },
        kernel_ridge_diabetes,
        develop=True,
    ),
}
