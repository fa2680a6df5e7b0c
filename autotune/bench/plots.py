"""Pictures of measurements: backend by shape, what the default loses, and how far from the ceilings."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autotune.bench.backends import DEFAULT
from autotune.bench.rows import Measurement
from autotune.bench.tables import chosen
from autotune.errors import InvalidStudy

_MOST = 3.0  # times slower than the best: the end of the heatmap's colours
_MOST_LOSS = 0.6  # the end of the bars


def write(folder: str | os.PathLike[str], measurements: Sequence[Measurement], margin: float) -> list[Path]:
    """Write heatmap.png, speedup.png and roofline.png; return what was written: nothing where nothing was measured.

    Raises:
        InvalidStudy: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
    except ModuleNotFoundError:
        raise InvalidStudy("plots need matplotlib: pip install 'autotune[plot]'") from None
    mpl.use("agg")
    if not measurements:
        return []
    Path(folder).mkdir(parents=True, exist_ok=True)
    figures = {
        "heatmap": _heatmap(measurements, margin),
        "speedup": _speedup(measurements, margin),
        "roofline": _roofline(measurements),
    }
    paths = []
    for name, figure in figures.items():
        paths.append(Path(folder, f"{name}.png"))
        figure.savefig(paths[-1], dpi=110, bbox_inches="tight", metadata={"Software": None})
    return paths


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    return figure, figure.subplots()


def _heatmap(measurements: Sequence[Measurement], margin: float) -> Any:
    names = list(dict.fromkeys(row.backend for one in measurements for row in one.rows))
    grid = [[math.nan] * len(names) for _ in measurements]
    figure, axes = _figure(2 + 0.9 * len(names), 1.5 + 0.32 * len(measurements))
    for i, one in enumerate(measurements):
        choice = chosen(one, margin)
        states = {row.backend: row.state for row in one.rows}
        for j, name in enumerate(names):
            ratio = choice.ratios.get(name) if choice is not None else None
            grid[i][j] = math.nan if ratio is None else min(ratio.median, _MOST)
            mark = "*" if choice == name else ""
            sign = {"incorrect": "wrong", "failed": "failed"}.get(states.get(name, ""), "")
            text = sign if ratio is None else f"{ratio.median:.2f}{mark}"
            axes.text(j, i, text, ha="center", va="center", fontsize=7)
    image = axes.imshow(grid, aspect="auto", cmap="RdYlGn_r", vmin=1, vmax=_MOST)
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", fontsize=8)
    axes.set_yticks(range(len(measurements)), [str(one.case) for one in measurements], fontsize=7)
    axes.set_title("times slower than the fastest that is right; * is the choice", fontsize=9)
    figure.colorbar(image, ax=axes, shrink=0.6)
    return figure


def _speedup(measurements: Sequence[Measurement], margin: float) -> Any:
    choices = [(one, choice) for one in measurements if (choice := chosen(one, margin)) is not None]
    bars = [(one, choice, choice.regret) for one, choice in choices if choice.regret is not None]
    figure, axes = _figure(8, 1.2 + 0.27 * len(bars))
    for i, (_, choice, loss) in enumerate(bars):
        safe = DEFAULT in choice.ratios
        color = "tab:red" if not safe else "tab:green" if loss > margin else "tab:gray"
        axes.barh(i, min(loss, _MOST_LOSS), color=color)
        text = f" {loss:+.0%} {choice.ties[0]}" + ("" if safe else "; the default is not safe here")
        axes.text(min(loss, _MOST_LOSS), i, text, va="center", fontsize=7)
    axes.set_yticks(range(len(bars)), [str(one.case) for one, _, _ in bars], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlim(0, _MOST_LOSS * 1.35)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_title("how much longer PyTorch's own choice takes than the fastest that is right", fontsize=9)
    return figure


def _roofline(measurements: Sequence[Measurement]) -> Any:
    figure, axes = _figure(8, 5)
    names = list(dict.fromkeys(row.backend for one in measurements for row in one.rows if row.state == "ok"))
    for j, name in enumerate(names):
        rows = [
            row for one in measurements for row in one.rows if row.backend == name and row.state == "ok" and row.bytes
        ]
        axes.scatter(
            [row.flops / row.bytes for row in rows],
            [row.tflops for row in rows],
            s=22,
            label=name,
            marker="osD^vP*Xhd<>"[j % 12],
            alpha=0.75,
        )
    matmul = max(one.conditions.get("matmul_tflops", 0) for one in measurements)
    copy = max(one.conditions.get("copy_gbs", 0) for one in measurements)
    axes.set(xscale="log", yscale="log", xlabel="FLOP per byte that must move", ylabel="TFLOP/s")
    axes.set_title("no ceilings were measured on this device", fontsize=9)
    if copy:
        low, high = 0.5, 1e4
        xs = [low * (high / low) ** (i / 100) for i in range(101)]
        axes.plot(xs, [min(matmul, x * copy / 1000) for x in xs], color="black", lw=1, label="measured ceilings")
        axes.set_title(f"matmul {matmul:.0f} TFLOP/s, copy {copy / 1000:.2f} TB/s, both measured", fontsize=9)
    if names:
        axes.legend(fontsize=7)
    return figure
