"""What kernels break on beside the shape that is asked for: awkward lengths, rectangles, queries that see no key.

A model that trains on a length meets others too, and a kernel that returns NaN there is not one to choose. Small
cases, so they cost milliseconds; each backend is checked once a kind and process.
"""

from __future__ import annotations

from dataclasses import replace

from autotune.bench.case import AttentionCase

# 1, 127 and 64 past a multiple of 128; at 704 cuDNN 9.19 returned NaN gradients with a mask tensor (pytorch#196678).
LENGTHS = (129, 255, 704)
FILLS = (("random", 11), ("very negative logits", 12))
_KV_HEADS = 2


def neighbours(case: AttentionCase) -> list[AttentionCase]:
    """Return small cases of the same kind (dtype, sizes, head ratio, mask, direction): what is wrong there counts.

    They have the awkward lengths; with padding one batch entry of the last has no key at all. Dropout is left out:
    it has a check of its own.
    """
    found = [_at(_small(case), n) for n in LENGTHS]
    return [*found, replace(found[1], batch=2, mask="padding:0")] if case.padded else found


def relatives(case: AttentionCase) -> list[AttentionCase]:
    """Return small cases of another form than the one that is asked for: what is wrong there is told, and no more.

    More keys than queries, where causal must be aligned to the last of both, and fewer, where the first queries of a
    causal case see no key. Packed documents have no such form, and decoding has no other.
    """
    if case.documents or case.seq_q == 1:
        return []
    small = _small(case)
    wide = [small.resized(85, 255)] if case.seq_q == case.seq_kv else []
    return [*wide, small.resized(255, 200)]


def _small(case: AttentionCase) -> AttentionCase:
    kv_heads = min(case.kv_heads, _KV_HEADS)
    heads = kv_heads * (case.heads // case.kv_heads)
    return replace(case, batch=min(case.batch, 2), kv_heads=kv_heads, heads=heads, dropout=0.0)


def _at(case: AttentionCase, length: int) -> AttentionCase:
    seq_q = length if case.seq_q == case.seq_kv else length // 3 if case.seq_q < case.seq_kv else length + length // 3
    return case.resized(1 if case.seq_q == 1 else seq_q, length)
