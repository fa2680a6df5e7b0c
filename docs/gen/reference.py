"""Writes the pages of the reference that follow from the code, each time the site is built; mkdocs.yml names this hook.

Nothing of it is kept in the repository, so nothing of it can be out of date. Links from a page to a file outside docs/
(which GitHub follows) are led to the page that is made of that file, or to nothing where there is none.
"""

from __future__ import annotations

import inspect
import logging
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from autotune import Infeasible, Study, StudyConfig  # noqa: E402  of this checkout
from autotune.algorithms.grid import GridSearch  # noqa: E402
from autotune.cli import COMMANDS  # noqa: E402
from autotune.cli.command import make_parser  # noqa: E402
from autotune.execution.trial import Trial  # noqa: E402
from autotune.files import SCHEMA_VERSION  # noqa: E402
from autotune.records import Result, TrialConfig  # noqa: E402
from autotune.spaces import Choice, SearchSpace  # noqa: E402
from autotune.storage import StudyDir  # noqa: E402

# Files outside docs/ that are pages of the site too.
OUTSIDE = {"config/README.md": "reference/study-file.md", "CHANGELOG.md": "changelog.md"}


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages; see MkDocs' documentation of hooks."""
    pages: dict[str, Callable[[], str]] = {
        "reference/cli.md": command_line,
        "reference/study-file.md": study_file,
        "reference/files.md": file_formats,
        "changelog.md": (ROOT / "CHANGELOG.md").read_text,
    }
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links out of docs/ to the pages that stand for those files."""
    up = "../" * page.file.src_uri.count("/")
    for name, instead in OUTSIDE.items():
        markdown = markdown.replace(f"]({up}../{name}", f"]({up}{instead}")
    return markdown


def command_line() -> str:
    """Return the page of all commands: what each says to ``--help``."""
    parts = [
        "# Command line",
        "Made from the parsers of `autotune/cli`, that is, what `autotune COMMAND --help` says. `python -m autotune.cli` is the same as `autotune`.",
        "| exit status | means |\n|---|---|",
        "| 0 | every trial has an outcome |\n| 1 | some have not, or there is no best |",
        "| 2 | the input cannot work: one sentence says why, nothing was changed |\n| 130 | interrupted |",
    ]
    text = [*parts[:2], "\n".join(parts[2:])]
    for name, (module, _) in COMMANDS.items():
        text += [f"## autotune {name}", f"```text\n{make_parser(name, module).format_help()}```"]
    return "\n\n".join(text)


def study_file() -> str:
    """Return the page of the study file: config/README.md, and the example beside it."""
    text = (ROOT / "config/README.md").read_text()
    text = re.sub(r"\]\(\.\./docs/", "](../", text).replace("`config.yaml` beside this page", "[the example below](#an-example)")
    return f"{text}\n## An example\n\n```yaml\n{(ROOT / 'config/config.yaml').read_text()}```\n"


def file_formats() -> str:
    """Return the page of the study directory: every name, both records, and the files of a study that has just been run."""
    rows = [
        line
        for item in vars(StudyDir).values()
        if inspect.isfunction(item)
        and (found := re.match(r"``([^`]+)``: (.+?)[.]?\n", f"{inspect.getdoc(item)}\n"))
        and (line := f"| `{found[1]}` | {found[2].replace('``', '`')} |")
    ]
    parts = [
        "# Files of a study",
        f"Made from the code, with the files of a study of three trials that ran while this page was built. All JSON files have "
        f"`schema_version`, now {SCHEMA_VERSION}; another version is refused in a sentence and left as it is. Every file is "
        "written whole or not at all: that it is there means that it is complete.",
        "\n".join(["| file | holds |", "|---|---|", *rows]),
        "## What is planned for a trial",
        _described(TrialConfig),
        "## What came of it",
        _described(Result),
    ]
    return "\n\n".join([*parts, *_examples()])


def _described(record: type) -> str:
    return str(inspect.getdoc(record)).replace("``", "`")


def _examples() -> list[str]:
    """Run a study with a trial that completes, one that is infeasible and one that fails; return its files as blocks."""

    def objective(params: dict[str, Any], trial: Trial) -> float:
        if params["batch_size"] == 32:
            raise Infeasible("a batch of 32 has no room")
        if params["batch_size"] == 64:
            raise RuntimeError("no such file: data.bin")
        trial.log("train/accuracy", 0.9, step=0)
        return 0.1

    found = []
    logging.getLogger("autotune").setLevel(logging.ERROR)  # that a trial failed is no fault of the site
    with tempfile.TemporaryDirectory() as folder:
        config = StudyConfig(metric="loss", max_trials=3, log_dir=folder)
        space = SearchSpace({"batch_size": Choice([16, 32, 64])})
        Study(config, space, GridSearch()).optimize(objective)
        shown = ("study.json", *(f"configs/trial_{n:05d}.json" for n in range(1)))
        shown += tuple(f"trials/trial_{n:05d}.json" for n in range(3))
        for name in (*shown, "best.json", "trials.csv", "scalars.csv"):
            text = Path(folder, name).read_text().replace(str(ROOT), "/home/you")
            found += [f"### `{name}`", f"```{name.rpartition('.')[2]}\n{text.rstrip()}\n```"]
    return ["## Files of a study of three trials", *found]
