"""The text: the documentation of Python's own statements and types, which every Python brings (half a megabyte)."""

from __future__ import annotations

from pydoc_data.topics import topics

import torch

PIECE = 4096  # characters; the text is cut into pieces, so that all splits are of one kind


def load_splits() -> tuple[int, dict[str, torch.Tensor]]:
    """Return how many characters there are, and the text as their numbers: ``train`` (80 %), ``valid``, ``test``."""
    text = "\n".join(topics[name] for name in sorted(topics))
    number = {character: n for n, character in enumerate(sorted(set(text)))}
    pieces = torch.tensor([number[character] for character in text]).split(PIECE)
    splits = {"train": [n for n in range(len(pieces)) if n % 10 < 8]}
    splits |= {"valid": list(range(8, len(pieces), 10)), "test": list(range(9, len(pieces), 10))}
    return len(number), {name: torch.cat([pieces[n] for n in numbers]) for name, numbers in splits.items()}
