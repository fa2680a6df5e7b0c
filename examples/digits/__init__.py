"""Tune a small neural network on scikit-learn's digits."""
