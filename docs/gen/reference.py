"""Writes the pages of the reference that follow from the code, each time the site is built; mkdocs.yml names this hook.

Nothing of it is kept in the repository, so nothing of it can be out of date.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import fields
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
from autotune.records import REASONS, Outcome, Result, TrialConfig  # noqa: E402
from autotune.spaces import Choice, SearchSpace  # noqa: E402
from autotune.storage import StudyDir  # noqa: E402

_log = logging.getLogger("mkdocs.hooks.reference")  # below mkdocs: there a warning is an error

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
    """Lead links out of docs/, which GitHub follows, to the page made of that file, or name the file instead."""
    up = "../" * page.file.src_uri.count("/")

    def led(link: re.Match[str]) -> str:
        text, name, anchor = link.groups()
        if name in OUTSIDE:
            return f"[{text}]({up}{OUTSIDE[name]}{anchor})"
        if not (ROOT / name).exists():
            _log.warning("%s links to %s, which is not there", page.file.src_uri, name)
        return f"{text} (`{name}`)"

    return re.sub(rf"\[([^\]]*)\]\({re.escape(up)}\.\./([^)#]+)([^)]*)\)", led, markdown)


def command_line() -> str:
    """Return the page of all commands: what each says to ``--help``."""
    parts = [
        "# Command line",
        (
            "Made from the parsers in `autotune/cli`: what `autotune COMMAND --help` says. "
            "`python -m autotune.cli` is the same as `autotune`."
        ),
        (
            "| exit status | means |\n|---|---|\n"
            "| 0 | every trial has an outcome |\n| 1 | some have not, or there is no best |\n"
            "| 2 | the input cannot work: one sentence says why, nothing was changed |\n| 130 | interrupted |"
        ),
    ]
    for name, (module, _) in COMMANDS.items():
        parts += [f"## autotune {name}", f"```text\n{make_parser(name, module).format_help()}```"]
    return "\n\n".join(parts)


def study_file() -> str:
    """Return the page of the study file: config/README.md, and the example beside it."""
    text = (ROOT / "config/README.md").read_text().replace("](../docs/", "](../")
    text = text.replace("`config.yaml` beside this page", "[the example below](#an-example)")
    return f"{text}\n## An example\n\n```yaml\n{(ROOT / 'config/config.yaml').read_text()}```\n"


def file_formats() -> str:
    """Return the page of the study directory: every name, both records, and the files of a study that has just run."""
    parts = [
        "# Files of a study",
        (
            "Made from the code, with the files of a study of three trials that ran while this page was built. All "
            f"JSON files have `schema_version`, now {SCHEMA_VERSION}; another version is refused in a sentence and "
            "left as it is. Every file is written whole or not at all: that it is there means that it is complete. "
            "`study.json`, `best.json` and the tables are shown [below](#an-example); the others are:"
        ),
        "\n".join(["| file | holds |", "|---|---|", *_named_files()]),
        "## What is planned for a trial",
        *_described(TrialConfig),
        "## What came of it",
        *_described(Result, Outcome),
        "\n".join(["| state | reasons |", "|---|---|", *_states()]),
        "## An example",
    ]
    return "\n\n".join([*parts, *_examples()])


def _named_files() -> list[str]:
    """Return a row for each file of which `StudyDir` says what it is for: ```name``: what``."""
    texts = [f"{inspect.getdoc(item)}\n" for item in vars(StudyDir).values() if inspect.isfunction(item)]
    found = [re.match(r"``([^`]+)``: (.+?)[.]?\n", text) for text in texts]
    return [f"| `{match[1]}` | {match[2].replace('``', '`')} |" for match in found if match]


def _described(record: type, *parts: type) -> list[str]:
    """Return what a record says of itself, and its fields; it is written flat, with those of its parts."""
    found = [
        item for kind in (record, *parts) for item in fields(kind) if item.type not in {part.__name__ for part in parts}
    ]
    rows = [f"| `{item.name}` | `{item.type.replace('|', 'or')}` |" for item in found]
    return [str(inspect.getdoc(record)).replace("``", "`"), "\n".join(["| key | type |", "|---|---|", *rows])]


def _states() -> list[str]:
    return [f"| `{state}` | {', '.join(f'`{one}`' for one in reasons if one)} |" for state, reasons in REASONS.items()]


def _examples() -> list[str]:
    """Run a study of which one trial completes, one is infeasible and one fails; return its files as blocks."""

    def objective(params: dict[str, Any], trial: Trial) -> float:
        if params["batch_size"] == 32:
            raise Infeasible("a batch of 32 has no room")
        if params["batch_size"] == 64:
            raise RuntimeError("no such file: data.bin")
        trial.log("train/accuracy", 0.9, step=0)
        return 0.1

    found = []
    logging.getLogger("autotune").setLevel(logging.ERROR)  # that a trial failed is no fault of the site
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        config = StudyConfig(objective="train:objective", metric="loss", max_trials=3, log_dir=folder)
        space = SearchSpace({"batch_size": Choice([16, 32, 64])})
        Study(config, space, GridSearch()).optimize(objective)
        shown = ["study.json", "configs/trial_00000.json", *(f"trials/trial_0000{number}.json" for number in range(3))]
        for name in (*shown, "best.json", "trials.csv", "scalars.csv"):
            text = Path(folder, name).read_text().replace(str(ROOT), "/home/you")
            found += [f"### `{name}`", f"```{name.rpartition('.')[2]}\n{text.rstrip()}\n```"]
    return found
