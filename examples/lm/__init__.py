"""Tune how a small language model is trained: what it learns in a few seconds, and how fast it reads."""
