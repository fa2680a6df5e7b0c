"""Every code block of README and docs does what it says: those of a page run in order, in one folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from blocks import LANGUAGES, PAGES, ROOT, Block, blocks, prints

from autotune.cli import COMMANDS
from autotune.cli.command import make_parser
from autotune.spaces import SearchSpace
from autotune.study_file import load_config

STAGE = Path(__file__).with_name("stage")  # what a page takes for granted that its reader has, as files

# What Snakemake takes, for `autotune study` hands it on.
SNAKEMAKE_FLAGS = {"-j", "-n", "--cores", "--profile", "--retries", "--executor", "--config"}


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


class Reader:
    """Somebody who does what a page says, in a folder of his own and with an installed Autotune."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.start, self.folder, self.output = folder, folder, ""
        self.environment = {name: value for name, value in environment.items() if name != "PYTHONPATH"}

    def follow(self, block: Block) -> None:
        """Do what a block says, or check what it shows."""
        if "not run" in block.markers:
            return
        if folder := block.markers.get("folder"):
            self.folder = self.start / folder
            self.folder.mkdir(exist_ok=True)
        if name := block.markers.get("file"):
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_text(block.text)
        elif block.language == "bash":
            self._run(block, ["bash", "-euo", "pipefail", "-c", f"{block.text}\npwd > {self.start / '.cwd'}"])
            if (self.start / ".cwd").exists():
                self.folder = Path((self.start / ".cwd").read_text().strip())
        elif block.language == "python":
            script = self.folder / f"block_{block.line}.py"
            script.write_text(block.text)
            self._run(block, [sys.executable, script.name])
        elif block.language == "text":
            missing = prints(block.text, self.output)
            assert missing is None, f"{block.where}: not printed: {missing!r}; but:\n{self.output}"
        else:
            self._read(block)

    def _run(self, block: Block, command: list[str]) -> None:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
        )
        self.output = done.stdout
        assert done.returncode == int(block.markers.get("fails", 0)), (
            f"{block.where}\n{block.text}\n{done.stdout[-6000:]}"
        )

    def _read(self, block: Block) -> None:
        """Read what is shown as part of a study file (YAML) or as a JSON file."""
        if block.language == "json":
            json.loads(block.text)
            return
        part = self.folder / f"block_{block.line}.yaml"
        part.write_text(block.text)
        config = load_config(str(part))
        if config.space is not None and not config.attention:
            SearchSpace.from_dict(config.space, block.where, config.forbid, config.zip)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_blocks_of_a_page(page: Path, tmp_path: Path, environment: Callable[..., dict[str, str]]) -> None:
    reader = Reader(tmp_path, environment())
    stage = STAGE / name_of(page).removesuffix(".md").replace("/", "_")
    if stage.is_dir():
        shutil.copytree(stage, tmp_path, dirs_exist_ok=True)
    for block in blocks(page):
        reader.follow(block)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_says_what_it_is(page: Path) -> None:
    for block in blocks(page):
        assert block.language in LANGUAGES or "not run" in block.markers, (
            f"{block.where}: a block of {block.language!r}"
        )
    fences = re.findall(r"^ *```", page.read_text(), re.MULTILINE)
    assert len(fences) == 2 * len(blocks(page)), f"{name_of(page)}: a block that does not end"


def commands_in(page: Path) -> set[tuple[str, ...]]:
    """Return the command lines of Autotune that a page names, in the text and in all its blocks."""
    text = re.sub(r"\\\n\s*", " ", page.read_text())
    lines = re.findall(r"`autotune ([a-z][^`\n]*)`", text)
    lines += re.findall(r"^ *(?:autotune|python -m autotune\.cli) ([a-z][^\n#]*)", text, re.MULTILINE)
    ends = re.compile(r"&&|[|;>]")  # of the command; what is quoted is not its own
    return {tuple(ends.split(re.sub(r'"[^"]*"', "TEXT", line))[0].split()) for line in lines}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_and_flag_exists(page: Path) -> None:
    for command, *words in commands_in(page):
        assert command in COMMANDS, f"{name_of(page)}: autotune {command}"
        parser = make_parser(command, COMMANDS[command][0])
        known = {flag for action in parser._actions for flag in action.option_strings}
        known |= SNAKEMAKE_FLAGS if command == "study" else set()
        for word in words:
            flag = word.partition("=")[0].strip("[],")
            assert not re.fullmatch(r"--?[a-z][a-z-]*", flag) or flag in known, (
                f"{name_of(page)}: autotune {command} {flag}"
            )


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=name_of)
def test_every_file_and_target_of_this_repository_exists(page: Path) -> None:
    text = page.read_text()
    named = re.findall(
        r"(?<![\w./])((?:autotune|benchmarks|examples|profiles|tests|workflow)/[\w/-]+\.(?:py|yaml|csv|txt))\b", text
    )
    missing = [name for name in named if not (ROOT / name).exists()]
    assert missing == []
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)) <= targets


def test_output_that_was_not_printed_is_found() -> None:
    assert prints("2 of … done\nbest …", "2 of 3 trials done\nnote\nbest loss 1 ") is None
    assert prints("best …\n2 of …", "2 of 3 trials done\nbest loss 1") == "2 of …"
    assert prints("best loss 1", "best loss 12") == "best loss 1"


def test_links_of_pages_outside_docs_lead_somewhere() -> None:
    for page in PAGES:
        if ROOT / "docs" not in page.parents:  # `mkdocs build --strict` looks at those
            for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
                assert target.startswith("http") or (page.parent / target).exists(), f"{name_of(page)}: {target}"


def test_programs_of_the_environment_come_first(environment: Callable[..., dict[str, str]]) -> None:
    found = shutil.which("autotune", path=environment()["PATH"])
    assert found is not None
    assert os.path.dirname(found) == os.path.dirname(sys.executable)
