"""The attention that a program computes: which shapes, how often, by which backend; one JSON file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from autotune.bench.case import AttentionCase, short_dtype
from autotune.errors import InvalidInput, UnreadableFile
from autotune.files import json_bytes, read_record, write_atomic


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A case, by which backend and on what kind of device the program computed it, and how often."""

    case: AttentionCase
    backend: str
    device: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What was recorded; counts are summed over the processes, of which each ran the steps.

    ``step_s`` is the mean time of a step after the first one, ``span_s`` that from the first call to the last.
    ``skipped`` are calls that no case describes, (what, how often).
    """

    command: str
    calls: tuple[Call, ...]
    skipped: tuple[tuple[str, int], ...] = ()
    steps: int = 0
    step_s: float | None = None
    span_s: float = 0.0
    processes: int = 1
    torch: str = ""
    ended: str = ""

    def to_json(self) -> dict[str, Any]:
        record = {field.name: getattr(self, field.name) for field in fields(self)}
        return record | {
            "calls": [asdict(call) for call in self.calls],
            "skipped": [{"what": what, "count": count} for what, count in self.skipped],
        }

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Profile:
        names = {field.name for field in fields(cls)} - {"calls", "skipped"}
        return cls(
            **{name: record[name] for name in names},
            calls=tuple(Call(**one | {"case": AttentionCase.from_json(one["case"])}) for one in record["calls"]),
            skipped=tuple((one["what"], one["count"]) for one in record["skipped"]),
        )


def merged(command: str, records: Sequence[dict[str, Any]], ended: str) -> Profile:
    """Return one profile of what the processes of a program recorded, the most frequent case first."""
    counts: dict[tuple[AttentionCase, str, str], int] = {}
    skipped: dict[str, int] = {}
    for call in (call for record in records for call in record["calls"]):
        try:
            key = (_case(call), call["backend"], call["device"])
        except InvalidInput as error:
            what = f"{call['backend']} {_size(call)}: {error}"
            skipped[what] = skipped.get(what, 0) + call["count"]
        else:
            counts[key] = counts.get(key, 0) + call["count"]
    steps_s = [record["step_s"] for record in records if record["step_s"] is not None]
    return Profile(
        command=command,
        calls=tuple(
            Call(case=case, backend=backend, device=device, count=count)
            for (case, backend, device), count in sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))
        ),
        skipped=tuple(sorted(skipped.items())),
        steps=max(record["steps"] for record in records),
        step_s=max(steps_s, default=None),
        span_s=max(record["span_s"] for record in records),
        processes=len(records),
        torch=records[0]["torch"],
        ended=ended,
    )


def _case(call: dict[str, Any]) -> AttentionCase:
    """Return the case of a recorded call.

    Raises:
        InvalidInput: there is no such case.
    """
    if call["mask"].startswith("other: "):
        raise InvalidInput(call["mask"].removeprefix("other: "))
    names = {field.name for field in fields(AttentionCase)}
    return AttentionCase(
        **{name: item for name, item in call.items() if name in names} | {"dtype": short_dtype(call["dtype"])}
    )


def _size(call: dict[str, Any]) -> str:
    words = [f"B{call['batch']}", f"H{call['heads']}/{call['kv_heads']}", f"S{call['seq_q']}x{call['seq_kv']}"]
    return " ".join([*words, f"D{call['d_k']}", call["dtype"]])


def write(path: str | os.PathLike[str], profile: Profile) -> None:
    """Write a profile, whole or not at all."""
    write_atomic(path, json_bytes(profile.to_json(), indent=True))


def read(path: str | os.PathLike[str]) -> Profile:
    """Read a profile.

    Raises:
        UnreadableFile: it is not whole, of a later version, or none.
    """
    record = read_record(path)
    try:
        return Profile.from_json(record)
    except (LookupError, TypeError) as error:
        raise UnreadableFile(
            f"{os.fspath(path)} must be a profile of `bench-attn --from`, but has no {error}"
        ) from None
