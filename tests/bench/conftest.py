from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from autotune.bench import gate
from autotune.bench.backends import load
from autotune.bench.case import AttentionCase
from autotune.bench.inputs import FILLS, new_inputs


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """No test reads or writes the user's cache."""
    monkeypatch.setenv("AUTOTUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="attention backends need PyTorch: pip install 'autotune[torch]'")


@pytest.fixture
def planted(monkeypatch):
    """Make the planted backends importable, in the probe's process too; return the targets by name."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return lambda name: f"bench_planted:{name}"


@pytest.fixture
def make_case():
    """Return a function that makes a small case, with what is given changed."""

    def make(**changes) -> AttentionCase:
        fields = {"heads": 2, "seq_q": 64, "d_k": 32, "dtype": "fp32"} | changes
        fields.setdefault("kv_heads", fields["heads"])
        fields.setdefault("seq_kv", fields["seq_q"])
        return AttentionCase(**fields)

    return make


@pytest.fixture
def verdict_of(make_case, planted):
    """Return a function that holds a planted backend against the truth on a small case, with what is given changed."""

    def verdict(name: str, fills=FILLS, **changes) -> gate.Verdict:
        case = make_case(**changes)
        inputs = new_inputs(case, "cpu")
        backend = load(planted(name))
        return gate.check(case, inputs, {name: backend.prepare(case, inputs)}, fills=fills)[name]

    return verdict


@pytest.fixture
def bench_attn():
    """Run ``autotune bench-attn`` with these words in this process; return its exit status."""
    from autotune.cli import bench_attn as command

    def run(line: str, *more: str) -> int:
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        return command.run(parser.parse_args([*line.split(), *more]))

    return run
