"""One attention problem: the shapes and options that a backend is checked, timed and chosen for."""

from __future__ import annotations

from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any

from autotune.errors import InvalidInput, nearest
from autotune.files import digest

DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
BYTES = {"bf16": 2, "fp16": 2, "fp32": 4}
DIRECTIONS = ("fwd", "bwd", "fwd+bwd")
MASKS = ("none", "padding", "padding:<least keys>", "alibi", "documents:<number>")
LAYOUTS = ("bshd", "bhsd")
FLOP_RULE = (
    "FLOPs: forward 2·B·H·pairs·(d_k + d_v), backward 2·B·H·pairs·(3·d_k + 2·d_v) (2.5 times it where d_v = d_k); "
    "pairs = Sq·Skv, causal less Sq²/2, windows, padding and documents as they are"
)

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
    """Softmax attention of q [B, H, Sq, D] over k [B, Hkv, Skv, D] and v [B, Hkv, Skv, Dv]; d_v 0 is as d_k.

    ``causal`` is aligned bottom-right: query i sees the keys up to i + Skv - Sq, so that one query at the end
    of a filled cache (decoding) sees all of them. ``window`` W leaves it the last W of these. ``mask`` is a meaning,
    which each backend gets in its own form: ``padding`` (the keys of a batch entry end early; ``padding:N`` leaves the
    shortest N of them, and with 0 it sees nothing), ``alibi`` (a bias that grows with distance, a slope for each
    head), ``documents:N`` (N packed sequences that do not see one another). A query that sees no key gives zeros.
    ``dropout`` is the part of the weights that is dropped. ``layout`` is how the memory lies: ``bshd`` as a model's
    projections leave it, ``bhsd`` with each head's rows together; the shapes are [B, H, S, D] either way.
    """

    batch: int = 1
    heads: int
    kv_heads: int
    seq_q: int
    seq_kv: int
    d_k: int
    d_v: int = 0
    dtype: str = "bf16"
    causal: bool = False
    window: int = 0
    mask: str = "none"
    direction: str = "fwd"
    dropout: float = 0.0
    layout: str = "bshd"

    def __post_init__(self) -> None:
        if self.d_v == 0:
            object.__setattr__(self, "d_v", self.d_k)
        for name in ("batch", "heads", "kv_heads", "seq_q", "seq_kv", "d_k", "d_v"):
            _check_count(name, getattr(self, name), 1)
        _check_count("window", self.window, 0)
        if self.heads % self.kv_heads:
            raise InvalidInput(f"heads must be a multiple of kv_heads, got {self.heads} and {self.kv_heads}")
        for name, known in (("dtype", tuple(DTYPES)), ("direction", DIRECTIONS), ("layout", LAYOUTS)):
            if getattr(self, name) not in known:
                raise InvalidInput(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
        if not isinstance(self.causal, bool):
            raise InvalidInput(f"causal must be true or false, got {self.causal!r}")
        if self.window and not self.causal:
            raise InvalidInput("a window looks back from each query, so the case must be causal as well")
        number = isinstance(self.dropout, int | float) and not isinstance(self.dropout, bool)
        if not number or not 0 <= self.dropout < 1:
            raise InvalidInput(f"dropout must be at least 0 and below 1 (0.1 drops a tenth), got {self.dropout!r}")
        object.__setattr__(self, "dropout", float(self.dropout))  # 0 and 0.0 are one problem with one id
        self._check_mask()

    def _check_mask(self) -> None:
        kind, _, number = self.mask.partition(":") if isinstance(self.mask, str) else (None, "", "")
        if kind == "documents" and number.isdecimal() and 1 <= int(number) <= self.seq_q:
            if self.seq_q != self.seq_kv:
                raise InvalidInput(
                    "documents are packed along one sequence, so seq_kv must be seq_q, "
                    f"got {self.seq_kv} and {self.seq_q}"
                )
        elif self.mask not in ("none", "padding", "alibi") and not (
            kind == "padding" and number.isdecimal() and int(number) <= self.seq_kv
        ):
            raise InvalidInput(f"mask must be one of {', '.join(MASKS)}, got {self.mask!r}")
        if self.padded and self.causal:
            raise InvalidInput("padding is for cases that are not causal: a causal query never sees what comes later")

    @property
    def documents(self) -> int:
        """The number of packed documents, or 0 where there are none."""
        return int(self.mask.partition(":")[2] or 0) if self.mask.startswith("documents") else 0

    @property
    def padded(self) -> bool:
        """Whether the keys of some batch entries end early."""
        return self.mask.startswith("padding")

    @property
    def blind(self) -> bool:
        """Whether some queries see no key at all: their outputs and gradients are zero."""
        return (self.masked and self.seq_q > self.seq_kv) or self.mask == "padding:0"

    @property
    def masked(self) -> bool:
        """Whether the causal mask hides anything: one query at the end sees every key."""
        return self.causal and self.seq_q > 1

    @property
    def windowed(self) -> bool:
        """Whether the window hides anything that the causal mask shows."""
        return 0 < self.window < self.seq_kv

    @property
    def plain(self) -> bool:
        """Whether full or causal attention is all of it."""
        return self.mask == "none" and not self.windowed

    @property
    def backward(self) -> bool:
        return self.direction != "fwd"

    def resized(self, seq_q: int, seq_kv: int) -> AttentionCase:
        """Return the same kind of case at other lengths, with a window and a mask that fit there."""
        kind, _, number = self.mask.partition(":")
        fits = {"documents": min(int(number or 0), 3), "padding": min(int(number or 0), seq_kv)}
        mask = f"{kind}:{fits[kind]}" if number else kind
        window = min(self.window, max(1, seq_kv // 2)) if self.windowed else 0
        return replace(self, seq_q=seq_q, seq_kv=seq_kv, window=window, mask=mask)

    def flops(self) -> float:
        """Matmul FLOPs by FlashAttention's rule, which ``FLOP_RULE`` tells."""
        from autotune.bench.masks import pairs

        forward, backward = self.d_k + self.d_v, 3 * self.d_k + 2 * self.d_v
        dims = {"fwd": forward, "bwd": backward, "fwd+bwd": forward + backward}[self.direction]
        return 2.0 * self.heads * pairs(self) * dims

    def bytes(self) -> float:
        """The least bytes to move: each input read once, each output written once, for each pass."""
        q_side = self.batch * self.heads * self.seq_q * (self.d_k + self.d_v)  # q and out
        kv_side = self.batch * self.kv_heads * self.seq_kv * (self.d_k + self.d_v)
        parts = {"fwd": 1, "bwd": 2, "fwd+bwd": 3}[self.direction]
        return float(BYTES[self.dtype] * parts * (q_side + kv_side))

    @property
    def id(self) -> str:
        """16 hexadecimal digits; equal ids are the same problem."""
        return digest(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Return the case as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Any) -> AttentionCase:
        """Read a case back; what has a default may be missing.

        Raises:
            InvalidInput: a field is missing, unknown or impossible.
        """
        names = {field.name for field in fields(cls)}
        needed = {field.name for field in fields(cls) if field.default is MISSING}
        if not isinstance(record, dict) or not needed <= set(record) <= names:
            got = sorted(record) if isinstance(record, dict) else type(record).__name__
            raise InvalidInput(f"an attention case must have fields out of {sorted(names)}, got {got}")
        return cls(**record)

    def __str__(self) -> str:
        heads = f"H{self.heads}" if self.heads == self.kv_heads else f"H{self.heads}/{self.kv_heads}"
        seq = f"S{self.seq_q}" if self.seq_q == self.seq_kv else f"S{self.seq_q}x{self.seq_kv}"
        dims = f"D{self.d_k}" if self.d_k == self.d_v else f"D{self.d_k}/{self.d_v}"
        extras = [f"window {self.window}"] if self.window else []
        extras += [] if self.mask == "none" else [self.mask]
        extras += [f"dropout {self.dropout:g}"] if self.dropout else []
        extras += [] if self.layout == "bshd" else [self.layout]
        words = [f"B{self.batch}", heads, seq, dims, self.dtype, *(["causal"] if self.causal else []), *extras]
        return " ".join([*words, self.direction])


def _check_count(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidInput(f"{name} must be a whole number of at least {least}, got {value!r}")
