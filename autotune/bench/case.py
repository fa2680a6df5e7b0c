"""One attention problem: the shapes and options that a backend is checked, timed and chosen for."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from autotune.errors import InvalidInput, nearest
from autotune.files import digest

DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
DIRECTIONS = ("fwd", "fwd+bwd")

_ALIASES = {"bfloat16": "bf16", "float16": "fp16", "half": "fp16", "float32": "fp32", "float": "fp32"}


def short_dtype(name: str) -> str:
    """Return ``bf16``, ``fp16`` or ``fp32`` for a short or a long name.

    Raises:
        InvalidInput: no such dtype here.
    """
    short = _ALIASES.get(name, name)
    if short not in DTYPES:
        hint = nearest(name, [*DTYPES, *_ALIASES])
        raise InvalidInput(
            f"dtype must be one of {', '.join(DTYPES)} (or a long name), got {name!r}; {hint}".rstrip("; ")
        )
    return short


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionCase:
    """Softmax attention of q [B, H, Sq, D] over k and v [B, Hkv, Skv, D].

    ``causal`` is aligned bottom-right: query i sees the keys up to i + Skv - Sq, so that one query at the end
    of a filled cache (decoding) sees all of them.
    """

    batch: int = 1
    heads: int
    kv_heads: int
    seq_q: int
    seq_kv: int
    d_k: int
    dtype: str = "bf16"
    causal: bool = False
    direction: str = "fwd"

    def __post_init__(self) -> None:
        for name in ("batch", "heads", "kv_heads", "seq_q", "seq_kv", "d_k"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InvalidInput(f"{name} must be a whole number of at least 1, got {value!r}")
        if self.heads % self.kv_heads:
            raise InvalidInput(f"heads must be a multiple of kv_heads, got {self.heads} and {self.kv_heads}")
        if self.dtype not in DTYPES:
            raise InvalidInput(f"dtype must be one of {', '.join(DTYPES)}, got {self.dtype!r}")
        if self.direction not in DIRECTIONS:
            raise InvalidInput(f"direction must be one of {', '.join(DIRECTIONS)}, got {self.direction!r}")
        if not isinstance(self.causal, bool):
            raise InvalidInput(f"causal must be true or false, got {self.causal!r}")
        if self.causal and self.seq_q > self.seq_kv:
            raise InvalidInput(
                f"a causal case must have seq_kv of at least seq_q, got {self.seq_kv} and {self.seq_q}: "
                "the first queries would see no key at all"
            )

    @property
    def masked(self) -> bool:
        """Whether the causal mask hides anything: one query at the end sees every key."""
        return self.causal and self.seq_q > 1

    def flops(self) -> float:
        """Matmul FLOPs by FlashAttention's rule: 4·B·H·Sq·Skv·D, causal halves, forward with backward is 3.5 times it.

        With Sq < Skv causal takes away Sq²/2 pairs, which is the half where the two are equal.
        """
        pairs = self.seq_q * self.seq_kv - (self.seq_q**2 / 2 if self.masked else 0)
        forward = 4.0 * self.batch * self.heads * pairs * self.d_k
        return forward * (3.5 if self.direction == "fwd+bwd" else 1.0)

    @property
    def id(self) -> str:
        """16 hexadecimal digits; equal ids are the same problem."""
        return digest(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Return the case as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Any) -> AttentionCase:
        """Read a case back.

        Raises:
            InvalidInput: a field is missing, unknown or impossible.
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(record, dict) or set(record) != names:
            got = sorted(record) if isinstance(record, dict) else type(record).__name__
            raise InvalidInput(f"an attention case must have exactly the fields {sorted(names)}, got {got}")
        return cls(**record)

    def __str__(self) -> str:
        heads = f"H{self.heads}" if self.heads == self.kv_heads else f"H{self.heads}/{self.kv_heads}"
        seq = f"S{self.seq_q}" if self.seq_q == self.seq_kv else f"S{self.seq_q}x{self.seq_kv}"
        causal = " causal" if self.causal else ""
        return f"B{self.batch} {heads} {seq} D{self.d_k} {self.dtype}{causal} {self.direction}"
