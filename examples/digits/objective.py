"""Train a small network on scikit-learn's digits for a fixed number of epochs; return its held-out accuracy.

scikit-learn is imported at the top on purpose: Autotune imports this module once a batch job and forks every trial
from that process, so that four trials pay for one import. Inside the function each trial would pay for it again.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

# The budget: scikit-learn's own default is up to 200 epochs. With few of them the choice of parameters decides.
EPOCHS = 50

Split = tuple[np.ndarray, np.ndarray]


def load_splits() -> dict[str, Split]:
    """Return the 1,797 digits as ``train`` (half), ``valid`` and ``test`` (a quarter each), always the same.

    An entry is (images ``[N, 64]`` in 0..1, labels ``[N]``). The search sees ``train`` and ``valid`` only.
    """
    images, labels = load_digits(return_X_y=True)
    x, x_rest, y, y_rest = train_test_split(images / 16.0, labels, test_size=0.5, random_state=0, stratify=labels)
    x_valid, x_test, y_valid, y_test = train_test_split(x_rest, y_rest, test_size=0.5, random_state=0, stratify=y_rest)
    return {"train": (x, y), "valid": (x_valid, y_valid), "test": (x_test, y_test)}


SPLITS = load_splits()


def train(params: dict[str, Any], seed: int) -> MLPClassifier:
    """Train for ``EPOCHS`` epochs; a parameter that is not given keeps scikit-learn's default."""
    names = {"learning_rate": "learning_rate_init", "width": "hidden_layer_sizes"}
    options = {names.get(name, name): value for name, value in params.items()}
    model = MLPClassifier(**options, max_iter=EPOCHS, n_iter_no_change=EPOCHS, random_state=seed % 2**32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the budget is short on purpose
        model.fit(*SPLITS["train"])
    return model


def accuracy(model: MLPClassifier, split: str) -> float:
    """Return the share of the split's digits that the model reads correctly, 0..1."""
    return float(model.score(*SPLITS[split]))


def objective(params: dict[str, Any], trial: Any) -> dict[str, float]:
    """Train with ``params``, log the loss of every epoch, return the held-out accuracy and the last loss."""
    model = train(params, trial.seed)
    for epoch, loss in enumerate(model.loss_curve_):
        trial.log("loss", float(loss), step=epoch)
    return {"accuracy": accuracy(model, "valid"), "loss": float(model.loss_)}
