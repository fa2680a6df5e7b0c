"""The report of 10,000 trials in Chromium: how soon it is open, what is drawn, hover, click, sort and filter."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from autotune.algorithms.random import RandomSearch
from autotune.config import StudyConfig
from autotune.records import Outcome, Result, TrialConfig
from autotune.report.write import write_report
from autotune.spaces import SearchSpace
from autotune.storage import StudyDir
from autotune.study import Study

TRIALS = 10_000
MOST_BYTES = 10_000_000
MOST_S = 3.0
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SCRIPT = "<script>document.title = 'taken over'</script>"
SPACE = {
    "lr": {"type": "loguniform", "low": 1e-5, "high": 0.1},
    "decay": {"type": "loguniform", "low": 1e-6, "high": 0.1},
    "dropout": {"type": "uniform", "low": 0.0, "high": 0.5},
    "layers": {"type": "int", "low": 1, "high": 33},
    "width": {"type": "choice", "options": [64, 128, 256, 512]},
    "opt": {"type": "choice", "options": ["adam", "sgd", SCRIPT]},
    "momentum": {"type": "uniform", "low": 0.0, "high": 1.0, "when": "opt == 'sgd'"},
    "beta": {"type": "uniform", "low": 0.9, "high": 0.9999},
}


@dataclass(frozen=True, slots=True)
class Opened:
    """A page, how long its file took to open on the clock, and of that the seconds that its main thread computed."""

    page: Any
    open_s: float
    cpu_s: float


def outcome_of(planned: TrialConfig) -> Outcome:
    if planned.number % 50 == 7:
        return Outcome("failed", "exception", error=f"ValueError: {SCRIPT}", traceback=f"Traceback: {SCRIPT}")
    loss = 1000 * planned.params["lr"] + planned.params["dropout"] + 0.001 * (planned.number % 97)
    return Outcome("complete", metrics={"loss": loss, "tokens_s": 1e5 / planned.params["layers"]})


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("study") / ".autotune"
    config = StudyConfig(metric="loss", max_trials=TRIALS, log_dir=str(root), objective="mod:fn")
    Study(config, SearchSpace.from_dict(SPACE, "space"), RandomSearch(seed=1)).plan()
    store = StudyDir(root)
    for number in range(TRIALS):
        planned = store.read_config(number)
        worker, turn = number % 64, number // 64
        result = Result(
            *(number, planned.id, planned.params, outcome_of(planned), 1, 1.7e9 + 60 * turn, 40 + number % 19),
            host=f"node{worker // 8}",
            gpus=str(worker % 8),
        )
        store.write_result(result)
    write_report(store)
    return root / "report.html"


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed; as root on Debian `make test-browser` installs one")
    with sync_api.sync_playwright() as playwright:
        # Chromium's sandbox does not work for root.
        args = ["--no-sandbox"] if os.getuid() == 0 else []
        started = playwright.chromium.launch(executable_path=program, args=args)
        yield started
        started.close()


@pytest.fixture(scope="session")
def opened(browser: Any, report: Path) -> Opened:
    tries = [_open(browser, report) for _ in range(3)]
    for one in tries:
        print(f"open after {one.open_s:.2f} s, of which {one.cpu_s:.2f} s of computing")
    best = min(tries, key=lambda one: one.open_s)
    for one in tries:
        if one is not best:
            one.page.close()
    return best


def _open(browser: Any, report: Path) -> Opened:
    """Open the page and wait until the table and the first figure are there."""
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda asked: faults.append(asked.url) if asked.url.startswith("http") else None)
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    start = time.monotonic()
    page.goto(report.as_uri())
    page.wait_for_selector("#history .js-plotly-plot .main-svg")
    open_s = time.monotonic() - start
    measured = {item["name"]: item["value"] for item in session.send("Performance.getMetrics")["metrics"]}
    assert not faults
    return Opened(page, open_s, measured["ThreadTime"])


def numbers(page: Any) -> list[int]:
    """Return the trial numbers of the table's rows."""
    return [int(text) for text in page.locator("#table tbody tr td:first-child").all_inner_texts()]


def test_ten_thousand_trials_are_small_and_open_soon(opened: Opened, report: Path) -> None:
    assert report.stat().st_size < MOST_BYTES
    assert opened.cpu_s < MOST_S
    if os.getloadavg()[0] < (os.cpu_count() or 1):  # else it waits for other work
        assert opened.open_s < MOST_S


def test_figures_are_drawn(opened: Opened, tmp_path: Path) -> None:
    from matplotlib.image import imread

    page = opened.page
    names = page.locator("[data-figure]").evaluate_all("graphs => graphs.map(graph => graph.dataset.figure)")
    assert {"history", "importances", "parallel", "slices", "contour", "timeline", "durations"} <= set(names)
    for name in names:
        graph = page.locator(f"[data-figure={name}]")
        graph.scroll_into_view_if_needed()
        page.wait_for_selector(f"[data-figure={name}].js-plotly-plot .main-svg", timeout=60_000)
        page.wait_for_timeout(500)  # WebGL draws a little later
        path = tmp_path / f"{name}.png"
        graph.screenshot(path=path)
        pixels = imread(path)[:, :, :3]
        colored = (pixels.max(axis=2) - pixels.min(axis=2) > 0.2).mean()
        assert colored > 0.01, f"{name}: {colored:.2%} of the picture have a colour"
    page.evaluate("scrollTo(0, 0)")


def test_hover_tells_the_trial_and_a_click_shows_it_in_the_table(opened: Opened) -> None:
    page = opened.page
    graph = page.locator("[data-figure=history]")
    graph.scroll_into_view_if_needed()
    page.wait_for_selector("[data-figure=history].js-plotly-plot .main-svg")
    place = graph.evaluate(
        """graph => {
            const box = graph.getBoundingClientRect(), layout = graph._fullLayout, points = graph.data[0];
            return [box.x + layout.xaxis._offset + layout.xaxis.d2p(points.x[5000]),
                    box.y + layout.yaxis._offset + layout.yaxis.d2p(points.y[5000]), points.customdata[5000]];
        }"""
    )
    line = page.locator("#history .trial")
    page.mouse.move(place[0] + 30, place[1])
    page.mouse.move(place[0], place[1], steps=5)
    page.wait_for_function("document.querySelector('#history .trial').textContent !== ''")
    page.wait_for_timeout(500)  # points on the way were hovered as well
    told = line.inner_text()
    assert told.startswith("trial ") and "lr " in told and "loss " in told
    page.mouse.click(place[0], place[1])
    page.wait_for_function("document.querySelectorAll('#table tbody tr').length === 1")
    assert numbers(page) == [int(told.split()[1].rstrip(":"))]
    page.click("#clear")


def test_table_sorts_and_filters(opened: Opened) -> None:
    page = opened.page
    page.click("#clear")
    assert numbers(page) == list(range(50))
    assert "10000 of 10000 trials, page 1 of 200" in page.inner_text("#shown")
    start = time.monotonic()
    page.click("#table th button:text('metrics.loss')")
    assert time.monotonic() - start < 2
    column = page.locator("#table th button").all_inner_texts().index("metrics.loss ▲")
    losses = [float(text) for text in page.locator(f"#table tbody td:nth-child({column + 1})").all_inner_texts()]
    assert losses == sorted(losses) and page.locator("#table tbody tr.best").count() == 1
    page.click("#table th button:text('metrics.loss')")
    page.fill("[aria-label='filter metrics.loss']", "<20")
    losses = [float(text) for text in page.locator(f"#table tbody td:nth-child({column + 1})").all_inner_texts()]
    assert losses == sorted(losses, reverse=True) and max(losses) < 20
    page.fill("[aria-label='filter state']", "FAIL")
    assert numbers(page) == []
    page.fill("[aria-label='filter metrics.loss']", "")
    assert "200 of 10000 trials" in page.inner_text("#shown")
    page.click("#next")
    assert "page 2 of 4" in page.inner_text("#shown")
    page.click("#clear")


def test_texts_of_a_study_stay_texts(opened: Opened) -> None:
    page = opened.page
    page.fill("[aria-label='filter params.opt']", SCRIPT)
    assert SCRIPT in page.locator("#table tbody tr").first.inner_text()
    page.click("#failures summary")
    assert f"Traceback: {SCRIPT}" in page.inner_text("#failures")
    assert page.title() != "taken over" and page.locator("script").count() == 4
    page.click("#clear")
